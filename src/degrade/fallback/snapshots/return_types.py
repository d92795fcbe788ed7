"""Return annotations: resolving them, and telling which types would not survive JSON."""

from __future__ import annotations

import functools
import inspect
import sys
import types
import typing
from collections import ChainMap
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Generator,
    Iterable,
    Iterator,
    Mapping,
)
from enum import Enum
from operator import is_, or_
from types import FrameType, NoneType, SimpleNamespace
from typing import Any, get_origin, get_type_hints

from degrade.fallback.rung import Target

__all__ = (
    "find_unfit",
    "has_plain_defaults",
    "is_iterator",
    "names_at",
    "needs_proof",
    "outline",
    "resolve_returns",
)

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
_NO_SCHEMAS = frozenset({"metadata", "serialization", "default", "expected", "members"})
_SCALARS = (str, int, float, NoneType, Enum)
_EMPTY = (list, dict, set, tuple, frozenset)
_JSON_SIDE = {"json-or-python": "json_schema", "lax-or-strict": "lax_schema"}


def names_at(frame: FrameType | None) -> Mapping[str, Any]:
    """Return the local names that an annotation may use at a place, also those defined later.

    A class body sees its own names, and those of the function around it.
    """
    found = []
    while frame is not None and frame.f_locals is not frame.f_globals:
        found.append(frame.f_locals)
        if frame.f_code.co_flags & inspect.CO_OPTIMIZED:  # a function, which sees no more
            break
        frame = frame.f_back
    return ChainMap(*found)


def resolve_returns(target: Target) -> Any:
    """Return the return annotation with every name in it resolved.

    Raises:
        NameError: A name in it is not defined (yet).
    """
    fn = inspect.unwrap(_function(target.fn))
    module = sys.modules.get(getattr(fn, "__module__", ""), None)
    known = getattr(fn, "__globals__", None) or vars(module or SimpleNamespace())
    holder = SimpleNamespace(__annotations__={"return": target.returns})
    names = dict(target.scope)
    found = get_type_hints(holder, globalns=known, localns=names, include_extras=True)["return"]
    return found if sys.version_info >= (3, 12) else _readable(found, names, {})  # type: ignore[unreachable,unused-ignore] # on some versions


def _readable(hint: Any, names: Mapping[str, Any], made: dict[Any, Any]) -> Any:
    """Replace `typing.TypedDict`, which pydantic reads from Python 3.12 on, in an annotation."""
    if typing.is_typeddict(hint) and type(hint).__module__ == "typing":
        return made.get(hint) or _typed_dict(hint, names, made)
    parts = getattr(hint, "__args__", ())
    read = tuple([_readable(part, names, made) for part in parts])
    origin = get_origin(hint)
    if typing.is_typeddict(origin):
        return _readable(origin, names, made)[read]
    if all(map(is_, read, parts)):
        return hint
    if isinstance(hint, types.UnionType):
        return functools.reduce(or_, read)
    return (
        types.GenericAlias(origin, read)
        if type(hint) is types.GenericAlias
        else hint.copy_with(read)
    )


def _typed_dict(kind: Any, names: Mapping[str, Any], made: dict[Any, Any]) -> Any:
    from typing_extensions import TypedDict  # noqa: PLC0415 - pydantic brings it

    generic: Any = typing.Generic
    variables = getattr(kind, "__parameters__", ())
    bases = (TypedDict, generic[variables]) if variables else (TypedDict,)
    copy: Any = types.new_class(kind.__name__, bases)
    made[kind] = copy  # before its fields, which may name it
    hints = get_type_hints(kind, localns=names, include_extras=True)
    copy.__annotations__ = {name: _readable(hint, names, made) for name, hint in hints.items()}
    copy.__required_keys__, copy.__optional_keys__ = kind.__required_keys__, kind.__optional_keys__
    for name in ("__module__", "__qualname__", "__pydantic_config__"):
        if hasattr(kind, name):
            setattr(copy, name, getattr(kind, name))
    return copy


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
    return next((kind for kind, _ in _nodes(schema) if kind in _UNFIT), None)


def needs_proof(schema: object) -> bool:
    """Whether values of this schema may come back as another type: unions, anything, bare lists."""
    return any(kind in _AMBIGUOUS for kind, _ in _nodes(schema))


def has_plain_defaults(schema: object) -> bool:
    """Whether fields of models have defaults, each of which is made the same again."""
    fields = [node["schema"] for kind, node in _nodes(schema) if kind == "model-field"]
    defaults = [field for field in fields if field["type"] == "default"]
    return bool(defaults) and all(map(_is_plain_default, defaults))


def _is_plain_default(field: Mapping[str, Any]) -> bool:
    if "default_factory" in field:
        return field["default_factory"] in _EMPTY
    default = field["default"]
    return isinstance(default, _SCALARS) or (type(default) in _EMPTY and not default)


def outline(schema: object) -> list[list[str]]:
    """Return the kinds and names of a core schema, the same in every process."""
    return [[kind, *_names(node)] for kind, node in _nodes(schema)]


def _names(node: Mapping[str, Any]) -> list[str]:
    if node.get("type") == "enum":
        return [node["cls"].__name__, *[member.name for member in node["members"]]]
    named = node.get("cls") or node.get("function") or node.get("default_factory")
    if not isinstance(named, type):
        return []
    return [named.__name__, *(getattr(named, "_fields", ()) if issubclass(named, tuple) else ())]


def _nodes(schema: object) -> list[tuple[str, Mapping[str, Any]]]:
    """Return kind and node of all of a pydantic core schema that reading JSON goes through."""
    found: list[tuple[str, Mapping[str, Any]]] = []
    stack = [schema]
    while stack:
        node = stack.pop()
        if isinstance(node, Mapping):
            kind = node.get("type")
            if isinstance(kind, str):
                found.append((kind, node))
                if kind in _ITEMS and _ITEMS[kind] not in node:
                    found.append(("any", {}))
            else:  # fields by their names
                stack += node.values()
                continue
            only = _JSON_SIDE.get(kind)
            stack += [
                part
                for name, part in node.items()
                if (name == only if only else name not in _NO_SCHEMAS)
            ]
        elif isinstance(node, (list, tuple)):
            stack += node
    return found
