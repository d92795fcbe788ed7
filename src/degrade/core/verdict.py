"""Is the SLA breached? Only when the calls are worse than a limit beyond doubt.

The rule: of `n` calls, `bad` were bad, and a limit allows the share `q`. That is a breach when

    bad >= min_bad                          one or two bad calls are never evidence, and
    bad / n >= q                            the limit is not kept, and
    n * KL(bad/n || q) >= ln(1/(1-confidence))      a service that just keeps it would show this
                                                    by chance less than once in a thousand times

where KL(p || q) = p ln(p/q) + (1-p) ln((1-p)/(1-q)); the left side is the evidence, in nats.
By the Chernoff bound, chance alone produces as many bad calls with a probability of at most
exp(-evidence) (Hoeffding 1963, theorem 1). The same is asked of the newest calls alone, so that
an outage need not outweigh an hour of health first; there the evidence must be 30 nats, because
real latencies come in bursts, and because it is asked ten times at once.

    window   | . . . . . . . . . . . . . . . . . . . . . . . . . . . x x|   needs 6.9 nats
    newest                                        | . . . . . . . . x x |   needs 30
                                                        ...             |
                                                                  | x x |   each of ten suffixes

    3 of 3 failed, limit 5 %:       3 ln 20                        =  9.0   breach
    10 of 1,000 slow, limit 1 %:    the share is the limit's       =  0     kept
    2 of 2 failed, limit 5 %:       fewer than `min_bad`                    unknown

Three outcomes, of a limit and of the whole:

    breach     beyond doubt, in the window or in a suffix
    kept       the window's share is within the limit, and its calls are so many that a breach
               would have shown
    unknown    neither: too little evidence, which is a value of its own, and not 0 %

Invariants:
    - More bad calls never end a breach; more good calls never make one.
    - A finding's `to_breach` bad calls do make a breach, and one fewer does not; `to_clear`
      good calls do end it, and one fewer does not.
    - `Judge.quiet` is never true of a window in which a breach lies, whole or in a suffix.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from degrade.core.policy import SLA, Limit
from degrade.core.window import Window
from degrade.units import duration_text, ratio_text

__all__ = ("Finding", "Judge", "Judgement", "Verdict")

_NEWEST_EVIDENCE = 30.0
NEWEST_BUCKETS = 10
_WINDOW_BUCKETS = 30
_LONGEST_NEWEST_BUCKET_S = 1.0
_ROUNDING = 1e-9  # 3 ln 10 is exactly ln 1000, which floats must not decide by their last bit


class Judgement(StrEnum):
    """What the calls say of a limit."""

    KEPT = "kept"
    BREACH = "breach"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What one window of calls says of one limit.

    Attributes:
        limit: The limit.
        outcome: The judgement on this limit alone.
        n: Calls that the limit judges.
        bad: How many of them were bad.
        share: `bad` over `n`; None without a call.
        evidence: How far beyond chance that is, nats; 0 within the limit.
        needed: Evidence that makes a breach, nats.
        over: Where it was found: `"window"`, or `"newest 3"` for the newest three buckets.
        over_s: The length of that, seconds.
        to_breach: The fewest further bad calls that would make a breach; None in one.
        to_clear: The fewest further good calls that would end the breach; None without one.
    """

    limit: Limit
    outcome: Judgement
    n: int
    bad: int
    share: float | None
    evidence: float
    needed: float
    over: str
    over_s: float
    to_breach: int | None
    to_clear: int | None

    @property
    def breach(self) -> bool:
        """Whether this limit is breached."""
        return self.outcome is Judgement.BREACH

    @property
    def name(self) -> str:
        """The limit as people name it: `p99 250ms`, `errors`."""
        limit_s = self.limit.limit_s
        return self.limit.name if limit_s is None else f"{self.limit.name} {duration_text(limit_s)}"

    @property
    def numbers(self) -> str:
        """What was counted, where, against which limit, and how strong the evidence is."""
        allowed = f"a limit of {ratio_text(self.limit.share)}"
        where = "in" if self.over == "window" else "in the newest"
        where = f"{where} {duration_text(self.over_s)}"
        if self.share is None:
            return f"no calls {where}, against {allowed}"
        text = f"{self.bad} of {self.n} calls {self._bad} {where}, "
        text += f"{ratio_text(self.share)} against {allowed}"
        if self.evidence:
            text += f", evidence {self.evidence:.1f} of {self.needed:.1f}"
        return text

    def __str__(self) -> str:
        outcome = "too little evidence" if self.outcome is Judgement.UNKNOWN else self.outcome
        if self.to_clear is not None:
            change = f"{_calls(self.to_clear, 'good')} would end it"
        else:
            change = f"{_calls(self.to_breach, self._bad)} would breach it"
        return f"{self.name}: {outcome}: {self.numbers}; {change}"

    @property
    def _bad(self) -> str:
        return "failed" if self.limit.limit_s is None else "slow"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The judgement of an SLA at one moment, with its evidence.

    Attributes:
        breach: Whether any limit is breached.
        judge: Who judged.
        totals: The counts of the window that were judged.
        newest: The counts of its newest buckets, if those were looked at.

    Cost:
        Making one is cheap; everything but `breach` is worked out when it is read.
    """

    breach: bool
    judge: Judge
    totals: Sequence[int]
    newest: Sequence[Sequence[int]]

    @property
    def findings(self) -> tuple[Finding, ...]:
        """One finding per limit, in the order of `SLA.limits`."""
        return self.judge.findings(self.totals, self.newest)

    @property
    def outcome(self) -> Judgement:
        """A breach if any limit is breached, kept if all are kept, else unknown."""
        outcomes = {finding.outcome for finding in self.findings}
        for outcome in (Judgement.BREACH, Judgement.UNKNOWN):
            if outcome in outcomes:
                return outcome
        return Judgement.KEPT

    def lines(self) -> tuple[str, ...]:
        """Return one line per limit: numbers, window, limit, and what would change it."""
        return tuple(map(str, self.findings))

    @property
    def cause(self) -> str:
        """Why there is a breach, one line; without one, just the outcome."""
        breached = [f"{found.name}: {found.numbers}" for found in self.findings if found.breach]
        return "; ".join(breached) if breached else self.outcome.value


class Judge:
    """Judges windows of calls by one SLA, with everything worked out beforehand that can be.

    A window counts, for limit `i` of `SLA.limits`, the calls that the limit judges in counter
    `2 * i`, and the bad ones among them in counter `2 * i + 1`.

    Guarantees:
        Immutable and pure; may be shared between flags and threads.
    """

    __slots__ = ("_limits", "_needed", "_needed_newest", "_newest_bucket_s", "_rows", "sla")

    def __init__(self, sla: SLA) -> None:
        self.sla = sla
        self._limits = sla.limits
        self._needed = -math.log1p(-sla.confidence) * (1 - _ROUNDING)
        self._needed_newest = max(self._needed, _NEWEST_EVIDENCE * (1 - _ROUNDING))
        self._newest_bucket_s = min(sla.over / _WINDOW_BUCKETS, _LONGEST_NEWEST_BUCKET_S)
        self._rows = tuple(
            (
                2 * i,
                limit.share,
                self._test(limit, self._needed).to_breach(),
                self._test(limit, self._needed_newest).to_breach(),
            )
            for i, limit in enumerate(self._limits)
        )

    def windows(self) -> tuple[Window, Window]:
        """Return a new pair: the window, and the ring of the newest calls."""
        width = 2 * len(self._limits)
        ring_s = NEWEST_BUCKETS * self._newest_bucket_s
        return (
            Window(self.sla.over, width=width, buckets=_WINDOW_BUCKETS),
            Window(ring_s, width=width, buckets=NEWEST_BUCKETS),
        )

    def quiet(self, totals: Sequence[int]) -> bool:
        """Tell at once that there is no breach, whatever the newest calls are.

        Args:
            totals: The sums of the window.

        Returns:
            True when neither the window nor any part of it can be a breach; when False, `judge`.
        """
        for counter, share, fewest, fewest_newest in self._rows:
            bad = totals[counter + 1]
            if bad >= fewest and (bad >= fewest_newest or bad > totals[counter] * share):
                return False
        return True

    def judge(self, totals: Sequence[int], newest: Sequence[Sequence[int]] = ()) -> Verdict:
        """Judge a window of calls.

        Args:
            totals: The sums of the window.
            newest: The sums over its newest bucket, its newest two, and so on
                (`Window.suffixes` of the ring); none of them counts a call that `totals` does not.

        Cost:
            O(limits) when `quiet`, else O(limits * suffixes).
        """
        breach = not self.quiet(totals) and any(
            tally[counter + 1] >= fewest
            and _evidence(tally[counter], tally[counter + 1], share) >= needed
            for counter, share, fewest_window, fewest_newest in self._rows
            for tallies, needed, fewest in (
                ((totals,), self._needed, fewest_window),
                (newest, self._needed_newest, fewest_newest),
            )
            for tally in tallies
        )
        return Verdict(breach=breach, judge=self, totals=totals, newest=newest)

    def findings(
        self, totals: Sequence[int], newest: Sequence[Sequence[int]]
    ) -> tuple[Finding, ...]:
        """Return what such a window says of each limit."""
        return tuple(
            self._finding(limit, totals[2 * i : 2 * i + 2], [t[2 * i : 2 * i + 2] for t in newest])
            for i, limit in enumerate(self._limits)
        )

    def __repr__(self) -> str:
        return f"Judge({self.sla})"

    def _test(self, limit: Limit, needed: float, counts: Sequence[int] = (0, 0)) -> _Test:
        return _Test(limit.share, self.sla.min_bad, needed, counts[0], counts[1])

    def _finding(
        self, limit: Limit, window: Sequence[int], newest: Sequence[Sequence[int]]
    ) -> Finding:
        tests = [self._test(limit, self._needed, window)]
        tests += [self._test(limit, self._needed_newest, counts) for counts in newest]
        breached = [test for test in tests if test.breach()]
        shown = tests[0]
        if breached and shown not in breached:
            shown = max(breached, key=_Test.evidence)
        outcome = Judgement.UNKNOWN
        if breached:
            outcome = Judgement.BREACH
        elif not shown.evidence() and shown.n >= self._test(limit, self._needed).to_breach():
            outcome = Judgement.KEPT
        buckets = tests.index(shown)
        return Finding(
            limit=limit,
            outcome=outcome,
            n=shown.n,
            bad=shown.bad,
            share=shown.bad / shown.n if shown.n else None,
            evidence=shown.evidence(),
            needed=shown.needed,
            over=f"newest {buckets}" if buckets else "window",
            over_s=buckets * self._newest_bucket_s if buckets else self.sla.over,
            to_breach=None if breached else _to_breach(tests),
            to_clear=max(test.to_clear() for test in breached) if breached else None,
        )


class _Test(NamedTuple):
    """The question asked of one window and one limit."""

    share: float
    min_bad: int
    needed: float
    n: int
    bad: int

    def evidence(self) -> float:
        return _evidence(self.n, self.bad, self.share)

    def breach(self, *, more_good: int = 0, more_bad: int = 0) -> bool:
        bad = self.bad + more_bad
        found = _evidence(self.n + more_good + more_bad, bad, self.share)
        return bad >= self.min_bad and found >= self.needed

    def to_breach(self) -> int:
        return _fewest(lambda count: self.breach(more_bad=count))

    def to_clear(self) -> int:
        return _fewest(lambda count: not self.breach(more_good=count))


def _evidence(n: int, bad: int, share: float) -> float:
    """Return how far `bad` of `n` calls lie beyond a limit of `share`: n * KL(bad/n || share)."""
    if bad <= n * share * (1 + _ROUNDING):
        return 0.0
    good = n - bad
    nats = bad * math.log(bad / (n * share))
    return nats + good * math.log(good / (n * (1 - share))) if good else nats


def _to_breach(tests: Sequence[_Test]) -> int:
    """Return the fewest further bad calls that make one of `tests` a breach; they are in all."""
    fewest = tests[-1].to_breach()
    for test in tests[:-1]:
        if test.breach(more_bad=fewest - 1):
            fewest = test.to_breach()
    return fewest


def _calls(count: int | None, kind: str) -> str:
    return f"{count} more {kind} call{'' if count == 1 else 's'}"


def _fewest(enough: Callable[[int], bool]) -> int:
    """Return the lowest number that is enough, given that all numbers above it are."""
    highest = 1
    while not enough(highest):
        highest *= 2
    return bisect_left(range(highest), True, key=enough)
