"""What is nothing but data, told by real types alone: no code of the application runs here.

    atom       a scalar of the standard library, or of a class derived from one; an enum member
    container  list, tuple, dict, set and their kin, unless a class of its own overrides reading
    record     a dataclass, a model: its whole state is its `__dict__` and its slots
    other      an object that only its own class can read

An object of the last kind, and each that can be read only once, may change when it is looked at:
an iterator, a cursor, a lazy query, a proxy. Values are looked into a level at a time, which
costs the speed of C where a level holds plain values.
"""

from __future__ import annotations

from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum
from fractions import Fraction
from functools import cached_property, lru_cache, partial
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
)
from itertools import chain
from operator import attrgetter
from pathlib import PosixPath, PurePosixPath, PureWindowsPath, WindowsPath
from re import Pattern
from types import MemberDescriptorType, NoneType
from typing import Any, Final, cast
from uuid import UUID
from zoneinfo import ZoneInfo

from pydantic import BaseModel

__all__ = (
    "DICTS",
    "MISSING",
    "Shape",
    "attribute_dicts",
    "field_names",
    "find_consumable",
    "found_in_class",
    "is_immutable",
    "is_whole",
    "shape_of",
    "slot_values",
)

MISSING: Final = object()
"""Stands for an attribute that an instance does not have."""

_ATOMS: frozenset[type] = frozenset(
    {
        NoneType, type(...), bool, int, float, complex, str, bytes, range,
        date, datetime, time, timedelta, timezone, ZoneInfo, Decimal, Fraction, UUID,
        PosixPath, WindowsPath, PurePosixPath, PureWindowsPath, Pattern,
        IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network,
    }
)  # fmt: skip
DICTS: frozenset[type | None] = frozenset({dict, OrderedDict, defaultdict, Counter})
"""The builtin containers of keys and values."""

_URLS = ("pydantic.networks", "pydantic_core._pydantic_core")
_VIEWS: frozenset[type] = frozenset(map(type, ({}.keys(), {}.values(), {}.items())))
_CONTAINERS = DICTS | _VIEWS | {list, tuple, set, frozenset, deque}
_READING = ("__iter__", "__len__", "__getitem__")
_PRIVATE_SLOTS = frozenset({"__pydantic_extra__", "__pydantic_private__"})
_ONCE = ("__next__", "__anext__", "__await__")
_STREAM = (*_ONCE, "read", "fetchone")
_LAZY = (*_STREAM, "__iter__", "__aiter__", "__getitem__", "__getattr__", "__getattribute__")
_dict_of: Callable[[Any], dict[str, Any]] = attrgetter("__dict__")
_MAX_LEVELS = 255
_MAX_PARTS = 2_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """What a class says of its instances.

    Attributes:
        atom: The scalar that it is or derives from, None for anything else.
        container: The builtin container that it is or derives from, None for anything else.
        record: Whether its whole state is attributes: a dataclass or a model.
        derived: Attributes that a `cached_property` left, which are made again when needed.
        slots: Name and reader of each slot, of all its classes.
        has_dict: Whether its instances have a `__dict__`.
        once: Whether reading may use up an instance, whoever reads it.
        lazy: Whether a reader who does not know the class may change an instance.
        frozen: Whether nothing of an instance but its parts can change.
    """

    atom: type | None
    container: type | None
    record: bool
    derived: frozenset[str]
    slots: tuple[tuple[str, Callable[[Any], Any]], ...]
    has_dict: bool
    once: bool
    lazy: bool
    frozen: bool

    def parts(self, values: list[Any]) -> list[Callable[[], Iterable[Any]]]:
        """Return what gives everything that is directly in these values, all of this shape."""
        found: list[Callable[[], Iterable[Any]]] = []
        if self.container is not None:
            read = self.container.__iter__  # type: ignore[attr-defined] # all of them have it
            found.append(lambda: chain.from_iterable(map(read, values) if self.lazy else values))
            if self.container in DICTS:
                found.append(lambda: chain.from_iterable(map(dict.values, values)))
        if self.has_dict:
            states = attribute_dicts(values)
            if self.derived:
                states = [
                    {name: item for name, item in state.items() if name not in self.derived}
                    for state in states
                ]
            found.append(lambda: chain.from_iterable(map(dict.values, states)))
        found += [partial(slot_values, read, values) for _, read in self.slots]
        return found


