"""Where calls leave their times, and how the ticker takes them away.

    call    clock ──> started.append(start)              one float
            ... the function runs ...
            clock ──> ended.extend((start, end))         two floats, one atomic operation
            (or)  ──> marked.append((start, end, outcome, judged))   anything but a success

    ticker  cuts the queues off at their present length and folds what it cut

Nothing is paired by position across queues: what is still running is the multiset of starts
less the starts of what ended. `list.append`, `list.extend` of a tuple, copying and deleting a
slice are each one atomic operation, so no call is lost or seen twice, and no lock is taken.
Two floats instead of a tuple a call keep the garbage collector out of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from degrade.core.enums import Outcome

__all__ = ("Batch", "CallRecorder", "EndedCall", "missing")

_GALLOP = 32
_PIN_EVERY = 8_192
"""Of a large batch, one time in so many stays alive until the next large one. Python gives a megabyte of small objects
back to the system when the last one goes; with a few that stay, the next calls find their memory
in place instead of faulting it in page by page."""


class EndedCall(NamedTuple):
    """A call that ended in anything but a plain success."""

    start: float
    end: float
    outcome: Outcome


Batch = tuple[list[float], list[float], list[EndedCall]]
"""What was cut off the queues; a plain tuple, as a named one costs as much as all the rest of a drain.

    started: Start times, seconds, nearly in order.
    pairs: Of the successes: start, end, start, end, and so on.
    marked: The other ends.
"""


class CallRecorder:
    """The queues of one flag.

    Attributes:
        started: Calls append their start.
        ended: Successes extend it by a tuple of start and end.
        marked: Other ends.
    """

    __slots__ = ("_pins", "ended", "marked", "started")

    def __init__(self) -> None:
        self.started: list[float] = []
        self.ended: list[float] = []
        self.marked: list[EndedCall] = []
        self._pins: Sequence[float] = ()

    @property
    def empty(self) -> bool:
        return not (self.started or self.ended or self.marked)

    def drain(self) -> Batch:
        """Cut off what is there; ends first, so that every end has its start in this batch or before."""
        started, ended, marked = self.started, self.ended, self.marked
        pairs = ended.copy()
        del ended[: len(pairs)]
        others: list[EndedCall] = []
        if marked:
            others = marked.copy()
            del marked[: len(others)]
        starts = started.copy()
        del started[: len(starts)]
        if len(pairs) > _PIN_EVERY:
            self._pins = pairs[::_PIN_EVERY]
        return starts, pairs, others


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
