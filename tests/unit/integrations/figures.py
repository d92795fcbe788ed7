"""Figures of flags, without a runtime."""

from __future__ import annotations

from degrade.core.enums import Mode, Phase, RungKind
from degrade.ports import FlagStats

STEADY = FlagStats(
    name="feed.ranking", level=2, owner="team-feed", message="Newest stories first",
    phase=Phase.STEADY, mode=Mode.NORMAL, dial=0.0, since=None, reason="kept",
    calls={}, primary={}, rungs={}, age_sum_s=0.0, age_count=0, oldest_age_s=None,
    transitions={}, durations={}, duration_sum_s=0.0, drops={}, captures_skipped={},
    ladder=(RungKind.SNAPSHOT, RungKind.DEFAULT),
)  # fmt: skip


def flag(**changes):
    """Return the figures of a flag: steady, unless told otherwise."""
    return STEADY._replace(**changes)


class Figures:
    """A source of figures that tests set."""

    def __init__(self, *flags: FlagStats, age_s: float | None = None) -> None:
        self.flags = flags
        self.age_s = age_s

    def stats(self):
        return self.flags

    def state_age_s(self):
        return self.age_s
