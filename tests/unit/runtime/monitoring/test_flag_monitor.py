"""One flag under one runtime: what its calls come to, and how it recovers."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Coroutine, Generator
from typing import Any

import pytest

import degrade
from degrade import SLA, Recovery, Runtime, default, degradable
from degrade.clock import ManualClock
from degrade.control import Control
from degrade.runtime.monitoring.sla_counter import SlaCounter
from tests.unit.runtime.doing import (
    Boom,
    Sick,
    call_quietly,
    classes_of,
    pass_time,
    stats_of,
    watch_of,
)

QUICK = Recovery(cooldown="5s", steps=(0.1, 0.5, 1.0), step_time="2s", step_calls=5)


class Pause:
    """Suspends the coroutine that awaits it, until somebody moves that on."""

    def __await__(self) -> Generator[None, None, None]:
        yield


class Running:
    """A guarded coroutine in the middle of its run, moved by hand."""

    def __init__(self, coroutine: Coroutine[Any, Any, Any]) -> None:
        self._coroutine = coroutine
        coroutine.send(None)

    def finish(self) -> Any:
        try:
            self._coroutine.send(None)
        except StopIteration as done:
            return done.value
        raise AssertionError("it waits again")

    def fail(self, error: BaseException | None = None) -> None:
        call_quietly(self._coroutine.throw, error or Boom())

    def cancel(self) -> None:
        with pytest.raises(KeyboardInterrupt):
            self._coroutine.throw(KeyboardInterrupt())

    def drop(self) -> None:
        self._coroutine.close()


def guard(**properties: Any) -> Callable[[], Running]:
    """Declare `feed`, and return what starts a run of it."""

    @degradable("feed", **properties)
    async def feed() -> str:
        await Pause()
        return "fresh"

    return lambda: Running(feed())


def phase(runtime: Runtime) -> str:
    return stats_of(runtime, "feed").phase.value


def totals(runtime: Runtime) -> tuple[int, ...]:
    """Return what the verdict's window holds: calls judged and bad ones, limit by limit."""
    return tuple(watch_of(runtime, "feed")._window.totals(runtime.clock.monotonic()))


# ------------------------------------------------------------------ evidence


def test_three_failures_of_three_trip_and_two_do_not(runtime: Runtime):
    sick = Sick()
    sick.ill = True
    feed = degradable("feed", sla=SLA(errors="5%"), fallback=[default("stale")])(sick)
    call_quietly(feed, times=2)
    runtime.tick()
    assert phase(runtime) == "steady"
    call_quietly(feed)
    runtime.tick()
    assert phase(runtime) == "degraded"
    runs = sick.runs
    assert feed() == "stale"
    assert sick.runs == runs


def test_a_healthy_flag_with_a_few_failures_stays(runtime: Runtime, clock: ManualClock):
    outcomes = random.Random(5)

    @degradable("feed", sla=SLA(errors="5%"), fallback=[default("stale")])
    def feed() -> str:
        if outcomes.random() < 0.01:
            raise Boom
        return "fresh"

    pass_time(runtime, clock, 60, meanwhile=lambda: [feed() for _ in range(20)])
    assert phase(runtime) == "steady"
    assert classes_of(runtime, "feed")["degraded"] > 10


def test_without_an_sla_no_failure_trips(runtime: Runtime, clock: ManualClock):
    sick = Sick()
    sick.ill = True
    feed = degradable("feed", fallback=[default("stale")])(sick)
    for _ in range(10):
        call_quietly(feed, times=20)
        pass_time(runtime, clock, 1)
    assert phase(runtime) == "steady"
    assert sick.runs == 200


def test_slow_calls_trip_a_latency_limit(runtime: Runtime, clock: ManualClock):
    @degradable("feed", sla=SLA(p99="250ms"))
    def feed(takes_s: float) -> None:
        clock.advance(takes_s)

    for _ in range(20):
        feed(0.25)
    runtime.tick()
    assert phase(runtime) == "steady", "exactly the limit is not over it"
    for _ in range(5):
        feed(0.26)
    runtime.tick()
    assert phase(runtime) == "degraded"
    assert "p99" in stats_of(runtime, "feed").reason


