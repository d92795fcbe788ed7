"""What happened lately: whole-number counters over the newest `over_s` seconds.

The rule: time is cut into equal buckets; the window at `now` is the bucket that `now` lies in
and the `buckets - 1` before it. A bucket that time moved over unseen is empty.

    over_s = 5 s, 5 buckets, now = 17.3

    time     ..12   13    14    15    16    17    18
    bucket      | 13  | 14  | 15  | 16  | 17  |
                                          ^ now      a call at 12.9 has left the window,
    slot        |  3  |  4  |  0  |  1  |  2  |      one at 13.0 leaves when 18.0 comes

Bucket k covers `k * size <= time < (k + 1) * size` and lives in slot `k % buckets`, so rolling
forward reuses the oldest slot. The sums are kept as counts come and go, never computed anew.

Invariants:
    - The sums are those of a plain list of all counts ever added, cut at the same bucket edges.
    - Against the exact sliding window it lacks less than one bucket at its old end, and has
      nothing too much.
    - Time never runs backwards: the newest time ever seen, by adding or by reading, is now.
    - Memory is fixed at construction, whatever is added.

After the sliding windows of resilience4j (FixedSizeSlidingWindowMetrics) and Sentinel (LeapArray).
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Sequence
from operator import add, sub

__all__ = ("Window",)

_NEVER = -(1 << 62)  # before the bucket of any time; a number, so that every path compares alike


class Window:
    """`width` counters, summed over the newest `over_s` seconds in `buckets` equal buckets.

    One thread writes and reads it. A bucket counts to 4,294,967,295 per counter, more calls
    than a process can make in the longest bucket of an SLA.

    Args:
        over_s: Length of the window, seconds.
        width: How many counters are kept side by side.
        buckets: Into how many equal parts the window is cut.

    Cost:
        `add` and `totals` take O(width); each new bucket once O(width), however long the gap.
        Memory is 4 bytes a counter and bucket.
    """

    __slots__ = (
        "_buckets",
        "_cell",
        "_cells",
        "_end",
        "_newest",
        "_size_s",
        "_start",
        "_totals",
        "_width",
    )

    def __init__(self, over_s: float, *, width: int, buckets: int = 30) -> None:
        self._size_s = over_s / buckets
        self._width = width
        self._buckets = buckets
        self._cells = array("I", [0]) * (width * buckets)
        self._totals = [0] * width
        self._newest = _NEVER  # the number of the newest bucket,
        self._cell = 0  # where it lies,
        self._start = self._end = -math.inf  # and its edges

    @property
    def bucket_s(self) -> float:
        """Length of one bucket, seconds."""
        return self._size_s

    def add(self, at: float, counts: Sequence[int]) -> None:
        """Add a count to each counter, in the bucket that `at` lies in.

        Args:
            at: When it happened, monotonic seconds; what is older than the window is ignored.
            counts: One count per counter, none negative.
        """
        if at >= self._end:
            self._roll(at)
        cell = self._cell
        if at <= self._start:  # an edge is rounded: at the very edge only the division tells
            bucket = int(at // self._size_s)
            if bucket <= self._newest - self._buckets:
                return
            cell = bucket % self._buckets * self._width
        totals, cells = self._totals, self._cells
        for counter, count in enumerate(counts):
            if count:
                totals[counter] += count
                cells[cell + counter] += count

    def totals(self, now: float) -> tuple[int, ...]:
        """Return the sum of each counter over the window that ends at `now`, monotonic seconds."""
        if now >= self._end:
            self._roll(now)
        return tuple(self._totals)

    def suffixes(self, now: float, most: int | None = None) -> list[tuple[int, ...]]:
        """Return the sums over the newest bucket, the newest two, and so on.

        Args:
            now: Monotonic seconds.
            most: How many buckets at most; by default up to the whole window.

        Cost:
            O(width * buckets).
        """
        if now >= self._end:
            self._roll(now)
        width = self._width
        running = [0] * width
        found = []
        buckets = self._buckets if most is None else min(most, self._buckets)
        for bucket in range(self._newest, self._newest - buckets, -1):
            cell = bucket % self._buckets * width
            running = list(map(add, running, self._cells[cell : cell + width]))
            found.append(tuple(running))
        return found

    def clear(self) -> None:
        """Forget every count; the newest time seen stays."""
        self._totals = [0] * self._width
        self._cells = array("I", [0]) * len(self._cells)

    def _roll(self, now: float) -> None:
        """Make the bucket of `now` the newest one, and empty those that it moved over."""
        bucket = int(now // self._size_s)
        if bucket - self._newest >= self._buckets:
            self.clear()
        else:
            width = self._width
            for passed in range(self._newest + 1, bucket + 1):
                cell = passed % self._buckets * width
                self._totals = list(map(sub, self._totals, self._cells[cell : cell + width]))
                self._cells[cell : cell + width] = array("I", [0]) * width
        self._newest = bucket
        self._cell = bucket % self._buckets * self._width
        self._start = bucket * self._size_s
        self._end = (bucket + 1) * self._size_s
