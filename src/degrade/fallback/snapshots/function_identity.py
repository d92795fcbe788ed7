"""Which functions are the same: in this process, and in all processes of a fleet.

A flag may guard several functions, so the flag and the arguments alone do not say whose result a
snapshot is. Nor does the name of a function, where one name stands for many: what a closure, a
partial, a bound method or a callable object holds may be a tenant.
"""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from degrade.fallback.snapshots.stable_text import shortened

__all__ = ("fleet_name", "stands_alone")


def stands_alone(fn: Callable[..., Any]) -> bool:
    """Whether another function of the same name and place may give other results.

    So it is, also under decorators, with whatever holds something beside its arguments, and with
    lambdas and functions made by a function. One of a module or class has its name for itself.
    """
    layers = _layers(fn)
    return "<" in str(getattr(layers[-1], "__qualname__", "<")) or any(
        _binds(layer) or getattr(layer, "__closure__", None) for layer in layers
    )


def fleet_name(fn: Callable[..., Any], *, told_apart: bool) -> str | None:
    """Return the name of a function for the whole fleet, None when it has none to rely on.

    Args:
        fn: The function.
        told_apart: Whoever decorated it said what tells its results apart.

    Guarantees:
        A lambda has none: others share its name. Neither has a function that closes over
        variables, a partial, a bound method or a callable object, unless `told_apart`: what they
        hold is part of their results, and may be another tenant in another process.
    """
    layers = _layers(fn)
    inner = layers[-1]
    module, qualname = getattr(inner, "__module__", None), getattr(inner, "__qualname__", None)
    if not isinstance(module, str) or not isinstance(qualname, str) or "<lambda>" in qualname:
        return None
    if not told_apart and (getattr(inner, "__closure__", None) or any(map(_binds, layers))):
        return None
    return shortened(f"{_importable(module)}:{qualname}")


def _layers(fn: Callable[..., Any]) -> list[Any]:
    """Return a function and what its decorators wrap, the innermost last."""
    layers: list[Any] = []

    def keep(layer: Any) -> bool:
        layers.append(layer)
        return False

    layers.append(inspect.unwrap(fn, stop=keep))
    return layers


def _binds(layer: Any) -> bool:
    """Whether it is a partial, a callable object, or a method of an instance or a class."""
    owner = getattr(layer, "__self__", None)
    return (
        isinstance(layer, functools.partial)
        or (owner is not None and not isinstance(owner, ModuleType))
        or not inspect.isroutine(layer)
    )


def _importable(module: str) -> str:
    """Return the name by which others import the module that runs as `__main__`."""
    if module != "__main__":
        return module
    main = sys.modules[module]
    spec = getattr(main, "__spec__", None)
    if spec is not None:
        return str(spec.name)
    path = getattr(main, "__file__", None)
    return Path(path).stem if path else module
