"""What a call reads to know what to do; written by the ticker, read without a lock."""

from __future__ import annotations

from typing import Any

from degrade.context import DegradedStatus

__all__ = ("UNBOUND", "FastPath")


class FastPath:
    """The effect of everything on one flag, as few attributes as a call can read.

    Attributes:
        shut: Calls take the slow way: something is degraded, the ticker sleeps or was never
            started, or calls come faster than it can count them.
        still: Every call is degraded, none may probe, and the ticker is awake: calls may be
            answered on the spot.
        stamp: What answers of this flag say of themselves.
        look_from: From when on calls look whether their result is due for a snapshot, monotonic
            seconds. The ticker moves it ahead when calls come so thick that looking at each
            would cost more than it finds.
    """

    __slots__ = ("look_from", "shut", "stamp", "still")

    def __init__(self, flag: str) -> None:
        self.shut = True
        self.still = False
        self.look_from = float("-inf")
        self.stamp = DegradedStatus(flag, "", None)

    def __reduce__(self) -> tuple[Any, ...]:
        """Travel as the gate that is shut: another process has phases of its own."""
        return FastPath, ("",)


UNBOUND = FastPath("")
"""The gate of every flag that no runtime has adopted yet: shut for good."""
