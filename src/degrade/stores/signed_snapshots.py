"""Signatures of the snapshots in a tier that others may write to.

    put   envelope ──> "hmac-sha256:", the MAC in hex, a line feed, the envelope
    get   the same, checked with each key, and taken off

The MAC (RFC 2104) is over the namespace, the flag, the key of the snapshot and the whole envelope
(so its version, type, time, epoch and result), each with its length before it. A snapshot that was
edited, or moved to another key, flag or namespace, does not verify. An older one of the same key
does: only its time, which is signed as well, and the end of the last `off` keep it from being
served for longer than it may be.

Without a key nothing is signed, and what is signed is refused, as it cannot be checked.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
from collections.abc import Sequence

from degrade.ports import Blob, Blobs, UntrustedError

__all__ = ("SignedBlobs",)

_log = logging.getLogger("degrade.stores")

_PREFIX = b"hmac-sha256:"
_LENGTH = len(_PREFIX) + 2 * hashlib.sha256().digest_size + 1
_UNSIGNED = "it is not signed; it was written without the key of [snapshots]"
_FORGED = (
    "no key of this process made its signature; it was edited or moved, or other processes "
    "have another key in [snapshots]"
)
_NO_KEY = "it is signed, and this process has no key to check it; give it the key of [snapshots]"


class SignedBlobs:
    """A tier whose snapshots are signed.

    Args:
        blobs: The tier.
        keys: The first one signs, each of them verifies; without any, nothing is signed.
        namespace: Which fleet.
    """

    def __init__(self, blobs: Blobs, keys: Sequence[bytes], *, namespace: str) -> None:
        self._blobs = blobs
        self._keys = tuple(keys)
        self._namespace = namespace
        self._told: set[str] = set()

    @property
    def limit(self) -> int:
        return self._blobs.limit - (_LENGTH if self._keys else 0)

    def get(self, flag: str, key: str, *, within_s: float) -> bytes | None:
        """Return the envelope of a snapshot, None when there is none.

        Raises:
            UntrustedError: It must not be served; the first of each kind is logged.
            CodecError, StoreError: As the tier does.
        """
        body = self._blobs.get(flag, key, within_s=within_s)
        if body is None:
            return None
        found, envelope = body[:_LENGTH], body[_LENGTH:]
        if not found.startswith(_PREFIX):
            if self._keys:
                raise self._refused(flag, _UNSIGNED)
            return body
        if not self._keys:
            raise self._refused(flag, _NO_KEY)
        made = [self._signature(secret, flag, key, envelope) for secret in self._keys]
        if not any(hmac.compare_digest(found, one) for one in made):
            raise self._refused(flag, _FORGED)
        return envelope

    def put(self, blobs: Sequence[Blob]) -> None:
        self._blobs.put([self._signed(blob) for blob in blobs] if self._keys else blobs)

    def _signed(self, blob: Blob) -> Blob:
        signature = self._signature(self._keys[0], blob.flag, blob.key, blob.body)
        return blob._replace(body=signature + blob.body)

    def _signature(self, secret: bytes, flag: str, key: str, envelope: bytes) -> bytes:
        mac = hmac.new(secret, digestmod=hashlib.sha256)
        texts = ("degrade snapshot", self._namespace, flag, key)
        for part in (*(text.encode("utf-8", "surrogatepass") for text in texts), envelope):
            mac.update(len(part).to_bytes(8, "big"))
            mac.update(part)
        return b"%b%b\n" % (_PREFIX, mac.hexdigest().encode())

    def _refused(self, flag: str, why: str) -> UntrustedError:
        if why not in self._told:
            self._told.add(why)
            _log.warning("refused a snapshot of %s in the store: %s", flag, why)
        return UntrustedError(f"snapshot refused: {why}")

    def __repr__(self) -> str:
        return f"<SignedBlobs {len(self._keys)} keys>"