def test_being_slower_than_the_median_is_nothing_bad_in_one_call(
    runtime: Runtime, clock: ManualClock
):
    @degradable("feed", sla=SLA(p50="100ms"))
    def feed(takes_s: float) -> None:
        clock.advance(takes_s)

    for i in range(200):
        feed(0.12 if i % 5 < 2 else 0.05)
        runtime.tick()
    assert phase(runtime) == "steady"


def test_a_transition_is_written_to_the_log_with_its_evidence(runtime: Runtime, clock: ManualClock):
    sick = Sick()
    sick.ill = True
    feed = degradable("feed", sla=SLA(errors="5%"), fallback=[default("stale")])(sick)
    call_quietly(feed, times=4)
    runtime.tick()
    (event,) = runtime.store.events(flag="feed")
    assert (event.type, event.actor, event.instance) == ("transition", "automation",
                                                         runtime.instance)  # fmt: skip
    assert event.evidence["from"] == "steady"
    assert event.evidence["to"] == "degraded"
    assert event.evidence["share"] == 0
    assert "4 of 4" in event.cause
    assert any("errors" in line for line in event.evidence["verdict"])


def test_only_a_change_of_the_phase_is_a_warning(
    runtime: Runtime, clock: ManualClock, caplog: pytest.LogCaptureFixture
):
    caplog.set_level("INFO", logger="degrade.runtime")
    sick = Sick()
    sick.ill = True
    feed = degradable("feed", sla=SLA(errors="5%"), recovery=QUICK, fallback=[default("stale")])(
        sick
    )
    call_quietly(feed, times=4)
    runtime.tick()
    sick.ill = False
    pass_time(runtime, clock, 60, meanwhile=lambda: call_quietly(feed, times=20))
    told = [(line.levelname, line.getMessage().partition(",")[0]) for line in caplog.records
            if line.getMessage().startswith("feed: ")]  # fmt: skip
    assert told == [
        ("WARNING", "feed: steady to degraded"),
        ("WARNING", "feed: degraded to recovering"),
        ("INFO", "feed: recovering to recovering"),
        ("INFO", "feed: recovering to recovering"),
        ("WARNING", "feed: recovering to steady"),
    ]


def test_calls_that_outrun_their_counting_take_the_slow_way_until_they_no_longer_do(
    runtime: Runtime, clock: ManualClock
):
    feed = degradable("feed", sla=SLA(errors="5%"))(lambda: "fresh")
    watch = watch_of(runtime, "feed") if feed() else None
    assert watch is not None
    runtime.tick()
    queue = watch.recorder
    for calls, shut in ((500_000, False), (500_001, True), (100_001, True), (99_999, False)):
        clock.advance(0.25)
        queue.started += [clock.monotonic()] * calls
        queue.ended += [clock.monotonic()] * (2 * calls)
        runtime.tick()
        assert watch.gate.shut is shut, calls
        assert feed() == "fresh"
    runtime.tick()
    assert classes_of(runtime, "feed") == {"full": 1_200_001 + 5}
    queue.started += [clock.monotonic()] * 500_001
    queue.ended += [clock.monotonic()] * 1_000_002
    runtime.tick()
    assert watch.gate.shut
    runtime.tick()
    assert not watch.gate.shut, "nobody calls any more"


def test_every_transition_forgets_the_calls_before_it(runtime: Runtime, clock: ManualClock):
    sick = Sick()
    feed = degradable("feed", sla=SLA(errors="5%"), recovery=QUICK, fallback=[default("stale")])(
        sick
    )
    sick.ill = True
    call_quietly(feed, times=5)
    runtime.tick()
    assert totals(runtime) == (0, 0)


# ------------------------------------------------------------------ calls that hang


