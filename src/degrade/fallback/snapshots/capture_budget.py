"""How much of a core the captures of a process may take.

Allowance grows with time, at `share` seconds per second, up to `burst_s`; a capture takes what
it has cost. One that costs more than there is leaves a debt, which is waited for.

While others wait, a function that has captured stays out for twice the time in which the allowance
pays for its capture. So it takes at most half, and what it leaves is there for the others.
"""

from __future__ import annotations

__all__ = ("Account", "CaptureBudget")

WAITING_S = 60.0
"""How long a function counts as waiting after it was refused."""


class Account:
    """What one function has taken: until `free_at` it takes no more while others wait."""

    __slots__ = ("free_at",)

    def __init__(self) -> None:
        self.free_at = float("-inf")


_NOBODY = (Account(), float("-inf"))


class CaptureBudget:
    """A share of one core, as a bucket of seconds.

    Args:
        share: Seconds of work allowed per second.
        burst_s: The most that may be saved up, so that a fresh process fills quickly.

    Guarantees:
        Over any span of t seconds at most `share * t + burst_s` plus one capture is spent, and
        while others wait at most half of `share * t` plus one capture by one function.
        Without locks: threads that spend at the same moment may lose a part of one's cost.
    """

    __slots__ = ("_at", "_last", "_left_s", "_other", "burst_s", "share")

    def __init__(self, share: float = 0.02, *, burst_s: float = 0.05) -> None:
        self.share = share
        self.burst_s = burst_s
        self._left_s = burst_s
        self._at: float | None = None
        self._last = self._other = _NOBODY  # the two that were refused last, and when

    def allowed(self, now: float, account: Account) -> bool:
        """Whether a function may start another capture; it waits if not."""
        if self._left_s <= 0:
            self._refill(now)
        if self._left_s > 0 and (now >= account.free_at or not self._others_wait(now, account)):
            return True
        if self._last[0] is not account:
            self._other = self._last
        self._last = account, now
        return False

    def spent(self, now: float, cost_s: float, account: Account) -> None:
        """Take what a capture of a function has cost."""
        self._refill(now)
        self._left_s -= max(cost_s, 0.0)
        account.free_at = now + 2 * max(cost_s, 0.0) / self.share

    def _others_wait(self, now: float, account: Account) -> bool:
        return any(
            waiting is not account and now - since < WAITING_S
            for waiting, since in (self._last, self._other)
        )

    def _refill(self, now: float) -> None:
        before = now if self._at is None else self._at
        if now >= before:
            self._left_s = min(self._left_s + self.share * (now - before), self.burst_s)
            self._at = now
