"""What the instances of a fleet say together about a flag, for people; pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from degrade.core import quorum
from degrade.core.records import ControlState, FleetVerdict, InstanceReport, Vote

__all__ = ("FleetView", "fold_fleet")


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetView:
    """The votes on one flag, and the fleet's verdict on it.

    Attributes:
        verdict: The standing verdict, None without one.
        capped: There is a quorum, but as many verdicts stand as are allowed at once.
        voters, live: How many live instances vote for a verdict now, of how many with calls.
        count: The same in words, with what would change the outcome.
        votes: Instance to what it saw breached.
        holders: How many verdicts stand in the fleet.
    """

    verdict: FleetVerdict | None
    capped: bool
    voters: int
    live: int
    count: str
    votes: Mapping[str, str]
    holders: int


def fold_fleet(
    state: ControlState,
    votes: Mapping[str, Mapping[str, Vote]],
    reports: Sequence[InstanceReport],
) -> dict[str, FleetView]:
    """Return what the fleet says of every flag with a vote or a standing verdict."""
    live = quorum.live_instances(reports, state.now)
    decision = quorum.decide(
        now=state.now,
        not_before=math.inf,  # to count, and to decide nothing
        live=live,
        active=quorum.active_flags(reports),
        votes=votes,
        standing=state.verdicts,
        declared=0,
        epoch=0,
    )
    return {
        flag: FleetView(
            verdict=state.verdicts.get(flag),
            capped=flag in state.capped,
            voters=count.voters,
            live=count.live,
            count=count.text,
            votes={name: vote.cause for name, vote in votes.get(flag, {}).items() if name in live},
            holders=len(state.verdicts),
        )
        for flag, count in decision.counts.items()
    }
