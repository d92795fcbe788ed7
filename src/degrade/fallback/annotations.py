"""Return annotations: resolving them, and telling which values would not survive JSON."""

from __future__ import annotations

import functools
import inspect
import math
import sys
from collections import deque
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Generator,
    Iterable,
    Iterator,
    Mapping,
)
from collections.abc import Set as AbstractSet
from dataclasses import fields, is_dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from types import SimpleNamespace
from typing import Any, get_origin, get_type_hints

from pydantic import BaseModel

from degrade.fallback.base import Target

__all__ = ("alike", "find_unfit", "is_iterator", "needs_proof", "resolve_returns")

_UNFIT = frozenset({"generator", "callable", "is-instance", "is-subclass"})
_AMBIGUOUS = frozenset({"union", "any"})
_ITEMS = {
    "list": "items_schema",
    "set": "items_schema",
    "frozenset": "items_schema",
    "tuple": "items_schema",
    "dict": "values_schema",
}
_ITERATORS = (Iterable, Iterator, Generator, AsyncIterable, AsyncIterator, AsyncGenerator)
_JSON_SIDE = {"json-or-python": "json_schema", "lax-or-strict": "lax_schema"}
_SEQUENCES = (list, tuple, deque)
_CONTAINERS: tuple[Any, ...] = (Mapping, _SEQUENCES, AbstractSet)
_SUBCLASSED = frozenset({str, bytes, int, float, Decimal, date, datetime, time, timedelta})


def resolve_returns(target: Target) -> Any:
    """Return the return annotation with every name in it resolved.

    Raises:
        NameError: A name in it is not defined (yet).
    """
    fn = inspect.unwrap(_function(target.fn))
    module = sys.modules.get(getattr(fn, "__module__", ""), None)
    known = getattr(fn, "__globals__", None) or vars(module or SimpleNamespace())
    holder = SimpleNamespace(__annotations__={"return": target.returns})
    return get_type_hints(holder, globalns=known, localns=dict(target.scope), include_extras=True)[
        "return"
    ]


def _function(fn: Any) -> Any:
    while isinstance(fn, functools.partial):
        fn = fn.func
    fn = getattr(fn, "__func__", fn)
    return fn if inspect.isroutine(fn) or isinstance(fn, type) else type(fn).__call__


def is_iterator(returns: object) -> bool:
    """Whether an annotation says that the values come one after the other, once."""
    return (get_origin(returns) or returns) in _ITERATORS


def find_unfit(schema: object) -> str | None:
    """Return the first kind of value in a core schema that JSON cannot carry, None without one."""
    return next((kind for kind in _kinds(schema) if kind in _UNFIT), None)


def needs_proof(schema: object) -> bool:
    """Whether values of this schema may come back as another type: unions, anything, bare lists."""
    return any(kind in _AMBIGUOUS for kind in _kinds(schema))


def _kinds(schema: object) -> list[str]:
    """Return the kind of every node of a pydantic core schema that reading JSON goes through."""
    found: list[str] = []
    stack = [schema]
    while stack:
        node = stack.pop()
        if isinstance(node, Mapping):
            kind = node.get("type")
            if isinstance(kind, str):
                found.append(kind)
                if kind in _ITEMS and _ITEMS[kind] not in node:
                    found.append("any")
            only = _JSON_SIDE.get(kind) if isinstance(kind, str) else None
            stack += [
                part
                for name, part in node.items()
                if (name == only if only else name not in {"metadata", "serialization"})
            ]
        elif isinstance(node, (list, tuple)):
            stack += node
    return found


def alike(one: Any, other: Any, *, exact: bool) -> bool:
    """Whether `other` can stand for `one`, from which it was stored.

    What is of a subclass (numpy's numbers, `Counter`) may come back as the built-in type. Models,
    dataclasses, named tuples, enum members and booleans must be of the very same type.

    Args:
        one: What was stored.
        other: What came back.
        exact: The annotation leaves the container open (a union, `Any`), so a tuple may not come
            back as a list; otherwise it decides, as `Sequence` does.
    """
    same = functools.partial(alike, exact=exact)
    kind = next((kind for kind in _CONTAINERS if isinstance(one, kind)), None)
    if kind is not None:
        if not isinstance(other, kind) or not _container_kept(one, other, exact=exact):
            return False
        if len(one) != len(other):
            return False
        if kind is _SEQUENCES:
            return all(map(same, one, other))
        found = {item: item for item in other}  # equal keys may differ in their types
        return all(
            item in found
            and same(item, found[item])
            and (kind is AbstractSet or same(one[item], other[item]))
            for item in one
        )
    if type(one) is not type(other):
        return (
            isinstance(one, type(other))
            and type(other) in _SUBCLASSED
            and not isinstance(one, (bool, Enum))
            and _equal(one, other)
        )
    if isinstance(one, BaseModel):
        return same(one.__dict__, other.__dict__) and same(
            one.__pydantic_extra__, other.__pydantic_extra__
        )
    if is_dataclass(one):
        return all(same(getattr(one, item.name), getattr(other, item.name)) for item in fields(one))
    return _equal(one, other)


def _container_kept(one: object, other: object, *, exact: bool) -> bool:
    if type(one) is type(other):
        return True
    return not hasattr(one, "_fields") and (not exact or isinstance(one, type(other)))


def _equal(one: Any, other: Any) -> bool:
    if isinstance(one, float) and math.isnan(one):
        return math.isnan(other)
    if isinstance(one, (datetime, time)):  # zones come back as offsets
        naive = one.replace(tzinfo=None, fold=0) == other.replace(tzinfo=None, fold=0)
        return bool(naive) and one.utcoffset() == other.utcoffset()
    return bool(one == other)