def test_calls_that_never_return_trip_the_flag_while_they_hang(
    runtime: Runtime, clock: ManualClock
):
    start = guard(sla=SLA(p99="250ms"), fallback=[default("stale")])
    running = [start() for _ in range(3)]
    pass_time(runtime, clock, 0.25)
    assert phase(runtime) == "steady"
    pass_time(runtime, clock, 0.25)
    assert phase(runtime) == "degraded"
    assert classes_of(runtime, "feed") == {}, "none of them has ended"
    for run in running:
        assert run.finish() == "fresh"
    runtime.tick()
    assert classes_of(runtime, "feed") == {"full": 3}


def test_without_a_latency_limit_a_call_hangs_after_ten_seconds(
    runtime: Runtime, clock: ManualClock
):
    start = guard(sla=SLA(errors="5%"))
    running = [start() for _ in range(3)]
    pass_time(runtime, clock, 10)
    assert phase(runtime) == "steady"
    pass_time(runtime, clock, 0.25)
    assert phase(runtime) == "degraded"
    for run in running:
        run.drop()


def test_a_hung_thread_trips_the_flag(runtime: Runtime, clock: ManualClock):
    go, inside = threading.Event(), threading.Semaphore(0)

    @degradable("feed", sla=SLA(p99="250ms"), fallback=[default("stale")])
    def feed() -> str:
        inside.release()
        go.wait(30)
        return "fresh"

    threads = [threading.Thread(target=feed) for _ in range(3)]
    try:
        for thread in threads:
            thread.start()
        for _ in threads:
            assert inside.acquire(timeout=10)
        pass_time(runtime, clock, 0.5)
        assert phase(runtime) == "degraded"
        assert feed() == "stale", "nobody else has to hang"
    finally:
        go.set()
        for thread in threads:
            thread.join(10)


@pytest.mark.parametrize("end", ["cancel", "drop"])
def test_a_call_cancelled_before_its_limit_does_not_count(
    runtime: Runtime, clock: ManualClock, end: str
):
    start = guard(sla=SLA(p99="250ms", errors="5%"))
    for _ in range(20):
        running = [start() for _ in range(5)]
        pass_time(runtime, clock, 0.2, every_s=0.05)
        for run in running:
            getattr(run, end)()
    runtime.tick()
    assert totals(runtime) == (0, 0, 0, 0)
    assert phase(runtime) == "steady"
    assert classes_of(runtime, "feed") == {"abandoned": 100}


@pytest.mark.parametrize("end", ["cancel", "drop", "finish", "fail"])
@pytest.mark.parametrize("seen", [True, False], ids=["seen while it hung", "seen at its end"])
def test_a_call_past_its_limit_counts_once_however_it_ends(
    runtime: Runtime, clock: ManualClock, end: str, seen: bool
):
    start = guard(sla=SLA(p99="250ms"))
    run = start()
    clock.advance(0.3)
    if seen:
        runtime.tick()
        assert totals(runtime) == (1, 1)
        pass_time(runtime, clock, 5)
        assert totals(runtime) == (1, 1)
    getattr(run, end)()
    pass_time(runtime, clock, 1)
    assert totals(runtime) == (1, 1)


def test_a_call_that_hung_and_then_succeeded_is_one_failure(runtime: Runtime, clock: ManualClock):
    start = guard(sla=SLA(p99="1s", errors="5%", over="1h"))
    run = start()
    pass_time(runtime, clock, 12)
    assert totals(runtime) == (1, 1, 1, 1)
    assert run.finish() == "fresh"
    runtime.tick()
    assert totals(runtime) == (1, 1, 1, 1)


def test_calls_that_began_at_the_same_instant_are_told_apart(runtime: Runtime, clock: ManualClock):
    start = guard(sla=SLA(p99="250ms", over="1h"))
    running = [start() for _ in range(4)]
    runtime.tick()
    running.pop().finish()
    running.pop().cancel()
    clock.advance(0.3)
    runtime.tick()
    assert totals(runtime) == (3, 2)
    running.pop().finish()
    runtime.tick()
    assert watch_of(runtime, "feed")._tally.in_flight == 1
    running.pop().finish()
    runtime.tick()
    assert watch_of(runtime, "feed")._tally.in_flight == 0
    assert totals(runtime) == (3, 2)


