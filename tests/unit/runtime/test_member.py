"""A process as a member of its fleet, with a store that other processes write to meanwhile."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

import pytest

from degrade import SLA, Runtime, default, degradable
from degrade.clock import ManualClock
from degrade.core.records import FleetVerdict
from degrade.core.words import Phase
from degrade.runtime.watch import Watch
from degrade.stores.apply import Written
from degrade.stores.redis.store import RedisStore
from tests.simulation.network import Network
from tests.simulation.server import SimServer
from tests.simulation.world import World


class Fleet:
    """One server, this process's way to it, and that of another process."""

    def __init__(self, clock: ManualClock) -> None:
        self.clock = clock
        self.network = Network(World(0), SimServer(clock.wall))
        self.here, self.other = self.store("here"), self.store("other")

    def store(self, name: str) -> RedisStore:
        return RedisStore(self.network.link(name), clock=self.clock, rng=random.Random(0))

    def judge(self, *, recovering: bool = False) -> None:
        """Let the fleet come to a new verdict on `feed`."""
        self.other._ledger.write(
            lambda state, head, now: Written(
                state.model_copy(
                    update={
                        "epoch": state.epoch + 1,
                        "verdicts": {
                            "feed": FleetVerdict(
                                id=state.epoch + 1, at=now, cause="p99", voters=2, live=3,
                                recovering=recovering,
                            )
                        },
                    }
                ),
                (),
                head,
            )
        )  # fmt: skip


@pytest.fixture
def fleet(clock: ManualClock) -> Fleet:
    return Fleet(clock)


@pytest.fixture
def member(fleet: Fleet, forget_flags: None) -> Iterator[Runtime]:
    with Runtime(fleet.here, clock=fleet.clock, threads="manual") as runtime:
        yield runtime


def feed() -> Callable[[], str]:
    return degradable("feed", fallback=[default("old")])(lambda: "fresh")


def watch_of(runtime: Runtime) -> Watch:
    (watch,) = runtime.watched()
    return watch


def poll(runtime: Runtime, clock: ManualClock) -> None:
    clock.advance(1.3)
    runtime.tick()


def test_a_verdict_of_the_fleet_degrades_a_flag_that_saw_no_failure(fleet, member, clock):
    call = feed()
    poll(member, clock)
    assert call() == "fresh"
    fleet.judge()
    poll(member, clock)
    assert call() == "old"


def test_a_flag_declared_late_follows_the_verdict_that_stands(fleet, member, clock):
    fleet.judge()
    poll(member, clock)
    assert feed()() == "old"


def test_who_missed_the_end_of_one_verdict_recovers_with_the_next(fleet, member, clock):
    feed()
    poll(member, clock)
    fleet.judge()
    poll(member, clock)
    assert watch_of(member).state.fleet
    fleet.judge(recovering=True)  # began, and was tried, while this process was cut off
    poll(member, clock)
    assert not watch_of(member).state.fleet


def test_a_child_does_not_take_the_first_step_with_the_lease_of_its_parent(fleet, member, clock):
    feed()
    poll(member, clock)
    fleet.judge()
    poll(member, clock)
    watch_of(member).may_probe = True  # the parent holds the lease
    member.reborn()
    child = watch_of(member)
    assert child.state.fleet
    assert not child.may_probe


def test_a_vote_says_whether_only_the_past_speaks_for_it(fleet, member, clock):
    sick = True

    def rank() -> str:
        if sick:
            raise ValueError
        return "fresh"

    call = degradable("feed", sla=SLA(errors="5%"), fallback=[default("old")])(rank)
    poll(member, clock)
    said = []
    for _ in range(60):
        for _ in range(30):
            call()
        poll(member, clock)
        state = watch_of(member).state
        vote = fleet.other.fleet.votes().get("feed", {}).get(member.instance)
        if vote is not None:
            said.append((state.phase, round(state.share, 2), vote.recovering))
            sick = state.phase is Phase.STEADY
    assert (Phase.DEGRADED, 0.0, False) in said
    assert (Phase.RECOVERING, 0.5, True) in said
    assert (Phase.DEGRADED, 0.0, True) not in said
    assert fleet.other.fleet.votes() == {}
