"""The machine's table, event by event, with the figures that the policy states."""

from __future__ import annotations

from dataclasses import replace

import pytest

from degrade.core.enums import Phase
from degrade.core.policy import Recovery
from degrade.core.state_machine import (
    Cleared,
    HoldEnded,
    MachineState,
    Transition,
    at_rest,
    initial,
    resumed,
)
from tests.unit.core.driven import Driven

STEADY, DEGRADED, RECOVERING = Phase.STEADY, Phase.DEGRADED, Phase.RECOVERING
HOUR_S = 3_600.0


@pytest.fixture
def flag() -> Driven:
    return Driven()


def test_a_flag_never_seen_is_steady_with_the_cooldown_of_its_policy():
    assert initial(Recovery(cooldown="7s"), 12.0) == MachineState(
        phase=STEADY, since=12.0, epoch=0, share=1.0, good=0, bad=0, cooldown_s=7.0,
        until=12.0, step_since=12.0, flaps=(), decay=0, cause="",
    )  # fmt: skip


# ------------------------------------------------------------------------------- breach


@pytest.mark.parametrize(
    ("left_s", "wait_s"), [(3.0, 3.0), (-100.0, 0.0), (1e9, 300.0)], ids=["some", "over", "absurd"]
)
def test_a_flag_that_was_not_steady_begins_with_the_rest_of_its_cooldown(
    left_s: float, wait_s: float
):
    policy = Recovery(cooldown="5s", max_cooldown="5m")
    state = resumed(
        policy, 100.0, share=0.0, left_s=left_s, cooldown_s=7.5, cause="breach: p99", draw=0.0
    )
    assert (state.phase, state.share, state.epoch, state.cause) == (
        DEGRADED, 0.0, 1, "breach: p99",
    )  # fmt: skip
    assert state.until == 100.0 + wait_s
    assert state.cooldown_s == 7.5
    assert not state.voting, "what another process saw is no evidence of this one"
    assert not state.fleet


@pytest.mark.parametrize(("known_s", "cooldown_s"), [(0.0, 5.0), (1e9, 300.0)])
def test_a_resumed_flag_keeps_its_cooldown_within_the_policy(known_s: float, cooldown_s: float):
    policy = Recovery(cooldown="5s", max_cooldown="5m")
    state = resumed(policy, 0.0, share=0.0, left_s=0.0, cooldown_s=known_s, cause="", draw=0.0)
    assert state.cooldown_s == cooldown_s


def test_processes_that_resume_together_do_not_come_back_together():
    policy = Recovery(cooldown="5s")
    untils = [
        resumed(policy, 0.0, share=0.0, left_s=2.0, cooldown_s=5.0, cause="", draw=draw).until
        for draw in (0.0, 0.5, 0.999)
    ]
    assert untils == pytest.approx([2.0, 2.5, 2.999])


def test_a_breach_stops_every_call_until_the_cooldown_is_over(flag: Driven):
    state = flag.breach(cause="p99 250ms")

    assert state == MachineState(
        phase=DEGRADED, since=100.0, epoch=1, share=0.0, good=0, bad=0, cooldown_s=5.0,
        until=105.0, step_since=100.0, flaps=(100.0,), decay=0, cause="breach: p99 250ms",
        voting=True, bad_at=100.0,
    )  # fmt: skip
    assert flag.moved == Transition(
        at=100.0, source=STEADY, target=DEGRADED, cause="breach: p99 250ms", epoch=1,
        share=0.0, cooldown_s=5.0,
    )  # fmt: skip


@pytest.mark.parametrize(("draw", "wait_s"), [(0.0, 5.0), (0.5, 5.5), (0.999, 5.999)])
def test_jitter_only_lengthens_a_cooldown_and_by_less_than_a_fifth(draw: float, wait_s: float):
    flag = Driven()
    state = flag.breach(draw=draw)
    assert state.until - flag.now == pytest.approx(wait_s)
    assert flag.moved.cooldown_s == pytest.approx(wait_s)
    assert state.cooldown_s == 5.0


def test_a_breach_of_calls_that_do_not_run_is_ignored(flag: Driven):
    degraded = flag.breach()
    assert flag.breach(after=1.0) is degraded
    assert flag.effects == ()


