"""What the small applications share: a part that a request can let fail, and the figures."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from degrade import ConfigError, UsageError, default, degradable
from degrade.runtime import current

__all__ = ("code_of_default", "figures", "find_stories", "with_shop")


def find_stories(down: object) -> list[str]:
    """Fail as a part does that cannot be reached, when the request asks for it."""
    if down:
        raise ConnectionError("the part is away")
    return ["new"]


def with_shop(function: Callable[..., Any]) -> Callable[..., Any]:
    """Hand in an argument that no caller passes, and fill one that a caller may leave out."""

    @functools.wraps(function)
    def inner(*args: Any, **kwargs: Any) -> Any:
        kwargs.setdefault("session", "of the decorator")
        return function("the shop", *args, **kwargs)

    return inner


def code_of_default(value: object) -> str:
    """Return the code with which a value is refused as a default, for one request as for many."""
    try:
        degradable("refused", fallback=default(value))(lambda *args: None)
    except (ConfigError, UsageError) as error:
        return error.code
    return "accepted"


def figures() -> dict[str, dict[str, int]]:
    """Return how the guarded functions of this process ended, by flag."""
    return {
        stats.name: {outcome.value: n for outcome, n in stats.primary.items() if n}
        for stats in current().stats()
    }
