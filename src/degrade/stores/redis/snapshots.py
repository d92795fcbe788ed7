"""Snapshots in Redis: one string each, which ends by itself.

In a cluster they spread over the slots, so each is asked of the node that has it. What lies
there may have been written by anybody: it is measured before it is loaded.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from hashlib import blake2b
from typing import Any, Final

from degrade.errors import CodecError, StoreError
from degrade.ports import Blob, PartlyStoredError
from degrade.stores.redis.keys import Keys
from degrade.stores.redis.transport.base import Command, Transport

__all__ = ("RedisBlobs",)

LIMIT: Final = 4 * 1024 * 1024
_LEAST_S: Final = 0.001
_AT_ONCE: Final = 64 * 1024
"""What is loaded together with the size: one round trip for nearly all snapshots, bytes."""


class RedisBlobs:
    """Keeps the snapshots of a namespace in Redis.

    Args:
        link: The way to the server.
        namespace: Which fleet.
        limit: The largest body that is stored or loaded, bytes.

    Guarantees:
        Of a larger value at most 64 kB are loaded, whatever its size.
    """

    def __init__(self, link: Transport, *, namespace: str, limit: int = LIMIT) -> None:
        self._link = link
        self._keys = Keys(namespace)
        self._limit = limit

    @property
    def limit(self) -> int:
        return self._limit

    def get(self, flag: str, key: str, *, within_s: float) -> bytes | None:
        name = self._name(flag, key)
        first = min(_AT_ONCE, self._limit)
        began = time.monotonic()
        size, body = self._read(
            name, [("STRLEN", name), ("GETRANGE", name, 0, first - 1)], within_s
        )
        if size > self._limit:
            raise CodecError(f"snapshot of {size} bytes, over {self._limit}")
        if size > first:
            left_s = within_s - (time.monotonic() - began)
            if left_s <= 0:
                raise StoreError(f"{self._link.url} took {within_s:g} s for a part of a snapshot")
            (body,) = self._read(name, [("GETRANGE", name, 0, self._limit - 1)], left_s)
        return body or None

    def put(self, blobs: Sequence[Blob]) -> None:
        named = {
            self._name(blob.flag, blob.key): blob
            for blob in blobs
            if len(blob.body) <= self._limit and blob.keep_s >= _LEAST_S
        }
        failed = self._link.scatter(
            [("SET", name, blob.body, *_how(blob)) for name, blob in named.items()]
        )
        if len(failed) == len(named) > 0:
            raise failed[0][1]
        if failed:
            raise PartlyStoredError(
                str(failed[0][1]), left=[named[str(command[1])] for command, _ in failed]
            )

    def _read(self, name: str, commands: Sequence[Command], within_s: float) -> list[Any]:
        try:
            return self._link.read(name, commands, within_s=within_s)
        except StoreError as error:
            from degrade.stores.redis.transport.errors import LinkError  # noqa: PLC0415 - loads redis, as the link just did

            if isinstance(error, LinkError) and error.reason == "WRONGTYPE":
                raise CodecError("no string where a snapshot was looked for") from error
            raise

    def _name(self, flag: str, key: str) -> str:
        digest = blake2b(key.encode("utf-8", "surrogatepass"), digest_size=16)
        return self._keys.snapshot(flag, digest.hexdigest())


def _how(blob: Blob) -> tuple[str | int, ...]:
    expiry = ("PX", round(blob.keep_s * 1e3))
    return expiry if blob.replaces else (*expiry, "NX")
