"""Phases of a run with a fault of Redis and without, in turn, so that like is compared with like.

    ranker well   |calm|killed|calm|killed| ... |calm|frozen|calm|
    ranker dead   |calm|frozen|calm|killed| ... |calm|

A machine has moods that last for seconds, and other work to do; a fault and the calm before and
after it share them. What is compared is the p99 in each fault, on average over the faults, with the
p99 in each calm, on average over the calms. The p99 of all faults taken together would be that of
the one or two worst moments of the machine, wherever they fell: over the same runs it scattered
three times as much. The average still tells when a few faults are bad: one in ten whose p99 is four
times as high takes the ratio to 1.3. Both are shown.

Where the ranker is dead, answers come from memory and are faster by far; these are compared with
their like alone. The time in which the processes find Redis again counts as part of the fault.
Nothing is left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import chain
from statistics import fmean

from examples.news_feed.answers import Answer
from examples.news_feed.stats import nearest_rank

__all__ = ("Comparison", "Fault", "Measured", "Phase", "Ranker", "compared")


class Fault(StrEnum):
    """What is wrong with Redis: nothing, frozen (SIGSTOP), or killed and started again empty."""

    CALM = "calm"
    FROZEN = "frozen"
    KILLED = "killed"


class Ranker(StrEnum):
    """How the ranker is meanwhile."""

    WELL = "well"
    DEAD = "dead"


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """A part of a run; Unix seconds."""

    fault: Fault
    ranker: Ranker
    start: float
    end: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """The requests of all phases of one kind; latencies in seconds.

    Attributes:
        phases: How many there were.
        lasted_s: How long they took together.
        requests: How many requests were due in them.
        p99: That of each phase, on average.
        pooled_p99: That of all requests together.
    """

    phases: int
    lasted_s: float
    requests: int
    p99: float
    pooled_p99: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """The faults of Redis beside the calms between them."""

    faults: Measured
    calms: Measured

    @property
    def ratio(self) -> float:
        """How much slower requests are during faults: the p99 of each phase, on average."""
        return self.faults.p99 / self.calms.p99

    @property
    def pooled_ratio(self) -> float:
        """The same by the p99 of all requests together."""
        return self.faults.pooled_p99 / self.calms.pooled_p99


def compared(phases: Sequence[Phase], answers: Iterable[Answer], ranker: Ranker) -> Comparison:
    """Compare the requests that were due in the phases with the ranker in this state.

    Raises:
        LookupError: There are none of one kind, or a phase without any.
    """
    chosen = [phase for phase in phases if phase.ranker is ranker]
    latencies: dict[Phase, list[float]] = {phase: [] for phase in chosen}
    for answer in answers:
        for phase in chosen:
            if phase.start <= answer.due < phase.end:
                latencies[phase].append(answer.latency_s)
    calms = {phase: each for phase, each in latencies.items() if phase.fault is Fault.CALM}
    faults = {phase: each for phase, each in latencies.items() if phase.fault is not Fault.CALM}
    return Comparison(faults=_measured(faults), calms=_measured(calms))


def _measured(latencies: Mapping[Phase, Sequence[float]]) -> Measured:
    if not latencies:
        raise LookupError("phases with and without faults")
    pooled = list(chain.from_iterable(latencies.values()))
    return Measured(
        phases=len(latencies),
        lasted_s=sum(phase.end - phase.start for phase in latencies),
        requests=len(pooled),
        p99=fmean(_p99(each) for each in latencies.values()),
        pooled_p99=_p99(pooled),
    )


def _p99(latencies: Sequence[float]) -> float:
    found = nearest_rank(latencies, 0.99)
    if found is None:
        raise LookupError("requests in every phase")
    return found
