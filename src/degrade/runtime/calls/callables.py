"""The wrapper of a callable that is no function: it keeps the nature of that callable."""

from __future__ import annotations

import functools
from collections.abc import Callable
from types import FunctionType, MethodType
from typing import Any

__all__ = ("as_function", "has_guard", "like")


def as_function(fn: Callable[..., Any], *, is_method: bool) -> Callable[..., Any]:
    """Return what calls `fn` as an attribute lookup on a class would.

    A descriptor that is no function, such as a decorator object of wrapt, learns its instance by
    being looked up.
    """
    if not is_method or type(fn) in (FunctionType, MethodType) or not hasattr(fn, "__get__"):
        return fn
    descriptor: Any = fn

    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        return descriptor.__get__(self, type(self))(*args, **kwargs)

    return functools.update_wrapper(call, fn)


def like(fn: Callable[..., Any], guarded: Callable[..., Any]) -> Callable[..., Any]:
    """Return a wrapper that binds to instances as `fn` does, and has its attributes."""
    if type(fn) is FunctionType:  # others may claim to be one
        return guarded
    wrapper = _Guarded(guarded)
    functools.update_wrapper(wrapper, fn)
    return wrapper


def has_guard(fn: object) -> bool:
    """Return whether a callable is a wrapper that `like` made."""
    return isinstance(fn, _Guarded)


class _Guarded(functools.partial[Any]):
    """Calls a guarded function; everything else is as of what it wraps.

    A `partial`, because `inspect` looks through it for what tells coroutine functions.
    """

    __slots__ = ()

    def __get__(self, instance: object, owner: type | None = None) -> Any:
        kind = type(self.__wrapped__)
        if instance is None or kind is MethodType or not hasattr(kind, "__get__"):
            return self
        return MethodType(self, instance)

    def __getattr__(self, name: str) -> Any:
        if name == "__wrapped__":  # while it is made, or copied
            raise AttributeError(name)
        return getattr(self.__wrapped__, name)
