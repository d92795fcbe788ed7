"""Short ways to write the records that a test of a store needs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from degrade.core.enums import HoldMode, Mode, Phase
from degrade.core.records import (
    ControlState,
    EventType,
    FlagReport,
    Hold,
    InstanceReport,
    LevelOrder,
)
from degrade.ports import Change, EventDraft, Keep

__all__ = ("change", "draft", "hold", "order", "report", "standing")


def hold(mode: str = "degraded", *, until: float | None = None, dial: float = 1.0) -> Hold:
    """Return a hold of ana's."""
    return Hold(
        mode=HoldMode(mode), dial=dial, actor="ana", reason="bad model", at=0.0, until=until
    )


def order(level: int = 3, *, until: float | None = None) -> LevelOrder:
    """Return a level order of ana's."""
    return LevelOrder(level=level, actor="ana", reason="too much load", at=0.0, until=until)


def change(
    kind: EventType = "hold",
    named: Mapping[str, Hold | None] | None = None,
    /,
    *,
    now: bool = False,
    level: LevelOrder | Keep | None = "keep",
    **holds: Hold | None,
) -> Change:
    """Return a change of ana's; further keyword arguments are flags."""
    return Change(
        type=kind,
        actor="ana",
        reason="because",
        instance="i-1",
        holds={**(named or {}), **holds},
        level=level,
        now=now,
    )


def draft(
    cause: str = "p99 too high", flag: str = "feed", evidence: Mapping[str, Any] | None = None
) -> EventDraft:
    """Return a draft of the automation's."""
    return EventDraft(
        type="transition", flag=flag, actor="automation", cause=cause, instance="i-1",
        evidence=evidence or {},
    )  # fmt: skip


def report(name: str, at: float = 0.0) -> InstanceReport:
    """Return the heartbeat of an instance whose flag `feed` is half degraded."""
    flag = FlagReport(
        phase=Phase.DEGRADED, mode=Mode.DEGRADED, dial=0.5, since=at, reason="breach: errors 50%",
        verdict=("errors 50%, allowed 5%",), rungs=("snapshot", "default"),
        calls={"full": 3, "degraded": 2}, oldest_age_s=1.5,
    )  # fmt: skip
    return InstanceReport(
        id=name, host="h", pid=7, version="1", started=at, at=at, epoch=0, flags={"feed": flag}
    )


def standing(state: ControlState) -> dict[str, str]:
    """Return flag to the mode of its hold."""
    return {flag: held.mode.value for flag, held in state.holds.items()}
