"""The ticker falls asleep, and what rouses it; each round is done by hand."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import ExitStack, suppress

import pytest

from degrade import SLA, Flag, Runtime, default, degradable, snapshot
from degrade.clock import ManualClock
from degrade.control import Control
from degrade.runtime.background.io_worker import IOWorker
from degrade.runtime.background.ticker import BUSY_S, GAP_S, IDLE_ROUNDS, IDLE_S, NAP_S, Ticker
from degrade.runtime.monitoring.flag_monitor import FlagMonitor


class HandTicker(Ticker):
    """Its rounds are done by the test."""

    alive = True  # type: ignore[assignment] # nobody shall start a thread


class HandCourier(IOWorker):
    """Its rounds are done by the test."""

    alive = True  # type: ignore[assignment] # nobody shall start a thread


class ByHand:
    """A runtime with background threads whose ticker does its rounds here, on a manual clock.

    Attributes:
        waited_s: What the last round asked to wait.
        called: Whether the last round was called for, rather than its time was up.
    """

    def __init__(self, runtime: Runtime, clock: ManualClock) -> None:
        self.runtime = runtime
        self.clock = clock
        self.ticker = runtime._ticker = HandTicker(runtime)
        runtime._io_worker = HandCourier(runtime)
        runtime.rest(asleep=False)
        self.waited_s = BUSY_S
        self.called = False

    def round(self) -> None:
        """Wait as the thread would, for the time or the bell, and do one round."""
        self.called = self.ticker.bell.wait(0)
        if not self.called:
            self.clock.advance(self.waited_s)
        self.waited_s = self.ticker.round(called=self.called)

    def sleep(self) -> None:
        """Do rounds until it sleeps."""
        for _ in range(IDLE_ROUNDS + 3):
            if self.asleep:
                return
            self.round()
        assert self.asleep

    @property
    def asleep(self) -> bool:
        return self.waited_s > IDLE_S

    def watch(self, name: str) -> FlagMonitor:
        return self.runtime._watches[name]


@pytest.fixture
def hand(clock: ManualClock, forget_flags: None) -> Iterator[ByHand]:
    with Runtime(clock=clock) as runtime:
        yield ByHand(runtime, clock)


def fails() -> None:
    raise OSError


# ------------------------------------------------------------------ falling asleep


def test_after_some_rounds_without_a_call_the_gates_are_shut_and_a_round_later_it_sleeps(
    hand: ByHand,
):
    feed = degradable("feed", fallback=[default(0)])(lambda: 1)
    feed()
    hand.round()
    assert hand.waited_s == BUSY_S
    for _ in range(IDLE_ROUNDS):
        assert not hand.watch("feed").gate.shut
        hand.round()
        assert hand.waited_s == IDLE_S
    assert hand.watch("feed").gate.shut
    hand.round()
    assert hand.waited_s == NAP_S
    hand.round()
    assert hand.waited_s == NAP_S


def test_what_a_call_left_that_found_its_gate_open_just_before_is_taken_by_the_next_round(
    hand: ByHand, clock: ManualClock
):
    feed = degradable("feed", fallback=[default(0)])(lambda: 1)
    feed()
    while not hand.watch("feed").gate.shut:
        hand.round()
    now = clock.monotonic()
    hand.watch("feed").recorder.started.append(now)
    hand.watch("feed").recorder.ended.extend((now, now))
    hand.round()
    assert hand.waited_s == BUSY_S
    assert not hand.watch("feed").gate.shut
    assert hand.watch("feed").folded == 2


def test_it_stays_awake_while_a_call_runs(hand: ByHand):
    flag = Flag("feed", sla=SLA(errors="5%"))
    with flag.call():
        for _ in range(9):
            hand.round()
            assert not hand.asleep
            assert not hand.watch("feed").gate.shut
    hand.sleep()


def test_it_stays_awake_until_a_degraded_flag_is_steady_again(hand: ByHand, clock: ManualClock):
    feed = degradable("feed", sla=SLA(errors="5%"), fallback=[default(0)])(fails)
    for _ in range(20):
        feed()
    for _ in range(90):
        hand.round()
        assert not hand.asleep
    assert hand.watch("feed").state.phase == "recovering"


def test_a_flag_that_is_adopted_while_it_sleeps_rouses_it_at_its_first_call(hand: ByHand):
    hand.sleep()
    late = degradable("late", fallback=[default(0)])(lambda: 1)
    late()
    hand.round()
    assert hand.called
    assert not hand.watch("late").gate.shut


def test_it_does_not_fall_asleep_over_what_a_call_just_left(hand: ByHand):
    feed = degradable("feed", fallback=[default(0)])(lambda: 1)
    assert hand.runtime.rest(asleep=True)
    hand.runtime.rest(asleep=False)
    feed()
    assert not hand.runtime.rest(asleep=True)
    assert not hand.watch("feed").gate.shut


# ------------------------------------------------------------------ what rouses it


def test_the_next_call_rouses_it_and_is_judged_a_quarter_of_a_second_later(hand: ByHand):
    feed = degradable("feed", sla=SLA(errors="5%"), fallback=[default(0)])(fails)
    feed()
    hand.sleep()
    feed()
    hand.round()
    assert hand.waited_s == BUSY_S
    assert not hand.watch("feed").gate.shut
    for _ in range(9):
        feed()
    hand.round()
    assert hand.watch("feed").state.phase == "degraded"


def test_a_call_that_rouses_it_is_counted_when_it_ends_in_between(hand: ByHand):
    feed = degradable("feed", fallback=[default(0)])(lambda: 1)
    hand.sleep()
    feed()
    feed()
    hand.round()
    (stats,) = hand.runtime.stats()
    assert stats.calls["full"] == 2


@pytest.mark.parametrize("how", ["asked", "block"])
def test_asking_for_a_flag_and_a_block_rouse_it_too(hand: ByHand, how: str):
    flag = Flag("feed")
    hand.sleep()
    if how == "asked":
        assert not flag.degraded
    else:
        with flag.call() as call:
            assert not call.degraded
    hand.round()
    assert hand.called
    assert not hand.asleep


def test_answers_of_a_flag_that_is_held_degraded_are_counted_however_it_sleeps(
    hand: ByHand, clock: ManualClock
):
    feed = degradable("feed", fallback=[snapshot(max_age="1h", copy=False), default(0)])(lambda: 1)
    feed()
    hand.runtime._io_worker.deliver()
    Control(hand.runtime.store, actor="ana", clock=clock).hold(
        "feed", "degraded", for_=None, reason="drill"
    )
    hand.sleep()
    assert feed() == 1
    hand.round()
    assert hand.called
    assert hand.watch("feed").flag.degraded
    (stats,) = hand.runtime.stats()
    assert stats.calls["degraded"] == 1
    assert hand.watch("feed").gate.still


def test_an_order_rouses_it_and_it_sleeps_until_the_order_ends(hand: ByHand, clock: ManualClock):
    feed = degradable("feed", fallback=[default(0)])(lambda: 1)
    feed()
    hand.sleep()
    Control(hand.runtime.store, actor="ana", clock=clock).hold(
        "feed", "degraded", for_=BUSY_S + IDLE_S * IDLE_ROUNDS + NAP_S / 2, reason="drill"
    )
    assert feed() == 0
    hand.round()
    assert not hand.asleep
    hand.sleep()
    assert hand.waited_s == pytest.approx(NAP_S / 2)
    hand.round()
    assert hand.watch("feed").state.phase == "recovering"
    hand.round()
    assert not hand.asleep


def test_calls_that_are_found_by_who_reads_the_figures_rouse_it_when_they_trip_the_flag(
    hand: ByHand, clock: ManualClock
):
    feed = degradable("feed", sla=SLA(errors="5%"), fallback=[default(0)])(fails)
    hand.sleep()
    for _ in range(20):
        feed()
    hand.ticker.bell.wait(0)
    hand.runtime.stats()
    assert hand.watch("feed").state.phase == "degraded"
    hand.round()
    assert hand.called
    assert not hand.asleep


# ------------------------------------------------------------------ pauses


def test_neither_the_sleep_nor_a_pause_in_it_is_taken_for_a_pause_among_calls(
    hand: ByHand, clock: ManualClock, caplog: pytest.LogCaptureFixture
):
    feed = degradable("feed", sla=SLA(errors="5%"), fallback=[default(0)])(fails)
    feed()
    hand.sleep()
    clock.advance(3600)
    hand.runtime.stats()
    hand.round()
    clock.advance(3600)
    for _ in range(10):
        feed()
    hand.round()
    hand.round()
    assert hand.watch("feed").state.phase == "degraded", "the calls count"
    assert "paused" not in caplog.text


def test_a_pause_right_after_the_call_that_rouses_it_is_noticed(
    hand: ByHand, clock: ManualClock, caplog: pytest.LogCaptureFixture
):
    flag = Flag("feed", sla=SLA(p99="250ms"))
    hand.sleep()
    with ExitStack() as running:
        for _ in range(10):
            running.enter_context(flag.call())
        clock.advance(GAP_S + 1)
    hand.round()
    assert "paused" in caplog.text
    assert hand.watch("feed").state.phase == "steady"


@pytest.mark.parametrize("idle_s", [0.0, BUSY_S, IDLE_S])
@pytest.mark.parametrize("before_s", [0.0, 0.2])
@pytest.mark.parametrize("paused_s", [2.2, 3600.0])
def test_what_ended_before_a_pause_or_began_after_it_counts_wherever_it_fell(
    hand: ByHand, clock: ManualClock, idle_s: float, before_s: float, paused_s: float
):
    """The ticker is due `idle_s` after its last round; the process pauses a while before that."""
    flag = Flag("feed", sla=SLA(errors="5%"))
    hand.ticker._last = clock.monotonic()

    def fail() -> None:
        with suppress(OSError), flag.call():
            raise OSError

    fail()
    clock.advance(max(0.0, idle_s - before_s))
    fail()
    across = ExitStack()
    for _ in range(10):
        across.enter_context(flag.call())
    clock.advance(paused_s)
    with suppress(OSError), across:
        raise OSError
    fail()
    hand.ticker.round(called=False)
    verdict = hand.watch("feed").breach
    assert verdict is not None
    assert "3 of 3 calls" in verdict.cause


def test_pauses_are_logged_once_and_then_at_most_once_a_minute(
    hand: ByHand, clock: ManualClock, caplog: pytest.LogCaptureFixture
):
    feed = degradable("feed", fallback=[default(0)])(lambda: 1)
    for _ in range(28):  # a request every 2.25 s, and a pause after each
        feed()
        clock.advance(BUSY_S)
        hand.ticker.round(called=True)
        clock.advance(GAP_S + BUSY_S)
        hand.ticker.round(called=False)
    lines = [line for line in caplog.messages if "paused" in line]
    assert [line.partition(";")[0] for line in lines] == [
        "the process was paused (1 times so far)",
        "the process was paused (25 times so far)",
    ]


def test_an_order_while_it_sleeps_is_no_pause_either(
    hand: ByHand, clock: ManualClock, caplog: pytest.LogCaptureFixture
):
    hand.sleep()
    clock.advance(3600)
    hand.runtime.obey()
    assert not math.isinf(hand.ticker._last)
    hand.round()
    assert "paused" not in caplog.text


# ------------------------------------------------------------------ its end


def test_a_runtime_that_is_closed_in_its_sleep_opens_the_gates(hand: ByHand):
    feed = degradable("feed", fallback=[default(0)])(lambda: 1)
    hand.sleep()
    hand.runtime.close()
    assert not hand.watch("feed").gate.shut
    assert not hand.runtime.rest(asleep=True)
    assert feed() == 1
