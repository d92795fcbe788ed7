"""Where calls leave their times, and how the ticker takes them away.

    call    clock ──> started.append(start)              one float
            ... the function runs ...
            clock ──> ended.extend((start, end))         two floats, one atomic operation
            (or)  ──> marked.append((start, end, outcome, judged))   anything but a success

    ticker  cuts the queues off at their present length and folds what it cut

Nothing is paired by position across queues: what is still running is the multiset of starts
less the starts of what ended. `list.append`, `list.extend` of a tuple, slicing and deleting a
slice are each one atomic operation, so no call is lost or seen twice, and no lock is taken.
Two floats instead of a tuple a call keep the garbage collector out of it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from degrade.core.words import Outcome

__all__ = ("Batch", "Marked", "Recorder", "missing")

_GALLOP = 32


class Marked(NamedTuple):
    """A call that ended in anything but a plain success."""

    start: float
    end: float
    outcome: Outcome


class Batch(NamedTuple):
    """What was cut off the queues.

    Attributes:
        started: Start times, seconds, nearly in order.
        starts, ends: Of the successes, element by element.
        marked: The other ends.
    """

    started: list[float]
    starts: list[float]
    ends: list[float]
    marked: list[Marked]


class Recorder:
    """The queues of one flag; calls hold the bound methods `start`, `end` and `mark`."""

    __slots__ = ("_ended", "_marked", "_started", "end", "mark", "start")

    def __init__(self) -> None:
        self._started: list[float] = []
        self._ended: list[float] = []
        self._marked: list[Marked] = []
        self.start: Callable[[float], None] = self._started.append
        self.end: Callable[[tuple[float, float]], None] = self._ended.extend
        self.mark: Callable[[Marked], None] = self._marked.append

    @property
    def empty(self) -> bool:
        return not (self._started or self._ended or self._marked)

    def drain(self) -> Batch:
        """Cut off what is there; ends first, so that every end has its start in this batch or before."""
        ended, marked = self._ended, self._marked
        pairs = ended[: len(ended)]
        del ended[: len(pairs)]
        others = marked[: len(marked)]
        del marked[: len(others)]
        started = self._started[: len(self._started)]
        del self._started[: len(started)]
        return Batch(started, pairs[::2], pairs[1::2], others)


def missing(started: list[float], ended: list[float]) -> list[float]:
    """Return the multiset `started - ended`, sorted; what is only in `ended` is ignored.

    Args:
        started: Start times, in any order; sorted in place.
        ended: Start times of what ended, in any order; sorted in place.

    Cost:
        Both are nearly sorted, so sorting is linear; equal stretches are compared in blocks that
        double, which costs a few nanoseconds an element.
    """
    if not ended:
        started.sort()
        return started
    started.sort()
    ended.sort()
    left: list[float] = []
    i = j = 0
    n, m = len(started), len(ended)
    while i < n and j < m:
        block = _GALLOP
        while (equal := started[i : i + block]) and equal == ended[j : j + block]:
            i += block
            j += block
            block *= 2
        if i >= n or j >= m:
            break
        start, end = started[i], ended[j]
        if start == end:
            i += 1
            j += 1
        elif start < end:
            left.append(start)
            i += 1
        else:
            j += 1
    left.extend(started[i:])
    return left
