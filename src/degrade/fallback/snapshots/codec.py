r"""Snapshots as typed JSON: the value by its return annotation, in an envelope that is checked.

    {"v":1,"schema":"…","key":"…","created":1700000000.0,"epoch":7,"packed":0}\n
    [value as JSON]                      or the same through zlib when "packed" is 1

The value stands in a list of one, so that no truncated body is a shorter valid one. Nothing
read here can run code, take more memory than `MAX_BODY` allows, or answer for another key,
another type or another version: all of that is a `CodecError`.
"""

from __future__ import annotations

import json
import math
import types
import zlib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.errors import PydanticUserError
from pydantic_core import SchemaValidator, from_json

from degrade.errors import CodecError, UsageError
from degrade.fallback.data import find_consumable
from degrade.fallback.rung import Target, name_of
from degrade.fallback.snapshots.fail_fast import hasty
from degrade.fallback.snapshots.fingerprint import fingerprint
from degrade.fallback.snapshots.return_types import (
    find_unfit,
    has_plain_defaults,
    is_iterator,
    needs_proof,
    resolve_returns,
)
from degrade.fallback.snapshots.round_trip import alike
from degrade.interrupts import is_interrupt

__all__ = ("MAX_BODY", "Codec", "Decoded", "Opened", "check_data")

MAX_BODY = 16 * 1024 * 1024
"""The largest JSON of one snapshot, bytes; more is neither written nor unpacked."""

_VERSION = 1
_MAX_HEADER = 16 * 1024
_PACK_ABOVE = 1_024
_CONFIG = ConfigDict(ser_json_bytes="base64", val_json_bytes="base64", ser_json_inf_nan="constants")


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """An envelope that fits: its body, not yet looked into, when it was made, in which epoch."""

    body: bytes
    packed: bool
    created: float
    epoch: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Decoded:
    """What a snapshot held: the value, when it was made (Unix seconds), and in which epoch."""

    value: Any
    created: float
    epoch: int


