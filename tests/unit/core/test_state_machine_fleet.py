"""The machine as one of a fleet: verdicts of others, the first step of one, and its own vote."""

from __future__ import annotations

from dataclasses import replace

import pytest

from degrade.core.enums import Phase
from degrade.core.policy import Recovery
from degrade.core.state_machine import (
    DOUBT_S,
    Cleared,
    MachineState,
    Transition,
    has_probe,
    is_hopeful,
    wants_probe,
)
from tests.unit.core.driven import Driven

STEADY, DEGRADED, RECOVERING = Phase.STEADY, Phase.DEGRADED, Phase.RECOVERING
HOUR_S = 3_600.0


@pytest.fixture
def flag() -> Driven:
    return Driven()


def fleet_degraded(policy: Recovery | None = None) -> Driven:
    flag = Driven(policy)
    flag.fleet_breach()
    return flag


# ------------------------------------------------------------------ a verdict of the fleet


def test_a_fleet_verdict_stops_every_call_of_a_steady_flag_and_is_a_flap(flag: Driven):
    state = flag.fleet_breach(draw=0.5)
    assert state == MachineState(
        phase=DEGRADED, since=100.0, epoch=1, share=0.0, good=0, bad=0, cooldown_s=5.0,
        until=105.5, step_since=100.0, flaps=(100.0,), decay=0, cause="fleet breach: errors",
        fleet=True, voting=False,
    )  # fmt: skip
    assert flag.moved == Transition(
        at=100.0, source=STEADY, target=DEGRADED, cause="fleet breach: errors", epoch=1,
        share=0.0, cooldown_s=5.5, probe=None,
    )  # fmt: skip


def test_a_fleet_verdict_stops_a_recovery_without_lengthening_its_cooldown(flag: Driven):
    flag.breach()
    flag.recover_to(0.25)
    state = flag.fleet_breach(after=1.0, draw=0.5)
    assert (state.phase, state.share, state.fleet) == (DEGRADED, 0.0, True)
    assert (state.cooldown_s, state.until) == (5.0, flag.now + 5.5)
    assert state.flaps == (100.0,)
    assert flag.moved.source is RECOVERING
    assert flag.moved.probe is None


def test_a_flag_that_runs_nothing_joins_the_fleet_and_keeps_its_cooldown_and_cause(flag: Driven):
    degraded = flag.breach()
    state = flag.fleet_breach(after=1.0)
    assert state == replace(degraded, fleet=True)
    assert flag.effects == ()
    assert flag.fleet_breach(after=1.0) is state


def test_a_fleet_verdict_during_the_wait_after_an_order_stops_the_calls_that_still_run(
    flag: Driven,
):
    flag.ended(0.4, delay_s=60.0)
    state = flag.fleet_breach(after=1.0)
    assert (state.phase, state.share, state.until, state.fleet) == (DEGRADED, 0.0, 106.0, True)
    assert state.flaps == ()
    assert flag.moved.source is DEGRADED


def test_a_fleet_verdict_spends_the_flap_budget_too():
    flag = Driven(Recovery(flaps_per_hour=1))
    flag.breach()
    flag.to_steady()
    state = flag.fleet_breach()
    assert state.flaps == (100.0, flag.now)
    assert state.until == 100.0 + HOUR_S


def test_a_fleet_verdict_forgets_flaps_an_hour_old(flag: Driven):
    flag.breach()
    flag.to_steady()
    flag.now = 100.0 + HOUR_S
    assert flag.fleet_breach().flaps == (flag.now,)


# ------------------------------------------------------------------------- the probe lease


def test_the_first_step_of_a_fleet_verdict_waits_for_the_lease(flag: Driven):
    degraded = flag.fleet_breach()
    assert flag.tick(after=5.0, may_probe=False) is degraded
    assert flag.tick(after=5_000.0, may_probe=False) is degraded
    assert flag.effects == ()
    state = flag.tick()
    assert (state.phase, state.share, state.fleet) == (RECOVERING, 0.01, True)
    assert flag.moved.probe is None


def test_the_lease_does_not_shorten_the_cooldown():
    flag = fleet_degraded()
    assert flag.tick(after=4.999, may_probe=True).phase is DEGRADED


def test_a_verdict_of_its_own_needs_no_lease(flag: Driven):
    flag.breach()
    assert flag.tick(after=5.0, may_probe=False).phase is RECOVERING


def test_the_lease_is_wanted_from_the_end_of_the_cooldown_and_had_in_the_first_step():
    flag = fleet_degraded()
    assert not wants_probe(flag.state, 104.999)
    assert wants_probe(flag.state, 105.0)
    assert not has_probe(flag.state)
    flag.tick(after=5.0)
    assert not wants_probe(flag.state, flag.now)
    assert has_probe(flag.state)
    flag.keep_step()
    assert flag.state.phase is RECOVERING
    assert not has_probe(flag.state)