def test_a_breach_during_the_wait_after_an_order_stops_the_calls_that_still_run(flag: Driven):
    flag.ended(0.4, delay_s=60.0)
    state = flag.breach(after=1.0)
    assert (state.phase, state.share, state.until) == (DEGRADED, 0.0, 106.0)
    assert state.flaps == ()
    assert state.cause == "breach: p99"
    assert flag.moved.source is DEGRADED


# ----------------------------------------------------------------------------- recovery


def test_nothing_moves_before_the_cooldown_is_over(flag: Driven):
    degraded = flag.breach()
    assert flag.tick(after=4.999) is degraded
    assert flag.effects == ()


def test_the_first_step_begins_when_the_cooldown_is_over(flag: Driven):
    flag.breach()
    state = flag.tick(after=5.0)
    assert state == MachineState(
        phase=RECOVERING, since=105.0, epoch=2, share=0.01, good=0, bad=0, cooldown_s=5.0,
        until=105.0, step_since=105.0, flaps=(100.0,), decay=0, cause="breach: p99",
        voting=True, bad_at=100.0,
    )  # fmt: skip
    assert flag.moved == Transition(
        at=105.0, source=DEGRADED, target=RECOVERING, cause="cooldown over", epoch=2,
        share=0.01, cooldown_s=0.0,
    )  # fmt: skip


def test_kept_steps_lead_through_every_share_back_to_steady(flag: Driven):
    flag.breach()
    flag.tick(after=5.0)
    seen = []
    while flag.state.phase is not STEADY:
        seen.append((flag.state.epoch, flag.state.share, flag.state.step_since))
        flag.keep_step()
        assert flag.moved.source is RECOVERING
        assert flag.moved.epoch == flag.state.epoch
    assert seen == [
        (2, 0.01, 105.0), (3, 0.05, 110.0), (4, 0.25, 115.0), (5, 0.5, 120.0), (6, 1.0, 125.0),
    ]  # fmt: skip
    assert flag.moved == Transition(
        at=130.0, source=RECOVERING, target=STEADY, cause="step of 100% kept", epoch=7,
        share=1.0, cooldown_s=0.0,
    )  # fmt: skip
    assert (flag.state.since, flag.state.share, flag.state.cause) == (130.0, 1.0, "")


def test_a_step_keeps_the_time_and_the_cause_of_the_recovery(flag: Driven):
    flag.breach(cause="errors")
    flag.tick(after=5.0)
    state = flag.keep_step()
    assert flag.moved.cause == "step of 1% kept"
    assert (state.since, state.step_since) == (105.0, 110.0)
    assert (state.good, state.bad) == (0, 0)
    assert state.cause == "breach: errors"


@pytest.mark.parametrize(
    ("good", "lasted_s", "kept"),
    [
        (5, 5.0, True),
        (5, 4.999, False),  # enough calls, too early
        (4, 5.0, False),  # long enough, too few calls
        (4, 49.999, False),
        (3, 50.0, True),  # low traffic
        (2, 50.0, False),
        (2, 5_000.0, False),
        (0, 5_000.0, False),  # without traffic it stays where it is
    ],
)
def test_a_step_is_kept_by_time_and_good_calls(good: int, lasted_s: float, kept: bool):
    flag = Driven()
    flag.breach()
    flag.recover_to(0.01)
    before = flag.calls(good=good)
    after = flag.tick(after=lasted_s)
    assert (after is not before) is kept
    assert after.share == (0.05 if kept else 0.01)


def test_a_policy_of_one_good_call_needs_no_three_of_them():
    flag = Driven(Recovery(step_calls=1))
    flag.breach()
    flag.recover_to(0.01)
    flag.calls(good=1)
    assert flag.tick(after=5.0).share == 0.05


def test_calls_of_a_step_add_up_over_several_events(flag: Driven):
    flag.breach()
    flag.recover_to(0.5)
    flag.calls(good=2, bad=1)
    state = flag.calls(good=1, bad=3)
    assert (state.good, state.bad) == (3, 4)


# --------------------------------------------------------------------------- failed steps


