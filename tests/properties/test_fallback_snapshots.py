"""The snapshot rung against a model that is a dictionary of what was captured when."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, rule

from degrade.clock import ManualClock
from degrade.fallback.ladder import snapshot
from degrade.fallback.rung import Call, Target
from degrade.fallback.snapshots.memory_tier import Capture, MemoryTier
from degrade.fallback.snapshots.snapshot_rung import BoundSnapshot

USERS = st.sampled_from(["u1", "u2", ("u1",)])
SUBJECTS = st.sampled_from([None, "ana", "ben"])


def feed(user_id: Any) -> list[list[int]]:
    return []


@dataclass
class Result:
    """What the function returned, who may see it, and when its call was admitted."""

    place: tuple[Any, str | None]
    value: list[list[int]]
    number: int
    admitted_s: float


class Snapshots(RuleBasedStateMachine):
    """Calls, captures that arrive late and in any order, changes of results, voids, and outages."""

    on_its_way = Bundle("on_its_way")

    @initialize(
        max_age_s=st.sampled_from([1.0, 20.0, 100.0]),
        everyone=st.booleans(),
        copies=st.booleans(),
        small=st.booleans(),
    )
    def start(self, max_age_s: float, everyone: bool, copies: bool, small: bool) -> None:
        self.clock = ManualClock()
        self.tier = MemoryTier(8_000 if small else 1_000_000, clock=self.clock)
        rung = snapshot(max_age=max_age_s, refresh=5, everyone=everyone, copy=copies)
        bound = rung.bind(Target.of(feed, "feed"))
        assert isinstance(bound, BoundSnapshot)
        bound.attach(self.tier)
        self.rung, self.max_age_s = bound, max_age_s
        self.everyone, self.copies, self.small = everyone, copies, small
        self.made = 0
        self.void_at = float("-inf")
        self.newest: dict[Any, Result] = {}
        self.admitted: list[Result] = []

    @rule(
        target=on_its_way, user=USERS, subject=SUBJECTS, takes_s=st.sampled_from([0.0, 1.0, 30.0])
    )
    def call(self, user: Any, subject: str | None, takes_s: float) -> Any:
        admitted_s = self.clock.monotonic()
        key = self.rung.wanted((user,), {}, subject, admitted_s)
        self.made += 1
        place = (user, None if self.everyone else subject)
        result = Result(place, [[self.made]], self.made, admitted_s)
        self.clock.advance(takes_s)
        if key is None:
            return None
        made = self.rung.capture(
            key, result.value, admitted_s=admitted_s, wall_s=self.clock.wall(), epoch=0
        )
        if self.copies:  # the caller does what it likes with its result
            result.value[0].append(-1)
            result.value.clear()
        if made is None:
            return None
        assert admitted_s > self.void_at
        return made, result

    @rule(sent=consumes(on_its_way))
    def arrive(self, sent: tuple[Capture, Result] | None) -> None:
        if sent is None:
            return
        capture, result = sent
        kept = self.tier.insert(capture)
        newest = self.newest.get(result.place)
        late = newest is not None and newest.admitted_s > result.admitted_s
        if result.admitted_s <= self.void_at:
            assert not kept
        elif not self.small and not late:
            assert kept
        if kept:
            self.newest[result.place] = result

    @rule(seconds=st.sampled_from([0.5, 4.9, 19.0, 100.0]))
    def wait(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @rule(seconds=st.sampled_from([-1e6, 1e6]))
    def wall_clock_jumps(self, seconds: float) -> None:
        self.clock.jump_wall(seconds)

    @rule()
    def void(self) -> None:
        self.void_at = self.clock.monotonic()
        self.tier.void("feed", self.void_at)

    @rule()
    def sweep(self) -> None:
        self.tier.sweep(self.clock.monotonic())

    @rule(user=USERS, subject=SUBJECTS)
    def serve(self, user: Any, subject: str | None) -> None:
        now = self.clock.monotonic()
        answer = self.rung.serve(Call((user,), {}, subject, now, self.clock.wall()))
        expected = self.newest.get((user, None if self.everyone else subject))
        usable = (
            expected is not None
            and now - expected.admitted_s < self.max_age_s
            and expected.admitted_s > self.void_at
        )
        if answer is None:
            assert self.small or not usable, "a snapshot was lost"
            return
        assert usable, "too old, or made before a void"
        assert expected is not None
        assert answer.value == [[expected.number]], "not the newest result, or a changed one"
        assert answer.age_s == now - expected.admitted_s

    @invariant()
    def memory_stays_within_its_bytes(self) -> None:
        assert self.tier.bytes <= self.tier.max_bytes


Snapshots.TestCase.settings = settings(max_examples=150, stateful_step_count=40)
TestSnapshots = Snapshots.TestCase
