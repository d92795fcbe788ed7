"""Ticking at the end of calls, where no thread can: `threads="inline"`."""

from __future__ import annotations

import threading
from contextlib import suppress
from typing import TYPE_CHECKING

from degrade.interrupts import is_interrupt

if TYPE_CHECKING:
    from degrade.runtime.runtime import Runtime

__all__ = ("InlineTicker",)

_EVERY_S = 0.25


class InlineTicker:
    """Ticks a runtime in the threads of its callers, one at a time.

    Guarantees:
        An interrupt of the caller goes on to it, and nothing that it left half done stays.
    """

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._lock = threading.RLock()  # releasing one that this thread does not hold is harmless
        self._last = 0.0

    def tick(self) -> None:
        """Tick, and do what the I/O worker has to do, at most four times a second."""
        runtime = self._runtime
        now = runtime.clock.monotonic()
        if now - self._last < _EVERY_S:
            return
        try:
            if not self._lock.acquire(blocking=False):
                return
            self._last = now
            runtime.tick()
            runtime.carry()
            self._lock.release()
        except BaseException as error:
            with suppress(RuntimeError):  # an interrupt may have come before it was taken
                self._lock.release()
            if isinstance(error, Exception) and not is_interrupt(error):
                runtime.internal_errors.note("tick")  # the call that ticks must not notice
                return
            runtime.forget_calls()
            raise
