"""Return annotations: resolving them, and telling which types would not survive JSON."""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Generator,
    Iterable,
    Iterator,
    Mapping,
)
from types import SimpleNamespace
from typing import Any, get_origin, get_type_hints

from degrade.fallback.base import Target

__all__ = ("find_unfit", "is_iterator", "needs_proof", "resolve_returns")

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
