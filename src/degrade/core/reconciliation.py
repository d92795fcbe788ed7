"""Whether what a store shows now may be believed, and what to write when it may not.

A store that lives on several machines can be emptied, lose a key, or go back to an older state.
So a missing record is no release: each life of a store has a random id, the incarnation, which
stands in two places, and every change raises its epoch.

    known   shown                                            standing
    -       nothing at all                                   BEGIN     a new namespace
    -       a whole life                                     TAKE
    -       half a life: a marker is missing or differs      RESTORE   from what is left
    (I, e)  I, epoch e or later                              TAKE
    (I, e)  I, epoch before e                                BACK      RESTORE when seen again
    (I, e)  J, which continues I from at least e             TAKE      somebody has restored
    (I, e)  one of both, that went another way before e      RESTORE   two wrote apart
    (I, e)  anything else, also nothing                      RESTORE

A restored store is a new incarnation that names the lives it continues, and up to which epoch:
its lineage. Whoever knows more of one of them restores once more, so all end with one state.

An epoch alone does not tell one way from another: of two servers that both took the place of a
third, each raises it. So a store shows its trail, too: the newest changes as `epoch-digest`, where
the digest is that of the change's last event. Who knows a change that should be in it and is not
knows something that was lost.

Invariants of `merged`:
- of each flag, and of the level, the newest record wins: an order or the release of one, by
  server time, then epoch; what only one side has is kept; an order that expired is no newer than
  it was, so that who extended it, or ordered something else before it expired, is obeyed;
- an end of an `off` is never forgotten; one that ends by the merging ends now;
- a verdict that was over does not come back, nor one whose first step was kept begin again;
- the epoch is above all that were seen.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum

from degrade.core.enums import HoldMode
from degrade.core.records import ControlState, FleetVerdict, Hold, LevelOrder, Release

__all__ = (
    "LINEAGE_CAP",
    "TRAIL_CAP",
    "StoreAssessment",
    "StoreIdentity",
    "change_id",
    "contains",
    "is_off",
    "judged",
    "lineage_of",
    "merged",
    "trail_of",
    "went_apart",
)

LINEAGE_CAP = 16
"""Lives that a lineage names; the oldest go first."""

TRAIL_CAP = 64
"""Changes that a trail names; the oldest go first."""


class StoreAssessment(Enum):
    """What to do with what a store shows."""

    BEGIN = "begin"
    TAKE = "take"
    BACK = "back"
    RESTORE = "restore"


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreIdentity:
    """What a store shows of its life.

    Attributes:
        markers: The incarnation in each of the two places; None where it is missing.
        epoch: The epoch; None when it is missing.
        lineage: Lives that this one continues, with the last epoch of each.
        trail: Its newest changes, oldest first: see `change_id`.
        empty: Nothing else is there either.
    """

    markers: tuple[str | None, str | None]
    epoch: int | None
    lineage: Mapping[str, int] = field(default_factory=dict)
    trail: tuple[str, ...] = ()
    empty: bool = False

    @property
    def whole(self) -> bool:
        """Whether both markers are there and agree, and there is an epoch."""
        first, second = self.markers
        return first is not None and first == second and self.epoch is not None


_Dated = Hold | LevelOrder | Release


def judged(
    known: tuple[str, int] | None, shown: StoreIdentity, *, trail: Collection[str] = ()
) -> StoreAssessment:
    """Return what to do with what a store shows.

    Args:
        known: Incarnation and epoch of the newest state that was read live; None without one.
        shown: What the store shows now, read after `known` was learnt.
        trail: The newest changes of the known state.
    """
    if not shown.whole or shown.epoch is None:
        blank = shown.empty and shown.markers == (None, None) and shown.epoch is None
        return StoreAssessment.BEGIN if blank and known is None else StoreAssessment.RESTORE
    if known is None:
        return StoreAssessment.TAKE
    incarnation, epoch = known
    if shown.markers[0] == incarnation:
        if shown.epoch < epoch:
            return StoreAssessment.BACK
    elif shown.lineage.get(incarnation, -1) < epoch:
        return StoreAssessment.RESTORE
    return StoreAssessment.RESTORE if went_apart(trail, shown.trail) else StoreAssessment.TAKE


def change_id(epoch: int, link: str) -> str:
    """Return what tells a change from every other: its epoch, and its last event's digest."""
    return f"{epoch}-{link[:8]}"


def trail_of(*trails: Iterable[str]) -> tuple[str, ...]:
    """Return the newest changes of several trails together, oldest first."""
    found = {change for trail in trails for change in trail}
    return tuple(sorted(found, key=lambda change: (_epoch_of(change), change))[-TRAIL_CAP:])


