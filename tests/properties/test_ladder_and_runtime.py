"""The laws of a guarded function under any orders, faults and passing of time."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from degrade import (
    SLA,
    Recovery,
    Runtime,
    default,
    degradable,
    request,
    served,
    snapshot,
)
from degrade.clock import ManualClock
from degrade.control import Control
from degrade.core.enums import Mode, Outcome, Phase
from degrade.runtime.calls.registry import registry
from degrade.runtime.monitoring.call_recorder import CallRecorder, EndedCall, missing
from degrade.runtime.monitoring.sla_counter import SlaCounter

times = st.integers(0, 12).map(float)


@given(st.lists(times), st.lists(times))
def test_missing_is_the_difference_of_multisets(started: list[float], ended: list[float]):
    left = Counter(started) - Counter(ended)
    assert missing(list(started), list(ended)) == sorted(left.elements())


@given(st.integers(0, 500), st.sets(st.integers(0, 499), max_size=10), st.integers())
def test_missing_finds_few_among_many(count: int, gaps: set[int], seed: int):
    started = [float(i // 2) for i in range(count)]
    ended = [start for i, start in enumerate(started) if i not in gaps]
    left = Counter(started) - Counter(ended)
    order = random.Random(seed)
    order.shuffle(started)
    order.shuffle(ended)
    assert missing(started, ended) == sorted(left.elements())


# ------------------------------------------------------------------ what counts, and once

HUNG_S = 10.0
SLAS = [
    SLA(p99="1s"),
    SLA(p50="2s"),
    SLA(errors="5%"),
    SLA(p50="1s", p99="3s", errors="5%"),
    SLA(p90="1s", p99="20s"),
    SLA(p99="20s", errors="5%"),
]
DROP_S = 600.0
NEVER = float("inf")
calls = st.lists(
    st.tuples(
        st.integers(0, 80).map(lambda n: n / 4),  # start, seconds
        st.one_of(  # duration, seconds
            st.integers(0, 100).map(lambda n: n / 4), st.sampled_from([599.0, 601.0, 900.0, NEVER])
        ),
        st.sampled_from(Outcome),
    ),
    max_size=25,
)
folds = st.lists(
    st.one_of(
        st.integers(1, 160).map(lambda n: n / 4 + 0.125),
        st.integers(595, 640).map(lambda n: n + 0.125),
    ),
    max_size=12,
    unique=True,
)


def one_call(
    sla: SLA, start: float, duration_s: float, outcome: Outcome, seen_s: float
) -> tuple[list[int], int, int]:
    """Return what one call adds, by the table of `tally` read literally.

    Args:
        seen_s: How long it ran at the last fold that saw it run, -1 for none.
    """
    counts = [0] * (2 * len(sla.limits))
    has_errors = sla.errors is not None
    hung = seen_s > HUNG_S
    for i, limit in enumerate(sla.limits):
        judged = bad = False
        if limit.limit_s is None:
            judged = hung or outcome in (Outcome.SUCCESS, Outcome.FAILURE, Outcome.TIMEOUT)
            bad = hung or outcome in (Outcome.FAILURE, Outcome.TIMEOUT)
        elif hung or seen_s > limit.limit_s:
            judged = bad = True
        elif outcome is Outcome.SUCCESS:
            judged, bad = True, duration_s > limit.limit_s
        elif outcome is Outcome.TIMEOUT or (outcome is Outcome.FAILURE and not has_errors):
            judged = bad = True
        elif outcome in (Outcome.IGNORED, Outcome.ABANDONED):
            judged = bad = limit.limit_s < min(duration_s, HUNG_S)
        counts[2 * i] += judged
        counts[2 * i + 1] += bad
    tail_s = min(
        [limit.limit_s for limit in sla.limits if limit.limit_s and limit.name != "p50"],
        default=float("inf"),
    )
    if outcome in (Outcome.IGNORED, Outcome.ABANDONED):
        is_bad = duration_s > tail_s or hung or seen_s > tail_s
        return counts, 0, int(is_bad)
    is_bad = outcome is not Outcome.SUCCESS or duration_s > tail_s or hung
    return counts, int(not is_bad), int(is_bad)


@given(st.sampled_from(SLAS), calls, folds, st.integers(0, 40).map(float))
def test_every_call_counts_once_for_each_limit_whenever_it_is_looked_at(
    sla: SLA, calls: list[tuple[float, float, Outcome]], folds: list[float], floor: float
):
    tally, recorder = SlaCounter(sla, HUNG_S), CallRecorder()
    tally.floor = floor
    durations: list[float] = []
    at = sorted({*folds, 100.0, 1_000.0})
    counts = [0] * (2 * len(sla.limits))
    good = bad = 0
    last = 0.0
    for now in at:
        for start, duration_s, outcome in calls:
            if last < start <= now or (last == start == 0.0):
                recorder.started.append(start)
            end = start + duration_s
            if last < end <= now or (last == end == 0.0):
                if outcome is Outcome.SUCCESS:
                    recorder.ended.extend((start, end))
                else:
                    recorder.marked.append(EndedCall(start, end, outcome))
        fold = tally.fold(recorder.drain(), now=now, last=last, record=durations.extend)
        counts = [a + b for a, b in zip(counts, fold.counts, strict=True)]
        good += fold.good
        bad += fold.bad
        last = now
        running = sum(
            start <= now < start + duration_s and now - start <= DROP_S
            for start, duration_s, _ in calls
        )
        assert tally.in_flight == running
    assert tally.idle, "a call without an end does not run for ever"
    # the same instant of start makes calls interchangeable: leave such schedules to the sum
    expected = [0] * (2 * len(sla.limits))
    expected_good = expected_bad = 0
    for start, duration_s, outcome in calls:
        if start < floor:
            continue
        seen_s = max((now - start for now in at if start <= now < start + duration_s), default=-1.0)
        added, is_good, is_bad = one_call(sla, start, duration_s, outcome, seen_s)
        expected = [a + b for a, b in zip(expected, added, strict=True)]
        expected_good += is_good
        expected_bad += is_bad
    starts = [start for start, duration_s, _ in calls if duration_s > 1]
    if len(set(starts)) == len(starts):
        assert counts == expected
        assert (good, bad) == (expected_good, expected_bad)
    assert Counter(durations) == Counter(
        duration_s
        for _, duration_s, outcome in calls
        if outcome is Outcome.SUCCESS and duration_s != NEVER
    )
    for i in range(0, len(counts), 2):
        assert counts[i + 1] <= counts[i] <= sum(start >= floor for start, _, _ in calls)


@given(
    st.lists(
        st.tuples(
            st.integers(0, 200).map(lambda n: n / 2),  # start, seconds
            st.one_of(st.just(0.0), st.integers(0, 19).map(lambda n: n / 2)),  # duration, seconds
            st.sampled_from([Outcome.SUCCESS, Outcome.FAILURE, Outcome.TIMEOUT]),
        ),
        max_size=25,
    ),
    st.lists(st.integers(1, 110).map(lambda n: n + 0.125), max_size=8, unique=True),
    st.sampled_from([0.25, 2.0, 9.0]),
)
def test_calls_under_way_in_a_pause_are_not_judged_and_all_others_are(
    calls: list[tuple[float, float, Outcome]], pauses: list[float], noticed_s: float
):
    tally, recorder = SlaCounter(SLA(errors="5%"), HUNG_S), CallRecorder()
    judged = bad = shown = 0
    last = 0.0
    noticed: list[float] = []
    for pause in [*sorted(pauses), 200.0]:
        now = max(pause + noticed_s, last)
        for start, duration_s, outcome in calls:
            end = start + duration_s
            if last < start <= now or (last == start == 0.0):
                recorder.started.append(start)
            if last < end <= now or (last == end == 0.0):
                recorder.marked.append(EndedCall(start, end, outcome))
                if outcome is Outcome.SUCCESS:
                    recorder.marked.pop()
                    recorder.ended.extend((start, end))
                shown += 1
        if last < pause:  # the ticker cannot have come in the middle of a pause
            noticed.append(pause)
            tally.paused(pause)
        fold = tally.fold(recorder.drain(), now=now, last=last, record=lambda _: None)
        judged, bad = judged + fold.counts[0], bad + fold.counts[1]
        last = now
    whole = [
        outcome
        for start, duration_s, outcome in calls
        if not any(start < pause < start + duration_s for pause in noticed)
    ]
    assert shown == len(calls)
    assert judged == len(whole)
    assert bad == sum(outcome is not Outcome.SUCCESS for outcome in whole)


# ------------------------------------------------------------------ a guarded function's life

MAX_AGE_S = 60.0
SUBJECTS = ["ana", "ben", None]


@contextmanager
def no_other_flags() -> Iterator[None]:
    before = dict(registry.flags)
    registry.flags.clear()
    try:
        yield
    finally:
        registry.flags.clear()
        registry.flags.update(before)


class GuardedLife(RuleBasedStateMachine):
    """A function with a snapshot and a default, and everything that may happen to it."""

    @initialize(seed=st.integers(0, 2**32), on_the_spot=st.booleans())
    def begin(self, seed: int, on_the_spot: bool) -> None:
        self.clock = ManualClock()
        self.registry = no_other_flags()
        self.registry.__enter__()
        self.runtime = Runtime(clock=self.clock, threads="manual", rng=random.Random(seed))
        self.runtime.__enter__()
        self.control = Control(self.runtime.store, actor="ana", clock=self.clock)
        self.ill = False
        self.serial = 0
        self.made: dict[int, tuple[float, str | None, int]] = {}
        self.off_ended = -1.0
        self.calls = self.refused = 0
        self.part = degradable("part", fallback=[default(-1)])(lambda: 1)

        def same(value: list[Any]) -> list[Any]:
            return [*value]

        @degradable(
            "feed",
            level=3,
            sla=SLA(errors="5%"),
            recovery=Recovery(cooldown="1s", steps=(0.3, 1.0), step_time="1s", step_calls=2),
            fallback=[
                snapshot(max_age=MAX_AGE_S, refresh="2s", transform=None if on_the_spot else same),
                default(["fallback"]),
            ],
        )
        def feed(item: int, subject: str | None) -> list[int | str | None]:
            self.ran = True
            if self.ill:
                raise OSError("ill")
            part = self.part()
            self.serial += 1
            self.made[self.serial] = (self.clock.monotonic(), subject, item)
            return ["made", self.serial, part]

        self.feed = feed

    def teardown(self) -> None:
        if hasattr(self, "runtime"):
            self.runtime.__exit__(None, None, None)
            self.registry.__exit__(None, None, None)

    @property
    def mode(self) -> Mode:
        return self.runtime._watches["feed"].resolved.mode

    @rule(item=st.integers(0, 2), subject=st.sampled_from(SUBJECTS), spoil=st.booleans())
    def call(self, item: int, subject: str | None, spoil: bool) -> None:
        self.ran = False
        mode, serial = self.mode, self.serial
        with request(subject=subject):
            value = self.feed(item, subject)
            answers = [answer for answer in served() if answer.flag == "feed"]
        self.calls += 1
        if mode is Mode.OFF:
            assert value == ["fallback"]
            assert not self.ran
        if not answers:
            assert value[:2] == ["made", serial + 1]
            assert self.ran
        else:
            (answer,) = answers
            if value == ["fallback"]:
                assert answer.rung == "default"
            else:
                self.is_a_good_snapshot(value, answer.age_s, item, subject)
        if spoil and not any(answer.rung == "snapshot" for answer in answers):
            value.append("spoiled")  # snapshots are shared, and only to be read

    def is_a_good_snapshot(
        self, value: list[Any], age_s: float | None, item: int, subject: str | None
    ) -> None:
        kind, serial, part = value  # nothing that a caller appended
        at, whose, what = self.made[serial]
        assert kind == "made"
        assert (whose, what) == (subject, item), "somebody else's answer"
        assert self.mode is not Mode.OFF
        assert age_s == pytest.approx(self.clock.monotonic() - at)
        assert age_s < MAX_AGE_S
        assert at > self.off_ended, "made before an off ended"
        assert part == 1, "built on a degraded part"

    @rule(seconds=st.sampled_from([0.01, 0.25, 1.0, 5.0, 30.0, 61.0]))
    def wait(self, seconds: float) -> None:
        self.note_off()
        self.clock.advance(seconds)
        self.runtime.tick()
        self.note_end()

    @rule()
    def fall_ill(self) -> None:
        self.ill = True

    @rule()
    def get_well(self) -> None:
        self.ill = False

    @rule(
        on=st.sampled_from(["feed", "*", "part"]),
        mode=st.sampled_from(["normal", "degraded", "off", "observe"]),
        for_=st.sampled_from([None, "5s"]),
        dial=st.sampled_from([0.3, 1.0]),
    )
    def hold(self, on: str, mode: str, for_: str | None, dial: float) -> None:
        self.note_off()
        self.control.hold(on, mode, for_=for_, reason="any",
                          dial=dial if mode == "degraded" else 1.0)  # fmt: skip
        self.note_end()

    @rule(on=st.sampled_from(["feed", "*", "part"]), now=st.booleans())
    def release(self, on: str, now: bool) -> None:
        self.note_off()
        ordered = self.runtime._watches["feed"].resolved.layer in ("hold", "everyone")
        before = 1 - self.runtime._watches["feed"].resolved.dial
        self.control.release(on, reason="any", now=now)
        self.note_end()
        after = 1 - self.runtime._watches["feed"].resolved.dial
        if ordered and not now and before < 1 and self.machine_decides:
            assert after < 1, "full traffic at once"

    @property
    def machine_decides(self) -> bool:
        resolved = self.runtime._watches["feed"].resolved
        return resolved.layer == "machine"

    def note_off(self) -> None:
        self._was_off = self.mode is Mode.OFF

    def note_end(self) -> None:
        if self._was_off and self.mode is not Mode.OFF:
            self.off_ended = self.clock.monotonic()

    @precondition(lambda self: hasattr(self, "runtime"))
    @rule(level=st.sampled_from([2, 3]))
    def order_level(self, level: int) -> None:
        self.control.order_level(level, for_=None, reason="any")

    @rule()
    def release_level(self) -> None:
        self.control.release_level(reason="any")

    @invariant()
    def classes_add_up(self) -> None:
        if not hasattr(self, "runtime"):
            return
        (figures,) = [stats for stats in self.runtime.stats() if stats.name == "feed"]
        assert sum(figures.calls.values()) == self.calls
        assert figures.calls["failed"] == 0, "the default always answers"

    @invariant()
    def the_gate_agrees_with_the_mode(self) -> None:
        if not hasattr(self, "runtime"):
            return
        watch = self.runtime._watches["feed"]
        assert watch.gate.shut == (watch.resolved.mode is not Mode.NORMAL)
        if watch.gate.still:
            assert watch.resolved.dial == 1
            assert watch.resolved.mode is Mode.DEGRADED
            recovering = watch.state.phase is Phase.RECOVERING
            assert not (recovering and watch.resolved.automatic)
        assert watch.permits.in_flight == 0


def test_the_laws_of_a_guarded_function_hold_in_any_life():
    run_state_machine_as_test(
        GuardedLife, settings=settings(max_examples=60, stateful_step_count=60, deadline=None)
    )
