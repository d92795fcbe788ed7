"""Whether what comes back from JSON is what was stored: the same values of the same types.

`==` does not tell: `1 == True`, a class may compare an id alone, and a field may be left out of
comparing. So everything is looked into, a level at a time: the values of one field of all the
items of a list are one list, which is compared at the speed of C where it holds plain values.
An object is its content and its whole state: fields, private and other attributes, slots.
"""

from __future__ import annotations

import math
from collections import deque
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum
from itertools import chain, starmap
from operator import attrgetter, is_, itemgetter
from typing import Any
from uuid import UUID

from pydantic_core import TzInfo

from degrade.fallback.data import (
    DICTS,
    MISSING,
    Shape,
    attribute_dicts,
    found_in_class,
    shape_of,
    slot_values,
)

__all__ = ("alike",)

_SEQUENCES = frozenset({list, tuple, deque})
_SETS = frozenset({set, frozenset})
_PLAIN: frozenset[type] = frozenset({str, bytes, int, bool, type(None), date, timedelta, UUID})
"""Types whose values are the same when they are equal."""

_SUBCLASSED = frozenset({str, bytes, int, float, Decimal, date, datetime, time, timedelta})
_FIXED = frozenset({timezone, TzInfo})
_fold, _tzinfo = attrgetter("fold"), attrgetter("tzinfo")


def alike(one: Any, other: Any, *, exact: bool) -> bool:
    """Whether `other` can stand for `one`, from which it was stored.

    What is of a subclass (numpy's numbers, `Counter`) may come back as the built-in type if it
    has no attributes of its own, and an `int` as the `float` that the annotation says, for which
    type checkers take it, too. Models, dataclasses, named tuples, enum members and booleans must
    be of the very same type. What a `cached_property` left may differ.

    Args:
        one: What was stored.
        other: What came back.
        exact: The annotation leaves the container open (a union, `Any`), so a tuple may not come
            back as a list; otherwise it decides, as `Sequence` does.

    Raises:
        Exception: Whatever the `__eq__` of a value raises.

    Cost:
        0.1 µs for each plain value.
    """
    return _Comparison(exact).all([one], [other])


class _Comparison:
    """Compares level by level."""

    __slots__ = ("_exact",)

    def __init__(self, exact: bool) -> None:
        self._exact = exact

    def all(self, ones: list[Any], others: list[Any]) -> bool:
        """Whether each of these is alike to its counterpart; both are equally long."""
        kinds = set(map(type, ones))
        if len(kinds) == 1 and set(map(type, others)) == kinds:
            return self._of_kind(kinds.pop(), ones, others)
        if not all(map(is_, map(type, ones), map(type, others))):
            return all(
                self.all([one], [other]) if type(one) is type(other) else self._cast(one, other)
                for one, other in zip(ones, others, strict=True)
            )
        if kinds <= _PLAIN:
            return ones == others
        return [one for one in ones if type(one) in _PLAIN] == [
            other for other in others if type(other) in _PLAIN
        ] and all(
            self._of_kind(
                kind,
                [one for one in ones if type(one) is kind],
                [other for other in others if type(other) is kind],
            )
            for kind in kinds - _PLAIN
        )

    def _of_kind(self, kind: type, ones: list[Any], others: list[Any]) -> bool:
        if kind in _PLAIN:
            return ones == others
        if kind is float:
            return (ones == others and 0.0 not in ones) or all(map(_same_float, ones, others))
        if kind is Decimal:
            return list(map(str, ones)) == list(map(str, others))
        if kind is datetime:
            return _same_moments(ones, others)
        shape = shape_of(kind)
        if shape.atom is Enum:
            return all(map(is_, ones, others))
        if shape.container is None:
            same = shape.record or all(map(_equal, ones, others))
        else:
            same = self._same_content(shape.container, ones, others)
        return same and self._same_state(kind, shape, ones, others)

    def _same_content(self, container: type, ones: list[Any], others: list[Any]) -> bool:
        if container in _SETS:
            return all(map(self._unordered, ones, others))
        if container not in DICTS:
            if container is deque and any(map(_bounded_otherwise, ones, others)):
                return False
            return self._joined(ones, others)
        if self._joined(ones, others):  # the keys, usually in the same order
            columns = _aligned(ones, others) or [(_values(ones), _values(others))]
            return all(starmap(self.all, columns))
        return all(map(self._unordered, ones, others))

    def _same_state(self, kind: type, shape: Shape, ones: list[Any], others: list[Any]) -> bool:
        """Whether the attributes are alike, those that are no fields among them."""
        return all(
            self.all(slot_values(read, ones), slot_values(read, others)) for _, read in shape.slots
        ) and (not shape.has_dict or all(starmap(self.all, _columns(kind, shape, ones, others))))

    def _joined(self, ones: list[Any], others: list[Any]) -> bool:
        """Whether containers hold the same, in the same order."""
        if len(ones) == 1 and type(ones[0]) is type(others[0]) is list:
            return len(ones[0]) == len(others[0]) and self.all(ones[0], others[0])
        return list(map(len, ones)) == list(map(len, others)) and self.all(
            list(chain.from_iterable(ones)), list(chain.from_iterable(others))
        )

    def _unordered(self, one: Any, other: Any) -> bool:
        found = {item: item for item in other}  # equal keys may differ in their types
        items = list(one)
        if len(items) != len(found) or not all(item in found for item in items):
            return False
        return self.all(items, [found[item] for item in items]) and (
            not isinstance(one, dict)
            or self.all([one[item] for item in items], [other[item] for item in items])
        )

    def _cast(self, one: Any, other: Any) -> bool:
        """Whether a value of another type can stand for it."""
        kind, into = type(one), type(other)
        shape = shape_of(kind)
        if shape.record or _has_state(shape, one):
            return False
        if shape.container is None:
            promoted = kind is int and into is float
            return (
                (promoted or (issubclass(kind, into) and into in _SUBCLASSED))
                and kind is not bool
                and shape.atom is not Enum
                and _equal(one, other)
            )
        if self._exact and not issubclass(kind, into):
            return False
        container, theirs = shape.container, shape_of(into).container
        if container in _SEQUENCES:
            is_named = found_in_class(kind, "_fields") is not MISSING
            return not is_named and theirs in _SEQUENCES and self._joined([one], [other])
        kin = _SETS if container in _SETS else DICTS
        return container in kin and theirs in kin and self._unordered(one, other)