def attribute_dicts(values: list[Any]) -> list[dict[str, Any]]:
    """Return the `__dict__` of each of these objects."""
    return list(map(_dict_of, values))


def slot_values(read: Callable[[Any], Any], values: list[Any]) -> list[Any]:
    """Return what each of these objects has in a slot, MISSING where it is empty."""
    try:
        return list(map(read, values))
    except AttributeError:
        return [_value_or_missing(read, value) for value in values]


def _value_or_missing(read: Callable[[Any], Any], value: object) -> Any:
    try:
        return read(value)
    except AttributeError:
        return MISSING


def found_in_class(kind: type, name: str) -> Any:
    """Return what a class or its bases have under a name, MISSING if nothing; runs no code."""
    return next((vars(base)[name] for base in kind.__mro__ if name in vars(base)), MISSING)


def shape_of(kind: type) -> Shape:
    """Return the shape of a class, remembered for the classes that were asked for last."""
    return _shape(kind)


def field_names(kind: Any) -> Mapping[str, Any]:
    """Return the fields of a dataclass or model."""
    found = kind.model_fields if BaseModel in kind.__mro__ else kind.__dataclass_fields__
    return cast("Mapping[str, Any]", found)


@lru_cache(maxsize=1_024)
def is_whole(kind: Any) -> bool:
    """Whether all state of a record lies in fields, in the private parts of a model, or is derived.

    Not so where a base keeps more in the memory of its instances than its attributes, as `date`,
    `deque` and exceptions do, or where slots are no fields.
    """
    shape = shape_of(kind)
    if not shape.record or shape.lazy:
        return False
    slots = [name for name, _ in shape.slots]
    known = {*field_names(kind), *_PRIVATE_SLOTS}
    fields_set = int(BaseModel in kind.__mro__)
    pointers = len(slots) + fields_set + (kind.__weakrefoffset__ > 0) + (kind.__dictoffset__ > 0)
    return (
        known.issuperset(slots)
        and len(set(slots)) == len(slots)
        and kind.__itemsize__ == 0
        and kind.__basicsize__ == object.__basicsize__ + pointers * tuple.__itemsize__
    )


@lru_cache(maxsize=1_024)
def _shape(kind: Any) -> Shape:
    bases = kind.__mro__
    is_enum, is_model = Enum in bases, BaseModel in bases
    atom = (
        Enum
        if is_enum
        else next((base for base in bases if base in _ATOMS or base is bytearray), None)
    )
    container = next((base for base in bases if base in _CONTAINERS), None)
    is_record = (
        is_model or found_in_class(kind, "__dataclass_fields__") is not MISSING
    ) and not _defines(kind, ("__getattribute__",))
    is_known = bool(atom or container or is_record)
    has_dict = kind.__dictoffset__ != 0 and atom not in {kind, Enum}
    derived = frozenset(
        name
        for base in bases
        for name in vars(base)
        if isinstance(found_in_class(kind, name), cached_property)
    )
    slots = () if is_enum else tuple(_slots(kind, atom))
    if is_record:
        derived -= field_names(kind).keys()
    once = _defines(kind, _ONCE if is_known else _STREAM)
    if is_enum:
        lazy = False
    elif not is_known:
        lazy = _defines(kind, _LAZY)
    elif container or atom:
        names = (*_READING, "keys", "values", "items") if container in DICTS else _READING
        lazy = container in _VIEWS or _defines(
            kind, names if container else ("__iter__",), before=container or atom
        )
    else:
        lazy = not is_model and any(
            _runs_code(found_in_class(kind, name)) for name in field_names(kind)
        )
    return Shape(
        atom=atom,
        container=container,
        record=is_record,
        derived=derived,
        slots=slots,
        has_dict=has_dict,
        once=once,
        lazy=once or lazy,
        frozen=is_enum
        or (atom in _ATOMS and not has_dict and not slots)
        or (container in {tuple, frozenset} and not has_dict)
        or (is_record and not container and _is_frozen(kind))
        or _is_url(kind),
    )