def test_two_bad_calls_fail_the_first_step(flag: Driven):
    flag.breach()
    flag.recover_to(0.01)
    flag.calls(bad=1)
    assert flag.tick(after=1.0).phase is RECOVERING
    flag.calls(bad=1)
    state = flag.tick()
    assert (state.phase, state.share, state.cooldown_s) == (DEGRADED, 0.0, 7.5)
    assert state.until == flag.now + 7.5
    assert state.cause == flag.moved.cause == "2 bad calls in the first step"


def test_the_jitter_of_a_failed_first_step_comes_from_the_tick(flag: Driven):
    flag.breach()
    flag.recover_to(0.01)
    flag.calls(bad=2)
    assert flag.tick(draw=0.5).until == flag.now + 7.5 * 1.1


def test_bad_calls_after_enough_good_ones_do_not_fail_a_busy_first_step(flag: Driven):
    flag.breach()
    flag.recover_to(0.01)
    flag.calls(good=5)
    flag.calls(good=95, bad=2)
    state = flag.tick(after=5.0)
    assert (state.phase, state.share) == (RECOVERING, 0.05)


def test_exactly_enough_good_calls_end_the_danger_of_the_first_step(flag: Driven):
    flag.breach()
    flag.recover_to(0.01)
    flag.calls(good=5)
    state = flag.calls(good=1, bad=2)
    assert (state.good, state.bad) == (6, 2)
    flag.state = replace(state, good=5)
    assert flag.tick(after=5.0).share == 0.05


def test_good_calls_after_two_bad_ones_cannot_save_the_first_step(flag: Driven):
    flag.breach()
    flag.recover_to(0.01)
    flag.calls(good=4)
    flag.calls(bad=2)
    state = flag.calls(good=100)
    assert (state.good, state.bad) == (4, 2)
    assert flag.tick(after=60.0).phase is DEGRADED


@pytest.mark.parametrize(
    ("good", "bad", "fails"),
    [
        (100, 2, False),  # 67 good ones are expected before the second bad one
        (5, 95, True),
        (6, 3, True),  # 3
        (10, 3, False),  # exactly 5
        (9, 3, True),  # 4.5
        (7, 2, True),  # 4.67
        (8, 2, False),  # 5.33
        (100, 1, False),
        (0, 1, False),
        (0, 2, True),
    ],
)
def test_a_batch_counts_as_if_its_bad_calls_were_spread_evenly(good: int, bad: int, fails: bool):
    flag = Driven()
    flag.breach()
    flag.recover_to(0.01)
    state = flag.calls(good=good, bad=bad)
    if not fails:
        assert state.good == good
    assert state.bad == bad
    assert (flag.tick(after=0.1).phase is DEGRADED) is fails


@pytest.mark.parametrize(
    ("good", "fails"),
    [(8, True), (9, True), (10, False)],  # 4, 4.5 and 5 of them come before the bad one
)
def test_a_bad_call_before_the_batch_leaves_room_for_one_in_it(good: int, fails: bool):
    flag = Driven()
    flag.breach()
    flag.recover_to(0.01)
    flag.calls(bad=1)
    flag.calls(good=good, bad=1)
    assert (flag.tick(after=0.1).phase is DEGRADED) is fails


def test_good_calls_before_the_batch_count_toward_the_first_step(flag: Driven):
    flag.breach()
    flag.recover_to(0.01)
    flag.calls(good=3)
    flag.calls(good=3, bad=2)  # 3 and 2 more before the second bad one
    assert flag.tick(after=5.0).share == 0.05


def test_bad_calls_alone_do_not_fail_a_later_step(flag: Driven):
    flag.breach()
    flag.recover_to(0.05)
    flag.calls(bad=50)
    assert flag.tick(after=1.0).phase is RECOVERING
    flag.calls(good=5)
    assert flag.tick(after=4.0).share == 0.25


def test_a_breach_fails_any_step_and_names_its_cause(flag: Driven):
    flag.breach()
    flag.recover_to(0.01)
    state = flag.breach(cause="errors", draw=0.5)
    assert (state.phase, state.share, state.cooldown_s) == (DEGRADED, 0.0, 7.5)
    assert state.until == flag.now + 7.5 * 1.1
    assert flag.moved.source is RECOVERING
    assert flag.moved.cause == state.cause == "breach: errors"
    assert state.flaps == (100.0,)