def test_a_verdict_of_its_own_wants_no_lease(flag: Driven):
    flag.breach()
    assert not wants_probe(flag.state, 5_000.0)
    flag.tick(after=5.0)
    assert not has_probe(flag.state)


def test_keeping_the_first_step_is_told_once_and_leaves_the_fleet():
    flag = fleet_degraded()
    flag.recover_to(0.01)
    state = flag.keep_step()
    assert (state.phase, state.share, state.fleet) == (RECOVERING, 0.05, False)
    assert flag.moved.probe == "kept"
    while flag.state.phase is not STEADY:
        flag.keep_step()
        assert flag.moved.probe is None


def test_a_policy_of_one_step_tells_of_it_when_it_is_steady():
    flag = fleet_degraded(Recovery(steps=(1.0,)))
    flag.recover_to(1.0)
    assert flag.keep_step().phase is STEADY
    assert flag.moved.probe == "kept"


@pytest.mark.parametrize("by_breach", [True, False])
def test_failing_the_first_step_is_told_and_stays_of_the_fleet(by_breach: bool):
    flag = fleet_degraded()
    flag.recover_to(0.01)
    if by_breach:
        flag.breach()
    else:
        flag.calls(bad=2)
        flag.tick()
    assert (flag.state.phase, flag.state.fleet, flag.state.cooldown_s) == (DEGRADED, True, 7.5)
    assert flag.moved.probe == "failed"
    assert flag.tick(after=7.5, may_probe=False).phase is DEGRADED


def test_a_later_step_that_fails_is_its_own_affair():
    flag = fleet_degraded()
    flag.recover_to(0.05)
    flag.breach()
    assert flag.moved.probe is None
    assert not flag.state.fleet
    assert flag.tick(after=10.0, may_probe=False).phase is RECOVERING


def test_steps_outside_a_fleet_tell_nothing_of_a_probe(flag: Driven):
    flag.breach()
    flag.recover_to(0.01)
    flag.breach()
    assert flag.moved.probe is None
    flag.recover_to(0.05)
    assert flag.moved.probe is None


def test_the_next_fleet_verdict_stops_the_first_step_of_the_last_one():
    flag = fleet_degraded()
    flag.recover_to(0.01)
    state = flag.fleet_breach()
    assert (state.phase, state.fleet, state.cooldown_s) == (DEGRADED, True, 5.0)
    assert flag.moved.probe is None


# -------------------------------------------------------------------- the fleet recovers


@pytest.mark.parametrize("waited_s", [3.5, 5.0, 600.0])
def test_once_the_fleet_recovers_the_own_first_step_begins_after_the_delay(waited_s: float):
    """However long the lease was waited for, so that the fleet is spread."""
    flag = fleet_degraded()
    before = flag.tick(after=waited_s, may_probe=False)
    state = flag.fleet_recovering(2.0)
    assert state == replace(before, fleet=False, until=flag.now + 2.0)
    assert flag.effects == ()
    assert flag.tick(after=1.999, may_probe=False).phase is DEGRADED
    state = flag.tick(after=0.002, may_probe=False)
    assert (state.phase, state.share) == (RECOVERING, 0.01)


def test_what_is_left_of_a_cooldown_is_waited_for_all_the_same():
    flag = fleet_degraded()
    flag.recover_to(0.01)
    flag.breach()
    until = flag.state.until
    assert flag.fleet_recovering(1.0).until == until
    assert flag.tick(after=until - flag.now - 0.001).phase is DEGRADED
    assert flag.tick(after=0.002).phase is RECOVERING


def test_a_wait_for_the_flap_budget_is_not_cut_short():
    flag = Driven(Recovery(flaps_per_hour=1))
    flag.breach()
    flag.to_steady()
    waiting = flag.fleet_breach(draw=0.5)
    assert waiting.until == 100.0 + HOUR_S + 0.5
    state = flag.fleet_recovering(2.0, after=1.0)
    assert (state.fleet, state.until) == (False, waiting.until)


def test_the_first_step_goes_on_alone_when_the_fleet_recovers():
    flag = fleet_degraded()
    flag.recover_to(0.01)
    before = flag.calls(good=3)
    state = flag.fleet_recovering(2.0)
    assert state == replace(before, fleet=False)
    assert flag.effects == ()
    flag.keep_step()
    assert flag.moved.probe is None


