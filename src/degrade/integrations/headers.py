"""The headers that mark a degraded answer; text of flags can never break out of them.

    Age: 312
    Cache-Status: degrade;hit;ttl=-312;detail=stale-fallback
    Degraded: feed.ranking;rung=snapshot;age=312, feed.analytics;rung=omit

`Age` (RFC 9111) is the age of the oldest snapshot in the answer. `Cache-Status` (RFC 9211) speaks
of that snapshot: a `hit` when the function was not called, `fwd=stale` when it was called and
failed; its `ttl` is negative because a result that is computed for every call is fresh for no
time. An answer without a snapshot has neither. `Degraded` is a structured list (RFC 8941) with a
member for every flag and rung, in the order of serving, each with its oldest age. A name that is a
token stands as it is; any other is a string in which all but printable ASCII is percent-encoded.

A 204 has no content of any age, so it has `Degraded` alone. A 304 has none of the three: a cache
would write them into what it has stored, which may be whole (RFC 9111 3.2).

Invariant: every value is printable ASCII, parses as a structured field, and is at most
`MOST_BYTES` long; what does not fit is counted by a last member `*;more=N`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Final

from degrade.context import Served
from degrade.integrations.caches import NOT_MODIFIED, Header

__all__ = ("MOST_BYTES", "Header", "degraded", "mark")

MOST_BYTES: Final = 2_048
"""Length of a `Degraded` value; proxies refuse 4 to 8 kB of headers together."""

_NO_CONTENT: Final = frozenset({204, 205})
_MOST_AGE_S: Final = 2**31 - 1  # RFC 9111 1.2.2: a cache counts no further
_TOKEN: Final = re.compile(r"[A-Za-z*][!#$%&'*+\-.^_`|~0-9A-Za-z:/]*")
_AGE: Final = re.compile(rb"[0-9]{1,10}")


def mark(headers: Iterable[Header], served: Sequence[Served], *, status: int = 200) -> list[Header]:
    """Return the headers of a response with those that mark what was served.

    Args:
        headers: As the application set them, names in any case.
        served: The degraded answers that went into the response.
        status: Of the response.

    Guarantees:
        The application's own headers stay, in order, but an `Age`: the older one counts. Members
        are appended to an existing `Cache-Status` or `Degraded`, as a line of their own, so that
        a malformed line before it is not joined to ours. Nothing is added when nothing was served.

    Cost:
        Linear in the number of answers; no I/O.
    """
    marked = list(headers)
    if not served or status == NOT_MODIFIED:
        return marked
    aged = [answer for answer in served if answer.age_s is not None]
    if aged and status not in _NO_CONTENT:
        oldest = max(aged, key=_age_s)
        ages = [_age_s(oldest)]
        for header in [each for each in marked if each[0].lower() == b"age"]:
            if _AGE.fullmatch(header[1].strip()):
                ages.append(int(header[1]))
            marked.remove(header)
        marked.append((b"age", str(max(ages)).encode()))
        marked.append((b"cache-status", _cache_status(oldest).encode()))
    marked.append((b"degraded", degraded(served).encode()))
    return marked


def degraded(served: Iterable[Served]) -> str:
    """Return the value of `Degraded`: a structured list, empty when nothing was served."""
    ages: dict[tuple[str, str], int] = {}
    for answer in served:
        key = (answer.flag, answer.rung.value)
        ages[key] = max(ages.get(key, -1), _age_s(answer))
    members: list[str] = []
    room = MOST_BYTES - len(f", *;more={len(ages)}")
    for (flag, rung), age_s in ages.items():
        member = f"{_bare(flag)};rung={rung}" + (f";age={age_s}" if age_s >= 0 else "")
        if len(member) + 2 <= room:
            members.append(member)
            room -= len(member) + 2
    if len(members) < len(ages):
        members.append(f"*;more={len(ages) - len(members)}")
    return ", ".join(members)


def _cache_status(oldest: Served) -> str:
    # A failed call of a flag that is normal has no `since`: its function was called just now.
    how = "fwd=stale" if oldest.since is None else "hit"
    detail = "stale-on-error" if oldest.since is None else "stale-fallback"
    return f"degrade;{how};ttl={-_age_s(oldest)};detail={detail}"


def _age_s(answer: Served) -> int:
    """Return whole seconds within what a cache can count; -1 without an age."""
    if answer.age_s is None:
        return -1
    return int(max(0.0, min(answer.age_s, _MOST_AGE_S)))


def _bare(text: str) -> str:
    """Return an RFC 8941 bare item: a token, or a percent-encoded string."""
    if _TOKEN.fullmatch(text):
        return text
    raw = text.encode("utf-8", "surrogatepass")
    return '"' + "".join(_CHARACTERS[byte] for byte in raw) + '"'


_CHARACTERS: Final = [
    f"%{byte:02X}" if not 0x20 <= byte <= 0x7E or byte == ord("%")
    else f"\\{chr(byte)}" if chr(byte) in '"\\'
    else chr(byte)
    for byte in range(256)
]  # fmt: skip