def test_failing_the_first_step_multiplies_the_cooldown_by_one_and_a_half_up_to_thirty(
    flag: Driven,
):
    flag.breach()
    waits = []
    for _ in range(6):
        flag.recover_to(0.01)
        flag.breach()
        waits.append(flag.moved.cooldown_s)
    assert waits == pytest.approx([7.5, 11.25, 16.875, 25.3125, 30.0, 30.0])


@pytest.mark.parametrize("share", [0.05, 1.0])
def test_failing_a_later_step_doubles_the_cooldown_up_to_its_cap(share: float):
    flag = Driven()
    flag.breach()
    waits = []
    for _ in range(7):
        flag.recover_to(share)
        flag.breach()
        waits.append(flag.moved.cooldown_s)
    assert waits == [10.0, 20.0, 40.0, 80.0, 160.0, 300.0, 300.0]


def test_the_cap_of_the_first_step_never_lowers_a_cooldown_already_reached(flag: Driven):
    flag.breach()
    for _ in range(4):
        flag.recover_to(0.05)
        flag.breach()
    assert flag.state.cooldown_s == 80.0
    flag.recover_to(0.01)
    assert flag.breach().cooldown_s == 80.0
    assert flag.moved.cooldown_s == 80.0


def test_the_first_step_cannot_wait_longer_than_the_longest_cooldown():
    flag = Driven(Recovery(cooldown="5s", max_cooldown="6s"))
    flag.breach()
    flag.recover_to(0.01)
    assert flag.breach().cooldown_s == 6.0


def test_the_first_step_is_known_by_its_share_and_not_by_where_the_recovery_began(flag: Driven):
    flag.ended(0.3)
    assert flag.state.share == 0.5
    flag.calls(bad=4)
    assert flag.tick(after=1.0).phase is RECOVERING
    assert flag.breach().cooldown_s == 10.0


# ------------------------------------------------------------------------------- epochs


@pytest.mark.parametrize("older_by", [1, -1])
def test_calls_of_another_epoch_change_nothing(older_by: int):
    flag = Driven()
    flag.breach()
    recovering = flag.recover_to(0.01)
    assert flag.calls(good=9, bad=9, epoch=recovering.epoch - older_by) is recovering
    assert flag.effects == ()


def test_calls_while_degraded_change_nothing(flag: Driven):
    degraded = flag.breach()
    assert flag.calls(good=5, bad=5) is degraded


def test_a_steady_machine_at_its_base_cooldown_is_left_as_it_is(flag: Driven):
    steady = flag.state
    assert flag.calls(good=5_000, bad=50) is steady
    assert flag.tick(after=5_000.0) is steady
    assert flag.effects == ()


def test_a_machine_is_at_rest_when_it_is_steady_with_nothing_to_decay(flag: Driven):
    assert at_rest(flag.state, flag.policy)
    assert not at_rest(replace(flag.state, cooldown_s=5.001), flag.policy)
    assert not at_rest(flag.breach(), flag.policy)
    assert not at_rest(flag.recover_to(1.0), flag.policy)


# ------------------------------------------------------------------------------- decay


def raised(cooldown_s: float) -> Driven:
    flag = Driven()
    flag.state = replace(flag.state, cooldown_s=cooldown_s)
    return flag


def test_the_cooldown_halves_with_every_thousand_good_calls(flag: Driven):
    flag = raised(40.0)
    assert flag.calls(good=999, bad=77).cooldown_s == 40.0
    assert flag.state.decay == 999
    assert (flag.calls(good=1).cooldown_s, flag.state.decay) == (20.0, 0)
    assert (flag.calls(good=1_300).cooldown_s, flag.state.decay) == (10.0, 300)


def test_a_batch_halves_the_cooldown_several_times_but_never_below_its_base():
    assert raised(80.0).calls(good=2_500).cooldown_s == 20.0
    assert raised(80.0).calls(good=2_500).decay == 500
    assert raised(80.0).calls(good=10**9).cooldown_s == 5.0
    assert raised(6.0).calls(good=1_000).cooldown_s == 5.0


def test_the_cooldown_never_decays_by_the_clock():
    flag = raised(40.0)
    assert flag.tick(after=10 * 24 * HOUR_S).cooldown_s == 40.0


