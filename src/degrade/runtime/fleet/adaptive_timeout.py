"""How long a call may wait for a store that others ask as well, by how it has answered lately.

    nothing known yet                             as long as a call may wait at all (`wait_s`)
    it usually answers within `wait_s`            4 times as long as usual, at least `wait_s` / 4
    it usually takes longer                       not at all; the answer is for the next call
    it has owed somebody an answer for that long  not at all, until it has answered a question

The time counts from when the store began to owe an answer, whoever asked, so those who come later
wait for less: one that falls silent costs each process one short wait, not one each call, each key
or each flag. While it is in doubt, one question at a time is open, and after an error none for a
while, longer for each error in a row.

Invariants: no wait ends later than `wait_s` after its question; none begins in doubt; only an
answer to a question ends the doubt.
"""

from __future__ import annotations

from typing import Final

__all__ = ("MOST_OPEN", "MOST_PAUSE_S", "PAUSE_S", "AdaptiveTimeout")

MOST_OPEN: Final = 64
PAUSE_S: Final = 1.0
MOST_PAUSE_S: Final = 30.0
_LEAST: Final = 1 / 4
"""Of the longest wait: less would be shorter than the breaks that a busy process has anyway."""
_TIMES: Final = 4.0
_WEIGHT: Final = 1 / 4
"""Of the newest answer in what is usual."""


class AdaptiveTimeout:
    """What is known of the answers of one store; whoever uses it holds a lock meanwhile.

    Attributes:
        doubtful: It has not answered somebody in time, and no question since.
    """

    __slots__ = ("_owes_since", "_pause_s", "_quiet_until", "_usual_s", "doubtful")

    def __init__(self) -> None:
        self.doubtful = False
        self._owes_since: float | None = None
        self._usual_s: float | None = None
        self._quiet_until = float("-inf")
        self._pause_s = 0.0

    def may_ask(self, now: float, *, open_now: int) -> bool:
        """Whether one more question may be asked while some are open."""
        return now >= self._quiet_until and open_now < (1 if self.doubtful else MOST_OPEN)

    def asked(self, now: float) -> None:
        """Note that a question is open."""
        if self._owes_since is None:
            self._owes_since = now

    def answered(self, now: float, *, took_s: float, wait_s: float) -> None:
        """Note that a question was answered, so long after it was asked.

        Args:
            now: Monotonic seconds.
            took_s: How long it took; beyond twice the longest wait it says no more, so that one
                answer after a break of the process does not keep calls from waiting.
            wait_s: The longest that a call waits.
        """
        took_s = min(took_s, 2 * wait_s)
        usual_s = took_s if self._usual_s is None else self._usual_s
        self._usual_s = usual_s + _WEIGHT * (took_s - usual_s)
        if self._owes_since is not None:
            self._owes_since = now
        self.doubtful = False
        self._pause_s = 0.0

    def settled(self) -> None:
        """Note that no question is open."""
        self._owes_since = None

    def failed(self, now: float) -> None:
        """Note an error: nobody asks for a while."""
        self.doubtful = True
        if now < self._quiet_until:
            return
        self._pause_s = min(max(PAUSE_S, 2 * self._pause_s), MOST_PAUSE_S)
        self._quiet_until = now + self._pause_s

    def returned(self) -> None:
        """Note that the store answers others again: it may be asked at once, still in doubt."""
        self._quiet_until = float("-inf")

    def until(self, now: float, *, wait_s: float, others_since: float | None) -> float:
        """Return when a call that waits now gives up, unless something is answered before.

        Args:
            now: Monotonic seconds.
            wait_s: The longest that a call waits.
            others_since: Since when somebody else has waited for the store; None when nobody does.
        """
        if self.doubtful:
            return now
        usual_s = self._usual_s
        if usual_s is None:
            most_s = wait_s
        elif usual_s > wait_s:
            return now
        else:
            most_s = min(wait_s, max(_LEAST * wait_s, _TIMES * usual_s))
        since = [each for each in (self._owes_since, others_since) if each is not None]
        return min(since, default=now) + most_s
