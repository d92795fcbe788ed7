"""What caches are told about a degraded answer, so that none keeps it as a whole one.

    a default, an omitted or a cheaper part, a branch    Cache-Control: no-store
    snapshots alone, which were whole answers once       Cache-Control: private, no-cache
    304: what the client has stays, and may be whole     Cache-Control: no-cache

What the application says there is meant for whole answers. Of it remain `no-store`, `no-transform`,
and `private` on a 304. Everything that a cache prefers to `Cache-Control` goes: `Expires`, fields
for some caches alone (RFC 9213 and what was before it). So do `ETag` and `Last-Modified`: they name
a version of the whole answer, and by them a client would be told later that a degraded answer,
which it kept all the same, is up to date. A 304 keeps both, since it names by them what the client
has (RFC 9111 4.3.4), and tells caches to ask again before they use it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

__all__ = ("NOT_MODIFIED", "Header", "keeps_fresh", "restrain")

Header = tuple[bytes, bytes]

NOT_MODIFIED: Final = 304

_VALIDATORS: Final = frozenset({b"etag", b"last-modified"})
_OUTDATED: Final = frozenset({b"expires", b"pragma"})
_FRESH: Final = frozenset({b"max-age", b"s-maxage", b"public"})
_STALE: Final = {
    b"surrogate-control": b"max-age=0",
    b"edge-control": b"max-age=0",
    b"x-accel-expires": b"0",
}
"""What tells a cache by a field of its own to ask again, where `no-cache` is not known to it."""
_QUOTED: Final = re.compile(rb'"(?:[^"\\]|\\.)*"?')


def restrain(headers: Iterable[Header], *, status: int, whole_once: bool) -> list[Header]:
    """Return the headers of a degraded response with what caches may do with it.

    Args:
        headers: As the application set them, names in any case.
        status: Of the response.
        whole_once: Every degraded part of it is a snapshot.

    Guarantees:
        There is one `Cache-Control` afterwards, at least as strict as the one before. Headers that
        do not concern caches stay, in order.
    """
    kept: list[Header] = []
    said: set[bytes] = set()
    for name, value in headers:
        lower = name.lower()
        if lower == b"cache-control":
            said |= _directives(value)
        elif _is_targeted(lower):
            if status == NOT_MODIFIED:  # else the stored one would be fresh for as long again
                kept.append((name, _STALE.get(lower, b"no-cache")))
        elif lower not in _OUTDATED and (lower not in _VALIDATORS or status == NOT_MODIFIED):
            kept.append((name, value))
    if b"no-store" in said or not (whole_once or status == NOT_MODIFIED):
        control = [b"no-store"]
    elif status == NOT_MODIFIED and b"private" not in said:
        control = [b"no-cache"]
    else:
        control = [b"private", b"no-cache"]
    if b"no-transform" in said:
        control.append(b"no-transform")
    kept.append((b"cache-control", b", ".join(control)))
    return kept


def keeps_fresh(headers: Iterable[Header]) -> bool:
    """Return whether caches may use a response again without asking, as its headers stand."""
    said: set[bytes] = set()
    for name, value in headers:
        lower = name.lower()
        if _is_targeted(lower):
            return True
        if lower == b"cache-control":
            said |= _directives(value)
        elif lower == b"expires":
            said.add(b"max-age")
    return bool(said & _FRESH) and not said & {b"no-store", b"no-cache"}


def _is_targeted(name: bytes) -> bool:
    """Return whether a field is for some caches alone, which prefer it to `Cache-Control`."""
    return name in _STALE or name.endswith(b"-cache-control")


def _directives(value: bytes) -> set[bytes]:
    """Return the names of the directives in one line of `Cache-Control`."""
    return {part.partition(b"=")[0].strip().lower() for part in _QUOTED.sub(b"", value).split(b",")}
