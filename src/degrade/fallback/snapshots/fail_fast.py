"""A validator that gives up at the first error, whatever the schema: for values of strangers.

Pydantic goes on to the end and collects what is wrong. A list of two million numbers where
objects are wanted takes it 900 MB and some seconds, during which no other thread runs.
"""

from __future__ import annotations

from typing import Any

from pydantic_core import CoreConfig, SchemaValidator

__all__ = ("hasty",)

_CONFIG = CoreConfig(val_json_bytes="base64")
_COLLECTIONS = frozenset({"list", "tuple", "set", "frozenset", "dict"})
_NO_SCHEMAS = frozenset({"metadata", "serialization", "default", "expected", "members"})


def hasty(schema: Any) -> SchemaValidator:
    """Return a validator of a core schema that ends at the first item that does not fit."""
    rushed = _rushed(schema)
    try:  # validators that models have already built would go on to the end
        return SchemaValidator(rushed, _CONFIG, _use_prebuilt=False)
    except TypeError:  # a pydantic that never uses those
        return SchemaValidator(rushed, _CONFIG)


def _rushed(node: Any) -> Any:
    if isinstance(node, dict):
        kind = node.get("type")
        if not isinstance(kind, str):  # fields by their names
            return {name: _rushed(part) for name, part in node.items()}
        copy = {name: part if name in _NO_SCHEMAS else _rushed(part) for name, part in node.items()}
        if kind in _COLLECTIONS:
            copy["fail_fast"] = True
        return copy
    if isinstance(node, (list, tuple)):
        return type(node)(map(_rushed, node))
    return node
