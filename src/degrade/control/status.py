"""How things stand, folded from what the store knows; pure.

A flag's mode is the worst of what its instances report and of what humans order, so that a hold
shows at once, and an instance that has not followed yet shows, too.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from degrade.control.advice import Advice, advise
from degrade.control.fleet_votes import FleetView
from degrade.control.propagation import SILENT_S, InstanceSeen, seen
from degrade.core.enums import ALL_FLAGS, HoldMode, Mode, Phase
from degrade.core.records import (
    ControlState,
    Event,
    FlagInfo,
    FlagReport,
    Hold,
    InstanceReport,
    LevelOrder,
)

__all__ = (
    "SILENT_S",
    "Advice",
    "FlagStatus",
    "InstanceStatus",
    "Status",
    "Why",
    "absolute",
    "deciding",
    "fold_status",
    "fold_why",
    "in_force",
)

_WORST = (Mode.NORMAL, Mode.DEGRADED, Mode.OFF)
_ABSOLUTE = (HoldMode.NORMAL, HoldMode.OFF)
_PHASES = (Phase.STEADY, Phase.RECOVERING, Phase.DEGRADED)


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceStatus:
    """What one instance says of one flag.

    Attributes:
        id, host, pid, at, epoch: Of the instance, as in its heartbeat.
        silent: It has not been heard for `SILENT_S`.
        behind: It has not applied the store's newest epoch.
        report: What it says.
    """

    id: str
    host: str
    pid: int
    at: float
    epoch: int
    silent: bool
    behind: bool
    report: FlagReport


@dataclass(frozen=True, slots=True, kw_only=True)
class FlagStatus:
    """How a flag stands in the fleet.

    Attributes:
        name: Its name.
        info: Its declaration; None when no process declared it here.
        mode, phase: The worst of all instances, and of the orders; `phase` is None without one.
        dial: The greatest.
        since: When the first instance left normal, or the hold was made; None while normal.
        reason: Of the instance that is worst off, or of the order.
        hold: The hold in force on it: its own, else the one on every flag.
        held_as: Under which name that hold stands: the flag's, or `*`.
        local: The local hold of this host, None without one.
        local_as: Under which name that one stands: the flag's, or `*`.
        overrides: On this host the local hold decides in the place of `hold` or `level`.
        level: The ordered level, if it concerns this flag and no hold exempts it.
        instances, degraded, silent: How many report it, how many of them are not normal, and
            how many have fallen silent.
        calls: Calls so far by class, over all instances.
        oldest_age_s: Age of the oldest answer served in the last minute.
        fleet: Votes and verdict of the fleet; None without any, or without a fleet.
    """

    name: str
    info: FlagInfo | None
    mode: Mode
    phase: Phase | None
    dial: float
    since: float | None
    reason: str
    hold: Hold | None
    held_as: str | None
    local: Hold | None
    local_as: str | None
    level: LevelOrder | None
    instances: int
    degraded: int
    silent: int
    calls: Mapping[str, int]
    oldest_age_s: float | None
    fleet: FleetView | None = None
    overrides: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """How everything stands, and what to do now.

    Attributes:
        store: The store, without secrets.
        namespace: Which fleet.
        incarnation, epoch, now: Of the store, at the read.
        level: The ordered level in force, None without one.
        everyone: The hold in force on every flag, None without one.
        flags: Every flag, or the one that was asked for, worst first.
        instances: Instances heard in the last ten minutes, by id; how long ago, seconds.
        behind: Those of them that are silent, or have not applied the newest epoch.
        nonsense: Flag to what was written by hand for it and means nothing; it changes nothing.
        not_before: When the fleet may judge again, while that is still to come; a store begins
            a new life with a pause. None when it may now.
        restored: How the store was lost and restored within the last hour; None if it was not.
        advice: What is not normal, and the next commands; empty when all is well.
    """

    store: str
    namespace: str
    incarnation: str
    epoch: int
    now: float
    level: LevelOrder | None
    everyone: Hold | None
    flags: tuple[FlagStatus, ...]
    instances: Mapping[str, float]
    behind: tuple[InstanceSeen, ...] = ()
    nonsense: Mapping[str, str] = field(default_factory=dict)
    not_before: float | None = None
    restored: Event | None = None
    advice: tuple[Advice, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Why:
    """Why a flag is as it is.

    Attributes:
        flag: How it stands.
        orders: What humans ordered that concerns it, one line each, strongest first.
        instances: What each instance says, with the verdict's numbers; newest first.
        events: Its last events, oldest first.
        advice: The next commands; empty while it is normal.
    """

    flag: FlagStatus
    now: float
    orders: tuple[str, ...]
    instances: tuple[InstanceStatus, ...]
    events: tuple[Event, ...] = field(default=())
    advice: tuple[Advice, ...] = ()


def in_force(order: Hold | LevelOrder | None, now: float) -> bool:
    """Whether there is an order that has not ended."""
    return order is not None and (order.until is None or order.until > now)


def fold_status(
    state: ControlState,
    *,
    flags: Mapping[str, FlagInfo],
    reports: Sequence[InstanceReport],
    local: Mapping[str, Hold],
    store: str,
    namespace: str,
    fleet: Mapping[str, FleetView] | None = None,
    restored: Event | None = None,
    only: str | None = None,
) -> Status:
    """Return how every flag, or only one, stands."""
    views = fleet or {}
    names = {*flags, *state.holds, *local, *(name for item in reports for name in item.flags)}
    names.discard(ALL_FLAGS)
    found = [
        _flag_status(name, state, flags.get(name), reports, local, view=views.get(name))
        for name in sorted(names)
        if only is None or name == only
    ]
    found.sort(key=lambda flag: (-_WORST.index(flag.mode), -flag.dial, flag.name))
    now = state.now
    level = state.level if in_force(state.level, now) else None
    everyone = state.holds.get(ALL_FLAGS) if in_force(state.holds.get(ALL_FLAGS), now) else None
    status = Status(
        store=store,
        namespace=namespace,
        incarnation=state.incarnation,
        epoch=state.epoch,
        now=now,
        level=level,
        everyone=everyone,
        flags=tuple(found),
        instances={item.id: max(0.0, now - item.at) for item in reports},
        behind=tuple(
            item
            for item in (seen(report, now) for report in reports)
            if item.silent or item.epoch < state.epoch
        ),
        nonsense=state.nonsense,
        not_before=state.not_before if state.not_before > now else None,
        restored=restored,
    )
    return _with_advice(status, only)


def fold_why(
    status: Status, name: str, reports: Sequence[InstanceReport], events: Sequence[Event]
) -> Why:
    """Return why a flag of a status is as it is."""
    flag = next(flag for flag in status.flags if flag.name == name)
    return Why(
        flag=flag,
        now=status.now,
        orders=tuple(_orders(flag, status)),
        instances=tuple(
            InstanceStatus(
                id=item.id,
                host=item.host,
                pid=item.pid,
                at=item.at,
                epoch=item.epoch,
                silent=status.now - item.at > SILENT_S,
                behind=item.epoch < status.epoch,
                report=item.flags[name],
            )
            for item in reports
            if name in item.flags
        ),
        events=tuple(events),
        advice=status.advice,
    )


def _with_advice(status: Status, only: str | None) -> Status:
    return Status(
        **{name: getattr(status, name) for name in Status.__slots__ if name != "advice"},
        advice=tuple(
            item
            for item in advise(
                status.flags,
                level=status.level,
                everyone=status.everyone,
                nonsense=status.nonsense,
            )
            if only is None or only in item.flags
        ),
    )


def _flag_status(
    name: str,
    state: ControlState,
    info: FlagInfo | None,
    reports: Sequence[InstanceReport],
    local: Mapping[str, Hold],
    *,
    view: FleetView | None,
) -> FlagStatus:
    now = state.now
    held_as = deciding(name, state)
    hold = None if held_as is None else state.holds[held_as]
    level = _level_on(state, info, hold)
    local_as = next((key for key in (name, ALL_FLAGS) if in_force(local.get(key), now)), None)
    overrides = (hold is not None or level is not None) and _decides_here(
        name, state, local, level=level
    )

    heard = [item.flags[name] for item in reports if name in item.flags]
    not_normal = [report for report in heard if report.mode is not Mode.NORMAL]
    worst = max(heard, key=lambda report: (_WORST.index(report.mode), report.dial), default=None)
    ordered_mode, ordered_dial, order = _ordered(hold, level)
    if overrides and heard and all(item.epoch >= state.epoch for item in reports):
        ordered_mode, ordered_dial, order = Mode.NORMAL, 0.0, None  # the reports say where it holds
    reported_mode = Mode.NORMAL if worst is None else worst.mode
    mode = max((ordered_mode, reported_mode), key=_WORST.index)
    if worst is not None and (mode is reported_mode or order is None):
        reason = worst.reason
    else:
        reason = "" if order is None else f"ordered by {order.actor}: {order.reason}"
    since = min((report.since for report in not_normal), default=None)
    if since is None and mode is not Mode.NORMAL and order is not None:
        since = order.at
    calls: Counter[str] = Counter()
    for report in heard:
        calls.update(report.calls)
    ages = [report.oldest_age_s for report in heard if report.oldest_age_s is not None]
    return FlagStatus(
        name=name,
        info=info,
        mode=mode,
        phase=max((report.phase for report in heard), key=_PHASES.index, default=None),
        dial=max([ordered_dial, *(report.dial for report in heard)]),
        since=since,
        reason=reason,
        hold=hold,
        held_as=held_as,
        local=None if local_as is None else local[local_as],
        local_as=local_as,
        level=level,
        instances=len(heard),
        degraded=len(not_normal),
        silent=sum(now - item.at > SILENT_S for item in reports if name in item.flags),
        calls=dict(calls),
        oldest_age_s=max(ages, default=None),
        fleet=view,
        overrides=overrides,
    )


def _decides_here(
    name: str, state: ControlState, local: Mapping[str, Hold], *, level: LevelOrder | None
) -> bool:
    """Whether a local hold decides on this host, where it replaces the hold of the same name."""
    here = {key: hold for key, hold in local.items() if in_force(hold, state.now)}
    key = deciding(name, state.model_copy(update={"holds": {**state.holds, **here}}))
    return key in here and (level is None or absolute(here[key]))


def deciding(name: str, state: ControlState) -> str | None:
    """Return under which name the hold stands that decides for a flag, as `core.resolve` rules."""
    standing = [key for key in (name, ALL_FLAGS) if in_force(state.holds.get(key), state.now)]
    first = [key for key in standing if absolute(state.holds[key])]
    return next(iter(first or sorted(standing, key=lambda key: -_dial(state.holds[key]))), None)


def absolute(hold: Hold | None) -> bool:
    """Whether a hold decides alone, so that no level concerns its flags."""
    return hold is not None and hold.mode in _ABSOLUTE


def _dial(hold: Hold) -> float:
    return hold.dial if hold.mode is HoldMode.DEGRADED else 0.0


def _level_on(state: ControlState, info: FlagInfo | None, hold: Hold | None) -> LevelOrder | None:
    """Return the ordered level if it concerns the flag; absolute holds exempt from it."""
    order = state.level
    if order is None or not in_force(order, state.now):
        return None
    if info is None or info.level is None or info.level < order.level:
        return None
    return None if absolute(hold) else order


def _ordered(
    hold: Hold | None, level: LevelOrder | None
) -> tuple[Mode, float, Hold | LevelOrder | None]:
    if hold is not None and hold.mode is HoldMode.OFF:
        return Mode.OFF, 1.0, hold
    if level is not None:
        return Mode.DEGRADED, 1.0, level
    if hold is not None and hold.mode is HoldMode.DEGRADED:
        return Mode.DEGRADED, hold.dial, hold
    return Mode.NORMAL, 0.0, hold


def _orders(flag: FlagStatus, status: Status) -> list[str]:
    lines = []
    if flag.local is not None:
        where = "on this host alone" + (", every flag" if flag.local_as == ALL_FLAGS else "")
        does = "; it overrides the rest on this host" if flag.overrides else ""
        lines.append(f"{where}: {flag.local.mode} by {flag.local.actor}: {flag.local.reason}{does}")
    if flag.hold is not None:
        where = "on every flag" if flag.held_as == ALL_FLAGS else "on this flag"
        lines.append(f"hold {where}: {flag.hold.mode} by {flag.hold.actor}: {flag.hold.reason}")
    order = status.level
    if order is not None:
        own = None if flag.info is None else flag.info.level
        if flag.level is not None:
            does = f"degrades this flag, whose level is {own}"
        elif own is None:
            does = "leaves this flag alone, which has no level"
        elif own < order.level:
            does = f"leaves this flag alone, whose level is {own}"
        else:
            does = "does not decide, because the hold does"
        lines.append(f"level {order.level} by {order.actor}: {order.reason}; it {does}")
    return lines
