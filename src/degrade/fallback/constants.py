"""How a constant is handed out: as it is when nobody can change it, else as a fresh copy."""

from __future__ import annotations

import copy
import dataclasses
from collections import deque
from collections.abc import Callable
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from functools import partial
from typing import Any
from uuid import UUID

from pydantic import BaseModel

from degrade.errors import UsageError

__all__ = ("copier",)

_ATOMS = frozenset(
    {
        type(None), bool, int, float, complex, str, bytes, date, datetime, time, timedelta,
        Decimal, UUID,
    }
)  # fmt: skip
_FLAT = frozenset({list, dict, set, tuple, frozenset})
_CONTAINERS = (list, tuple, dict, set, frozenset, bytearray, deque, BaseModel)


def copier(value: Any) -> Callable[[], Any]:
    """Return a function that gives `value` to one caller.

    Containers, dataclasses and models are copied in depth; anything else is shared, so that
    an object that stands for itself (a sentinel, an enum member) stays the same object.

    Raises:
        UsageError: A container cannot be copied (code `bad-rung`).
    """
    if not isinstance(value, _CONTAINERS) and not dataclasses.is_dataclass(value):
        return lambda: value
    try:
        kept: Any = copy.deepcopy(value)  # what the user does to theirs later is not served
    except Exception as error:  # whatever the copying of a user's object raises
        raise UsageError(
            f"default(<{type(value).__name__}>) cannot be copied ({error}); give a function that "
            "makes it for each call",
            code="bad-rung",
        ) from error
    kind: type = type(kept)
    atomic = kind in _FLAT and all(
        type(item) in _ATOMS for item in (kept.values() if kind is dict else kept)
    )
    if not atomic:
        return partial(copy.deepcopy, kept)
    return kept.copy if kind in {list, dict, set} else lambda: kept
