"""The fleet's verdict on a flag: when enough of its instances say so, and none because of one.

    heartbeats ──> who is live, and who has calls ──┐
    votes ──> those of the living ──────────────────┴─> count ──> a verdict begins, stands, is over

A vote says that an instance saw its own calls breached and has not been STEADY since. While it
recovers, beyond the first step or without a bad call for a while, its vote keeps a verdict, but
begins none: that would send all back for what is past. The quorum of a flag holds when

    voters >= 2                 a lone voter is an outlier, and degrades itself alone
    voters >= live / 2          of the live instances with calls of the flag, the voters included

and it is fresh when that is so without the voters that recover.

    no verdict     fresh quorum, and room under the cap  --> a verdict, an event that comes once
    no verdict     fresh quorum, and no room             --> capped: an alert instead of an act
    a verdict      quorum holds                          --> stands, as it is
    a verdict      quorum holds no more                  --> over

Invariants:
- One instance alone never makes a verdict, however sick it is; the dead never count.
- Before `not_before` nothing begins and nothing is over: after a store was emptied the votes are
  still coming in, and a missing one is no withdrawal.
- Another vote never ends a verdict and never prevents one for its own flag; that its voter
  recovers neither.
- No verdict begins while `cap(declared)` stand. One that stands is never ended by the cap.
- The order in which instances, votes and flags are given is of no consequence. When there is not
  room for all, the flags with the greatest share of voters come first, then those with the most
  voters, then by name.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from degrade.core.records import FleetVerdict, InstanceReport, Vote

__all__ = ("LIVE_S", "Count", "Decision", "active_flags", "cap", "decide", "live_instances")

LIVE_S = 30.0
"""An instance is live while its last heartbeat is at most so old, seconds of store time."""
LEAST_VOTERS = 2
ALWAYS_ALLOWED = 4
"""Verdicts that may stand at once however few flags are declared."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Count:
    """The votes on one flag.

    Attributes:
        voters: Live instances that vote for a verdict.
        live: Live instances with calls of the flag, the voters included.
        recovering: The voters that recover.
    """

    voters: int
    live: int
    recovering: int = 0

    @property
    def needed(self) -> int:
        """The fewest voters with which the quorum holds, of as many live ones."""
        return max(LEAST_VOTERS, (self.live + 1) // 2)

    @property
    def holds(self) -> bool:
        """Whether the quorum holds: a verdict stands."""
        return self.voters >= self.needed

    @property
    def fresh(self) -> bool:
        """Whether the quorum holds without the voters that recover: a verdict begins."""
        return self.voters - self.recovering >= self.needed

    @property
    def text(self) -> str:
        """The numbers, and what would change the outcome; one line."""
        numbers = f"{self.voters} of {self.live} live instances with calls vote so"
        if self.recovering:
            numbers = f"{numbers}, {self.recovering} of them recovering"
        if self.holds and not self.fresh:
            return f"{numbers}; that keeps a verdict, and begins none"
        if self.holds:
            return f"{numbers}; with fewer than {self.needed} the quorum is lost"
        missing = self.needed - self.voters
        return f"{numbers}; {missing} more vote{'' if missing == 1 else 's'} would make a quorum"


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What follows from the votes; nothing in it changes what it was made from.

    Attributes:
        begun: Flag to the verdict that begins.
        over: The flags whose verdict is over, by name.
        capped: The flags that have a fresh quorum, but no room under the cap, by name. They are in
            every decision while that is so; whoever alerts does it once.
        counts: Flag to its count, for every flag with a vote that counts or a standing verdict.
    """

    begun: Mapping[str, FleetVerdict]
    over: tuple[str, ...]
    capped: tuple[str, ...]
    counts: Mapping[str, Count]


def cap(declared: int) -> int:
    """Return how many fleet verdicts may stand at once, of so many declared flags."""
    return max(ALWAYS_ALLOWED, declared // 2)


def live_instances(reports: Iterable[InstanceReport], now: float) -> frozenset[str]:
    """Return the ids of the instances that are live at `now`, store time."""
    return frozenset(report.id for report in reports if now - report.at <= LIVE_S)


def active_flags(reports: Iterable[InstanceReport]) -> dict[str, frozenset[str]]:
    """Return each flag with the instances that say they had calls of it, live or not."""
    found: dict[str, set[str]] = {}
    for report in reports:
        for flag, said in report.flags.items():
            if said.active:
                found.setdefault(flag, set()).add(report.id)
    return {flag: frozenset(ids) for flag, ids in found.items()}


def decide(
    *,
    now: float,
    not_before: float,
    live: Collection[str],
    active: Mapping[str, Collection[str]],
    votes: Mapping[str, Mapping[str, Vote]],
    standing: Mapping[str, FleetVerdict],
    declared: int,
    epoch: int,
) -> Decision:
    """Count the votes, and say which verdicts begin and which are over.

    Args:
        now: Store time, Unix seconds.
        not_before: Nothing is decided before this store time.
        live: The live instances: see `live_instances`.
        active: Flag to the instances that had calls of it lately; of them the live ones count.
        votes: Flag to the vote of each instance.
        standing: Flag to the verdict that stands.
        declared: How many flags are declared.
        epoch: The store's epoch once this decision is written; the id of verdicts that begin.

    Guarantees:
        Depends on its arguments alone.

    Cost:
        O(v + a + f log f), with `v` votes, `a` pairs of a flag and an instance with calls of it
        and `f` flags, for those with a vote or a verdict.
    """
    alive = frozenset(live)
    heard = {
        flag: {instance: vote for instance, vote in said.items() if instance in alive}
        for flag, said in votes.items()
    }
    counts = {
        flag: _count(heard.get(flag, {}), alive.intersection(active.get(flag, ())))
        for flag in sorted({*(flag for flag, said in heard.items() if said), *standing})
    }
    if now < not_before:
        return Decision(begun={}, over=(), capped=(), counts=counts)
    over = tuple(flag for flag in counts if flag in standing and not counts[flag].holds)
    fresh = [flag for flag in counts if flag not in standing and counts[flag].fresh]
    fresh.sort(key=lambda flag: (-counts[flag].voters / counts[flag].live, -counts[flag].voters))
    room = max(0, cap(declared) - (len(standing) - len(over)))
    begun = {
        flag: FleetVerdict(
            id=epoch,
            at=now,
            cause=_main_cause(heard[flag]),
            voters=counts[flag].voters,
            live=counts[flag].live,
        )
        for flag in fresh[:room]
    }
    return Decision(begun=begun, over=over, capped=tuple(sorted(fresh[room:])), counts=counts)


def _count(said: Mapping[str, Vote], active: Collection[str]) -> Count:
    """Return the count; a voter had calls, whatever its heartbeat says."""
    recovering = sum(vote.recovering for vote in said.values())
    return Count(voters=len(said), live=len({*active, *said}), recovering=recovering)


def _main_cause(said: Mapping[str, Vote]) -> str:
    """Return the cause that most voters name; of equal ones the first in the alphabet."""
    named = Counter(vote.cause for vote in said.values())
    return min(named, key=lambda cause: (-named[cause], cause))
