"""degrade keeps a service answering while a part of it is failing.

from degrade import SLA, default, degradable, snapshot

@degradable(
"feed.ranking",
sla=SLA(p99="250ms", errors="5%", over="30s"),
fallback=[snapshot(max_age="1h"), default([])],
)
def ranked_feed(user_id: str) -> list[str]: ...
"""

from typing import TYPE_CHECKING

from degrade.compose import configure
from degrade.context import Served, identify, request, served
from degrade.core.policy import SLA, Recovery
from degrade.errors import (
    ConfigError,
    DegradeError,
    DuplicateFlagError,
    UnavailableError,
    UnknownFlagError,
    UsageError,
)
from degrade.fallback.ladder import default, omit, simplified, snapshot
from degrade.runtime.calls.decorator import degradable
from degrade.runtime.calls.flag import Flag, flag
from degrade.runtime.runtime import Runtime

__all__ = (
    "SLA",
    "ConfigError",
    "DegradeError",
    "DuplicateFlagError",
    "Flag",
    "Recovery",
    "Runtime",
    "Served",
    "UnavailableError",
    "UnknownFlagError",
    "UsageError",
    "configure",
    "default",
    "degradable",
    "flag",
    "identify",
    "omit",
    "request",
    "served",
    "simplified",
    "snapshot",
)

if TYPE_CHECKING:
    __version__: str


def __getattr__(name: str) -> str:
    if name == "__version__":
        from importlib.metadata import version  # noqa: PLC0415 - slow to import, rarely wanted

        return version("degrade")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