def _bounded_otherwise(one: deque[Any], other: deque[Any]) -> bool:
    return one.maxlen != other.maxlen


def _columns(
    kind: type, shape: Shape, ones: list[Any], others: list[Any]
) -> list[tuple[list[Any], list[Any]]]:
    """Return the values of each attribute, of both sides."""
    mine, its = attribute_dicts(ones), attribute_dicts(others)
    aligned = None if shape.derived else _aligned(mine, its)
    if aligned is not None:
        return aligned
    names = dict.fromkeys(chain(chain.from_iterable(mine), chain.from_iterable(its)))
    found = []
    for name in names.keys() - shape.derived:
        default = found_in_class(kind, name)  # an attribute that was never assigned reads as this
        found.append(
            ([state.get(name, default) for state in mine], [s.get(name, default) for s in its])
        )
    return found


def _aligned(
    mine: list[dict[Any, Any]], its: list[dict[Any, Any]]
) -> list[tuple[list[Any], list[Any]]] | None:
    """Return the values under each key, None unless all of these have the same few keys."""
    keys = list(mine[0])
    if len(keys) > len(mine) + 16 or {*map(len, mine), *map(len, its)} != {len(keys)}:
        return None
    try:
        return [(list(map(read, mine)), list(map(read, its))) for read in map(itemgetter, keys)]
    except KeyError:
        return None


def _values(dicts: list[dict[Any, Any]]) -> list[Any]:
    return list(chain.from_iterable(map(dict.values, dicts)))


def _has_state(shape: Shape, one: Any) -> bool:
    """Whether an object has anything beside its content."""
    attributes = attribute_dicts([one])[0].keys() if shape.has_dict else frozenset()
    return bool(attributes - shape.derived) or any(
        slot_values(read, [one]) != [MISSING] for _, read in shape.slots
    )


def _same_float(one: float, other: float) -> bool:
    if math.isnan(one) or math.isnan(other):
        return math.isnan(one) and math.isnan(other)
    return bool(one == other) and math.copysign(1.0, one) == math.copysign(1.0, other)


def _same_moments(ones: list[Any], others: list[Any]) -> bool:
    """Whether dates with times are the same; zones come back as offsets."""
    return (
        list(map(datetime.date, ones)) == list(map(datetime.date, others))
        and list(map(datetime.time, ones)) == list(map(datetime.time, others))
        and _offsets(ones) == _offsets(others)
        and not any(map(_fold, ones))
    ) or all(map(_equal, ones, others))


def _offsets(moments: list[Any]) -> list[tuple[bool, timedelta | None]]:
    """Return whether each has no zone, and how far it is from UTC."""
    zones = set(map(_tzinfo, moments))
    zone = next(iter(zones))
    if len(zones) == 1 and (zone is None or type(zone) in _FIXED):  # the same all the year
        return [(zone is None, zone and zone.utcoffset(None))] * len(moments)
    return [(one.tzinfo is None, one.utcoffset()) for one in moments]


def _equal(one: Any, other: Any) -> bool:
    if isinstance(one, float):
        return isinstance(other, float) and _same_float(one, other)
    if isinstance(one, (datetime, time)):
        if one.utcoffset() != other.utcoffset() or (one.tzinfo is None) != (other.tzinfo is None):
            return False
        if one.tzinfo is None and one.fold != other.fold:
            return False
        return bool(one == other) or bool(
            one.replace(tzinfo=None, fold=0) == other.replace(tzinfo=None, fold=0)
        )
    return bool(one == other)
