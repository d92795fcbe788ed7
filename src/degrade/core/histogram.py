"""How long calls take: a histogram with a fixed relative error, for display and metrics.

The rule: twelve buckets to a doubling, as keys on a piano, each 5.9 % wider than the one before.
A quantile is answered with the point of its bucket that is at most 2.9 % away from either edge.

    bucket     0     1     2              12            24             436
    up to     1us  1.06  1.12   ...      2us    ...    4us    ...     24 h
              └ all below        └ one doubling ┘                      └ all above

    {40 ms, 40 ms, 41 ms, 900 ms}    quantile(0.5) -> 40 ms,  quantile(0.99) -> 900 ms, +- 3 %

No verdict depends on it: limits are judged by exact counts (see `degrade.core.verdict`).

Invariants:
    - A quantile is within 3 % of the exact one of the same values, if these lie between
      1 microsecond and 24 hours; what lies outside counts as the nearer of the two.
    - Merging two histograms gives the histogram of all the values of both.
    - Memory grows with the longest value ever recorded, never with the number of values.

After HdrHistogram and DDSketch (Masson, Rim, Lee: VLDB 2019), whose error guarantee it shares.
"""

from __future__ import annotations

import math
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from itertools import accumulate
from operator import sub

from degrade.errors import ConfigError

__all__ = ("LogHistogram",)

_PER_DOUBLING = 12
_LOWEST_S = 1e-6
_HIGHEST_S = 86_400.0
_LAST = math.ceil(math.log2(_HIGHEST_S / _LOWEST_S) * _PER_DOUBLING)
_WIDTH = 2 ** (1 / _PER_DOUBLING)  # upper edge of a bucket over its lower edge
_MIDDLE = 2 / (_WIDTH + 1)  # from the upper edge to the point equally far, as a ratio, from both
_EDGES = [_LOWEST_S * 2 ** (bucket / _PER_DOUBLING) for bucket in range(_LAST)]
"""The upper edge of each bucket but the last; bisecting them is twice as fast as a logarithm."""


class LogHistogram:
    """Counts of durations in buckets of equal relative width.

    Guarantees:
        One thread writes; any thread may read meanwhile.

    Cost:
        Recording takes O(1), a quantile O(buckets). Memory is 4 bytes a bucket up to the longest
        value: 1 kB for values up to a second, 1.8 kB at most (twice that once a bucket counts
        more than 4,294,967,295 values).
    """

    __slots__ = ("_counts", "total_s")

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Forget every value."""
        self._counts = array("I")
        self.total_s = 0.0

    @property
    def count(self) -> int:
        """How many values were recorded."""
        return sum(self._counts.tolist())

    def record(self, value_s: float, n: int = 1) -> None:
        """Count `n` calls that took `value_s` seconds each."""
        self._add(bisect_left(_EDGES, value_s), n)
        self.total_s += value_s * n

    def record_many(self, values_s: Sequence[float]) -> None:
        """Count one call for each of `values_s`, seconds."""
        counts = self._counts
        for value_s in values_s:
            bucket = bisect_left(_EDGES, value_s)
            try:
                counts[bucket] += 1
            except (IndexError, OverflowError):
                self._add(bucket, 1)
                counts = self._counts
        self.total_s += sum(values_s)

    def merge(self, other: LogHistogram) -> None:
        """Count everything that `other` counted, too."""
        for bucket, n in enumerate(other._counts.tolist()):
            if n:
                self._add(bucket, n)
        self.total_s += other.total_s

    def quantile(self, q: float) -> float | None:
        """Return the duration that at least the share `q` of the calls did not exceed, seconds.

        Args:
            q: A share from 0 (the shortest) to 1 (the longest).

        Returns:
            The duration, or None when nothing was recorded.

        Raises:
            ConfigError: `q` is outside 0 to 1 (code `bad-ratio`).
        """
        if not 0 <= q <= 1:
            raise ConfigError(
                f"quantile(q={q!r}): must lie between 0 and 1, such as 0.99", code="bad-ratio"
            )
        counts = self._counts.tolist()  # one step under the GIL: the writer may go on
        total = sum(counts)
        seen = 0
        for bucket, n in enumerate(counts):
            seen += n
            if n and seen / total >= q:
                return _LOWEST_S * _WIDTH**bucket * _MIDDLE
        return None

    def since(self, before: LogHistogram) -> LogHistogram:
        """Return what was counted after `before` was copied from this histogram."""
        newer = LogHistogram()
        counts = self._counts.tolist()
        older = before._counts.tolist()
        newer._counts = array("Q", map(sub, counts, older + [0] * (len(counts) - len(older))))
        newer.total_s = self.total_s - before.total_s
        return newer

    def copy(self) -> LogHistogram:
        """Return one that counts the same, and goes on alone."""
        twin = LogHistogram()
        twin._counts = self._counts[:]
        twin.total_s = self.total_s
        return twin

    def at_most(self, limits_s: Iterable[float]) -> list[int]:
        """Return for each limit how many calls took at most as long, to the width of a bucket."""
        sums = [0, *accumulate(self._counts.tolist())]
        return [sums[min(bisect_left(_EDGES, limit_s) + 1, len(sums) - 1)] for limit_s in limits_s]

    def __repr__(self) -> str:
        return (
            f"LogHistogram(count={self.count}, p50={self.quantile(0.5)}, p99={self.quantile(0.99)})"
        )

    def _add(self, bucket: int, n: int) -> None:
        missing = bucket + 1 - len(self._counts)
        if missing > 0:
            self._counts.extend([0] * missing)
        try:
            self._counts[bucket] += n
        except OverflowError:
            self._counts = array("Q", self._counts)
            self._counts[bucket] += n
