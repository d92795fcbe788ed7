"""One second of the run, joined from what the load tells and what the processes report."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from examples.news_feed.fleet import FlagState

__all__ = ("Second",)


@dataclass(frozen=True, slots=True, kw_only=True)
class Second:
    """What readers got in a second, and how the flags stood; latencies and ages in seconds.

    `state_age` is how old the orders were that the feed processes knew, the oldest of all.
    """

    at: int
    requests: int
    p50: float | None
    p99: float | None
    full: int
    snapshot: int
    default: int
    bad: int
    oldest: float | None
    flags: Mapping[str, FlagState]
    notes: tuple[str, ...] = ()
    state_age: float | None = None

    @classmethod
    def joined(
        cls,
        told: Mapping[str, Any],
        flags: Mapping[str, FlagState],
        notes: tuple[str, ...],
        state_age: float | None = None,
    ) -> Second:
        """Join a line of the load with the state of the flags in that second."""
        return cls(
            at=told["second"], requests=told["requests"], p50=told["p50"], p99=told["p99"],
            full=told["full"], snapshot=told["snapshot"], default=told["default"],
            bad=told["wrong"] + told["failed"], oldest=told["oldest"], flags=flags, notes=notes,
            state_age=state_age,
        )  # fmt: skip

    def share(self, count: int) -> float:
        """Return a count as a share of the requests."""
        return count / self.requests if self.requests else 0.0

    @property
    def degraded(self) -> int:
        """Answers from any rung of the ladder."""
        return self.snapshot + self.default
