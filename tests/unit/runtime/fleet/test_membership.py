"""A process as a member of its fleet, with a store that other processes write to meanwhile."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

import pytest

from degrade import SLA, Runtime, default, degradable
from degrade.clock import ManualClock
from degrade.control import Control
from degrade.core.enums import Outcome, Phase, RungKind
from degrade.core.probe_permits import Permit
from degrade.core.records import FleetVerdict, InstanceReport, Vote
from degrade.runtime.calls.flag import Flag
from degrade.runtime.monitoring.call_recorder import EndedCall
from degrade.runtime.monitoring.flag_monitor import RUN, FlagMonitor
from degrade.stores.redis.store import RedisStore
from degrade.stores.state_changes import Written
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

    def vote(self) -> None:
        """Let two others repeat their votes on `feed`, which keep a verdict."""
        for name in ("a", "b"):
            report = InstanceReport(
                id=name, host="other", pid=1, version="0", started=0.0, at=0.0, epoch=0
            )
            self.other.fleet.beat(report, {"feed": Vote(cause="p99")})


@pytest.fixture
def fleet(clock: ManualClock) -> Fleet:
    return Fleet(clock)


@pytest.fixture
def member(fleet: Fleet, forget_flags: None) -> Iterator[Runtime]:
    with Runtime(fleet.here, clock=fleet.clock, threads="manual") as runtime:
        yield runtime


def feed() -> Callable[[], str]:
    return degradable("feed", fallback=[default("old")])(lambda: "fresh")


def watch_of(runtime: Runtime) -> FlagMonitor:
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


def make_calls(watch: FlagMonitor, *, failing: bool) -> None:
    """Call ten times, as a guarded function does."""
    now = watch.clock()
    for _ in range(10):
        route = watch.admit()
        if route is not RUN and not isinstance(route, Permit):
            watch.answered(RungKind.DEFAULT, None)
            continue
        watch.recorder.started.append(now)
        if failing:
            watch.recorder.marked.append(EndedCall(now, now + 0.001, Outcome.FAILURE))
        else:
            watch.recorder.ended.extend((now, now + 0.001))
        if isinstance(route, Permit):
            watch.permits.give_back(route)


@pytest.mark.parametrize("idle_first", [True, False])
def test_those_with_calls_come_back_however_many_have_none(fleet, clock, forget_flags, idle_first):
    flag = Flag("feed", sla=SLA(errors="5%"))
    runtimes = [
        Runtime(fleet.store(f"p{n}"), clock=clock, threads="manual", rng=random.Random(n))
        for n in range(4)
    ]
    watches = [runtime.adopt(flag) for runtime in runtimes]
    busy = watches[2:]
    turns = runtimes if idle_first else runtimes[::-1]

    def pass_by(seconds: int, *, failing: bool) -> None:
        for _ in range(seconds):
            clock.advance(1.0)
            for watch in busy:
                make_calls(watch, failing=failing)
            for runtime in turns:
                runtime.tick()

    pass_by(25, failing=False)
    pass_by(25, failing=True)
    assert all(watch.state.fleet for watch in watches)
    pass_by(240, failing=False)
    assert [watch.state.phase for watch in busy] == [Phase.STEADY] * 2
    assert fleet.other.read().verdicts == {}


def begin_first_step(fleet: Fleet, member: Runtime, clock: ManualClock) -> Callable[[], str]:
    """Let this process have calls, and the lease of the first step."""
    call = feed()
    poll(member, clock)
    fleet.judge()
    while watch_of(member).state.phase is not Phase.RECOVERING:
        call()
        fleet.vote()
        poll(member, clock)
    assert fleet.other.fleet.take_probe("feed", "other") is None
    return call


def test_who_is_called_no_more_leaves_the_first_step_to_another(fleet, member, clock):
    call = begin_first_step(fleet, member, clock)
    for _ in range(32):
        fleet.vote()
        poll(member, clock)
    assert fleet.other.fleet.take_probe("feed", "other") is not None
    call()  # the lease is away, which is found when calls come again
    poll(member, clock)
    assert call() == "old"
    for _ in range(10):  # the other one does not renew it
        fleet.vote()
        call()
        poll(member, clock)
    assert fleet.other.read().verdicts["feed"].recovering
    assert not watch_of(member).state.fleet


@pytest.mark.parametrize(
    ("mode", "dial", "tries"),
    [("off", 1.0, False), ("degraded", 1.0, False), ("degraded", 0.5, True),
     ("normal", 1.0, True), ("observe", 1.0, True)],
)  # fmt: skip
def test_only_where_some_calls_run_the_first_step_is_tried(fleet, member, clock, mode, dial, tries):
    lease = b"degrade:{default}:lease:probe:feed"
    call = feed()
    poll(member, clock)
    Control(fleet.other, actor="ana", clock=clock).hold(
        "feed", mode, for_=None, reason="drill", dial=dial
    )
    fleet.judge()
    held: list[bool] = []
    for _ in range(7):
        call()
        fleet.vote()
        poll(member, clock)
        held.append(fleet.network.primary.keys.values.get(lease) is not None)
    assert any(held) is tries


def test_a_flag_counts_in_the_fleet_while_it_is_called(fleet, member, clock):
    def told() -> bool:
        (report,) = (one for one in fleet.other.instances() if one.id == member.instance)
        return report.flags["feed"].active

    call = feed()
    poll(member, clock)
    poll(member, clock)
    assert not told()
    call()
    poll(member, clock)  # that it is called now is news
    assert told()
    fleet.judge()
    for _ in range(40):
        call()
        fleet.vote()
        poll(member, clock)
    assert told()  # also by its degraded answers
    for _ in range(35):
        poll(member, clock)
    assert not told()


def test_a_call_that_never_ends_is_not_traffic(fleet, member, clock):
    feed()
    watch_of(member).recorder.started.append(clock.monotonic())
    poll(member, clock)
    assert member.reports()["feed"].active
    for _ in range(30):
        poll(member, clock)
    assert not member.reports()["feed"].active


def test_a_flag_declared_again_follows_the_verdict_that_stands(fleet, member, clock):
    feed()
    poll(member, clock)
    fleet.judge()
    poll(member, clock)
    assert feed()() == "old"
    assert watch_of(member).state.fleet


def test_a_child_does_not_vote_for_what_its_parent_saw(fleet, member, clock):
    call = degradable("feed", sla=SLA(errors="5%"), fallback=[default("old")])(lambda: 1 / 0)
    poll(member, clock)
    for _ in range(30):
        call()
    for _ in range(2):
        poll(member, clock)
    parent = member.instance
    assert set(fleet.other.fleet.votes()["feed"]) == {parent}
    member.reborn()
    assert call() == "old"  # degraded it is, from the start
    for _ in range(4):
        clock.advance(1.0)
        member.tick()
    assert member.instance != parent
    assert set(fleet.other.fleet.votes().get("feed", {})) <= {parent}
    assert fleet.other.read().verdicts == {}


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
