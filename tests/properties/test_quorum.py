"""The quorum over any fleet, any votes and any verdicts that stand."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from typing import TypeVar

from hypothesis import assume, given
from hypothesis import strategies as st

from degrade.core.policy import Recovery
from degrade.core.quorum import Count, Decision, cap, decide
from degrade.core.records import FleetVerdict, Vote
from degrade.core.state_machine import (
    Breach,
    FleetBreach,
    MachineState,
    initial,
    is_hopeful,
    step,
)

NOW = 1_000.0
INSTANCES = [f"i{number}" for number in range(5)]
FLAGS = [f"f{number}" for number in range(7)]

Value = TypeVar("Value")

instances = st.frozensets(st.sampled_from(INSTANCES))
votes = st.builds(Vote, cause=st.sampled_from(["p99", "errors"]), recovering=st.booleans())


@dataclass(frozen=True, kw_only=True)
class Situation:
    """Everything that a decision is made from."""

    live: frozenset[str]
    active: dict[str, frozenset[str]]
    votes: dict[str, dict[str, Vote]]
    standing: dict[str, FleetVerdict]
    declared: int
    not_before: float = 0.0

    def decision(self) -> Decision:
        return decide(
            now=NOW, not_before=self.not_before, live=self.live, active=self.active,
            votes=self.votes, standing=self.standing, declared=self.declared, epoch=9,
        )  # fmt: skip

    def count(self, flag: str) -> Count:
        """The count, from the words of the rule alone."""
        voters = {
            each: vote for each, vote in self.votes.get(flag, {}).items() if each in self.live
        }
        seen = {each for each in self.active.get(flag, ()) if each in self.live}
        recovering = [each for each, vote in voters.items() if vote.recovering]
        return Count(voters=len(voters), live=len(seen | voters.keys()), recovering=len(recovering))

    def holds(self, flag: str) -> bool:
        count = self.count(flag)
        return count.voters >= 2 and 2 * count.voters >= count.live

    def begins(self, flag: str) -> bool:
        count = self.count(flag)
        sick = count.voters - count.recovering
        return sick >= 2 and 2 * sick >= count.live


@st.composite
def situations(draw: st.DrawFn) -> Situation:
    """Any fleet; a heartbeat, a vote and a verdict may be of anybody, alive or not."""
    verdict = FleetVerdict(id=1, at=0, cause="p99", voters=2, live=2)
    flags = draw(st.frozensets(st.sampled_from(FLAGS)))
    return Situation(
        live=draw(st.one_of(instances, st.just(frozenset(INSTANCES)))),
        active=draw(st.dictionaries(st.sampled_from(FLAGS), instances)),
        votes={
            flag: {each: draw(votes) for each in sorted(draw(instances))} for flag in sorted(flags)
        },
        standing=dict.fromkeys(draw(st.frozensets(st.sampled_from(FLAGS), max_size=5)), verdict),
        declared=draw(st.integers(0, 14)),
    )


def shuffled(facts: Situation, rng: random.Random) -> Situation:
    def mixed(mapping: dict[str, Value]) -> dict[str, Value]:
        return dict(rng.sample(list(mapping.items()), len(mapping)))

    said = {flag: mixed(given) for flag, given in facts.votes.items()}
    return replace(
        facts, active=mixed(facts.active), votes=mixed(said), standing=mixed(facts.standing)
    )


@given(situations())
def test_what_is_decided_follows_from_the_rule_and_the_cap(facts: Situation):
    decision = facts.decision()
    over = {flag for flag in facts.standing if not facts.holds(flag)}
    wanted = {flag for flag in FLAGS if flag not in facts.standing and facts.begins(flag)}
    assert set(decision.over) == over
    assert {*decision.begun, *decision.capped} == wanted
    assert not set(decision.begun) & set(decision.capped)
    left = len(facts.standing) - len(over)
    room = max(0, cap(facts.declared) - left)
    assert len(decision.begun) == min(room, len(wanted))
    for flag, verdict in decision.begun.items():
        assert (verdict.voters, verdict.live) == (
            facts.count(flag).voters,
            facts.count(flag).live,
        )
        assert verdict.cause in {vote.cause for vote in facts.votes[flag].values()}
    for flag, count in decision.counts.items():
        assert count == facts.count(flag)
    assert set(decision.counts) == {
        flag for flag in FLAGS if flag in facts.standing or facts.count(flag).voters
    }


@given(situations(), st.randoms(use_true_random=False))
def test_the_order_of_everything_is_of_no_consequence(facts: Situation, rng: random.Random):
    first, second = facts.decision(), shuffled(facts, rng).decision()
    assert first == second
    assert list(first.begun) == list(second.begun)
    assert list(first.counts) == list(second.counts)


@given(situations(), st.sampled_from(INSTANCES))
def test_one_sick_instance_never_makes_a_verdict(facts: Situation, sick: str):
    said = {flag: {sick: Vote(cause="p99")} for flag in FLAGS}
    decision = replace(facts, votes=said).decision()
    assert decision.begun == {}
    assert decision.capped == ()
    assert set(decision.over) == set(facts.standing)


@given(situations(), st.dictionaries(st.sampled_from(FLAGS), st.sampled_from(["d1", "d2", "d3"])))
def test_the_dead_never_count(facts: Situation, dead: dict[str, str]):
    said = {flag: dict(given) for flag, given in facts.votes.items()}
    active = dict(facts.active)
    for flag, instance in dead.items():
        said.setdefault(flag, {})[instance] = Vote(cause="a cause of the dead")
        active[flag] = active.get(flag, frozenset()) | {instance}
    assert replace(facts, votes=said, active=active).decision() == facts.decision()


@given(situations(), st.sampled_from(FLAGS), st.sampled_from(INSTANCES), votes)
def test_another_vote_never_ends_a_verdict_nor_prevents_one_of_its_flag(
    facts: Situation, flag: str, instance: str, vote: Vote
):
    assume(instance not in facts.votes.get(flag, {}))
    said = {**facts.votes, flag: {**facts.votes.get(flag, {}), instance: vote}}
    before, after = facts.decision(), replace(facts, votes=said).decision()
    assert set(after.over) <= set(before.over)
    if set(after.over) == set(before.over):
        assert flag not in before.begun or flag in after.begun


@given(situations(), st.sampled_from(FLAGS))
def test_a_voter_that_recovers_begins_no_verdict_and_ends_none(facts: Situation, flag: str):
    recovering = {
        each: vote.model_copy(update={"recovering": True})
        for each, vote in facts.votes.get(flag, {}).items()
    }
    after = replace(facts, votes={**facts.votes, flag: recovering}).decision()
    assert flag not in {*after.begun, *after.capped}
    assert after.over == facts.decision().over


@given(situations(), st.sampled_from(FLAGS), st.sampled_from(INSTANCES))
def test_an_instance_that_does_not_vote_never_makes_a_verdict(
    facts: Situation, flag: str, instance: str
):
    assume(instance not in facts.votes.get(flag, {}))
    active = {**facts.active, flag: facts.active.get(flag, frozenset()) | {instance}}
    before, after = facts.decision(), replace(facts, active=active).decision()
    assert {*after.begun, *after.capped} <= {*before.begun, *before.capped}
    assert set(before.over) <= set(after.over)


@given(situations())
def test_no_more_than_the_cap_ever_stand_unless_they_stood_before(facts: Situation):
    decision = facts.decision()
    stand = {*facts.standing, *decision.begun} - set(decision.over)
    assert len(stand) <= max(cap(facts.declared), len(facts.standing))
    if len(stand) > cap(facts.declared):
        assert decision.begun == {}


@given(situations(), st.floats(0.001, 1e6))
def test_nothing_is_decided_before_the_stated_time(facts: Situation, early_s: float):
    decision = replace(facts, not_before=NOW + early_s).decision()
    assert (decision.begun, decision.over, decision.capped) == ({}, (), ())
    assert decision.counts == facts.decision().counts


@given(situations())
def test_deciding_again_at_once_changes_nothing(facts: Situation):
    first = facts.decision()
    stand = {flag: it for flag, it in facts.standing.items() if flag not in first.over}
    again = replace(facts, standing={**stand, **first.begun}).decision()
    assert again.over == ()
    assert again.begun == {}
    assert set(again.capped) == set(first.capped)


# ------------------------------------------------------------------ with machines that vote


def decided(machines: dict[str, MachineState], standing: dict[str, FleetVerdict]) -> Decision:
    policy = Recovery()
    said = {
        name: Vote(cause=state.cause, recovering=is_hopeful(state, policy, NOW))
        for name, state in machines.items()
        if state.voting
    }
    everyone = frozenset(machines)
    return decide(
        now=NOW, not_before=0.0, live=everyone, active={"f": everyone}, votes={"f": said},
        standing=standing, declared=1, epoch=9,
    )  # fmt: skip


@given(st.integers(1, 9), st.data())
def test_a_verdict_does_not_feed_on_itself(fleet: int, data: st.DataObject):
    """Whoever follows it does not vote, so it is over when those who saw the breach are well."""
    policy = Recovery()
    sick = data.draw(st.integers(0, fleet))
    machines = {f"i{number}": initial(policy, 0.0) for number in range(fleet)}
    for name in list(machines)[:sick]:
        breach = Breach(now=1.0, cause="p99", draw=0.0)
        machines[name], _ = step(machines[name], breach, policy)
    begun = dict(decided(machines, {}).begun)
    assert bool(begun) is (sick >= 2 and 2 * sick >= fleet)
    if not begun:
        return
    for name, state in machines.items():
        event = FleetBreach(now=2.0, cause=begun["f"].cause, draw=0.0)
        machines[name], _ = step(state, event, policy)
        assert machines[name].fleet
    assert decided(machines, begun).over == ()
    spare = sick - Count(voters=sick, live=fleet).needed
    for well, name in enumerate(list(machines)[:sick], 1):
        machines[name] = initial(policy, 3.0)
        assert decided(machines, begun).over == (("f",) if well > spare else ())