def test_a_pause_of_the_process_is_not_held_against_the_calls(runtime: Runtime, clock: ManualClock):
    start = guard(sla=SLA(p99="250ms", errors="5%"))
    running = [start() for _ in range(10)]
    clock.advance(60)
    watch_of(runtime, "feed").skip_pause(clock.monotonic() - 1)
    for run in running[:5]:
        run.finish()
    runtime.tick()
    pass_time(runtime, clock, 30)
    for run in running[5:]:
        run.finish()
    runtime.tick()
    assert totals(runtime) == (0, 0, 0, 0)
    assert phase(runtime) == "steady"
    assert classes_of(runtime, "feed") == {"full": 10}
    running = [start() for _ in range(3)]
    pass_time(runtime, clock, 0.5)
    assert phase(runtime) == "degraded", "new calls are judged as ever"
    for run in running:
        run.drop()


def test_calls_that_ended_before_a_pause_are_judged(runtime: Runtime, clock: ManualClock):
    start = guard(sla=SLA(p99="250ms", errors="5%"))
    across = [start() for _ in range(5)]
    before = [start() for _ in range(3)]
    for run in before:
        run.fail()
    clock.advance(60)
    watch_of(runtime, "feed").skip_pause(clock.monotonic() - 1)
    start().fail()
    for run in across:
        run.finish()
    runtime.tick()
    verdict = watch_of(runtime, "feed").breach
    assert verdict is not None
    assert "4 of 4 calls failed" in verdict.cause
    assert phase(runtime) == "degraded"


# ------------------------------------------------------------------ calls without an end


def test_a_call_without_an_end_is_one_failure_and_is_dropped_after_ten_minutes(
    runtime: Runtime, clock: ManualClock
):
    start = guard(sla=SLA(p99="250ms", errors="5%", over="1h"))
    run = start()
    pass_time(runtime, clock, 600, every_s=5)
    assert watch_of(runtime, "feed")._tally.in_flight == 1
    assert not watch_of(runtime, "feed").quiet
    pass_time(runtime, clock, 1)
    assert watch_of(runtime, "feed")._tally.in_flight == 0
    assert watch_of(runtime, "feed").quiet, "the ticker may sleep"
    assert totals(runtime) == (1, 1, 1, 1)
    run.drop()


def test_with_a_deadline_of_hours_it_is_dropped_after_ten_deadlines():
    tally = SlaCounter(None, 7_200.0)
    for now, in_flight in [(1.0, 1), (72_000.0, 1), (72_001.0, 0)]:
        started = [0.0] if now == 1.0 else []
        tally.fold((started, [], []), now=now, last=0.0, record=print)
        assert tally.in_flight == in_flight


@pytest.mark.parametrize("end", ["finish", "fail", "cancel"])
def test_its_end_after_that_is_shown_and_judged_no_second_time(
    runtime: Runtime, clock: ManualClock, end: str
):
    start = guard(sla=SLA(p99="250ms", errors="5%", over="1h"))
    run = start()
    pass_time(runtime, clock, 605, every_s=5)
    getattr(run, end)()
    runtime.tick()
    assert sum(classes_of(runtime, "feed").values()) == 1
    assert totals(runtime) == (1, 1, 1, 1)
    assert watch_of(runtime, "feed")._tally.in_flight == 0


def test_a_call_of_more_than_ten_minutes_between_two_ticks_counts_as_what_it_was(
    runtime: Runtime, clock: ManualClock
):
    start = guard(sla=SLA(errors="5%", over="1h"))
    for end in ("finish", "fail"):
        run = start()
        clock.advance(700)
        getattr(run, end)()
        runtime.tick()
    assert totals(runtime) == (2, 1)


def test_the_peak_forgets_calls_without_an_end(runtime: Runtime, clock: ManualClock):
    start = guard()
    running = [start() for _ in range(50)]
    runtime.tick()
    feed = watch_of(runtime, "feed")
    assert feed._peak == 50
    for _ in range(40):
        clock.advance(20)
        start().finish()
        runtime.tick()
    assert max(feed._peak, feed._peak_before) == 1
    for run in running:
        run.drop()