def find_consumable(value: object, *, kept: bool = False) -> str | None:
    """Return the name of a type in a value that looking at it might change, None without one.

    Args:
        value: What a function returned.
        kept: The value is kept as it is, so that only what can be read once counts.

    Guarantees:
        Calls nothing of the application, and looks only into atoms, containers and records. A
        value nested deeper than 255 levels, or of more than two million parts, is not data.

    Cost:
        30 to 100 ns a part.
    """
    level, count = {type(value): [value]}, 0
    for _ in range(_MAX_LEVELS):
        below: dict[type, list[Any]] = {}
        for kind, values in level.items():
            shape = shape_of(kind)
            if shape.once or (shape.lazy and not kept):
                return f"{kind.__module__}.{kind.__qualname__}"
            if shape.container or shape.record:
                count += sum(_sort(parts, below) for parts in shape.parts(values))
        if not below:
            return None
        if count > _MAX_PARTS:
            return f"{type(value).__qualname__} of more than {_MAX_PARTS:,} parts"
        level = below
    return f"{type(value).__qualname__} nested deeper than {_MAX_LEVELS} levels"


def is_immutable(value: object) -> bool:
    """Whether nobody can change a value, or anything in it, short of forcing it.

    True for scalars, enum members, tuples and frozen sets of such, and frozen dataclasses and
    frozen models of such that keep nothing beside their fields.

    Guarantees:
        Calls nothing of the application.

    Cost:
        30 to 100 ns a part.
    """
    level, count = {type(value): [value]}, 0
    for _ in range(_MAX_LEVELS):
        below: dict[type, list[Any]] = {}
        for kind, values in level.items():
            shape = shape_of(kind)
            if not shape.frozen:
                return False
            if shape.atom is None:
                count += sum(_sort(parts, below) for parts in shape.parts(values))
        if not below:
            return True
        if count > _MAX_PARTS:
            return False
        level = below
    return False


def _sort(parts: Callable[[], Iterable[Any]], below: dict[type, list[Any]]) -> int:
    """Add what is more than a plain scalar to the next level, by type; return how many."""
    count = 0
    for kind in set(map(type, parts())) - _ATOMS:
        found = [item for item in parts() if type(item) is kind]
        below.setdefault(kind, []).extend(found)
        count += len(found)
    return count


def _is_frozen(kind: type) -> bool:
    """Whether instances of a dataclass or model refuse every assignment, and keep no answers."""
    if issubclass(kind, BaseModel):
        frozen = (
            bool(kind.model_config.get("frozen"))
            and not kind.__private_attributes__
            and kind.__setattr__ is BaseModel.__setattr__
        )
    else:
        own = vars(kind).get("__dataclass_params__")
        frozen = own is not None and bool(own.frozen)
    return frozen and not any(  # those of Django and werkzeug are not that of functools
        part.__name__ == "cached_property"
        for base in kind.__mro__
        for item in vars(base).values()
        for part in type(item).__mro__
    )


def _is_url(kind: type) -> bool:
    """Whether this is one of pydantic's addresses, which derive from nothing and never change."""
    return kind.__module__ in _URLS and kind.__qualname__.endswith(("Url", "Dsn"))


def _slots(kind: type, atom: type | None) -> list[tuple[str, Callable[[Any], Any]]]:
    """Return name and reader of each slot that holds state, also of those that a subclass hides."""
    bases = kind.__mro__
    return [
        (name, attrgetter(name) if found_in_class(kind, name) is item else item.__get__)
        for base in bases[: bases.index(atom) if atom else None]
        if "__slots__" in vars(base)
        for name, item in vars(base).items()
        if isinstance(item, MemberDescriptorType) and name != "__pydantic_fields_set__"
    ]


def _defines(kind: type, names: tuple[str, ...], *, before: type | None = object) -> bool:
    """Whether a class, before a base of it, defines one of these."""
    for base in kind.__mro__:
        if base is before or base is object:
            return False
        if any(vars(base).get(name) is not None for name in names):
            return True
    return False


def _runs_code(attribute: object) -> bool:
    """Whether reading a field of a dataclass calls something other than the interpreter."""
    return hasattr(type(attribute), "__set__") and not isinstance(attribute, MemberDescriptorType)
