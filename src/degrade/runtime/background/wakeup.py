"""What a background thread sleeps by: rung from anywhere, at no cost while nobody rings."""

from __future__ import annotations

import threading
from contextlib import suppress

__all__ = ("Wakeup",)


class Wakeup:
    """A wake-up call that is remembered until it is heard.

    Cost:
        Waiting is one call of the interpreter's own lock, which a `threading.Event` builds a
        condition around: an idle process wakes up cheaper.
    """

    __slots__ = ("_silent",)

    def __init__(self) -> None:
        self._silent = threading.Lock()
        self._silent.acquire()

    def ring(self) -> None:
        """Wake who waits, or who waits next; ringing twice is ringing once."""
        with suppress(RuntimeError):  # rung already
            self._silent.release()

    def wait(self, timeout_s: float) -> bool:
        """Wait for a ring; return whether there was one, and forget it."""
        return self._silent.acquire(timeout=timeout_s)
