"""How long the caller of a coroutine waits, and what becomes of a late one."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any, Literal

from degrade.units import duration_text

__all__ = ("Deadline", "Late")

log = logging.getLogger("degrade.runtime")

Late = Literal["cancel", "keep"]

_kept: set[asyncio.Task[Any]] = set()
"""Late tasks that run: loops hold tasks weakly, and a guarded function may be gone by then."""


class _DeadlinePassedError(TimeoutError):
    """Ours, so that it is never taken for a timeout of the user's own."""


class Deadline:
    """A bound on waiting.

    Args:
        after_s: Seconds that the caller waits.
        late: `"cancel"` ends the coroutine then; `"keep"` lets it finish in the background, so
            that its result can refresh a snapshot.
    """

    def __init__(self, after_s: float, late: Late) -> None:
        self.after_s = after_s
        self.late = late

    def passed(self, error: BaseException) -> bool:
        """Return whether `error` says that this library's deadline passed."""
        return isinstance(error, _DeadlinePassedError)

    def bounding(
        self, do: Callable[[], Awaitable[Any]], late_result: Callable[[Any], None] | None
    ) -> Callable[[], Awaitable[Any]]:
        """Return `do` with the deadline around what it returns."""
        return lambda: self.waited(do(), late_result)

    def waited(
        self, awaitable: Awaitable[Any], late_result: Callable[[Any], None] | None = None
    ) -> Awaitable[Any]:
        """Return an awaitable that ends by the deadline.

        Args:
            awaitable: What to wait for.
            late_result: Takes the result of one that was kept and finished later.
        """
        if self.late == "keep":
            return self._kept_after(awaitable, late_result)
        return self._cancelled_after(awaitable)

    async def _cancelled_after(self, awaitable: Awaitable[Any]) -> Any:
        limit = asyncio.timeout(self.after_s)
        try:
            async with limit:
                return await awaitable
        except TimeoutError:
            if limit.expired():
                raise _DeadlinePassedError(f"{self} passed") from None
            raise

    async def _kept_after(
        self, awaitable: Awaitable[Any], late_result: Callable[[Any], None] | None
    ) -> Any:
        task = asyncio.ensure_future(awaitable)
        try:
            done, _ = await asyncio.wait({task}, timeout=self.after_s)
        except asyncio.CancelledError:
            task.cancel()
            raise
        if done:
            return task.result()
        _kept.add(task)
        task.add_done_callback(lambda task: self._finished(task, late_result))
        raise _DeadlinePassedError(f"{self} passed")

    def _finished(self, task: asyncio.Task[Any], late_result: Callable[[Any], None] | None) -> None:
        _kept.discard(task)
        if task.cancelled():
            return
        error = task.exception()
        if error is not None:
            log.debug("a call failed after its deadline had passed", exc_info=error)
        elif late_result is not None:
            late_result(task.result())

    def __str__(self) -> str:
        return f"the deadline of {duration_text(self.after_s)}"
