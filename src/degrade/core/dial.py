"""Who is degraded at a dial between 0 and 1.

A subject has a place between 0 and 1, drawn by a hash from the flag, the subject and the hour,
and is degraded when the dial lies above it. The hours of each subject begin at their own time.

    place  0 ....... 0.2 ....... 0.4 ....... 0.6 ....... 0.8 ....... 1
    dial 0.4  degraded degraded  |  full  full  full  full  full

Invariants:
- at dial 0 nobody is degraded, at dial 1 everybody;
- at a standing dial a subject changes sides at most once an hour, and not everybody together;
- raising the dial only adds subjects, lowering it only removes some;
- flags are independent of each other, and so are the hours of a subject.

Without a subject each call draws its place.
"""

from __future__ import annotations

from hashlib import blake2b

__all__ = ("is_degraded",)

HOUR_S = 3_600
_BYTES = 8
_SPAN = 256.0**_BYTES


def is_degraded(flag: str, subject: str | None, dial: float, wall_s: float, draw: float) -> bool:
    """Say whether a call of `subject` is degraded.

    Args:
        flag: Name of the flag.
        subject: Whom the call is for; None if unknown.
        dial: Share of subjects (or of calls) that are degraded, 0 to 1.
        wall_s: Unix seconds.
        draw: A random number from 0 to below 1, used without a subject.

    Guarantees:
        Every process of the fleet answers alike for the same flag, subject, dial and hour.
        Any text is a subject.

    Cost:
        Two hashes of about half a microsecond each; none at dial 0 or 1, or without a subject.
    """
    if dial <= 0:
        return False
    if dial >= 1:
        return True
    if subject is None:
        return draw < dial
    # The length keeps ("ab", "c") and ("a", "bc") apart; surrogates may come from any header.
    who = f"{len(flag)}:{flag}{subject}".encode("utf-8", "surrogatepass")
    hour = int(wall_s / HOUR_S + _place(who))
    return _place(b"%d:%b" % (hour, who)) < dial


def _place(text: bytes) -> float:
    return int.from_bytes(blake2b(text, digest_size=_BYTES).digest(), "big") / _SPAN
