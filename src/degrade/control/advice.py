"""What do I do now: for everything that is not normal, who made it so and the next commands; pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from degrade.core.records import Hold, LevelOrder
from degrade.core.words import HoldMode, Mode

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
        state: `degraded`, `off` or `recovering`.
        flags: The flags concerned.
        by: Who made it so: a human's name, or `automation`.
        reason: Why.
        since: When it began, Unix seconds; None when unknown.
        until: When it ends by itself, Unix seconds; None when only a release ends it, or
            evidence of health.
        ends: How it ends, in words, when `until` is None.
        degraded, instances: How many instances are not normal, of how many.
        commands: What can be done.
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


def advise(
    flags: Sequence[FlagStatus], *, level: LevelOrder | None, everyone: Hold | None
) -> tuple[Advice, ...]:
    """Return what is not normal, what was ordered in bulk first."""
    found: list[Advice] = []
    if everyone is not None and everyone.mode in (HoldMode.DEGRADED, HoldMode.OFF):
        here = [flag for flag in flags if flag.held_as == "*"]
        found.append(_of_hold("*", "every flag", everyone, here))
    if level is not None:
        concerned = [flag for flag in flags if flag.level is not None]
        found.append(_of_level(level, concerned))
    for flag in flags:
        own = flag.hold if flag.held_as == flag.name else None
        if own is not None and own.mode in (HoldMode.DEGRADED, HoldMode.OFF):
            found.append(_of_hold(flag.name, flag.name, own, [flag]))
        elif flag.local is not None and flag.local.mode in (HoldMode.DEGRADED, HoldMode.OFF):
            found.append(_of_local(flag, flag.local))
        elif flag.mode is not Mode.NORMAL and flag.level is None and flag.held_as != "*":
            found.append(_of_automation(flag))
    return tuple(found)


def _of_hold(name: str, subject: str, hold: Hold, flags: Sequence[FlagStatus]) -> Advice:
    return Advice(
        subject=subject,
        state=hold.mode.value,
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


def _of_local(flag: FlagStatus, hold: Hold) -> Advice:
    return Advice(
        subject=flag.name,
        state=hold.mode.value,
        flags=(flag.name,),
        by=f"{hold.actor}, on this host alone",
        reason=hold.reason,
        since=hold.at,
        until=hold.until,
        ends="until released",
        degraded=flag.degraded,
        instances=flag.instances,
        commands=(
            Command(
                purpose="end it", words=("release", flag.name, "--local", "--reason", "REASON")
            ),
        ),
    )


def _of_automation(flag: FlagStatus) -> Advice:
    held = ("hold", flag.name, "degraded", "--for", "30m", "--reason", "REASON")
    normal = ("hold", flag.name, "normal", "--for", "10m", "--reason", "REASON")
    return Advice(
        subject=flag.name,
        state=flag.mode.value if flag.dial >= 1 else "partly " + flag.mode.value,
        flags=(flag.name,),
        by="automation",
        reason=flag.reason,
        since=flag.since,
        until=None,
        ends="comes back by itself, on evidence of health",
        degraded=flag.degraded,
        instances=flag.instances,
        commands=(
            Command(purpose="see the evidence", words=("why", flag.name)),
            Command(purpose="keep it degraded", words=held),
            Command(purpose="force full traffic", words=normal),
        ),
    )
