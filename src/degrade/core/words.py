"""The words of the library as types: what automation thinks, what a human ordered, what results."""

from __future__ import annotations

from enum import StrEnum

__all__ = ("CallClass", "HoldMode", "Mode", "Outcome", "Phase", "RungKind")


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
