"""The snapshots of a fleet against a model: who computed what for whom, and when, by the store's time."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from degrade.clock import ManualClock
from degrade.errors import StoreError
from degrade.fallback.ladder import snapshot
from degrade.fallback.rung import Answer, Call, Target
from degrade.fallback.snapshots.capture_budget import Account
from degrade.fallback.snapshots.memory_tier import MemoryTier
from degrade.fallback.snapshots.shared_tier import MOST_QUEUED, SharedTier
from degrade.fallback.snapshots.snapshot_rung import BoundSnapshot
from tests.shelf import Shelf

PROCESSES = st.integers(0, 1)
USERS = st.sampled_from(["u1", ("u1",)])
SUBJECTS = st.sampled_from([None, "ana"])
REFRESH_S = 5.0


def feed(user_id: Any) -> list[list[int]]:
    return []


@dataclass
class Process:
    """One process: its clocks differ from everybody's, and it knows the store's time."""

    clock: ManualClock
    memory: MemoryTier
    rung: BoundSnapshot
    tier: SharedTier
    after_s: float = 0.0


@dataclass(frozen=True)
class Result:
    """What a function returned: for whom, and when by the store's time."""

    place: tuple[Any, str | None]
    at: float


class SharedSnapshots(RuleBasedStateMachine):
    """Calls, sending, outages, clocks that jump, restarts, orders that reach some later."""

    @initialize(
        max_age_s=st.sampled_from([1.0, 20.0, 100.0]),
        everyone=st.booleans(),
        walls=st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=2),
    )
    def start(self, max_age_s: float, everyone: bool, walls: list[float]) -> None:
        self.store = ManualClock()
        self.shelf = Shelf()
        self.max_age_s, self.everyone = max_age_s, everyone
        self.processes = [self._process(wall) for wall in walls]
        self.results: dict[int, Result] = {}
        self.off_ended = 0.0

    def _process(self, wall_s: float) -> Process:
        clock = ManualClock(monotonic_s=wall_s % 977, wall_s=1e9 + wall_s)
        ahead_s = self.store.wall() - clock.monotonic()
        memory = MemoryTier(clock=clock)
        rung = snapshot(max_age=self.max_age_s, refresh=REFRESH_S, everyone=self.everyone)
        bound = rung.bind(Target.of(feed, "feed"))
        assert isinstance(bound, BoundSnapshot)
        bound.attach(memory)
        tier = SharedTier(
            self.shelf,
            monotonic=clock.monotonic,
            store_now=lambda: clock.monotonic() + ahead_s,
        )
        return Process(clock, memory, bound, tier)

    @rule(
        who=PROCESSES,
        user=USERS,
        subject=SUBJECTS,
        takes_s=st.sampled_from([0.0, 3.0]),
        sends=st.sampled_from([True, True, False]),
    )
    def call(self, who: int, user: Any, subject: str | None, takes_s: float, sends: bool) -> None:
        process = self.processes[who]
        admitted_s, at = process.clock.monotonic(), self.store.wall()
        process.memory.budget.spent(admitted_s, -1.0, Account())
        key = process.rung.wanted((user,), {}, subject, admitted_s)
        number = len(self.results)
        self.results[number] = Result((user, None if self.everyone else subject), at)
        value = [[number]]
        self.wait(takes_s)
        if key is None:
            return
        made = process.rung.capture(key, value, admitted_s=admitted_s, wall_s=at, epoch=0)
        value[0].append(-1)
        if made is not None and process.memory.insert(made):
            process.tier.offer(made)
        if sends:
            self.send(who)

    @rule(who=PROCESSES)
    def send(self, who: int) -> None:
        try:
            self.processes[who].tier.send()
        except StoreError:
            assert self.shelf.sick

    @rule(user=USERS, subject=SUBJECTS, wall=st.floats(-1e6, 1e6))
    def serve_cold(self, user: Any, subject: str | None, wall: float) -> None:
        """Let a process that has just started serve what it finds."""
        self.restart(0, wall)
        self.serve(0, user, subject)

    @rule(who=PROCESSES, user=USERS, subject=SUBJECTS)
    def serve(self, who: int, user: Any, subject: str | None) -> None:
        process = self.processes[who]
        now = process.clock.monotonic()
        answer = process.rung.serve(Call((user,), {}, subject, now, process.clock.wall()))
        if answer is None:
            answer = self.find(process, user, subject)
        if answer is not None:
            self.check(process, answer, user, subject)
            answer = process.rung.serve(Call((user,), {}, subject, now, process.clock.wall()))
            assert answer is not None, "what was found stays in memory"
            self.check(process, answer, user, subject)

    def find(self, process: Process, user: Any, subject: str | None) -> Answer | None:
        key = process.rung.keys.key((user,), {}, subject)
        assert key is not None
        try:
            _, found = process.tier.find(
                process.rung, key, after_s=process.after_s, within_s=0.02, told=lambda: None
            )
        except StoreError:
            assert self.shelf.sick
            return None
        return found and process.rung.serve_found(found, process.clock.monotonic())

    def check(self, process: Process, answer: Answer, user: Any, subject: str | None) -> None:
        ((number,),) = answer.value
        result = self.results[number]
        assert result.place == (user, None if self.everyone else subject)
        age_s = self.store.wall() - result.at
        assert age_s < self.max_age_s
        answer.value[0].append("spoiled")
        answer.value.append("spoiled")
        assert answer.age_s is not None
        assert abs(answer.age_s - age_s) < 1e-3
        assert result.at > process.after_s

    @rule(seconds=st.sampled_from([0.5, 5.0, 40.0]))
    def wait(self, seconds: float) -> None:
        self.store.advance(seconds)
        for process in self.processes:
            process.clock.advance(seconds)

    @rule(who=PROCESSES, seconds=st.floats(-1e6, 1e6))
    def jump(self, who: int, seconds: float) -> None:
        self.processes[who].clock.jump_wall(seconds)

    @rule(who=PROCESSES, wall=st.floats(-1e6, 1e6))
    def restart(self, who: int, wall: float) -> None:
        self.processes[who] = self._process(wall)
        self.processes[who].after_s = self.off_ended  # read before anything is asked for

    @rule()
    def end_an_off(self) -> None:
        self.off_ended = self.store.wall()
        self.wait(0.001)

    @rule(who=PROCESSES)
    def hear(self, who: int) -> None:
        process = self.processes[who]
        if process.after_s < self.off_ended:
            process.after_s = self.off_ended
            ago_s = self.store.wall() - self.off_ended
            process.memory.void("feed", process.clock.monotonic() - ago_s)

    @rule(sick=st.sampled_from([False, False, True]))
    def outage(self, sick: bool) -> None:
        self.shelf.sick = sick

    @rule(data=st.data())
    def damage(self, data: st.DataObject) -> None:
        if self.shelf.bodies:
            places = sorted(self.shelf.bodies)
            one, other = data.draw(st.sampled_from(places)), data.draw(st.sampled_from(places))
            body = self.shelf.bodies[other]  # another's, or cut off
            cut = data.draw(st.just(len(body)) | st.integers(0, len(body)))
            self.shelf.bodies[one] = body[:cut]
            for user, subject in product(["u1", ("u1",)], [None, "ana"]):
                self.serve_cold(user, subject, 0.0)

    @invariant()
    def the_queues_are_bounded_and_their_bytes_are_counted(self) -> None:
        for process in getattr(self, "processes", ()):
            queued = process.tier._queue.values()
            assert len(process.tier) <= MOST_QUEUED
            assert process.tier.waiting_bytes == sum(len(made.entry.blob) for made in queued)


class TestSharedSnapshots(SharedSnapshots.TestCase):
    pytestmark = [pytest.mark.slow]
    settings = settings(max_examples=150, stateful_step_count=50)


class TestFewSharedSnapshots(SharedSnapshots.TestCase):
    settings = settings(max_examples=50, stateful_step_count=50)
