"""The figures of a flag, counted since the process started."""

from __future__ import annotations

import math
import random

import pytest

from degrade import Runtime, default, degradable, snapshot
from degrade.clock import ManualClock
from degrade.control import Control
from degrade.core.enums import CallClass, Outcome
from degrade.telemetry.names import DURATION_BUCKETS_S
from tests.unit.runtime.doing import Sick, pass_time, stats_of, watch_of


def test_every_class_and_outcome_is_there_from_the_start(runtime: Runtime):
    degradable("feed")(Sick())
    figures = stats_of(runtime, "feed")
    assert figures.calls == dict.fromkeys(CallClass, 0)
    assert figures.primary == dict.fromkeys(Outcome, 0)
    assert set(figures.durations) == set(DURATION_BUCKETS_S)
    assert math.inf in figures.durations
    assert figures.oldest_age_s is None


def test_durations_are_cumulative_and_bounds_are_inclusive(runtime: Runtime, clock: ManualClock):
    @degradable("feed")
    def feed(takes_s: float) -> None:
        clock.advance(takes_s)

    bound = DURATION_BUCKETS_S[4]
    for takes_s in (0.0, bound, bound, 10_000.0):
        feed(takes_s)
    figures = stats_of(runtime, "feed")
    counts = [figures.durations[b] for b in DURATION_BUCKETS_S]
    assert counts == sorted(counts)
    assert figures.durations[DURATION_BUCKETS_S[3]] == 1
    assert figures.durations[bound] == 3
    assert figures.durations[math.inf] == 4
    assert figures.duration_sum_s == pytest.approx(10_000 + 2 * bound)


def test_a_large_batch_is_counted_in_full(runtime: Runtime, clock: ManualClock):
    times = random.Random(3)

    @degradable("feed")
    def feed() -> None:
        clock.advance(times.uniform(0.001, 0.1))

    for _ in range(10_007):
        feed()
    figures = stats_of(runtime, "feed")
    assert figures.durations[math.inf] == figures.calls[CallClass.FULL] == 10_007
    half = figures.durations[0.05]
    assert 0.45 <= half / 10_007 <= 0.55, "a sample speaks for the rest"


def test_quantiles_are_of_the_last_minutes_alone(runtime: Runtime, clock: ManualClock):
    @degradable("feed")
    def feed(takes_s: float) -> None:
        clock.advance(takes_s)

    for _ in range(100):
        feed(2.0)
        runtime.tick()
    pass_time(runtime, clock, 300, every_s=10)
    for _ in range(5):
        pass_time(runtime, clock, 50, every_s=1, meanwhile=lambda: feed(0.01))
    assert watch_of(runtime, "feed").counters.quantiles_s()[1] == pytest.approx(0.01, rel=0.05)


def test_the_oldest_age_is_that_of_the_last_minute(
    runtime: Runtime, control: Control, clock: ManualClock
):
    feed = degradable("feed", fallback=[snapshot(max_age="1h", copy=False), default("none")])(
        Sick()
    )
    feed()
    runtime.tick()
    control.hold("feed", "degraded", for_=None, reason="drill")
    clock.advance(100)
    feed()
    assert stats_of(runtime, "feed").oldest_age_s == 100
    control.release("feed", reason="over", now=True)
    feed()
    runtime.tick()
    control.hold("feed", "degraded", for_=None, reason="drill")
    clock.advance(30)
    feed()
    assert stats_of(runtime, "feed").oldest_age_s == 100
    pass_time(runtime, clock, 31, every_s=1)
    assert stats_of(runtime, "feed").oldest_age_s == 30
    pass_time(runtime, clock, 60, every_s=1)
    assert stats_of(runtime, "feed").oldest_age_s is None