def test_good_calls_of_a_recovery_do_not_lower_the_cooldown(flag: Driven):
    flag.breach()
    flag.recover_to(0.05)
    flag.breach()
    flag.recover_to(1.0)
    assert flag.calls(good=5_000).cooldown_s == 10.0
    flag.tick(after=5.0)
    assert (flag.state.phase, flag.state.cooldown_s, flag.state.decay) == (STEADY, 10.0, 0)


def test_the_next_breach_waits_for_what_is_left_of_the_cooldown_and_counts_anew():
    flag = raised(40.0)
    flag.calls(good=1_999)
    state = flag.breach()
    assert (flag.moved.cooldown_s, state.decay) == (20.0, 0)


# -------------------------------------------------------------------------- flap budget


def flapping(times: int, *, policy: Recovery | None = None) -> Driven:
    """Breach from steady so many times, with a full recovery after each but the last."""
    flag = Driven(policy)
    for count in range(times):
        if count:
            flag.to_steady()
        flag.breach()
    return flag


def test_flaps_within_the_budget_do_not_change_the_cooldown():
    flag = flapping(6)
    assert len(flag.state.flaps) == 6
    assert flag.moved.cooldown_s == 5.0


def test_past_the_budget_the_cooldown_lasts_until_the_oldest_flap_is_an_hour_old():
    flag = flapping(7)
    assert flag.state.phase is DEGRADED
    assert flag.state.until == 100.0 + HOUR_S
    assert flag.moved.cooldown_s == 100.0 + HOUR_S - flag.now
    assert flag.state.cooldown_s == 5.0


def test_jitter_past_the_budget_is_that_of_the_cooldown_and_not_of_the_hour():
    flag = flapping(6)
    flag.to_steady()
    assert flag.breach(draw=0.5).until == pytest.approx(100.0 + HOUR_S + 0.5)


def test_a_failed_step_past_the_budget_waits_for_the_oldest_flap_too():
    flag = flapping(7)
    flag.ended(0.0)
    assert flag.breach(after=1.0).until == 100.0 + HOUR_S


def test_a_cooldown_that_ends_later_than_the_oldest_flap_is_not_cut_short():
    flag = flapping(7)
    flag.state = replace(flag.state, phase=STEADY, share=1.0)
    flag.now = 100.0 + HOUR_S - 1.0
    assert flag.breach().until == flag.now + 5.0


def test_a_flap_an_hour_old_is_forgotten():
    flag = flapping(6)
    flag.to_steady()
    oldest, *kept = flag.state.flaps
    flag.now = oldest + HOUR_S
    state = flag.breach()
    assert state.flaps == (*kept, flag.now)
    assert flag.moved.cooldown_s == 5.0


def test_a_failed_step_forgets_flaps_an_hour_old():
    flag = flapping(7)
    flag.ended(0.0)
    flag.now = 100.0 + HOUR_S
    assert flag.breach().until == flag.now + 7.5


def test_failed_steps_are_no_flaps():
    flag = Driven(Recovery(flaps_per_hour=1))
    flag.breach()
    for _ in range(3):
        flag.recover_to(0.01)
        flag.breach()
    assert flag.state.flaps == (100.0,)
    assert flag.moved.cooldown_s == pytest.approx(16.875)


# ------------------------------------------------------------------------ ends of orders


@pytest.mark.parametrize(
    ("ran", "share"),
    [
        (0.0, 0.01), (0.01, 0.01), (0.02, 0.05), (0.25, 0.25), (0.5, 0.5),
        (0.8, 0.8),  # above every step below full traffic: a step of its own
        (1.0, 1.0),  # a hold with a dial of 0 took nothing away
    ],
)  # fmt: skip
def test_the_end_of_an_order_begins_at_the_first_step_that_takes_nothing_away(
    ran: float, share: float
):
    flag = Driven()
    state = flag.ended(ran, cause="level 2 released")
    assert state == MachineState(
        phase=RECOVERING, since=100.0, epoch=1, share=share, good=0, bad=0, cooldown_s=5.0,
        until=100.0, step_since=100.0, flaps=(), decay=0, cause="level 2 released",
    )  # fmt: skip
    assert flag.moved == Transition(
        at=100.0, source=STEADY, target=RECOVERING, cause="level 2 released", epoch=1,
        share=share, cooldown_s=0.0,
    )  # fmt: skip


