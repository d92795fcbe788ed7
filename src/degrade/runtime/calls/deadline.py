"""How long the caller of a coroutine waits, and what becomes of a late one.

    caller ──await──> task of the coroutine ──in time──> its result
                └──── deadline passed: the ladder answers; the task is cancelled, or kept, and
                      ends in the background, whatever its clean-up takes

The coroutine runs in a task of its own, because only a task can be left behind: `asyncio.timeout`
inside of the caller's waits until the coroutine has cleaned up.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any, Final, Literal

from degrade.units import duration_text

__all__ = ("MAX_BACKGROUND", "Deadline", "OnDeadline")

log = logging.getLogger("degrade.runtime")

OnDeadline = Literal["cancel", "keep"]

_background: set[asyncio.Task[Any]] = set()
"""Late tasks that run: loops hold tasks weakly, and a guarded function may be gone by then."""

MAX_BACKGROUND: Final = 1_000
"""Late calls of one function that may run in the background; while so many do, others are served
from the ladder at once, as past their deadline."""


class _DeadlinePassedError(TimeoutError):
    """Ours, so that it is never taken for a timeout of the user's own."""


class Deadline:
    """A bound on waiting.

    Args:
        after_s: Seconds that the caller waits.
        late: `"cancel"` ends the coroutine then; `"keep"` lets it finish in the background, so
            that its result can refresh a snapshot.

    Guarantees:
        A caller that is cancelled cancels the coroutine and waits for its end, as without a
        deadline. Under another loop than asyncio's the coroutine runs without a bound, which is
        said once.
    """

    def __init__(self, after_s: float, late: OnDeadline = "cancel") -> None:
        self.after_s = after_s
        self.late = late
        self._late_count = 0
        self._is_unenforced = False

    def passed(self, error: BaseException) -> bool:
        """Return whether `error` says that this library's deadline passed."""
        return isinstance(error, _DeadlinePassedError)

    def wrap(
        self, do: Callable[[], Awaitable[Any]], late_result: Callable[[Any], None] | None = None
    ) -> Callable[[], Awaitable[Any]]:
        """Return `do` with the deadline around what it returns."""
        return lambda: self.wait_for(do, late_result)

    async def wait_for(
        self, do: Callable[[], Awaitable[Any]], late_result: Callable[[Any], None] | None = None
    ) -> Any:
        """Wait for what `do` returns, at most until the deadline.

        Args:
            do: Returns what to wait for.
            late_result: Takes the result of one that was kept and finished later.
        """
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            self._tell_unenforced()
            return await do()
        if self._late_count >= MAX_BACKGROUND:
            raise _DeadlinePassedError(f"{self._late_count} late calls are still running")
        task = asyncio.ensure_future(do())
        try:
            done, _ = await asyncio.wait({task}, timeout=self.after_s)
        except asyncio.CancelledError:
            task.cancel()
            await _end_of(task)
            if not task.cancelled():
                return task.result()
            raise
        if done:
            return task.result()
        self._leave_behind(task, late_result)
        raise _DeadlinePassedError(f"{self} passed")

    def _leave_behind(
        self, task: asyncio.Task[Any], late_result: Callable[[Any], None] | None
    ) -> None:
        _background.add(task)
        self._late_count += 1
        task.add_done_callback(lambda task: self._finished(task, late_result))
        if self.late == "cancel":
            task.cancel()

    def _finished(self, task: asyncio.Task[Any], late_result: Callable[[Any], None] | None) -> None:
        _background.discard(task)
        self._late_count -= 1
        if task.cancelled():
            return
        error = task.exception()
        if error is not None:
            log.debug("a call failed after its deadline had passed", exc_info=error)
        elif late_result is not None and self.late == "keep":
            late_result(task.result())

    def _tell_unenforced(self) -> None:
        if not self._is_unenforced:
            self._is_unenforced = True
            log.warning("%s is not enforced: the running loop is not one of asyncio's", self)

    def __str__(self) -> str:
        return f"the deadline of {duration_text(self.after_s)}"


async def _end_of(task: asyncio.Task[Any]) -> None:
    """Wait until a cancelled task has ended, and cancel it again when the caller is."""
    while not task.done():
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError:
            task.cancel()