# ------------------------------------------------------------------ recovery


def test_a_tripped_flag_comes_back_by_itself_step_by_step(runtime: Runtime, clock: ManualClock):
    sick = Sick()
    feed = degradable("feed", sla=SLA(errors="5%"), recovery=QUICK, fallback=[default("stale")])(
        sick
    )
    sick.ill = True
    call_quietly(feed, times=5)
    runtime.tick()
    sick.ill = False
    at = clock.monotonic()
    seen: list[tuple[str, float]] = []
    for _ in range(100):
        pass_time(runtime, clock, 0.25, meanwhile=lambda: [feed() for _ in range(20)])
        figures = stats_of(runtime, "feed")
        now = (figures.phase.value, round(1 - figures.dial, 3))
        if not seen or seen[-1] != now:
            seen.append(now)
            if now == ("recovering", 0.1):
                assert 5 <= clock.monotonic() - at <= 6.5, "the cooldown, and a fifth of jitter"
    assert seen == [
        ("degraded", 0), ("recovering", 0.1), ("recovering", 0.5), ("recovering", 1.0),
        ("steady", 1.0),
    ]  # fmt: skip
    transitions = stats_of(runtime, "feed").transitions
    assert {f"{a.value}-{b.value}": n for (a, b), n in transitions.items()} == {
        "steady-degraded": 1, "degraded-recovering": 1, "recovering-recovering": 2,
        "recovering-steady": 1,
    }  # fmt: skip


def test_a_flag_that_is_still_sick_is_probed_by_few_and_falls_back(
    runtime: Runtime, clock: ManualClock
):
    sick = Sick()
    feed = degradable("feed", sla=SLA(errors="5%"), recovery=QUICK, fallback=[default("stale")])(
        sick
    )
    sick.ill = True
    call_quietly(feed, times=5)
    runtime.tick()
    runs = sick.runs
    pass_time(runtime, clock, 7, meanwhile=lambda: [feed() for _ in range(50)])
    assert 2 <= sick.runs - runs <= 20
    assert phase(runtime) == "degraded"


def recovering(
    runtime: Runtime, clock: ManualClock, control: Control, **properties: Any
) -> Callable[[], Running]:
    """Declare `feed` in its first step, and return what starts a probe."""
    start = guard(fallback=[default("stale")], **{"recovery": QUICK, **properties})
    control.hold("feed", "degraded", for_=None, reason="drill")
    control.release("feed", reason="over")
    assert phase(runtime) == "recovering"
    return start


def in_flight(runtime: Runtime) -> int:
    return watch_of(runtime, "feed").permits.in_flight


@pytest.mark.parametrize("end", ["finish", "fail", "cancel", "drop"])
def test_a_probe_gives_its_permit_back_however_it_ends(
    runtime: Runtime, clock: ManualClock, control: Control, end: str
):
    start = recovering(runtime, clock, control)
    for _ in range(3):
        clock.advance(1.01)
        probe = start()
        assert in_flight(runtime) == 1
        getattr(probe, end)()
        assert in_flight(runtime) == 0


def test_a_probe_that_raises_a_refusal_gives_its_permit_back(
    runtime: Runtime, clock: ManualClock, control: Control
):
    start = recovering(runtime, clock, control)
    clock.advance(1.01)
    probe = start()
    probe.fail(PermissionError())
    assert in_flight(runtime) == 0


def test_a_hung_probe_loses_its_permit_with_its_lease(
    runtime: Runtime, clock: ManualClock, control: Control
):
    start = recovering(runtime, clock, control)
    clock.advance(1.01)
    hung = start()
    pass_time(runtime, clock, 9)
    assert in_flight(runtime) == 1
    pass_time(runtime, clock, 1.5)
    assert in_flight(runtime) == 0
    clock.advance(1.01)
    start().finish()
    hung.drop()


