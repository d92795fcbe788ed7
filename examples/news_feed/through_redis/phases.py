"""Phases of a run with a fault of Redis and without, in turn, so that like is compared with like.

    ranker well   |calm|killed|calm|killed| ... |calm|frozen|calm|
    ranker dead   |calm|frozen|calm|killed| ... |calm|

A machine has moods that last for seconds, and other work to do. A fault and the calm before and
after it share them, so the requests of all faults are compared with those of all calms between
them. Where the ranker is dead, answers come from memory and are faster by an order of magnitude;
these are compared with their like alone.

The time in which the processes find Redis again counts as part of the fault. Nothing is left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from examples.news_feed.answers import Answer
from examples.news_feed.stats import nearest_rank

__all__ = ("Comparison", "Fault", "Phase", "Ranker", "compared")


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
class Comparison:
    """The requests of all faults beside those of the calms between them; latencies in seconds."""

    faulty: int
    calm: int
    faulty_s: float
    calm_s: float
    faulty_p99: float
    calm_p99: float

    @property
    def ratio(self) -> float:
        """How much slower requests are during faults."""
        return self.faulty_p99 / self.calm_p99


def compared(phases: Sequence[Phase], answers: Iterable[Answer], ranker: Ranker) -> Comparison:
    """Compare the requests that were due in the phases with the ranker in this state.

    Raises:
        LookupError: There are none of one kind.
    """
    chosen = [phase for phase in phases if phase.ranker is ranker]
    latencies: dict[bool, list[float]] = {True: [], False: []}
    for answer in answers:
        for phase in chosen:
            if phase.start <= answer.due < phase.end:
                latencies[phase.fault is Fault.CALM].append(answer.latency_s)
    lasted = {
        calm: sum(each.end - each.start for each in chosen if (each.fault is Fault.CALM) is calm)
        for calm in (True, False)
    }
    calm_p99, faulty_p99 = (nearest_rank(latencies[calm], 0.99) for calm in (True, False))
    if calm_p99 is None or faulty_p99 is None:
        raise LookupError(f"requests with and without faults, the ranker {ranker}")
    return Comparison(
        faulty=len(latencies[False]), calm=len(latencies[True]),
        faulty_s=lasted[False], calm_s=lasted[True],
        faulty_p99=faulty_p99, calm_p99=calm_p99,
    )  # fmt: skip
