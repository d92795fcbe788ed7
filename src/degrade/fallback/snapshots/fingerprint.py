"""A name for the shape of a type: its types and names, defaults and constraints, nothing else.

Processes of two versions of an application compare it before one reads what the other stored.
What only explains (titles, descriptions, examples, whatever an application added) does not count.
"""

from __future__ import annotations

import json
from hashlib import blake2b
from typing import Any

from pydantic import TypeAdapter
from pydantic.errors import PydanticInvalidForJsonSchema

from degrade.fallback.snapshots.return_types import outline

__all__ = ("fingerprint",)

_NAMED = frozenset({"properties", "patternProperties", "$defs", "dependentSchemas"})
"""Keywords whose keys are names, and whose values are schemas."""

_VALUES = frozenset(
    {
        "type", "enum", "const", "default", "required", "dependentRequired", "discriminator",
        "$ref", "format", "pattern", "contentEncoding", "contentMediaType",
        "minLength", "maxLength", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum",
        "multipleOf", "minItems", "maxItems", "uniqueItems", "minContains", "maxContains",
        "minProperties", "maxProperties",
    }
)  # fmt: skip
_SCHEMAS = frozenset(
    {
        "items", "prefixItems", "contains", "additionalProperties", "propertyNames", "anyOf",
        "oneOf", "allOf", "not", "if", "then", "else", "unevaluatedItems", "unevaluatedProperties",
    }
)  # fmt: skip


def fingerprint(adapter: TypeAdapter[Any], returns: object) -> str:
    """Return a name for the shape of the type, the same in every process."""
    try:
        schema: Any = _meaning(adapter.json_schema(mode="serialization", by_alias=False))
    except PydanticInvalidForJsonSchema:
        schema = repr(returns)
    shape = json.dumps([schema, outline(adapter.core_schema)], sort_keys=True)
    return blake2b(shape.encode(), digest_size=8).hexdigest()


def _meaning(schema: Any) -> Any:
    """Return a JSON schema without what only explains it."""
    if isinstance(schema, list):
        return [_meaning(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    found = {}
    for keyword, part in schema.items():
        if keyword in _NAMED:
            found[keyword] = {name: _meaning(one) for name, one in part.items()}
        elif keyword in _VALUES:
            found[keyword] = part
        elif keyword in _SCHEMAS:
            found[keyword] = _meaning(part)
    return found
