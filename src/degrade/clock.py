"""Two times: monotonic for measuring, wall for timestamps that other processes read.

Nothing in the library calls `time` directly; a `Clock` is injected everywhere.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Protocol

__all__ = ("Clock", "ManualClock", "SystemClock")


class Clock(Protocol):
    """What the library needs to know about time; both in float seconds.

    The members are read once and called often, so an implementation may bind builtins.
    """

    @property
    def monotonic(self) -> Callable[[], float]:
        """Never goes backwards; comparable within one process only."""
        ...

    @property
    def wall(self) -> Callable[[], float]:
        """Unix time; may jump."""
        ...


class SystemClock:
    """The clocks of the operating system, without a Python frame in between."""

    __slots__ = ()
    monotonic = staticmethod(time.monotonic)
    wall = staticmethod(time.time)

    def __repr__(self) -> str:
        return "SystemClock()"


class ManualClock:
    """A clock that moves only when told to: for tests and simulations.

    Args:
        monotonic_s: First monotonic time, seconds.
        wall_s: First wall time, Unix seconds.

    Guarantees:
        Safe to advance from one thread while others read.
    """

    def __init__(self, monotonic_s: float = 1_000.0, wall_s: float = 1_700_000_000.0) -> None:
        self._monotonic_s = monotonic_s
        self._wall_s = wall_s
        self._lock = threading.Lock()

    def monotonic(self) -> float:
        return self._monotonic_s

    def wall(self) -> float:
        return self._wall_s

    def advance(self, seconds: float) -> None:
        """Move both times forward.

        Raises:
            ValueError: `seconds` is negative; use `jump_wall` for a wall clock that steps back.
        """
        if seconds < 0:
            raise ValueError(f"a monotonic clock cannot go back by {seconds!r} s")
        with self._lock:
            self._monotonic_s += seconds
            self._wall_s += seconds

    def jump_wall(self, seconds: float) -> None:
        """Step the wall clock alone, in either direction, as NTP or an operator may do."""
        with self._lock:
            self._wall_s += seconds

    def __repr__(self) -> str:
        return f"ManualClock(monotonic_s={self._monotonic_s!r}, wall_s={self._wall_s!r})"