class Codec:
    """Writes and reads the results of one function.

    The adapter is built when decorating if the annotation can be resolved by then, otherwise
    at first use.

    Raises:
        UsageError: The function has no return annotation, or one whose values JSON cannot
            bring back (code `snapshot-return-type`), or it returns an iterator (code
            `snapshot-generator`).
    """

    __slots__ = ("_adapter", "_exact", "_schema", "_sparse", "_strict", "_target")

    def __init__(self, target: Target) -> None:
        self._target = target
        self._adapter: TypeAdapter[tuple[Any]] | None = None
        self._schema = ""
        self._exact = True
        self._sparse = False
        self._strict: SchemaValidator | None = None
        if target.returns is target.signature.empty:
            raise UsageError(
                f"{target.name!r}: snapshot() needs the return type of {name_of(target.fn)}; "
                "annotate it, such as -> list[Story], or keep the object itself with copy=False",
                code="snapshot-return-type",
            )
        with suppress(NameError):  # a name defined further down; known when the first call is made
            self._ready()

    def dump(self, value: object) -> bytes:
        """Return a value as JSON, which no later change of the value can reach.

        Raises:
            CodecError: The value does not fit its annotation, would come back as something
                else, is too large, or holds something that looking at it might change.

        Guarantees:
            The value is as it was, whatever becomes of it.

        Cost:
            Encodes, decodes and compares on the caller's thread: 5 to 50 µs a kilobyte.
        """
        adapter = self._usable()
        check_data(value, self._target.name)
        if self._sparse:  # which fields were set comes back, too
            with suppress(CodecError):
                return self._proven(adapter, value, sparse=True)
        return self._proven(adapter, value, sparse=False)

    def seal(self, body: bytes, *, key: str, created: float, epoch: int) -> bytes:
        """Return the JSON of a value, compressed if that pays, in its envelope."""
        packed = zlib.compress(body, level=1) if len(body) > _PACK_ABOVE else body
        is_packed = len(packed) < len(body)
        header = {
            "v": _VERSION,
            "schema": self._schema,
            "key": key,
            "created": created,
            "epoch": epoch,
            "packed": int(is_packed),
        }
        text = json.dumps(header, separators=(",", ":"))
        return b"".join((text.encode(), b"\n", packed if is_packed else body))

    def encode(self, value: object, *, key: str, created: float, epoch: int) -> bytes:
        """Return a value as the bytes of a snapshot.

        Raises:
            CodecError: See `dump`.
        """
        return self.seal(self.dump(value), key=key, created=created, epoch=epoch)

    def decode(self, blob: bytes, *, key: str) -> Decoded:
        """Return what the bytes of a snapshot hold.

        Raises:
            CodecError: They are damaged, or made for another key, type or version.

        Guarantees:
            Raises nothing else, whatever the bytes are, and unpacks at most `MAX_BODY`.
        """
        opened = self.open(blob, key=key)
        body = _unpacked(opened.body, MAX_BODY) if opened.packed else opened.body
        return Decoded(value=self._load(body), created=opened.created, epoch=opened.epoch)

    def open(self, blob: bytes, *, key: str) -> Opened:
        """Return what an envelope says, without looking into its body.

        Raises:
            CodecError: It is damaged, or made for another key, type or version.
        """
        self._usable()
        header, body = _opened(blob)
        created, epoch = header.get("created"), header.get("epoch")
        if header.get("v") != _VERSION:
            raise CodecError(f"snapshot of version {header.get('v')!r:.40}, not {_VERSION}")
        if header.get("schema") != self._schema:
            raise CodecError(f"snapshot of another type than {self._what()}")
        if header.get("key") != key:
            raise CodecError("snapshot of another key")
        if type(created) is not float or not math.isfinite(created) or type(epoch) is not int:
            raise CodecError("snapshot without its time or epoch")
        return Opened(body=body, packed=bool(header.get("packed")), created=created, epoch=epoch)

    def load_strange(self, opened: Opened, *, limit: int) -> object:
        """Return the value in an envelope that anybody may have written.

        Args:
            opened: What `open` returned.
            limit: The most that it may unpack to, bytes.

        Raises:
            CodecError: See `decode`.

        Guarantees:
            Gives up at the first thing that does not fit: pydantic collects what is wrong, which
            would take 200 times the memory of a body that is wrong everywhere.
        """
        body = _unpacked(opened.body, limit) if opened.packed else opened.body
        if len(body) > limit:
            raise CodecError(f"snapshot of {len(body)} bytes, over {limit}")
        adapter = self._usable()
        try:
            if self._strict is None:
                self._strict = hasty(adapter.core_schema)
            found: Any = self._strict.validate_json(body, by_alias=False, by_name=True)
        except Exception as error:  # validators of the user may raise anything
            if is_interrupt(error):
                raise
            raise CodecError(f"{self._what()} cannot be decoded: {_reason(error)}") from error
        return found[0]

    def _proven(self, adapter: TypeAdapter[tuple[Any]], value: object, *, sparse: bool) -> bytes:
        """Return the JSON of a value, from which the same value was read just now."""
        try:
            body = adapter.dump_json(
                (value,), by_alias=False, round_trip=True, warnings="error", exclude_unset=sparse
            )
        except Exception as error:  # serializers of the user may raise anything
            if is_interrupt(error):
                raise
            raise CodecError(
                f"{self._what()} cannot be encoded as {self._target.returns!r}: {_reason(error)}"
            ) from error
        if len(body) > MAX_BODY:
            raise CodecError(f"{self._what()} takes {len(body)} bytes of JSON, over {MAX_BODY}")
        loaded = self._load(body)  # each time: an empty list proves nothing of the next one
        try:
            kept = alike(value, loaded, exact=self._exact)
        except Exception as error:  # an `__eq__` of the user may raise anything
            if is_interrupt(error):
                raise
            kept = False
        if not kept:
            raise CodecError(
                f"{self._what()} does not survive its annotation: it comes back as something "
                "else; name the exact type, or keep the object itself with copy=False"
            )
        return body

    def _load(self, body: bytes) -> object:
        try:
            return self._usable().validate_json(body, by_alias=False, by_name=True)[0]
        except Exception as error:  # validators of the user may raise anything
            if is_interrupt(error):
                raise
            raise CodecError(f"{self._what()} cannot be decoded: {_reason(error)}") from error

    def _usable(self) -> TypeAdapter[tuple[Any]]:
        if self._adapter is not None:
            return self._adapter
        try:
            return self._ready()
        except (NameError, UsageError) as error:
            raise CodecError(f"{self._what()} has no usable annotation: {error}") from error

    def _ready(self) -> TypeAdapter[tuple[Any]]:
        returns = resolve_returns(self._target)
        if is_iterator(returns):
            raise self._iterator()
        try:
            one: Any = types.GenericAlias(tuple, (returns,))
            adapter: TypeAdapter[tuple[Any]] = TypeAdapter(one, config=_CONFIG)
            schema = adapter.core_schema
        except PydanticUserError as error:
            raise self._refused(str(error).partition("\n")[0].rstrip(".")) from error
        unfit = find_unfit(schema)
        if unfit == "generator":
            raise self._iterator()
        if unfit is not None:
            raise self._refused(f"JSON has nothing for {unfit}")
        self._schema = fingerprint(adapter, returns)
        self._exact = needs_proof(schema)
        self._sparse = has_plain_defaults(schema) and not self._exact
        self._adapter = adapter
        self._target = replace(self._target, scope={})  # holds the locals of whoever decorated
        return adapter

    def _iterator(self) -> UsageError:
        return UsageError(
            f"{self._target.name!r}: {name_of(self._target.fn)} returns an iterator, which can "
            "be read only once; return a list, or leave snapshot() out",
            code="snapshot-generator",
        )

    def _refused(self, why: str) -> UsageError:
        return UsageError(
            f"{self._target.name!r}: snapshot() cannot store what {name_of(self._target.fn)} "
            f"returns ({self._target.returns!r}): {why}. Return a dataclass, a TypedDict, a "
            "pydantic model or containers of them, or keep the object itself with copy=False",
            code="snapshot-return-type",
        )

    def _what(self) -> str:
        return f"a result of {self._target.name!r}"


