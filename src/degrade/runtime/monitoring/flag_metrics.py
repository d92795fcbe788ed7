"""The figures of one flag, counted since the process started.

Calls append to lists (one atomic operation each); the ticker cuts them off and counts.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Final, TypeVar

from degrade.core.enums import CallClass, Outcome, Phase, RungKind
from degrade.core.histogram import LogHistogram
from degrade.core.state_machine import Transition
from degrade.runtime.monitoring.call_recorder import EndedCall
from degrade.telemetry.names import DURATION_BUCKETS_S

__all__ = ("FlagMetrics",)

_SAMPLED: Final = 64
"""About so many durations of one batch are looked at; of more, every k-th counts for k."""

_OLDEST_OVER_S: Final = 60.0
_RECENT_S: Final = 60.0
_ENOUGH: Final = 20
"""Runs below which the quantiles of the minute before say more."""

_CLASS_INDEX: Final = {how: index for index, how in enumerate(CallClass)}
_OUTCOME_INDEX: Final = {outcome: index for index, outcome in enumerate(Outcome)}
_DEGRADED: Final = _CLASS_INDEX[CallClass.DEGRADED]
_SUCCESS: Final = _OUTCOME_INDEX[Outcome.SUCCESS]

KeyT = TypeVar("KeyT")


def _add(counts: dict[KeyT, int], key: KeyT, count: int = 1) -> None:
    counts[key] = counts.get(key, 0) + count


class FlagMetrics:
    """Counts by class, outcome and rung; durations, ages and transitions.

    Attributes:
        ages: Queue of the ages of snapshots answered on the spot, seconds.
        ends: Queue of the other ends that were not full: the class, or of a degraded answer the
            rung and the age in seconds.
        dropped: Queue of what was lost, by kind.
    """

    __slots__ = (
        "_before",
        "_before_at",
        "_oldest",
        "_quantiles_s",
        "age_count",
        "age_sum_s",
        "ages",
        "calls",
        "dropped",
        "drops",
        "durations",
        "ends",
        "primary",
        "rungs",
        "transitions",
    )

    def __init__(self) -> None:
        self.ages: list[float] = []
        self.ends: list[CallClass | tuple[RungKind, float | None]] = []
        self.calls = [0] * len(CallClass)  # but for the full ones, which are the successes
        self.primary = [0] * len(Outcome)
        self.rungs: dict[RungKind, int] = {}
        self.transitions: dict[tuple[Phase, Phase], int] = {}
        self.dropped: list[str] = []
        self.drops: dict[str, int] = {}
        self.durations = LogHistogram()
        self._before: LogHistogram | None = None
        self._before_at = -math.inf
        self._quantiles_s: tuple[float | None, float | None] = (None, None)
        self.age_sum_s = 0.0
        self.age_count = 0
        self._oldest: list[tuple[float, float]] = []

    def drain(self, now: float) -> int:
        """Count what calls left in the queues; return how many calls that were."""
        calls = 0
        if self.ages:
            ages = self.ages.copy()
            del self.ages[: len(ages)]
            calls += len(ages)
            self.calls[_DEGRADED] += len(ages)
            _add(self.rungs, RungKind.SNAPSHOT, len(ages))
            self._count_ages(ages, now)
        if self.ends:
            ends = self.ends.copy()
            del self.ends[: len(ends)]
            calls += len(ends)
            ages = []
            for end in ends:
                if isinstance(end, CallClass):
                    self.calls[_CLASS_INDEX[end]] += 1
                    continue
                rung, age_s = end
                self.calls[_DEGRADED] += 1
                _add(self.rungs, rung)
                if age_s is not None:
                    ages.append(age_s)
            self._count_ages(ages, now)
        if self.dropped:
            dropped = self.dropped.copy()
            del self.dropped[: len(dropped)]
            for what in dropped:
                _add(self.drops, what)
        return calls

    def _count_ages(self, ages: list[float], now: float) -> None:
        if not ages:
            return
        self.age_sum_s += sum(ages)
        self.age_count += len(ages)
        oldest_s = max(ages)
        while self._oldest and self._oldest[-1][1] <= oldest_s:
            self._oldest.pop()
        self._oldest.append((now, oldest_s))

    def oldest_age_s(self, now: float) -> float | None:
        """Return the age of the oldest snapshot served in the last minute, seconds."""
        while self._oldest and now - self._oldest[0][0] > _OLDEST_OVER_S:
            del self._oldest[0]
        return self._oldest[0][1] if self._oldest else None

    def count(self, successes: int, marked: list[EndedCall], now: float) -> None:
        """Count the runs of the function by class and outcome."""
        if now - self._before_at > _RECENT_S:
            recent = self._recent()
            if recent.count:
                self._quantiles_s = _p50_p99(recent)
            self._before_at = now
            self._before = self.durations.copy() if self.durations.count else None
        self.primary[_SUCCESS] += successes
        if marked:
            for mark in marked:
                self.primary[_OUTCOME_INDEX[mark.outcome]] += 1
            self.record([mark.end - mark.start for mark in marked])

    def record(self, durations: list[float]) -> None:
        """Count durations of runs, seconds; of very many at once only a sample is looked at."""
        if len(durations) < 2 * _SAMPLED:
            self.durations.record_many(durations)
            return
        stride = len(durations) // _SAMPLED
        sample = durations[::stride]
        for duration_s in sample[:-1]:
            self.durations.record(duration_s, stride)
        self.durations.record(sample[-1], len(durations) - stride * (len(sample) - 1))

    def quantiles_s(self) -> tuple[float | None, float | None]:
        """Return p50 and p99 of the runs of the last minute or two, seconds."""
        recent = self._recent()
        if recent.count < _ENOUGH and self._quantiles_s != (None, None):
            return self._quantiles_s
        return _p50_p99(recent)

    def _recent(self) -> LogHistogram:
        return self.durations if self._before is None else self.durations.since(self._before)

    def cumulative(self) -> Mapping[float, int]:
        """Return for every bound of the exported histogram how many runs were at most as long."""
        return dict(
            zip(DURATION_BUCKETS_S, self.durations.at_most(DURATION_BUCKETS_S), strict=True)
        )

    def moved(self, transitions: Iterable[Transition]) -> None:
        """Count transitions of the machine."""
        for transition in transitions:
            _add(self.transitions, (transition.source, transition.target))

    def by_class(self) -> Mapping[CallClass, int]:
        """Return the calls that ended, every class present."""
        full = self.primary[_SUCCESS]  # a success is a full answer, and nothing else is one
        return {**dict(zip(CallClass, self.calls, strict=True)), CallClass.FULL: full}

    def by_outcome(self) -> Mapping[Outcome, int]:
        """Return the runs of the function, every outcome present."""
        return dict(zip(Outcome, self.primary, strict=True))


def _p50_p99(durations: LogHistogram) -> tuple[float | None, float | None]:
    return durations.quantile(0.5), durations.quantile(0.99)
