"""Whether a change has arrived: which instances have applied its epoch, and who has not.

An instance counts until ten minutes after its last heartbeat, unless it said goodbye; it has
applied a change once it reports its epoch or a later one. Epochs grow over restores of a store,
too. Silence is no arrival: whoever cannot be heard is named.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from degrade.core.records import Event, InstanceReport
from degrade.errors import StoreError
from degrade.ports import Store

__all__ = (
    "LOOK_S",
    "SILENT_S",
    "InstanceSeen",
    "Propagation",
    "arrival",
    "seen",
    "undone",
    "wait_applied",
)

SILENT_S: Final = 30.0
"""An instance without a heartbeat for so long, three times the slowest rhythm of a shared store, is
silent."""
LOOK_S: Final = 0.2
"""How often the heartbeats are read while waiting, seconds."""


_ORDERS: Final = frozenset(
    {"hold", "released", "expired", "level", "level_released", "level_expired"}
)  # not "extended", which leaves an order as it is


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceSeen:
    """An instance as it was last heard.

    Attributes:
        id, host, pid: Which process.
        heard_s: How long ago, seconds.
        epoch: The newest epoch that it has applied.
        silent: It has not been heard for `SILENT_S`.
    """

    id: str
    host: str
    pid: int
    heard_s: float
    epoch: int
    silent: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Propagation:
    """How far a change has come.

    Attributes:
        epoch: Of the change.
        asked: The share of the instances that was asked for, 0 to 1.
        enough: As many as that have applied it. Of no instance at all nothing is enough.
        applied, instances: How many have applied it, of how many.
        after_s: How long that took, or was waited for, seconds.
        missing: The others, those heard last first.
        trouble: Why the newest heartbeats could not be read; None when they could.
        undone: The later order that ended or replaced the change meanwhile; None while it stands.
    """

    epoch: int
    asked: float
    enough: bool
    applied: int
    instances: int
    after_s: float
    missing: tuple[InstanceSeen, ...] = ()
    trouble: str | None = None
    undone: Event | None = None


def seen(report: InstanceReport, now: float) -> InstanceSeen:
    """Return an instance as it was heard by the store's time `now`."""
    ago_s = max(0.0, now - report.at)
    return InstanceSeen(
        id=report.id,
        host=report.host,
        pid=report.pid,
        heard_s=ago_s,
        epoch=report.epoch,
        silent=ago_s > SILENT_S,
    )


def arrival(
    reports: Iterable[InstanceReport], *, epoch: int, asked: float, now: float, after_s: float
) -> Propagation:
    """Return how far a change has come, by the newest heartbeats."""
    found = [seen(report, now) for report in reports]
    missing = [item for item in found if item.epoch < epoch]
    applied = len(found) - len(missing)
    return Propagation(
        epoch=epoch,
        asked=asked,
        enough=bool(found) and applied >= asked * len(found) - 1e-9,
        applied=applied,
        instances=len(found),
        after_s=after_s,
        missing=tuple(sorted(missing, key=lambda item: (item.heard_s, item.id))),
    )


def undone(events: Sequence[Event], epoch: int) -> Event | None:
    """Return the first event that ended or replaced what the change with an epoch ordered."""
    flags = {event.flag for event in events if event.epoch == epoch and event.type in _ORDERS}
    later = (event for event in events if event.epoch > epoch and event.type in _ORDERS)
    return next((event for event in later if event.flag in flags), None)


def wait_applied(
    store: Store,
    epoch: int,
    *,
    share: float,
    timeout_s: float,
    monotonic: Callable[[], float],
    sleep: Callable[[float], object],
) -> Propagation:
    """Wait until a share of the instances has applied an epoch, at most `timeout_s` seconds.

    Args:
        store: Where the heartbeats are.
        epoch: Of the change.
        share: How many are enough, above 0 to 1.
        timeout_s: How long to wait.
        monotonic: Measures the wait.
        sleep: Waits between two looks.

    Guarantees:
        A store that cannot be read meanwhile is asked again until the time is over; what was
        read last, and why it could not be read since, is in the result.

    Cost:
        Reads all heartbeats five times a second, and at most half of the time.
    """
    begun = monotonic()
    last = arrival([], epoch=epoch, asked=share, now=0.0, after_s=0.0)
    while True:
        asked = monotonic()
        try:
            reports = store.instances()
        except StoreError as error:
            after_s = monotonic() - begun
            last = replace(last, after_s=after_s, trouble=str(error))
        else:
            after_s = monotonic() - begun
            last = arrival(reports, epoch=epoch, asked=share, now=store.now(), after_s=after_s)
        if last.enough or after_s >= timeout_s:
            return last
        took_s = begun + after_s - asked
        sleep(min(max(LOOK_S, took_s), timeout_s - after_s))
