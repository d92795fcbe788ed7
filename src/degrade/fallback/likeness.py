"""Whether what comes back from JSON is what was stored: the same values of the same types.

`==` does not tell: `1 == True`, a class may compare an id alone, and a field may be left out of
comparing. So everything is looked into, a level at a time: the values of one field of all the
items of a list are one list, which is compared at the speed of C where it holds plain values.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import fields, is_dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from itertools import chain
from typing import Any, Final
from uuid import UUID

from pydantic import BaseModel

__all__ = ("alike",)

_SEQUENCES = (list, tuple, deque)
_CONTAINERS: tuple[Any, ...] = (Mapping, _SEQUENCES, AbstractSet)
_ATOMS: frozenset[type] = frozenset(
    {str, bytes, int, float, bool, type(None), date, timedelta, Decimal, UUID}
)
_SUBCLASSED = frozenset({str, bytes, int, float, Decimal, date, datetime, time, timedelta})
_MISSING: Final = object()


def alike(one: Any, other: Any, *, exact: bool) -> bool:
    """Whether `other` can stand for `one`, from which it was stored.

    What is of a subclass (numpy's numbers, `Counter`) may come back as the built-in type, and an
    `int` as the `float` that the annotation says, for which type checkers take it, too. Models,
    dataclasses, named tuples, enum members and booleans must be of the very same type.

    Args:
        one: What was stored.
        other: What came back.
        exact: The annotation leaves the container open (a union, `Any`), so a tuple may not come
            back as a list; otherwise it decides, as `Sequence` does.

    Raises:
        Exception: Whatever the `__eq__` of a value raises.

    Cost:
        0.2 µs for each plain value, 1 µs for a `datetime`.
    """
    return _all([one], [other], exact)


def _all(ones: list[Any], others: list[Any], exact: bool) -> bool:
    """Whether each of these is alike to its counterpart; both are equally long."""
    kinds = list(map(type, ones))
    if kinds != list(map(type, others)):
        return all(
            _all([one], [other], exact) if type(one) is type(other) else _cast(one, other, exact)
            for one, other in zip(ones, others, strict=True)
        )
    found = set(kinds)
    if len(found) == 1:
        return _of_kind(found.pop(), ones, others, exact)
    return all(
        _of_kind(
            kind,
            [one for one in ones if type(one) is kind],
            [other for other in others if type(other) is kind],
            exact,
        )
        for kind in found
    )


def _of_kind(kind: type, ones: list[Any], others: list[Any], exact: bool) -> bool:
    if kind in _ATOMS:
        return ones == others or all(map(_equal, ones, others))
    if issubclass(kind, _SEQUENCES):
        return _joined(ones, others, exact)
    if issubclass(kind, BaseModel):
        return all(
            _all(
                [one.__dict__.get(name, _MISSING) for one in ones],
                [other.__dict__.get(name, _MISSING) for other in others],
                exact,
            )
            for name in kind.model_fields
        ) and _all(
            [one.__pydantic_extra__ for one in ones],
            [other.__pydantic_extra__ for other in others],
            exact,
        )
    if is_dataclass(kind):
        return all(
            _all(
                [getattr(one, item.name, _MISSING) for one in ones],
                [getattr(other, item.name, _MISSING) for other in others],
                exact,
            )
            for item in fields(kind)
        )
    if kind is dict and _joined(ones, others, exact):  # the keys, usually in the same order
        return _all(_values(ones), _values(others), exact)
    if issubclass(kind, (Mapping, AbstractSet)):
        return all(_unordered(one, other, exact) for one, other in zip(ones, others, strict=True))
    return all(map(_equal, ones, others))


def _joined(ones: list[Any], others: list[Any], exact: bool) -> bool:
    """Whether containers hold the same, in the same order."""
    return list(map(len, ones)) == list(map(len, others)) and _all(
        list(chain.from_iterable(ones)), list(chain.from_iterable(others)), exact
    )


def _values(dicts: list[dict[Any, Any]]) -> list[Any]:
    return list(chain.from_iterable(map(dict.values, dicts)))


def _unordered(one: Any, other: Any, exact: bool) -> bool:
    found = {item: item for item in other}  # equal keys may differ in their types
    items = list(one)
    if len(items) != len(found) or not all(item in found for item in items):
        return False
    return _all(items, [found[item] for item in items], exact) and (
        not isinstance(one, Mapping)
        or _all([one[item] for item in items], [other[item] for item in items], exact)
    )


def _cast(one: Any, other: Any, exact: bool) -> bool:
    """Whether a value of another type can stand for it."""
    kind = next((kind for kind in _CONTAINERS if isinstance(one, kind)), None)
    if kind is None:
        promoted = type(one) is int and type(other) is float
        return (
            (promoted or (isinstance(one, type(other)) and type(other) in _SUBCLASSED))
            and not isinstance(one, (bool, Enum))
            and _equal(one, other)
        )
    if not isinstance(other, kind) or hasattr(one, "_fields"):
        return False
    if exact and not isinstance(one, type(other)):
        return False
    return _joined([one], [other], exact) if kind is _SEQUENCES else _unordered(one, other, exact)


def _equal(one: Any, other: Any) -> bool:
    if isinstance(one, float) and math.isnan(one):
        return math.isnan(other)
    if isinstance(one, (datetime, time)):  # zones come back as offsets
        if one.utcoffset() != other.utcoffset():
            return False
        return bool(one == other) or bool(
            one.replace(tzinfo=None, fold=0) == other.replace(tzinfo=None, fold=0)
        )
    return bool(one == other)