def test_a_share_that_is_a_step_but_for_rounding_begins_at_that_step(flag: Driven):
    ran = 1 - 0.95
    assert ran > 0.05
    assert flag.ended(ran).share == ran
    assert flag.keep_step().share == 0.25


def test_a_step_of_its_own_is_followed_by_full_traffic(flag: Driven):
    flag.ended(0.8)
    assert flag.keep_step().share == 1.0
    assert flag.keep_step().phase is STEADY


def test_a_delay_keeps_the_share_that_ran_until_it_is_over(flag: Driven):
    state = flag.ended(0.3, delay_s=20.0)
    assert (state.phase, state.share, state.until) == (DEGRADED, 0.3, 120.0)
    assert flag.moved.cooldown_s == 20.0
    assert flag.moved.cause == state.cause == "level"
    assert flag.tick(after=19.999).phase is DEGRADED
    state = flag.tick(after=0.001)
    assert (state.phase, state.share, state.cause) == (RECOVERING, 0.5, "level")


@pytest.mark.parametrize(("ran", "share"), [(0.0, 0.01), (0.4, 0.4)])
@pytest.mark.parametrize("delay_s", [0.0, 9.0])
def test_a_policy_of_one_step_does_not_bring_everything_back_at_once_after_an_order(
    ran: float, share: float, delay_s: float
):
    flag = Driven(Recovery(steps=(1.0,)))
    flag.ended(ran, delay_s=delay_s)
    state = flag.tick(after=delay_s)
    assert (state.phase, state.share) == (RECOVERING, share)
    assert flag.keep_step().share == 1.0


def test_a_policy_with_a_tiny_step_begins_there_after_an_order():
    flag = Driven(Recovery(steps=(0.001, 1.0)))
    assert flag.ended(0.0).share == 0.001


def test_the_shortest_delay_is_a_delay(flag: Driven):
    assert flag.ended(0.0, delay_s=0.5).phase is DEGRADED
    assert flag.state.until == 100.5


def test_a_policy_of_one_step_tries_everything_after_a_cooldown():
    flag = Driven(Recovery(steps=(1.0,)))
    flag.breach()
    assert flag.tick(after=5.0).share == 1.0
    assert flag.breach().cooldown_s == 7.5


def test_an_order_that_ends_during_a_recovery_begins_a_step_of_its_own(flag: Driven):
    flag.breach()
    flag.recover_to(0.5)
    flag.calls(good=3, bad=1)
    since = flag.state.since
    state = flag.ended(0.1)
    assert (state.share, state.good, state.bad, state.since) == (0.25, 0, 0, since)
    assert state.step_since == flag.now


def test_what_ended_is_named_even_when_nobody_says(flag: Driven):
    state = flag.feed(HoldEnded(now=100.0, running_share=0.0))
    assert state.cause == "an order ended"
    assert (state.phase, state.share) == (RECOVERING, 0.01)


# ------------------------------------------------------------------------- release --now


@pytest.mark.parametrize("phase", [DEGRADED, RECOVERING])
def test_a_release_at_once_brings_full_traffic_back_at_once(phase: Phase):
    flag = Driven()
    flag.breach()
    if phase is RECOVERING:
        flag.recover_to(0.05)
    flag.now += 1.0
    epoch = flag.state.epoch
    state = flag.feed(Cleared(now=flag.now))
    assert (state.phase, state.share, state.since, state.cause) == (STEADY, 1.0, flag.now, "")
    assert flag.moved == Transition(
        at=flag.now, source=phase, target=STEADY, cause="released at once", epoch=epoch + 1,
        share=1.0, cooldown_s=0.0,
    )  # fmt: skip


def test_a_release_at_once_forgives_neither_flaps_nor_cooldown(flag: Driven):
    flag.breach()
    flag.recover_to(0.05)
    flag.breach()
    state = flag.feed(Cleared(now=flag.now, cause="by ana"))
    assert flag.moved.cause == "by ana"
    assert (state.flaps, state.cooldown_s) == ((100.0,), 10.0)


def test_a_steady_flag_has_nothing_to_release(flag: Driven):
    steady = flag.state
    assert flag.feed(Cleared(now=200.0)) is steady
    assert flag.effects == ()
