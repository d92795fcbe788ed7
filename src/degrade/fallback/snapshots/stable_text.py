"""One text for one value: injective, with the type of every part, the same in every process.

    scalars      their repr, which for these types tells value and type
    containers   [a, b]  (a, b)  {k: v}  set{a, b}, unordered ones sorted by text
    enums        package.module.Type.'NAME', of combined flags package.module.Type.NUMBER
    the rest     package.module.Type(...), in it
                     the items of a named tuple
                     the fields of a dataclass, as a dictionary
                     of a model: fields, extra, private attributes, which fields were set

Each text tells where it ends, and no name of a field, key or member stands in it unquoted, so no
two values have one text. Everything else is refused, above all objects that are told apart by
identity or by a `repr` that need not say everything, and those that keep state beside their
fields. A class is only named when its name leads back to it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from datetime import date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from enum import Enum, Flag
from fractions import Fraction
from hashlib import blake2b
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from pathlib import PosixPath, PurePosixPath, PureWindowsPath
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from pydantic import BaseModel

from degrade.fallback.data import (
    MISSING,
    attribute_dicts,
    field_names,
    found_in_class,
    is_whole,
    shape_of,
    slot_values,
)

__all__ = ("UnstableError", "shortened", "stable_text", "type_name")

_MAX_DEPTH = 32
_MAX_PARTS = 10_000
_MAX_TEXT = 1_024


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
        if issubclass(kind, Enum):
            return f"{name}.{_member(value, kind)!r}"
        return f"{name}({', '.join(self.items(_state(value, kind), depth + 1))})"

    def items(self, value: Any, depth: int) -> list[str]:
        return [self.write(item, depth) for item in value]

    def pairs(self, value: Any, depth: int) -> list[str]:
        return [
            f"{self.write(key, depth)}: {self.write(item, depth)}" for key, item in value.items()
        ]


def _member(value: Any, kind: type[Enum]) -> str | int:
    """Return the name of a member, of combined flags their number."""
    name, number = value._name_, value._value_
    if kind._member_map_.get(name) is value:
        return str(name)
    if issubclass(kind, Flag) and type(number) is int:
        return number
    raise UnstableError(f"{kind.__qualname__} has a member that is not in it")


def _state(value: Any, kind: type) -> tuple[object, ...]:
    """Return the whole state of an object that is nothing but its fields, in parts of fixed order.

    Raises:
        UnstableError: It may have state beside that.
    """
    shape = shape_of(kind)
    attributes = attribute_dicts([value])[0] if shape.has_dict else {}
    state = {name: item for name, item in attributes.items() if name not in shape.derived}
    if (
        shape.container is tuple
        and not shape.lazy
        and found_in_class(kind, "_fields") is not MISSING
    ):
        if not state and not shape.slots:
            return tuple(value)
        raise UnstableError(f"{kind.__qualname__} has attributes that are no fields")
    if not is_whole(kind):
        raise UnstableError(f"{kind.__qualname__} has no stable key")
    fields = field_names(kind)
    if not state.keys() <= fields.keys():
        raise UnstableError(f"{kind.__qualname__} has attributes that are no fields")
    if isinstance(value, BaseModel):
        private = value.__pydantic_private__
        return state, value.__pydantic_extra__, private, value.__pydantic_fields_set__
    slots = {name: slot_values(read, [value])[0] for name, read in shape.slots}
    return ({**state, **{name: item for name, item in slots.items() if item is not MISSING}},)


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
