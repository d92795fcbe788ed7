"""A watch as others see it: figures for exporters, reports for operators."""

from __future__ import annotations

import logging
from collections import Counter
from typing import TYPE_CHECKING

from degrade.core.enums import Mode, Phase, Sharing
from degrade.core.records import FlagReport
from degrade.ports import EventDraft, FlagStats

if TYPE_CHECKING:
    from degrade.core.state_machine import Transition
    from degrade.runtime.monitoring.flag_monitor import FlagMonitor

__all__ = ("draft_of", "report_of", "stats_of")

_REWORD_S = 5.0

log = logging.getLogger("degrade.runtime")


def draft_of(watch: FlagMonitor, transition: Transition, instance: str) -> EventDraft:
    """Log a transition, and return its event, with the verdict behind it.

    A change of the phase is a warning; the steps within a recovery are information.
    """
    step = transition.source is transition.target
    log.log(
        logging.INFO if step else logging.WARNING,
        "%s: %s to %s, %s of calls run: %s",
        watch.flag.name,
        transition.source,
        transition.target,
        transition.share,
        transition.cause,
    )
    verdict = watch.breach if transition.target is Phase.DEGRADED else None
    return EventDraft(
        type="transition",
        flag=watch.flag.name,
        actor="automation",
        cause=transition.cause,
        instance=instance,
        evidence={
            "from": transition.source.value,
            "to": transition.target.value,
            "share": transition.share,
            "cooldown_s": round(transition.cooldown_s, 3),
            "verdict": [] if verdict is None else list(verdict.lines()),
        },
    )


def stats_of(watch: FlagMonitor, now: float) -> FlagStats:
    """Return the figures of one flag, as folded last."""
    counters, flag, resolved = watch.counters, watch.flag, watch.resolved
    books = [guard.snapshot.book for guard in flag.guards if guard.snapshot is not None]
    sharing: Counter[Sharing] = Counter()
    for book in {id(book): book for book in books}.values():
        sharing.update(book.sharing)
    return FlagStats(
        name=flag.name,
        level=flag.level,
        owner=flag.owner,
        message=flag.message,
        phase=watch.state.phase,
        mode=resolved.mode,
        dial=resolved.dial,
        since=None if resolved.mode is Mode.NORMAL else watch.gate.stamp.since,
        reason=resolved.reason,
        calls=counters.by_class(),
        primary=counters.by_outcome(),
        rungs={rung.value: count for rung, count in counters.rungs.items()},
        age_sum_s=counters.age_sum_s,
        age_count=counters.age_count,
        oldest_age_s=counters.oldest_age_s(now),
        transitions=dict(counters.transitions),
        durations=counters.cumulative(),
        duration_sum_s=max(0.0, counters.durations.total_s),
        drops=dict(counters.drops),
        captures_skipped=dict(flag.skipped or {}),
        ladder=max(list(flag.ladders), key=len, default=None),
        sharing=sharing,
        required=flag.required,
    )


def report_of(watch: FlagMonitor, now: float) -> FlagReport:
    """Return what this process says of one flag."""
    counters, resolved = watch.counters, watch.resolved
    p50_s, p99_s = counters.quantiles_s()
    return FlagReport(
        phase=watch.state.phase,
        mode=resolved.mode,
        dial=resolved.dial,
        since=watch.changed_wall,
        reason=resolved.reason,
        verdict=_lines_of(watch, now),
        rungs=tuple(kind.value for kinds in list(watch.flag.ladders) for kind in kinds),
        calls={how.value: count for how, count in counters.by_class().items()},
        oldest_age_s=counters.oldest_age_s(now),
        p50_s=p50_s,
        p99_s=p99_s,
        active=watch.active(now),
    )


def _lines_of(watch: FlagMonitor, now: float) -> tuple[str, ...]:
    """Return the judgement in words, made anew now and then, or at once when there is trouble."""
    made_at, lines = watch.lines
    troubled = watch.state.phase is not Phase.STEADY or watch.resolved.mode is not Mode.NORMAL
    if troubled or now - made_at >= _REWORD_S:
        verdict = watch.verdict(now)
        lines = () if verdict is None else verdict.lines()
        watch.lines = (now, lines)
    return lines
