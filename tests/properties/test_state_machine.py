"""The machine under any traffic, any breach and any order: the laws that no schedule breaks."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    precondition,
    rule,
)

from degrade.core.enums import HoldMode, Mode, Phase
from degrade.core.policy import Recovery
from degrade.core.probe_permits import Permit, Permits, probe_limit
from degrade.core.records import Hold, LevelOrder
from degrade.core.resolve import Resolved, resolve
from degrade.core.state_machine import (
    Breach,
    Calls,
    Cleared,
    ClearWindow,
    Event,
    FleetBreach,
    FleetRecovering,
    HoldEnded,
    MachineState,
    Tick,
    Transition,
    has_probe,
    initial,
    step,
    wants_probe,
)
from tests.properties.strategies import draws, recoveries, shares

HOUR_S = 3_600.0
LEASE_S = 10.0
ROUNDING = 1e-9


@dataclass(eq=False)
class Call:
    """A call under way, with the epoch of its admission."""

    epoch: int
    permit: Permit | None


class AnyTraffic(RuleBasedStateMachine):
    """One flag, driven as a runtime does, with a log of its own to judge the machine by."""

    under_way = Bundle("under_way")

    @initialize(policy=recoveries(), peak=st.integers(0, 400))
    def begin(self, policy: Recovery, peak: int) -> None:
        self.policy = policy
        self.peak = peak
        self.now = 1_000.0
        self.state = initial(policy, self.now)
        self.permits = Permits(1, now=self.now)
        self.expected_out: set[Permit] = set()
        self.breaches_from_steady: list[float] = []
        self.hold: Hold | None = None
        self.level: LevelOrder | None = None
        self.may_probe = True

    # ---------------------------------------------------------------------- the runtime

    def feed(self, event: Event) -> None:
        before = self.state
        self.state, effects = step(before, event, self.policy)
        assert step(before, event, self.policy) == (self.state, effects)
        if isinstance(event, Breach | FleetBreach) and before.phase is Phase.STEADY:
            self.breaches_from_steady.append(self.now)
        if self.state.epoch == before.epoch:
            assert effects == ()
            self.stayed(before, event)
            return
        told, cleared = effects
        assert isinstance(told, Transition)
        assert cleared == ClearWindow()
        assert self.state.epoch == told.epoch == before.epoch + 1
        assert (told.source, told.target) == (before.phase, self.state.phase)
        assert told.at == self.state.step_since == self.now
        assert told.share == self.state.share
        assert (self.state.since == self.now) or before.phase is self.state.phase
        assert (self.state.good, self.state.bad) == (0, 0)
        assert bool(self.state.cause) is (self.state.phase is not Phase.STEADY)
        self.went(before, event)
        self.kept_its_books(before, event, told)
        if self.state.phase is Phase.RECOVERING:
            limit = probe_limit(self.state.share, self.peak)
            self.permits.restart(limit, now=self.now)
            self.expected_out.clear()

    def stayed(self, before: MachineState, event: Event) -> None:
        after = self.state
        if isinstance(event, FleetBreach):
            assert (before.phase, before.share) == (Phase.DEGRADED, 0)
            assert after == replace(before, fleet=True)
            return
        if isinstance(event, FleetRecovering):
            self.left_the_fleet(before, event.delay_s)
            return
        assert (after.phase, after.share, after.until) == (before.phase, before.share, before.until)
        if isinstance(event, Calls) and event.epoch == before.epoch:
            assert after.good - before.good <= event.good
            assert after.bad >= before.bad
            if before.phase is Phase.STEADY:
                assert self.policy.cooldown <= after.cooldown_s <= before.cooldown_s
                return
        else:
            assert after == before
        assert after.cooldown_s == before.cooldown_s

    def left_the_fleet(self, before: MachineState, delay_s: float) -> None:
        """Its first step begins when its cooldown and the delay are over."""
        after = self.state
        if not before.fleet or before.phase is Phase.RECOVERING:
            assert after == replace(before, fleet=False)
            return
        assert after == replace(before, fleet=False, until=after.until)
        assert after.until == max(before.until, self.now + delay_s)

    def kept_its_books(self, before: MachineState, event: Event, told: Transition) -> None:
        """The laws of the fleet and of the vote, at a transition."""
        after = self.state
        ended = before.fleet and before.phase is Phase.RECOVERING
        kept = ended and isinstance(event, Tick) and after.phase is not Phase.DEGRADED
        failed = ended and isinstance(event, Tick | Breach) and after.phase is Phase.DEGRADED
        assert told.probe == ("kept" if kept else "failed" if failed else None)
        if isinstance(event, FleetBreach):
            assert after.fleet
        elif after.phase is Phase.STEADY or kept or isinstance(event, HoldEnded):
            assert not after.fleet
        else:
            assert after.fleet is before.fleet
        if after.phase is Phase.STEADY:
            assert not after.voting
        else:
            assert after.voting is (before.voting or isinstance(event, Breach))

    def went(self, before: MachineState, event: Event) -> None:
        after, policy = self.state, self.policy
        if after.phase is Phase.STEADY:
            assert isinstance(event, Cleared) or before.share == 1
        if after.phase is Phase.RECOVERING and before.phase is Phase.DEGRADED:
            assert isinstance(event, HoldEnded) or self.now >= before.until
            assert isinstance(event, HoldEnded) or self.may_probe or not before.fleet
        if after.phase is Phase.RECOVERING and isinstance(event, Tick):
            assert after.share > before.share or before.phase is Phase.DEGRADED
            assert after.share >= before.share
        failed = before.phase is Phase.RECOVERING and isinstance(event, Breach | Tick)
        failed = failed and after.phase is Phase.DEGRADED
        self.cooldown_follows_its_rule(before, failed=failed)
        if after.phase is Phase.DEGRADED and not isinstance(event, HoldEnded):
            assert after.share == 0
            wait_s = after.until - self.now
            assert wait_s >= after.cooldown_s - ROUNDING
            recent = [at for at in self.breaches_from_steady if at > self.now - HOUR_S]
            if len(recent) > policy.flaps_per_hour:
                assert after.until >= recent[0] + HOUR_S
                longest = max(recent[0] + HOUR_S - self.now, after.cooldown_s)
            else:
                longest = after.cooldown_s
            assert wait_s <= longest + 0.2 * after.cooldown_s + ROUNDING
        if isinstance(event, HoldEnded) and event.delay_s:
            assert after.until == self.now + event.delay_s

    def cooldown_follows_its_rule(self, before: MachineState, *, failed: bool) -> None:
        after, policy = self.state, self.policy
        if not failed:
            assert after.cooldown_s == before.cooldown_s
            return
        first = before.share <= policy.steps[0] + ROUNDING
        factor = 1.5 if first else 2.0
        cap = min(30.0, policy.max_cooldown) if first else policy.max_cooldown
        assert after.cooldown_s >= before.cooldown_s
        if after.cooldown_s < cap - ROUNDING:
            assert math.isclose(after.cooldown_s, factor * before.cooldown_s)
        else:
            assert after.cooldown_s == max(cap, before.cooldown_s)

    def resolved(self) -> Resolved:
        return resolve(
            hold=self.hold, everyone=None, level=self.level, flag_level=3, machine=self.state,
            now_wall=self.now,
        )  # fmt: skip

    def admitted(self, place: float) -> Call | None:
        """Admit a call as a runtime does: by dial and permit, or because a probe is due."""
        answer = self.resolved()
        if answer.mode is Mode.OFF or answer.dial == 1:
            return None
        if self.state.phase is not Phase.RECOVERING:
            return Call(self.state.epoch, None) if place >= answer.dial else None
        if place < answer.dial and not self.permits.due(self.now, 1):
            return None
        permit = self.permits.take(self.now, LEASE_S)
        if permit is None:
            return None
        self.expected_out.add(permit)
        return Call(self.state.epoch, permit)

    def give_back(self, call: Call) -> None:
        if call.permit is not None:
            self.permits.give_back(call.permit)
            self.expected_out.discard(call.permit)

    def pass_time(self, seconds: float, draw: float) -> None:
        self.now += seconds
        self.expire_orders()
        hung = {permit for permit in self.expected_out if permit.until <= self.now}
        assert self.permits.expire(self.now) == len(hung)
        self.expected_out -= hung
        before = self.state
        self.feed(Tick(now=self.now, draw=draw, may_probe=self.may_probe))
        if before.phase is Phase.DEGRADED and self.now >= before.until:
            waits = before.fleet and not self.may_probe
            assert self.state.phase is (Phase.DEGRADED if waits else Phase.RECOVERING)

    # ----------------------------------------------------------------------------- traffic

    @rule(seconds=st.sampled_from([0.0, 0.25, 1.0, 5.0, 60.0, 700.0]), draw=draws)
    def time_passes(self, seconds: float, draw: float) -> None:
        self.pass_time(seconds, draw)

    @rule(target=under_way, place=shares)
    def a_call_comes(self, place: float) -> Call:
        return self.admitted(place) or Call(-1, None)

    @rule(call=consumes(under_way), good=st.booleans())
    def a_call_ends(self, call: Call, good: bool) -> None:
        """Also one admitted long ago: `feed` checks that it changes nothing."""
        self.give_back(call)
        before = self.state
        self.feed(Calls(now=self.now, epoch=call.epoch, good=int(good), bad=int(not good)))
        if call.epoch != before.epoch:
            assert self.state is before

    @rule(call=consumes(under_way))
    def a_call_is_cancelled(self, call: Call) -> None:
        self.give_back(call)

    @rule(call=consumes(under_way))
    def a_call_hangs_for_good(self, call: Call) -> None:
        """Nobody gives its permit back; `pass_time` frees it."""

    @rule(good=st.integers(0, 5_000), bad=st.integers(0, 3), late=st.booleans())
    def a_burst_ends(self, good: int, bad: int, late: bool) -> None:
        self.feed(Calls(now=self.now, epoch=self.state.epoch - late, good=good, bad=bad))

    @rule(draw=draws)
    def the_verdict_is_a_breach(self, draw: float) -> None:
        ran = self.state.share > 0
        self.feed(Breach(now=self.now, cause="p99", draw=draw))
        assert self.state.share == 0
        assert (self.state.step_since == self.now) or not ran

    @precondition(lambda self: self.state.phase is not Phase.STEADY)
    @rule(steps=st.integers(1, 4), draw=draws)
    def some_healthy_time_passes(self, steps: int, draw: float) -> None:
        """So that runs come far: the rest of a cooldown, then a few steps with good calls."""
        for _ in range(steps):
            rest_s = self.state.until - self.now if self.state.phase is Phase.DEGRADED else 0.0
            self.pass_time(max(rest_s, 0.0), draw)
            self.feed(Calls(now=self.now, epoch=self.state.epoch, good=20, bad=0))
            self.pass_time(self.policy.step_time, draw)

    # ------------------------------------------------------------------------------- fleet

    @rule(draw=draws)
    def the_fleet_says_that_it_is_a_breach(self, draw: float) -> None:
        before = self.state
        self.feed(FleetBreach(now=self.now, cause="errors", draw=draw))
        assert (self.state.phase, self.state.share) == (Phase.DEGRADED, 0)
        assert self.state.fleet
        assert self.state.cooldown_s == before.cooldown_s

    @rule(delay_s=st.sampled_from([0.0, 0.5, 30.0]))
    def the_fleet_recovers(self, delay_s: float) -> None:
        self.feed(FleetRecovering(now=self.now, delay_s=delay_s))
        assert not self.state.fleet

    @rule(got=st.booleans())
    def the_probe_lease_comes_or_goes(self, got: bool) -> None:
        self.may_probe = got

    # ------------------------------------------------------------------------------ orders

    @precondition(lambda self: self.hold is None)
    @rule(
        mode=st.sampled_from([HoldMode.OFF, HoldMode.DEGRADED]),
        dial=st.one_of(shares, st.sampled_from([0.05, 0.5, 0.95, 1.0])),
        for_s=st.sampled_from([None, 1.0, 60.0]),
    )
    def a_human_holds_the_flag(self, mode: HoldMode, dial: float, for_s: float | None) -> None:
        until = None if for_s is None else self.now + for_s
        self.hold = Hold(mode=mode, dial=dial, actor="a", reason="r", at=self.now, until=until)

    @precondition(lambda self: self.level is None)
    @rule(for_s=st.sampled_from([None, 1.0, 60.0]))
    def a_human_orders_the_level(self, for_s: float | None) -> None:
        until = None if for_s is None else self.now + for_s
        self.level = LevelOrder(level=3, actor="a", reason="r", at=self.now, until=until)

    @precondition(lambda self: self.hold or self.level)
    @rule(delay_s=st.sampled_from([0.0, 0.0, 7.0, 60.0]))
    def an_order_is_released(self, delay_s: float) -> None:
        self.end_order("hold" if self.hold else "level", delay_s)

    @precondition(lambda self: self.state.phase is not Phase.STEADY)
    @rule(sure=st.sampled_from([False, False, False, True]))
    def a_human_releases_at_once(self, sure: bool) -> None:
        if not sure:
            return
        self.hold = self.level = None
        self.feed(Cleared(now=self.now))
        assert self.state.phase is Phase.STEADY
        assert self.resolved().mode is Mode.NORMAL

    def expire_orders(self) -> None:
        for name in ("hold", "level"):
            order = getattr(self, name)
            if order is not None and order.until is not None and order.until <= self.now:
                setattr(self, name, order.model_copy(update={"until": None}))  # until noticed
                self.end_order(name, 0.0)

    def end_order(self, name: str, delay_s: float) -> None:
        """End it as a runtime does, and check the law of the end of an order."""
        ran = self.resolved().running_share
        setattr(self, name, None)
        self.feed(HoldEnded(now=self.now, running_share=ran, delay_s=delay_s))
        runs = self.resolved().running_share
        assert runs >= ran - ROUNDING
        assert runs < 1 or ran > 1 - ROUNDING
        if delay_s and not (self.hold or self.level):
            assert math.isclose(runs, max(ran, 0.01 if len(self.policy.steps) == 1 else 0.0))

    # -------------------------------------------------------------------------- invariants

    @invariant()
    def the_phase_agrees_with_the_share(self) -> None:
        state = self.state
        assert 0 <= state.share <= 1
        if state.phase is Phase.STEADY:
            assert state.share == 1
        if state.phase is Phase.RECOVERING:
            assert state.share > 0

    @invariant()
    def the_fleet_and_the_vote_end_at_the_latest_in_steady(self) -> None:
        state = self.state
        if state.phase is Phase.STEADY:
            assert not state.fleet
            assert not state.voting
        if state.fleet and state.phase is Phase.DEGRADED:
            assert state.share == 0
        if has_probe(state):
            assert state.fleet
            assert state.share <= self.policy.steps[0]
        if wants_probe(state, self.now):
            assert state.fleet
            assert state.phase is Phase.DEGRADED
            assert self.now >= state.until

    @invariant()
    def no_probe_is_lost_and_none_too_many(self) -> None:
        assert self.permits.in_flight == len(self.expected_out) <= self.permits.limit
        assert self.permits.limit >= 1

    @invariant()
    def the_cooldown_stays_within_its_bounds(self) -> None:
        assert self.policy.cooldown <= self.state.cooldown_s <= self.policy.max_cooldown

    @invariant()
    def only_orders_degrade_a_steady_flag(self) -> None:
        if self.state.phase is Phase.STEADY and not (self.hold or self.level):
            assert self.resolved().mode is Mode.NORMAL

    # ---------------------------------------------------------------------------- liveness

    def teardown(self) -> None:
        """From wherever the run ended, healthy traffic leads back to STEADY, at any rate."""
        if not hasattr(self, "state"):
            return
        while self.hold or self.level:
            self.end_order("hold" if self.hold else "level", 0.0)
        self.may_probe = True  # the lease comes in the end, or the store is away too long
        start = (self.state, self.now, self.permits.limit)
        for every_s in (60.0, 1.0):
            self.state, self.now, limit = start
            self.permits.restart(limit, now=self.now)
            self.expected_out.clear()
            while self.permits.take(self.now, LEASE_S):
                """Every permit hangs, so that only leases can free one."""
            self.healthy_traffic_leads_back(every_s)

    def healthy_traffic_leads_back(self, every_s: float) -> None:
        slowest_step_s = max(10 * self.policy.step_time, 3 * every_s) + 2 * every_s + LEASE_S
        self.pass_plain(0.0)  # a first step that has failed already ends now
        wait_s = max(0.0, self.state.until - self.now)
        end = self.now + wait_s + every_s + (len(self.policy.steps) + 1) * slowest_step_s
        while self.state.phase is not Phase.STEADY:
            assert self.now <= end, f"stuck: {self.state}"
            call = self.admitted(place=0.0)  # the unluckiest subject: only probes that are due
            if call is not None:
                self.give_back(call)
                self.feed(Calls(now=self.now, epoch=call.epoch, good=1, bad=0))
            idle_s = self.state.until - self.now - every_s
            self.pass_plain(max(every_s, idle_s if self.state.phase is Phase.DEGRADED else 0.0))

    def pass_plain(self, seconds: float) -> None:
        self.now += seconds
        self.permits.expire(self.now)
        self.expected_out = {permit for permit in self.expected_out if permit.until > self.now}
        self.feed(Tick(now=self.now, draw=0.5))


AnyTraffic.TestCase.settings = settings(max_examples=120, stateful_step_count=40)
TestAnyTraffic = AnyTraffic.TestCase


# ------------------------------------------------------------------ the first step, exactly


def first_step(policy: Recovery) -> MachineState:
    state, _ = step(initial(policy, 0.0), Breach(now=0.0, cause="p99", draw=0.0), policy)
    state, _ = step(state, Tick(now=policy.cooldown, draw=0.0), policy)
    return state


def fails(state: MachineState, policy: Recovery) -> bool:
    after, _ = step(state, Tick(now=state.step_since, draw=0.0), policy)
    return after.phase is Phase.DEGRADED


@given(recoveries(), st.lists(st.booleans(), max_size=40))
def test_the_first_step_fails_exactly_when_two_bad_calls_come_before_enough_good_ones(
    policy: Recovery, calls: list[bool]
):
    state = first_step(policy)
    for good in calls:
        event = Calls(now=9.0, epoch=state.epoch, good=int(good), bad=int(not good))
        state, _ = step(state, event, policy)
    bad_at = [at for at, good in enumerate(calls) if not good]
    too_soon = len(bad_at) >= 2 and sum(calls[: bad_at[1]]) < policy.step_calls
    assert fails(state, policy) is too_soon


@given(
    recoveries(),
    st.lists(st.tuples(st.integers(0, 9), st.integers(0, 4)), max_size=8),
)
def test_batches_fail_the_first_step_only_if_some_order_of_their_calls_does(
    policy: Recovery, batches: list[tuple[int, int]]
):
    state = first_step(policy)
    good_so_far = bad_so_far = 0
    surely = possibly = False
    for good, bad in batches:
        state, _ = step(state, Calls(now=9.0, epoch=state.epoch, good=good, bad=bad), policy)
        if bad_so_far < 2 <= bad_so_far + bad:
            surely = good_so_far + good < policy.step_calls
            possibly = good_so_far < policy.step_calls
        good_so_far, bad_so_far = good_so_far + good, bad_so_far + bad
    assert surely <= fails(state, policy) <= possibly
