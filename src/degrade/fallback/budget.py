"""How much of a core the captures of a process may take.

Allowance grows with time, at `share` seconds per second, up to `burst_s`; a capture takes what
it has cost. One that costs more than there is leaves a debt, which is waited for.
"""

from __future__ import annotations

__all__ = ("CaptureBudget",)


class CaptureBudget:
    """A share of one core, as a bucket of seconds.

    Args:
        share: Seconds of work allowed per second.
        burst_s: The most that may be saved up, so that a fresh process fills quickly.

    Guarantees:
        Over any span of t seconds at most `share * t + burst_s` plus one capture is spent.
        Without locks: threads that spend at the same moment may lose a part of one's cost.
    """

    __slots__ = ("_at", "_left_s", "burst_s", "share")

    def __init__(self, share: float = 0.02, *, burst_s: float = 0.05) -> None:
        self.share = share
        self.burst_s = burst_s
        self._left_s = burst_s
        self._at: float | None = None

    def allowed(self, now: float) -> bool:
        """Whether another capture may start."""
        if self._left_s > 0:
            return True
        self._refill(now)
        return self._left_s > 0

    def spent(self, now: float, cost_s: float) -> None:
        """Take what a capture has cost."""
        self._refill(now)
        self._left_s -= max(cost_s, 0.0)

    def _refill(self, now: float) -> None:
        before = now if self._at is None else self._at
        if now >= before:
            self._left_s = min(self._left_s + self.share * (now - before), self.burst_s)
            self._at = now