def check_data(value: object, flag: str, *, kept: bool = False) -> None:
    """Refuse a result that looking at it might change, before anything looks at it.

    Args:
        value: The result.
        flag: The flag's name.
        kept: The object itself is kept, so only what can be read once is refused.

    Raises:
        CodecError: It holds an iterator, a stream, a lazy query or an unknown kind of container.
    """
    try:
        found = find_consumable(value, kept=kept)
    except RuntimeError as error:  # another thread changes it at this moment
        raise CodecError(f"a result of {flag!r} is changed while it is read") from error
    if found is not None:
        raise CodecError(
            f"a result of {flag!r} holds {found}, which reading may use up, so it is handed on "
            "untouched; return lists and dicts of what it yields, or leave snapshot() out"
        )


def _opened(blob: bytes) -> tuple[Mapping[str, Any], bytes]:
    end = blob.find(b"\n", 0, _MAX_HEADER)
    if end < 0 or len(blob) > MAX_BODY + _MAX_HEADER:
        raise CodecError("not a snapshot")
    try:
        header = from_json(blob[:end])
    except ValueError as error:
        raise CodecError("snapshot with a damaged envelope") from error
    if not isinstance(header, dict):
        raise CodecError("snapshot without an envelope")
    return header, blob[end + 1 :]


def _unpacked(packed: bytes, limit: int) -> bytes:
    unpacker = zlib.decompressobj()
    try:
        body = unpacker.decompress(packed, limit)
    except zlib.error as error:
        raise CodecError("snapshot that does not unpack") from error
    if not unpacker.eof:
        raise CodecError("snapshot that is cut off, or unpacks to more than is allowed")
    return body


def _reason(error: Exception) -> str:
    """Return what is wrong without any value, which may be nobody's business in a log."""
    if isinstance(error, ValidationError):
        kinds = sorted({item["type"] for item in error.errors(include_input=False)})
        return ", ".join(kinds[:3])
    return type(error).__name__
