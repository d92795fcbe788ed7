"""Waiting for conditions, never for durations."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

__all__ = ("until",)

T = TypeVar("T")


def until(
    condition: Callable[[], T], *, within_s: float = 20.0, every_s: float = 0.01, what: str = ""
) -> T:
    """Return the first truthy value of a condition.

    Raises:
        AssertionError: It did not come in time; says what was waited for and the last value.
    """
    end = time.monotonic() + within_s
    while not (value := condition()):
        if time.monotonic() > end:
            name = what or getattr(condition, "__name__", repr(condition))
            raise AssertionError(f"waited {within_s:g} s in vain for {name}; last: {value!r}")
        time.sleep(every_s)
    return value
