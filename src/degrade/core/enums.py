"""The words of the library as types: what automation thinks, what a human ordered, what results."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Final

__all__ = (
    "ALL_FLAGS",
    "FLAG_NAME",
    "NAME_RULE",
    "CallClass",
    "HoldMode",
    "Mode",
    "Outcome",
    "Phase",
    "RungKind",
    "Sharing",
    "is_orderable",
)

ALL_FLAGS: Final = "*"
"""The name under which a hold concerns every flag."""

FLAG_NAME: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,98}[A-Za-z0-9_])?")
"""What every name of a flag matches. Names that begin with `_` are fields of stores themselves."""

NAME_RULE: Final = (
    "a name has 1 to 100 letters, digits, '_', '.' or '-', and begins with a letter or a digit"
)
"""The same in words, for errors."""


def is_orderable(name: str) -> bool:
    """Whether a hold may have this name: that of a flag, or `*`."""
    return name == ALL_FLAGS or FLAG_NAME.fullmatch(name) is not None


class Phase(StrEnum):
    """What the automation thinks of a flag."""

    STEADY = "steady"
    DEGRADED = "degraded"
    RECOVERING = "recovering"


class HoldMode(StrEnum):
    """What a human ordered."""

    NORMAL = "normal"
    DEGRADED = "degraded"
    OFF = "off"
    OBSERVE = "observe"


class Mode(StrEnum):
    """The effect of everything together, which the call path obeys."""

    NORMAL = "normal"
    DEGRADED = "degraded"
    OFF = "off"


class RungKind(StrEnum):
    """The kinds of rung, as metrics, headers and `served()` name them."""

    SIMPLIFIED = "simplified"
    SNAPSHOT = "snapshot"
    DEFAULT = "default"
    OMIT = "omit"


class CallClass(StrEnum):
    """What the caller got; every call that ended has exactly one."""

    FULL = "full"
    DEGRADED = "degraded"
    FAILED = "failed"
    IGNORED = "ignored"
    ABANDONED = "abandoned"


class Outcome(StrEnum):
    """What the function itself did, whatever the caller got."""

    SUCCESS = "success"
    FAILURE = "failure"
    TIMEOUT = "timeout"
    IGNORED = "ignored"
    ABANDONED = "abandoned"


class Sharing(StrEnum):
    """What came of a snapshot on its way from, or to, the tier that processes share."""

    HIT = "hit"
    MISS = "miss"
    REFUSED = "refused"
    LATE = "late"
    FAILED = "failed"
    UNASKED = "unasked"
    SENT = "sent"
    UNSENT = "unsent"