def went_apart(known: Collection[str], shown: Collection[str]) -> bool:
    """Return whether a known change should be in the shown trail, and is not.

    A trail is cut at its older end, so of what is not newer than its oldest change nothing can
    be told.
    """
    if not shown:
        return False
    oldest = min(map(_epoch_of, shown))
    return any(_epoch_of(change) > oldest for change in known if change not in shown)


def contains(shown: Collection[str], known: Sequence[str]) -> bool:
    """Return whether a trail has the newest change of another: so it has all that led to it."""
    return bool(known) and known[-1] in shown


def _epoch_of(change: str) -> int:
    return int(change.partition("-")[0])


def lineage_of(*lives: tuple[str | None, int, Mapping[str, int]]) -> dict[str, int]:
    """Return the lineage of a life that continues others: `(incarnation, epoch, its lineage)`."""
    found: dict[str, int] = {}
    for _, _, before in lives:
        for name, epoch in before.items():
            found[name] = max(epoch, found.get(name, 0))
    for own, epoch, _ in lives:
        if own is not None:
            found[own] = max(epoch, found.pop(own, 0))  # to the end: the newest
    return dict(list(found.items())[-LINEAGE_CAP:])


def merged(known: ControlState, shown: ControlState) -> ControlState:
    """Return what two states of a store add up to, as a state of a new incarnation.

    Args:
        known: The newest state that was read live.
        shown: What the store shows now.

    Returns:
        The state; `incarnation` is left to the caller, `now` is that of `shown`.
    """
    names = {*known.holds, *known.released, *shown.holds, *shown.released}
    newest = {
        name: _newest(
            known.holds.get(name),
            known.released.get(name),
            shown.holds.get(name),
            shown.released.get(name),
        )
        for name in sorted(names)
    }
    holds = {name: record for name, record in newest.items() if isinstance(record, Hold)}
    released = {name: record for name, record in newest.items() if isinstance(record, Release)}
    level = _newest(known.level, known.level_released, shown.level, shown.level_released)
    return shown.model_copy(
        update={
            "epoch": max(known.epoch, shown.epoch) + 1,
            "holds": holds,
            "released": released,
            "level": level if isinstance(level, LevelOrder) else None,
            "level_released": level if isinstance(level, Release) else None,
            "off_ended": _ends(known, shown, holds),
            "verdicts": _verdicts(known, shown),
        }
    )


def _newest(*records: _Dated | None) -> _Dated | None:
    """Return the order, or the release, that is newest; the first of equals."""
    return max((record for record in records if record is not None), key=_rank, default=None)


def _rank(record: _Dated) -> tuple[float, int, int]:
    """Return what grows from older to newer records; an expiry is just newer than its order."""
    if not isinstance(record, Release):
        return record.at, record.epoch, 1
    return (record.at, record.epoch, 0) if record.of is None else (*record.of, 2)


def _ends(known: ControlState, shown: ControlState, holds: Mapping[str, Hold]) -> dict[str, float]:
    """Return when the last `off` of each flag ended, given the holds that stand."""
    found = _latest(known.off_ended, shown.off_ended)
    for one, other in ((known, shown), (shown, known)):
        for name, hold in one.holds.items():
            if not is_off(hold) or is_off(holds.get(name)):
                continue
            end = other.off_ended.get(name, 0.0)
            if end < hold.at or end <= one.off_ended.get(name, 0.0):  # that of an earlier one
                found[name] = max(found.get(name, 0.0), shown.now)
    return found


def is_off(hold: Hold | None) -> bool:
    """Whether there is a hold, and it is an `off`."""
    return hold is not None and hold.mode is HoldMode.OFF


def _verdicts(known: ControlState, shown: ControlState) -> dict[str, FleetVerdict]:
    """Return the verdicts that stand: of each flag the newest one, and what is known of it."""
    found = dict(known.verdicts)
    for flag, other in shown.verdicts.items():
        mine = found.get(flag)
        if other.id > (known.epoch if mine is None else mine.id):
            found[flag] = other
        elif mine is not None and mine.id == other.id:
            found[flag] = mine.model_copy(
                update={
                    "recovering": mine.recovering or other.recovering,
                    "retry_at": max(mine.retry_at, other.retry_at),
                }
            )
    return found


def _latest(one: Mapping[str, float], other: Mapping[str, float]) -> dict[str, float]:
    return {name: max(one.get(name, 0.0), other.get(name, 0.0)) for name in {**one, **other}}
