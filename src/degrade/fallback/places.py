"""The name of a function that all processes of a fleet agree on, across hosts and deploys.

A flag may guard several functions, so the flag and the arguments alone do not say whose result a
shared snapshot is.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from degrade.fallback.canonical import shortened

__all__ = ("fleet_name",)


def fleet_name(fn: Callable[..., Any], *, told_apart: bool) -> str | None:
    """Return the name of a function for the whole fleet, None when it has none to rely on.

    Args:
        fn: The function.
        told_apart: Whoever decorated it said what tells its results apart.

    Guarantees:
        A lambda has none: others share its name. Neither has a function that closes over
        variables, unless `told_apart`: what they hold is part of its results, and may be
        another tenant in another process.
    """
    inner = inspect.unwrap(fn)
    module, qualname = getattr(inner, "__module__", None), getattr(inner, "__qualname__", None)
    if not isinstance(module, str) or not isinstance(qualname, str) or "<lambda>" in qualname:
        return None
    if getattr(inner, "__closure__", None) and not told_apart:
        return None
    return shortened(f"{_importable(module)}:{qualname}")


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
