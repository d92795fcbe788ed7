"""Plain functions whose results are awaited: a client's `get`, a `partial` in a closure, a cache.

They are guarded through the awaiting, which is what takes time and fails. A function is recognised
by its return annotation when decorating, else by its first results.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Coroutine, Generator
from inspect import CO_ITERABLE_COROUTINE
from opcode import opmap
from types import CoroutineType, FrameType, GeneratorType
from typing import Any, Final

__all__ = (
    "FIRST_RESULTS",
    "give_awaitable",
    "guard_awaiting",
    "is_awaitable",
    "is_awaited",
    "promises_awaitable",
)

_CACHE: Final = opmap.get("CACHE", -1)
_GET_AWAITABLE: Final = opmap["GET_AWAITABLE"]
FIRST_RESULTS: Final = 10
"""After so many results of which none is awaitable, the next ones are not looked at."""

_AWAITABLE: Final = re.compile(r"(\w+\.)*(Awaitable|Coroutine|CoroutineType|Future|Task)(\[.*)?")


def is_awaitable(value: object) -> bool:
    """Return whether a value can be awaited, by its real type, without running code of its own."""
    kind = type(value)
    if kind is GeneratorType:
        return bool(value.gi_code.co_flags & CO_ITERABLE_COROUTINE)  # type: ignore[attr-defined]  # it is a generator
    return hasattr(kind, "__await__")


def promises_awaitable(returns: object) -> bool:
    """Return whether a return annotation, as written or resolved, names an awaitable."""
    origin = getattr(returns, "__origin__", returns)
    text = returns if isinstance(returns, str) else getattr(origin, "__qualname__", "")
    return _AWAITABLE.fullmatch(text) is not None


def is_awaited(frame: FrameType) -> bool:
    """Return whether a frame awaits the result of the call that it is making."""
    code, at = frame.f_code.co_code, frame.f_lasti + 2
    while at < len(code) and code[at] == _CACHE:
        at += 2
    return at < len(code) and code[at] == _GET_AWAITABLE


async def give_awaitable(value: Any) -> Any:
    """Give a value to a caller that awaits it."""
    return value


def guard_awaiting(made: Any, run: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
    """Return what the caller of a guarded function awaits instead of what the function made.

    Args:
        made: What the function returned; None when it was not called.
        run: Awaits it under guard.

    Returns:
        A coroutine for a coroutine; otherwise an object with the attributes of `made`, such as
        those of a task, whose awaiting is guarded.
    """
    if made is None or type(made) is CoroutineType:
        return run()
    is_context = hasattr(type(made), "__aenter__") and hasattr(type(made), "__aexit__")
    return (_GuardedContext if is_context else _Guarded)(made, run)


class _Guarded:
    """Something awaitable, in place of which it stands for everything but the awaiting."""

    __slots__ = ("_made", "_run")

    def __init__(self, made: Any, run: Callable[[], Coroutine[Any, Any, Any]]) -> None:
        self._made = made
        self._run = run

    def __await__(self) -> Generator[Any, Any, Any]:
        return self._run().__await__()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._made, name)


class _GuardedContext(_Guarded):
    """The same of an asynchronous context manager, which `async with` enters without a guard."""

    __slots__ = ()

    async def __aenter__(self) -> Any:
        return await self._made.__aenter__()

    async def __aexit__(self, *exception: object) -> Any:
        return await self._made.__aexit__(*exception)
