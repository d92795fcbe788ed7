"""Fold the calls of one flag into the counters that a verdict needs.

Every limit of the SLA has two counters, calls judged and bad ones. What counts where:

    outcome                         a latency limit                errors
    success                         judged; bad when slower        judged
    failure, with an errors limit   left out                       judged, bad
    failure, without one            judged, bad                    -
    timeout (deadline passed)       judged, bad                    judged, bad
    still running past the limit    judged, bad, at that moment    -
    still running past its end      judged, bad, at that moment    judged, bad, at that moment
    ignored, abandoned              left out                       left out

A call counts once for each limit: one that was counted while it ran is skipped when it ends,
and an abandoned one counts for the limits that it had passed by then. Calls admitted before
`floor` (the last transition), and calls that were under way during a pause of the process, are
shown but never judged.

A call without an end (its thread was killed, or interrupted between two instructions of ours) is
dropped after ten minutes, or ten deadlines if these are longer. Should it end after that, its end
is shown, and judged no second time.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import takewhile
from operator import sub
from typing import Final

from degrade.core.enums import Outcome
from degrade.core.policy import SLA
from degrade.runtime.monitoring.call_recorder import Batch, EndedCall, missing

__all__ = ("HUNG_AFTER_S", "CallCounts", "SlaCounter")

HUNG_AFTER_S = 10.0
"""A call without a deadline that runs longer than this counts as a failure, seconds."""

_DROP_AFTER_S = 600.0
_DROP_AFTER_DEADLINES = 10
"""When a running call is dropped: the longer of the two."""
_TAIL_SHARE = 0.1 + 1e-9
_CHUNK = 2_000
"""Times that are worked on at once: two a call."""
_MARGIN_S = 1.0
"""How much later than its end a call may come to its queue, when its thread was interrupted."""
_NONE: Final[Counter[float]] = Counter()
"""Shared by the many flags none of whose calls has passed a limit: the less a tick touches."""
_UNJUDGED = frozenset({Outcome.IGNORED, Outcome.ABANDONED})


class CallCounts:
    """What one batch comes to.

    Attributes:
        counts: Two counters a limit, in the order of `SLA.limits`.
        good, bad: Calls for the machine: a bad one failed, or was slower than a limit of the
            slowest tenth (p90 and up; being slower than a p50 is nothing bad in one call).
        busy_s: Sum of the durations of the successes, judged or not.
    """

    __slots__ = ("bad", "busy_s", "counts", "good")

    def __init__(self) -> None:
        self.counts: list[int] = []
        self.good = 0
        self.bad = 0
        self.busy_s = 0.0


class SlaCounter:
    """The calls of one flag that are still running, and the rules above.

    Args:
        sla: The limits; None for a flag that is only toggled by hand.
        hung_after_s: When a running call counts as a failure.

    Attributes:
        floor: Calls admitted before it are not judged.
    """

    __slots__ = (
        "_aged",
        "_drop_s",
        "_errors",
        "_first_s",
        "_hung_s",
        "_latency",
        "_limits",
        "_pauses",
        "_tail_s",
        "floor",
        "running",
    )

    def __init__(self, sla: SLA | None, hung_after_s: float) -> None:
        limits = sla.limits if sla is not None else ()
        self._limits = len(limits)
        self._latency: list[tuple[float, int]] = sorted(
            (limit.limit_s, 2 * i) for i, limit in enumerate(limits) if limit.limit_s is not None
        )
        self._errors = next((2 * i for i, limit in enumerate(limits) if limit.limit_s is None), -1)
        tails = [
            limit.limit_s
            for limit in limits
            if limit.limit_s is not None and limit.share <= _TAIL_SHARE
        ]
        self._tail_s = min(tails, default=float("inf"))
        self.expect(hung_after_s)
        self.floor = -math.inf
        self._pauses = (-math.inf, -math.inf)
        """A moment of each of the last two pauses: older ones are of calls that ended before."""
        self.running: Sequence[float] = ()
        """Starts of the calls that still run and have passed no limit yet, sorted."""
        self._aged = _NONE
        """Starts of those that have passed one, with how many calls share the start."""

    @property
    def idle(self) -> bool:
        """Whether no call runs."""
        return not self.running and not self._aged

    @property
    def in_flight(self) -> int:
        """How many calls run."""
        return len(self.running) + (self._aged.total() if self._aged else 0)

    def forget(self) -> None:
        """Let go of the calls that run; ends that come all the same count as ever."""
        self.running, self._aged = (), _NONE

    def expect(self, hung_after_s: float) -> None:
        """Set when a running call counts as a failure: the longest deadline of the functions."""
        self._hung_s = hung_after_s
        self._first_s = min([hung_after_s, *(limit_s for limit_s, _ in self._latency)])
        self._drop_s = max(_DROP_AFTER_S, _DROP_AFTER_DEADLINES * hung_after_s)

    def paused(self, at: float) -> None:
        """Judge no call that is or was running at a moment of a pause; to be folded after each."""
        self._pauses = (self._pauses[1], at)

    def fold(
        self,
        batch: Batch,
        *,
        now: float,
        last: float,
        record: Callable[[list[float]], None],
    ) -> CallCounts:
        """Fold a batch, a thousand calls at a time, so that what it works on stays in the cache.

        Args:
            batch: What was cut off the queues.
            now: The time of this fold, seconds.
            last: The time of the fold before; limits passed up to it are counted already.
            record: Takes the durations of successes, seconds.
        """
        fold = CallCounts()
        late: list[EndedCall] = []
        started, pairs, marked = batch
        aged = bool(self._aged)
        if len(pairs) > _CHUNK:
            for at in range(0, len(pairs), _CHUNK):
                record(self._successes(fold, late, pairs[at : at + _CHUNK], last))
        elif pairs:
            record(self._successes(fold, late, pairs, last))
        fold.counts = [fold.good, 0] * self._limits
        for mark in late + marked:
            self._marked(fold, mark, last)
        begun = len(self.running) + len(started)
        if not aged and begun == len(pairs) // 2 + len(marked):
            self.running = ()
        elif begun:
            ended = pairs[::2] + [mark.start for mark in marked]
            self.running = missing([*self.running, *started], ended)
        if self.running or aged:
            self._still_running(fold, now, last)
        return fold

    def _successes(
        self, fold: CallCounts, late: list[EndedCall], pairs: list[float], last: float
    ) -> list[float]:
        """Count the successes that kept every limit, and put those that did not with the `late`."""
        first_s = self._first_s
        starts, ends = pairs[::2], pairs[1::2]
        durations = list(map(sub, ends, starts))
        together_s = sum(durations)
        fold.busy_s += together_s
        judged = len(starts)
        if together_s > first_s and max(durations) > first_s:
            slow = [
                EndedCall(start, end, Outcome.SUCCESS)
                for start, end in zip(starts, ends, strict=True)
                if end - start > first_s
            ]
            judged -= len(slow)
            late += slow
        edge = self._edge
        if edge > last - first_s - _MARGIN_S and min(starts) < edge:
            judged = sum(
                1
                for start, end in zip(starts, ends, strict=True)
                if end - start <= first_s and self._is_judged(start, end)
            )
        fold.good += judged
        return durations

    @property
    def _edge(self) -> float:
        """Before it began every call that is not judged."""
        return max(self.floor, self._pauses[1])

    def _is_judged(self, start: float, end: float) -> bool:
        return start >= self.floor and not any(start < pause < end for pause in self._pauses)

    def _marked(self, fold: CallCounts, mark: EndedCall, last: float) -> None:
        start, end, outcome = mark
        if end - start > self._first_s:
            self._late(fold, mark, last)
        elif outcome not in _UNJUDGED and self._is_judged(start, end):
            self._count_failure(fold, outcome, passed_s=-1.0)
            fold.bad += 1

    def _late(self, fold: CallCounts, mark: EndedCall, last: float) -> None:
        """Count a call that ended after its first limit, less what it was counted for before."""
        start, end, outcome = mark
        seen_s = -1.0
        known = self._aged.get(start, 0)
        if known or last - start > self._drop_s:  # dropped at that age, after it was counted
            seen_s = last - start
        if known > 1:
            self._aged[start] -= 1
        elif known:
            del self._aged[start]
        if not self._is_judged(start, end):
            return
        duration_s = end - start
        if outcome in _UNJUDGED:
            self._count_passed(fold, seen_s, min(duration_s, self._hung_s))
            if seen_s <= min(self._tail_s, self._hung_s) and self._tail_s < duration_s:
                fold.bad += 1
            return
        hung_before = seen_s > self._hung_s
        if not hung_before:
            if outcome is Outcome.SUCCESS:
                self._count_success(fold, seen_s, duration_s)
            else:
                self._count_failure(fold, outcome, passed_s=seen_s)
        if seen_s > min(self._tail_s, self._hung_s):
            return
        if outcome is not Outcome.SUCCESS or duration_s > self._tail_s:
            fold.bad += 1
        else:
            fold.good += 1

    def _count_success(self, fold: CallCounts, seen_s: float, duration_s: float) -> None:
        counts = fold.counts
        for limit_s, i in self._latency:
            if seen_s <= limit_s:
                counts[i] += 1
                counts[i + 1] += duration_s > limit_s
        if self._errors >= 0:
            counts[self._errors] += 1

    def _count_failure(self, fold: CallCounts, outcome: Outcome, *, passed_s: float) -> None:
        counts = fold.counts
        if self._errors >= 0:
            counts[self._errors] += 1
            counts[self._errors + 1] += 1
        if outcome is Outcome.TIMEOUT or self._errors < 0:
            for limit_s, i in self._latency:
                if passed_s <= limit_s:
                    counts[i] += 1
                    counts[i + 1] += 1

    def _count_passed(self, fold: CallCounts, seen_s: float, reached_s: float) -> None:
        """Count the latency limits between what was seen before and what is reached now."""
        counts = fold.counts
        for limit_s, i in self._latency:
            if seen_s <= limit_s < reached_s:
                counts[i] += 1
                counts[i + 1] += 1

    def _still_running(self, fold: CallCounts, now: float, last: float) -> None:
        edge = self._edge
        for start, count in self._aged.items():
            if start >= edge:
                self._age(fold, last - start, now - start, count)
        passed = list(takewhile(lambda start: now - start > self._first_s, self.running))
        for start in passed:
            if start >= edge:
                self._age(fold, -1.0, now - start, 1)
        if passed:
            self.running = self.running[len(passed) :]
            self._aged = self._aged + Counter(passed)  # never in place: flags share the empty one
        for start in [start for start in self._aged if now - start > self._drop_s]:
            del self._aged[start]

    def _age(self, fold: CallCounts, before_s: float, age_s: float, count: int) -> None:
        """Count the limits that `count` running calls passed since the last fold."""
        for _ in range(count):
            if before_s <= self._hung_s < age_s:
                self._count_failure(fold, Outcome.TIMEOUT, passed_s=before_s)
            else:
                self._count_passed(fold, before_s, min(age_s, self._hung_s))
        bad_at_s = min(self._tail_s, self._hung_s)
        if before_s <= bad_at_s < age_s:
            fold.bad += count
