"""How many bytes a value takes, as well as the interpreter can tell."""

from __future__ import annotations

import gc
import sys
from types import BuiltinFunctionType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any

__all__ = ("deep_size", "key_size")

_SHARED = (type, ModuleType, FunctionType, BuiltinFunctionType, MethodType, CodeType)
_SLOT = 8
_MAX_OBJECTS = 100_000


def key_size(key: tuple[Any, ...] | str) -> int:
    """Return the bytes of a key: a text, or a tuple of scalars and their types."""
    if not isinstance(key, tuple):
        return sys.getsizeof(key)
    sizes = [_SLOT * 8 + sys.getsizeof(part) for part in key if not isinstance(part, type)]
    return sys.getsizeof(key) + sum(sizes)


def deep_size(value: Any) -> int:
    """Return the bytes of `value` and of everything that only data can hold.

    Classes, modules and functions are shared by everybody and not counted. The walk ends at
    100,000 objects.

    Cost:
        About 0.3 microseconds an object.
    """
    seen = {id(value)}
    stack = [value]
    total = 0
    while stack and len(seen) < _MAX_OBJECTS:
        item = stack.pop()
        total += sys.getsizeof(item, 64)
        for part in gc.get_referents(item):
            total += _SLOT  # the values of an instance lie outside of what getsizeof sees
            if id(part) not in seen and not isinstance(part, _SHARED):
                seen.add(id(part))
                stack.append(part)
    return total
