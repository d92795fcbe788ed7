"""What do I do now: for everything that is not normal, who made it so and the next commands; pure."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from degrade.core.enums import ALL_FLAGS, HoldMode, Mode, Phase, is_orderable
from degrade.core.records import FleetVerdict, Hold, LevelOrder
from degrade.errors import ConfigError
from degrade.units import ratio, ratio_text, seconds

if TYPE_CHECKING:
    from degrade.control.status import FlagStatus

__all__ = ("Advice", "Command", "advise")


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """One command to run: what it is for, and the words after `degrade`.

    A word in capitals, such as REASON, is for the reader to fill in.
    """

    purpose: str
    words: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Advice:
    """One thing that is not normal.

    Attributes:
        subject: A flag, `every flag`, or `level 3`.
        state: `degraded`, `partly degraded` or `off`; `over the cap` of fleet verdicts; or
            `not understood`, of what was written by hand.
        flags: The flags concerned.
        by: Who made it so: a human's name, `automation`, or `the fleet`.
        reason: Why.
        since: When it began, Unix seconds; None when unknown.
        until: When it ends by itself, Unix seconds; None when only a release ends it, or
            evidence of health.
        ends: How it ends, in words, when `until` is None.
        degraded, instances: How many instances are not normal, of how many.
        commands: What can be done.
        note: What else to know, one line; empty when there is nothing.
    """

    subject: str
    state: str
    flags: tuple[str, ...]
    by: str
    reason: str
    since: float | None
    until: float | None
    ends: str
    degraded: int
    instances: int
    commands: tuple[Command, ...]
    note: str = ""


def advise(
    flags: Sequence[FlagStatus],
    *,
    level: LevelOrder | None,
    everyone: Hold | None,
    nonsense: Mapping[str, str] | None = None,
) -> tuple[Advice, ...]:
    """Return what is not normal: what means nothing, what was ordered in bulk, then the flags."""
    found = [_of_nonsense(name, text) for name, text in sorted((nonsense or {}).items())]
    if everyone is not None and _takes_away(everyone):
        here = [flag for flag in flags if flag.held_as == "*"]
        found.append(_with_local(_of_hold("*", "every flag", everyone, here), here))
    if level is not None:
        concerned = [flag for flag in flags if flag.level is not None]
        found.append(_with_local(_of_level(level, concerned), concerned))
    found += _of_everyone_here(flags)
    for flag in flags:
        own = flag.hold if flag.held_as == flag.name else None
        if own is not None and _takes_away(own):
            advice = replace(
                _of_hold(flag.name, flag.name, own, [flag]), note=_stranger(flag, flags)
            )
            found.append(_with_local(advice, [flag]))
        elif flag.local is not None and _takes_away(flag.local):
            if flag.local_as == flag.name:
                found.append(_of_local(flag.name, flag.name, flag.local, [flag]))
        elif flag.mode is not Mode.NORMAL and flag.level is None and flag.held_as != "*":
            found.append(_of_automation(flag))
        if _beyond(flag):
            found.append(_of_automation(flag))
        found += _of_cap(flag)
    return tuple(found)


def _takes_away(hold: Hold) -> bool:
    return hold.mode in (HoldMode.DEGRADED, HoldMode.OFF)


def _beyond(flag: FlagStatus) -> bool:
    """Whether the automation degrades more calls than the hold does, which hides it otherwise."""
    hold = flag.hold
    return (
        hold is not None
        and hold.mode is HoldMode.DEGRADED
        and flag.level is None
        and flag.local is None
        and flag.phase not in (None, Phase.STEADY)  # else it has yet to follow a smaller dial
        and flag.dial > hold.dial + 1e-9
    )


def _of_nonsense(name: str, text: str) -> Advice:
    fit = is_orderable(name)
    words = ("hold", name, "MODE", "--for", "30m", "--reason", "REASON")
    return Advice(
        subject=name,
        state="not understood",
        flags=(name,),
        by="hand",
        reason=f"{text!r} is no order{_mistake(text)}"
        if fit
        else f"{name!r} cannot be the name of a flag",
        since=None,
        until=None,
        ends="changes nothing; write "
        + (
            "degraded, off, normal or observe"
            if fit
            else "the name of a flag instead, and remove this field"
        ),
        degraded=0,
        instances=0,
        commands=(Command(purpose="order what was meant", words=words),) if fit else (),
    )


def _mistake(text: str) -> str:
    """Say which field of an order that was written by hand as JSON is wrong, if that can be told."""
    try:
        said = json.loads(text)
        if not isinstance(said, dict):
            return ""
        if said.get("mode") not in list(HoldMode):
            return f": mode={said.get('mode')!r} is none of {', '.join(HoldMode)}"
        if said["mode"] != HoldMode.DEGRADED and said.get("dial", 1) != 1:
            return f": dial={said['dial']!r} belongs to degraded alone"
        if isinstance(dial := said.get("dial", 1), str) or ratio(dial, what="dial") == 0:
            return f": dial={dial!r} is no number above 0, up to 1"
        seconds(said.get("for") or 0, what="for")
    except ConfigError as error:
        return f": {error}"
    except (ValueError, RecursionError, TypeError):  # cut short, or no JSON at all
        return ""
    until = said.get("until")
    return "" if isinstance(until, (int, float, type(None))) else f": until={until!r} is no time"


def _stranger(flag: FlagStatus, flags: Sequence[FlagStatus]) -> str:
    """Say that nobody has declared a flag that is held."""
    if flag.info is not None or flag.instances:
        return ""
    names = [other.name for other in flags if other.info is not None]
    close = difflib.get_close_matches(flag.name, names, n=1, cutoff=0.5)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    return f"No process has declared this flag{hint}"


def _of_hold(name: str, subject: str, hold: Hold, flags: Sequence[FlagStatus]) -> Advice:
    return Advice(
        subject=subject,
        state=_state(hold.mode.value, hold.dial),
        flags=tuple(flag.name for flag in flags),
        by=hold.actor,
        reason=hold.reason,
        since=hold.at,
        until=hold.until,
        ends="until released",
        degraded=max((flag.degraded for flag in flags), default=0),
        instances=max((flag.instances for flag in flags), default=0),
        commands=(
            *(
                [Command(purpose="keep it longer", words=("extend", name, "--for", "30m"))]
                if hold.until is not None
                else []
            ),
            Command(purpose="end it", words=("release", name, "--reason", "REASON")),
        ),
    )


def _of_level(level: LevelOrder, flags: Sequence[FlagStatus]) -> Advice:
    number = str(level.level)
    return Advice(
        subject=f"level {number}",
        state="degraded",
        flags=tuple(flag.name for flag in flags),
        by=level.actor,
        reason=level.reason,
        since=level.at,
        until=level.until,
        ends="until released",
        degraded=max((flag.degraded for flag in flags), default=0),
        instances=max((flag.instances for flag in flags), default=0),
        commands=(
            *(
                [
                    Command(
                        purpose="keep it longer",
                        words=("level", number, "--for", "30m", "--reason", "REASON"),
                    )
                ]
                if level.until is not None
                else []
            ),
            Command(purpose="end it", words=("level", "release", "--reason", "REASON")),
        ),
    )


def _of_everyone_here(flags: Sequence[FlagStatus]) -> Iterator[Advice]:
    here = [flag for flag in flags if flag.local_as == ALL_FLAGS]
    hold = here[0].local if here else None
    if hold is not None and _takes_away(hold):
        yield _of_local(ALL_FLAGS, "every flag", hold, here)


def _of_local(name: str, subject: str, hold: Hold, flags: Sequence[FlagStatus]) -> Advice:
    return Advice(
        subject=subject,
        state=_state(hold.mode.value, hold.dial),
        flags=tuple(flag.name for flag in flags),
        by=f"{hold.actor}, on this host alone",
        reason=hold.reason,
        since=hold.at,
        until=hold.until,
        ends="until released",
        degraded=max((flag.degraded for flag in flags), default=0),
        instances=max((flag.instances for flag in flags), default=0),
        commands=(
            Command(purpose="end it", words=("release", name, "--local", "--reason", "REASON")),
        ),
    )


def _with_local(advice: Advice, flags: Sequence[FlagStatus]) -> Advice:
    """Add the local holds that override an order of the fleet on this host, and how they end."""
    over = {flag.local_as: flag.local for flag in flags if flag.overrides}
    notes, commands = [advice.note] if advice.note else [], list(advice.commands)
    for name, hold in over.items():
        if name is not None and hold is not None:
            which = "on every flag" if name == ALL_FLAGS else f"on {name}"
            notes.append(
                f"On this host a local hold {which} overrides it: "
                f"{hold.mode} by {hold.actor}: {hold.reason}"
            )
            words = ("release", name, "--local", "--reason", "REASON")
            commands.append(Command(purpose="end that on this host", words=words))
    return replace(advice, note="; ".join(notes), commands=tuple(commands))


def _of_cap(flag: FlagStatus) -> Iterator[Advice]:
    view = flag.fleet
    if view is None or not view.capped:
        return
    words = ("hold", flag.name, "degraded", "--for", "30m", "--reason", "REASON")
    yield Advice(
        subject=flag.name,
        state="over the cap",
        flags=(flag.name,),
        by="the fleet",
        reason=view.count,
        since=None,
        until=None,
        ends=f"is left to you, as the fleet has degraded {view.holders} flags already",
        degraded=flag.degraded,
        instances=flag.instances,
        commands=(
            Command(purpose="see the evidence", words=("why", flag.name)),
            Command(purpose="degrade it everywhere", words=words),
        ),
    )


def _ended_by(verdict: FleetVerdict) -> str:
    if verdict.recovering:
        return "comes back on every instance, step by step"
    return "comes back by itself, once one instance has tried the first step"


def _state(mode: str, dial: float) -> str:
    return mode if dial >= 1 else f"partly {mode}"


def _of_automation(flag: FlagStatus) -> Advice:
    held = ("hold", flag.name, "degraded", "--for", "30m", "--reason", "REASON")
    normal = ("hold", flag.name, "normal", "--for", "10m", "--reason", "REASON")
    view = flag.fleet
    verdict = None if view is None else view.verdict
    ends = "comes back by itself, on evidence of health" if verdict is None else _ended_by(verdict)
    if flag.hold is not None and _beyond(flag):
        ends += f", to the {ratio_text(flag.hold.dial)} of the hold"
    told = f"{verdict.voters} of {verdict.live} instances: {verdict.cause}" if verdict else ""
    return Advice(
        subject=flag.name,
        state=_state(flag.mode.value, flag.dial),
        flags=(flag.name,),
        by="automation" if verdict is None else "the fleet",
        reason=told or flag.reason,
        since=flag.since if verdict is None else verdict.at,
        until=None,
        ends=ends,
        degraded=flag.degraded,
        instances=flag.instances,
        commands=(
            Command(purpose="see the evidence", words=("why", flag.name)),
            Command(purpose="keep it degraded", words=held),
            Command(purpose="force full traffic", words=normal),
        ),
        note="" if view is None else f"Now {view.count}",
    )
