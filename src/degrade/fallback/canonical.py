"""One text for one value: injective, with the type of every part, the same in every process.

    scalars      their repr, which for these types tells value and type
    containers   [a, b]  (a, b)  {k: v}  set{a, b}, unordered ones sorted by text
    the rest     package.module.Type(field=..., ...) for dataclasses, models, named tuples;
                 package.module.Type.NAME for enum members

Everything else is refused, above all objects that are told apart by identity or by a `repr`
that need not say everything. A class is only named when its name leads back to it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from datetime import date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from enum import Enum, Flag
from fractions import Fraction
from functools import cached_property
from hashlib import blake2b
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from pathlib import PosixPath, PurePosixPath, PureWindowsPath
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from pydantic import BaseModel

__all__ = ("UnstableError", "shortened", "stable_text", "type_name")

_MAX_DEPTH = 32
_MAX_PARTS = 10_000
_MAX_TEXT = 1_024
_BUILTIN_STATE = (
    str, bytes, bytearray, int, float, complex, list, tuple, dict, set, frozenset, BaseException,
)  # fmt: skip


class UnstableError(ValueError):
    """A value has no stable text; the message names its type, never the value."""


def stable_text(value: object) -> str:
    """Return the text of a value.

    Raises:
        UnstableError: It, or something in it, has no stable text, or it is too large.
    """
    return _Writer().write(value, 0)


def shortened(text: str) -> str:
    """Return a text of bounded length: itself, or a 256 bit digest that no short text equals."""
    if len(text) <= _MAX_TEXT:
        return text
    digest = blake2b(text.encode("utf-8", "surrogatepass"), digest_size=32).hexdigest()
    return f"blake2b:{digest}"


def type_name(kind: type) -> str | None:
    """Return the full name of a class, or None if the name does not lead back to it."""
    found: object = sys.modules.get(kind.__module__)
    for name in kind.__qualname__.split("."):
        found = getattr(found, name, None)
    return f"{kind.__module__}.{kind.__qualname__}" if found is kind else None


class _Writer:
    """Writes one value; counts its parts, so that a huge argument cannot stall the call."""

    __slots__ = ("_parts",)

    def __init__(self) -> None:
        self._parts = 0

    def write(self, value: object, depth: int) -> str:
        self._parts += 1
        if depth > _MAX_DEPTH or self._parts > _MAX_PARTS:
            raise UnstableError(f"more than {_MAX_PARTS} parts, or nested deeper than {_MAX_DEPTH}")
        kind = type(value)
        scalar = _SCALARS.get(kind)
        if scalar is not None:
            return scalar(value)
        container = _CONTAINERS.get(kind)
        if container is not None:
            return container(self, value, depth + 1)
        name = type_name(kind)
        if name is None:
            raise UnstableError(f"{kind.__qualname__} cannot be found by its name")
        if isinstance(value, Enum):
            return f"{name}.{value.value!r}" if isinstance(value, Flag) else f"{name}.{value.name}"
        return f"{name}({self._state(value, kind, depth + 1)})"

    def _state(self, value: object, kind: type, depth: int) -> str:
        """Return the whole state of an object that is nothing but its fields."""
        if (
            isinstance(value, tuple)
            and hasattr(kind, "_fields")
            and not getattr(value, "__dict__", None)
        ):
            return ", ".join([self.write(item, depth) for item in value])
        if isinstance(value, BaseModel):
            state = {
                **_attributes(value, set(kind.model_fields)),  # type: ignore[attr-defined] # the class of a model
                "extra": value.__pydantic_extra__,
                "private": value.__pydantic_private__,
            }
        elif is_dataclass(value) and not isinstance(value, _BUILTIN_STATE):
            names = {item.name for item in fields(value)}
            if not _slots(kind) <= names:
                raise UnstableError(f"{kind.__qualname__} has slots that are no fields")
            _attributes(value, names)
            state = {item.name: getattr(value, item.name) for item in fields(value)}
        else:
            raise UnstableError(f"{kind.__qualname__} has no stable key")
        return ", ".join([f"{name}={self.write(item, depth)}" for name, item in state.items()])

    def items(self, value: Any, depth: int) -> list[str]:
        return [self.write(item, depth) for item in value]

    def pairs(self, value: Any, depth: int) -> list[str]:
        return [
            f"{self.write(key, depth)}: {self.write(item, depth)}" for key, item in value.items()
        ]


def _attributes(value: object, names: set[str]) -> dict[str, Any]:
    """Return what is in the instance, without what `cached_property` left there."""
    kind = type(value)
    found = {
        name: item
        for name, item in getattr(value, "__dict__", {}).items()
        if not isinstance(getattr(kind, name, None), cached_property)
    }
    if not found.keys() <= names:
        raise UnstableError(f"{kind.__qualname__} has attributes that are no fields")
    return found


def _slots(kind: type) -> set[str]:
    found: set[str] = set()
    for base in kind.__mro__:
        slots = base.__dict__.get("__slots__", ())
        found.update((slots,) if isinstance(slots, str) else slots)
    return found - {"__dict__", "__weakref__"}


def _zone(zone: tzinfo | None) -> str:
    if zone is None or type(zone) is timezone:
        return repr(zone)
    if type(zone) is ZoneInfo and zone.key is not None:
        return f"ZoneInfo({zone.key!r})"
    raise UnstableError(f"the time zone {type(zone).__qualname__} has no stable key")


def _moment(value: datetime | time) -> str:
    naive = value.replace(tzinfo=None)
    return f"{naive!r}@{_zone(value.tzinfo)}"


_SCALARS: dict[type, Callable[[Any], str]] = {
    int: lambda value: repr(value) if -(10**18) < value < 10**18 else hex(value),
    datetime: _moment,
    time: _moment,
    **dict.fromkeys(
        (
            type(None), type(...), bool, str, bytes, float, complex, range, date, timedelta,
            Decimal, Fraction, UUID, PosixPath, PurePosixPath, PureWindowsPath,
            IPv4Address, IPv6Address, IPv4Network, IPv6Network,
        ),
        repr,
    ),
}  # fmt: skip
_CONTAINERS: dict[type, Callable[[_Writer, Any, int], str]] = {
    list: lambda writer, value, depth: f"[{', '.join(writer.items(value, depth))}]",
    tuple: lambda writer, value, depth: f"({', '.join(writer.items(value, depth))},)",
    dict: lambda writer, value, depth: f"{{{', '.join(sorted(writer.pairs(value, depth)))}}}",
    set: lambda writer, value, depth: f"set{{{', '.join(sorted(writer.items(value, depth)))}}}",
    frozenset: lambda writer, value, depth: (
        f"frozenset{{{', '.join(sorted(writer.items(value, depth)))}}}"
    ),
}