def test_without_traffic_a_recovering_flag_stays_and_the_next_call_is_a_probe(
    runtime: Runtime, clock: ManualClock, control: Control
):
    start = recovering(runtime, clock, control)
    pass_time(runtime, clock, 600, every_s=10)
    assert phase(runtime) == "recovering"
    with degrade.request(subject="whoever"):
        assert start().finish() == "fresh"


def test_probes_at_once_never_exceed_the_steps_share_of_the_peak(
    runtime: Runtime, clock: ManualClock, control: Control
):
    start = guard(fallback=[default("stale")], recovery=QUICK)
    busy = [start() for _ in range(30)]
    runtime.tick()
    for run in busy:
        run.finish()
    runtime.tick()
    control.hold("feed", "degraded", for_=None, reason="drill")
    control.release("feed", reason="over")
    probes: list[Running] = []
    for _ in range(500):
        clock.advance(0.01)
        try:
            probes.append(start())
        except StopIteration:
            continue
    assert len(probes) == in_flight(runtime) == 3, "a tenth of thirty"
    for probe in probes:
        probe.finish()


def test_calls_admitted_before_the_trip_move_nothing_afterwards(
    runtime: Runtime, clock: ManualClock
):
    start = guard(sla=SLA(errors="5%"), recovery=QUICK, fallback=[default("stale")])
    late = [start() for _ in range(40)]
    clock.advance(1)
    for _ in range(5):
        start().fail()
    runtime.tick()
    assert phase(runtime) == "degraded"
    pass_time(runtime, clock, 6.5)
    assert phase(runtime) == "recovering"
    share = 1 - stats_of(runtime, "feed").dial
    for i, run in enumerate(late):
        if i % 2:
            run.fail()
        else:
            run.finish()
    pass_time(runtime, clock, 2.25)
    assert phase(runtime) == "recovering"
    assert 1 - stats_of(runtime, "feed").dial == share
    assert watch_of(runtime, "feed").state.good == watch_of(runtime, "feed").state.bad == 0
    assert classes_of(runtime, "feed")["full"] == 20, "they are shown all the same"


@pytest.mark.parametrize("end", ["fail", "finish"])
def test_a_probe_of_one_step_moves_no_later_step(
    runtime: Runtime, clock: ManualClock, control: Control, end: str
):
    start = guard(fallback=[default("stale")], recovery=QUICK, sla=SLA(errors="5%"))
    busy = [start() for _ in range(300)]
    runtime.tick()
    for run in busy:
        run.finish()
    runtime.tick()
    control.hold("feed", "degraded", for_=None, reason="drill")
    control.release("feed", reason="over")
    late: list[Running] = []

    def probe(most: int) -> list[Running]:
        found: list[Running] = []
        for _ in range(2_000):
            if len(found) == most:
                break
            clock.advance(0.001)
            try:
                found.append(start())
            except StopIteration:
                continue
        assert len(found) == most
        return found

    late = probe(10)
    for run in probe(5):
        run.finish()
    pass_time(runtime, clock, 2.25)
    assert 1 - stats_of(runtime, "feed").dial == 0.5
    for run in late:
        getattr(run, end)()
    pass_time(runtime, clock, 2.25)
    figures = stats_of(runtime, "feed")
    assert (figures.phase, 1 - figures.dial) == ("recovering", 0.5)
    state = watch_of(runtime, "feed").state
    assert (state.good, state.bad) == (0, 0)


def test_a_subject_keeps_its_side_while_the_dial_stands(
    runtime: Runtime, clock: ManualClock, control: Control
):
    feed = degradable("feed", fallback=[default("stale")],
                      recovery=Recovery(steps=(0.5, 1.0)))(Sick())  # fmt: skip
    control.hold("feed", "degraded", for_=None, reason="drill")
    control.release("feed", reason="over")
    sides: dict[int, set[str]] = {}
    for _ in range(5):
        for i in range(100):
            with degrade.request(subject=str(i)):
                sides.setdefault(i, set()).add(feed())
    assert all(len(side) == 1 for side in sides.values())
    assert 30 <= sum(side == {"fresh"} for side in sides.values()) <= 70
