"""Phases of a run with a fault of Redis and without, in turn, so that like is compared with like.

    ranker well   |calm|killed|calm|killed| ... |calm|frozen|calm|
    ranker dead   |calm|frozen|calm|killed| ... |calm|

What must hold is "p99 of requests during Redis faults is at most 1.3 times that of the fault-free
phases interleaved with them". It is read like this:

- The p99 is one of requests: that of all requests that were due in a fault, of whichever kind,
  pooled, against that of all requests that were due in a calm between them. An average of the p99
  of each phase would give a calm phase as much weight as a bad one; it is only shown.
- Interleaved are phases between which nothing changes but Redis. Where the ranker is dead, answers
  come from memory and are faster by far; were they pooled with the others, the p99 would be that of
  the healthy ranker, and no wait for a frozen Redis could ever reach it. So there are two
  comparisons, the ranker well and the ranker dead, each with calms of its own, each to hold.
- A machine has moods that last for seconds, and other work to do. So phases are short, as many and
  as long with a fault as without, and each fault lies between two calms, which share its moods.

The time in which the processes find Redis again counts as part of the fault. Nothing is left out:
the faults and wipes later, while the orders and the dial change what is served, have no calm of
their kind beside them, and there it counts that no request fails.
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
        p99: That of all requests together.
        mean_p99: That of each phase, on average.
    """

    phases: int
    lasted_s: float
    requests: int
    p99: float
    mean_p99: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """The faults of Redis beside the calms between them."""

    faults: Measured
    calms: Measured

    @property
    def ratio(self) -> float:
        """How much slower requests are during faults: by the p99 of all requests together."""
        return self.faults.p99 / self.calms.p99

    @property
    def mean_ratio(self) -> float:
        """The same by the p99 of each phase, on average; for comparison alone."""
        return self.faults.mean_p99 / self.calms.mean_p99


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
        p99=_p99(pooled),
        mean_p99=fmean(_p99(each) for each in latencies.values()),
    )


def _p99(latencies: Sequence[float]) -> float:
    found = nearest_rank(latencies, 0.99)
    if found is None:
        raise LookupError("requests in every phase")
    return found