def test_the_recovery_of_the_fleet_does_not_move_a_flag_outside_of_it(flag: Driven):
    steady = flag.state
    assert flag.fleet_recovering(2.0) is steady
    degraded = flag.breach()
    assert flag.fleet_recovering(2.0) is degraded
    recovering = flag.recover_to(0.01)
    assert flag.fleet_recovering(2.0) is recovering
    assert flag.effects == ()


def test_the_recovery_of_the_fleet_counts_once():
    flag = fleet_degraded()
    state = flag.fleet_recovering(2.0)
    assert flag.fleet_recovering(2.0, after=1.0) is state


# ------------------------------------------------------------------------ orders and the fleet


@pytest.mark.parametrize("delay_s", [0.0, 9.0])
@pytest.mark.parametrize("probing", [True, False])
def test_the_end_of_an_order_begins_a_recovery_of_its_own(probing: bool, delay_s: float):
    flag = fleet_degraded()
    if probing:
        flag.recover_to(0.01)
    state = flag.ended(0.0, delay_s=delay_s)
    assert not state.fleet
    assert flag.moved.probe is None
    assert flag.tick(after=delay_s, may_probe=False).phase is RECOVERING
    flag.keep_step()
    assert flag.moved.probe is None


@pytest.mark.parametrize("probing", [True, False])
def test_a_release_at_once_leaves_the_fleet_and_the_vote(probing: bool):
    flag = fleet_degraded()
    if probing:
        flag.recover_to(0.01)
        flag.breach()
        flag.recover_to(0.01)
    state = flag.feed(Cleared(now=flag.now))
    assert (state.phase, state.fleet, state.voting) == (STEADY, False, False)
    assert flag.moved.probe is None


# --------------------------------------------------------------------------------- the vote


def test_a_flag_votes_from_a_breach_of_its_own_until_it_is_steady(flag: Driven):
    assert not flag.state.voting
    assert flag.breach().voting
    seen = []
    while flag.state.phase is not STEADY:
        seen.append(flag.state.voting)
        flag.recover_to(0.01) if flag.state.phase is DEGRADED else flag.keep_step()
    assert seen == [True] * 6
    assert not flag.state.voting


def test_only_the_past_speaks_against_a_flag_beyond_its_first_step_or_after_good_calls_alone(
    flag: Driven,
):
    def hopeful(after_s: float = 0.0) -> bool:
        return is_hopeful(flag.state, Recovery(), flag.now + after_s)

    assert not hopeful(HOUR_S), "STEADY"
    flag.breach()
    assert not hopeful(HOUR_S), "nobody has tried"
    flag.recover_to(0.01)
    assert not hopeful()
    spoken_s = flag.state.bad_at + DOUBT_S - flag.now
    assert (hopeful(spoken_s), hopeful(spoken_s + 0.001)) == (False, True)
    flag.calls(bad=1)
    assert flag.state.bad_at == flag.now
    assert (hopeful(DOUBT_S), hopeful(DOUBT_S + 0.001)) == (False, True)
    flag.calls(good=1)
    assert hopeful(DOUBT_S + 0.001), "a good call is nothing bad"
    flag.breach()
    flag.recover_to(0.05)
    assert hopeful()


def test_a_step_that_fails_by_a_breach_votes_and_keeps_voting():
    flag = fleet_degraded()
    assert not flag.recover_to(0.01).voting
    assert flag.breach().voting
    assert flag.recover_to(0.01).voting
    flag.calls(bad=2)
    assert flag.tick().voting


def test_two_bad_calls_are_no_vote():
    flag = fleet_degraded()
    flag.recover_to(0.01)
    flag.calls(bad=2)
    state = flag.tick()
    assert (state.phase, state.voting) == (DEGRADED, False)


def test_the_verdict_of_the_fleet_neither_makes_a_vote_nor_withdraws_one(flag: Driven):
    assert not flag.fleet_breach().voting
    assert not flag.fleet_recovering(0.0).voting
    flag.recover_to(0.05)
    flag.breach()
    assert flag.fleet_breach().voting
    assert flag.fleet_recovering(0.0).voting


@pytest.mark.parametrize("delay_s", [0.0, 60.0])
def test_the_end_of_an_order_neither_makes_a_vote_nor_withdraws_one(delay_s: float):
    flag = Driven()
    assert not flag.ended(0.0, delay_s=delay_s).voting
    flag = Driven()
    flag.breach()
    assert flag.ended(0.0, delay_s=delay_s).voting


def test_a_breach_of_the_calls_that_run_during_the_wait_after_an_order_is_a_vote(flag: Driven):
    flag.ended(0.4, delay_s=60.0)
    assert flag.breach().voting


def test_a_breach_of_calls_that_do_not_run_is_no_vote():
    flag = fleet_degraded()
    assert not flag.breach(after=1.0).voting
