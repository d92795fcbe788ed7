"""T16 votes: who counts in a fleet of ten, and how much a fleet degrades at once."""

from __future__ import annotations

from contextlib import ExitStack
from types import TracebackType
from typing import Any, Self

import pytest

from degrade.core.records import InstanceReport, Vote
from degrade.settings import open_store
from degrade.stores.redis.store import RedisStore
from tests.faults import promises
from tests.faults.application import Application
from tests.servers.redis_server import RedisServer
from tests.servers.waiting import until

pytestmark = [pytest.mark.real, pytest.mark.faults, pytest.mark.timeout(120)]

FLAGS = tuple(f"feed.part{number}" for number in range(6))
CAP = 4
A_SECOND = 60
STALL_S = 1.0
"""Eleven busy processes make each other wait for a core; one of them is no measure for all."""
UNHURRIED = {"cooldown": 2.0, "step_time": 0.3, "step_calls": 3}


class Fleet:
    """The processes of an application by number, and what the store says of them."""

    def __init__(self, app: Application, server: RedisServer) -> None:
        self._stack = ExitStack()
        store = open_store(server.url, namespace=app.namespace)
        assert isinstance(store, RedisStore)
        self.app = app
        self.store = store
        self.workers = list(app.workers)
        self.ids = [str(worker.state()["instance"]) for worker in self.workers]
        self._client = server.client()
        self._lease = f"degrade:{{{app.namespace}}}:lease:count"

    def __enter__(self) -> Self:
        self._stack.callback(self.store.close)
        self._stack.callback(self._client.close)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()

    def verdicts(self) -> set[str]:
        return set(self.store.read().verdicts)

    def live(self) -> set[str]:
        """Return the live instances that say they have calls of every flag."""
        reports = self.store.instances(within_s=30.0)
        active = {name: [flag for flag in FLAGS if flag in report.flags and report.flags[flag].active]
                  for name, report in ((report.id, report) for report in reports)}  # fmt: skip
        return {name for name, flags in active.items() if len(flags) == len(FLAGS)}

    def sicken(self, *numbers: int) -> None:
        """Let the functions of some fail, and wait until those vote on every flag."""
        self.app.behave("fail", only=[self.workers[number] for number in numbers])
        wanted = {self.ids[number] for number in numbers}

        def vote() -> bool:
            votes = self.store.fleet.votes()
            return all(wanted <= set(votes.get(flag, ())) for flag in FLAGS)

        until(vote, within_s=30.0, every_s=0.1, what="votes")

    def counted(self) -> None:
        """Wait until the votes were counted twice more: each time the lease of it is taken anew."""
        for _ in range(2):
            left_ms = [int(self._client.pttl(self._lease))]

            def again(left_ms: list[int] = left_ms) -> bool:
                left_ms.append(int(self._client.pttl(self._lease)))
                return left_ms[-1] > left_ms[-2]

            until(again, what="the votes to be counted")

    def degraded(self, number: int) -> set[str]:
        """Return the flags that a process serves degraded now."""
        flags = self.workers[number].state()["flags"]
        return {name for name, how in flags.items() if how["mode"] == "degraded"}

    def kill(self, *numbers: int) -> None:
        for number in numbers:
            self.workers[number].kill()
            self.app.workers.remove(self.workers[number])


def test_only_a_quorum_of_the_living_speaks_for_the_fleet(application, redis_server, figures):
    figures.about(
        "T16 votes",
        "Ten processes: one is sick, its id doubled, four are sick, three of them killed, all are sick",
    )
    app = application(
        redis_server.url, flags=FLAGS, ports=[redis_server.port], workers=10, threads=1, rate=10.0,
        recovery=UNHURRIED,
    )  # fmt: skip
    with Fleet(app, redis_server) as fleet:
        until(lambda: fleet.live() == set(fleet.ids), within_s=40.0, every_s=0.2, what="ten")
        app.gather("calm", calls=4 * A_SECOND)
        until(
            lambda: fleet.store.now() > fleet.store.read().not_before,
            within_s=20.0, every_s=0.2, what="the store to be old enough for verdicts",
        )  # fmt: skip
        app.mark("fault")
        fleet.sicken(0)
        fleet.counted()
        assert fleet.degraded(0) == set(FLAGS), "it degrades itself"
        assert not any(fleet.degraded(number) for number in range(1, 10))
        vote_again_under_the_same_id(fleet, 0)
        fleet.counted()
        assert fleet.verdicts() == set(), "an id that is there twice has one vote"
        fleet.sicken(1, 2, 3)
        fleet.counted()
        assert fleet.verdicts() == set(), "four of ten are no half"
        fleet.kill(0, 1, 2)
        until(lambda: len(fleet.live()) == 7, within_s=45.0, every_s=0.2, what="three to be dead")
        fleet.sicken(4, 5)
        fleet.counted()
        assert fleet.verdicts() == set(), "the dead do not vote: three of seven are no half"
        assert not any(fleet.degraded(number) for number in range(6, 10))
        fleet.sicken(6)
        until(lambda: len(fleet.verdicts()) == CAP, what="the verdicts that the cap allows")
        decided = fleet.verdicts()
        for number in (7, 8, 9):
            until(
                lambda number=number: fleet.degraded(number) == decided,
                what=f"the healthy process {number} to follow",
            )
        fleet.counted()
        assert fleet.verdicts() == decided
        assert set(fleet.store.read().capped) == set(FLAGS) - decided
        app.gather("fault", calls=2 * A_SECOND)
        app.behave("fail")
        until(
            lambda: all(fleet.degraded(number) == set(FLAGS) for number in range(3, 10)),
            what="all to degrade themselves",
        )
        fleet.counted()
        assert fleet.verdicts() == decided, "all are sick, and the fleet holds no more"
        reports = app.reports()
    told = max(changes_told(report) for report in promises.guarded(reports))
    figures.keep(promises.check(reports, timeout_s=STALL_S, changes=told))
    figures.note("verdicts by one of ten", 0, "0")
    figures.note("verdicts by one id with two votes", 0, "0")
    figures.note("verdicts by three of seven, and three dead", 0, "0")
    figures.note("verdicts by four of seven on six flags", len(decided), f"{CAP}")
    figures.note("verdicts by all on six flags", CAP, f"{CAP}")


def changes_told(report: dict[str, Any]) -> int:
    """Return how many lines tell of a change: a sick process tries six flags again and again."""
    return sum(" of calls run: " in line for _, line in report["log"])


def vote_again_under_the_same_id(fleet: Fleet, number: int) -> None:
    """Let a second process vote that has the id of another, as after a clone of a machine."""
    (report,) = (
        one for one in fleet.store.instances() if one.id == fleet.ids[number]
    )  # its calls, too
    twin = InstanceReport.model_validate({**report.model_dump(), "pid": report.pid + 1})
    fleet.store.fleet.beat(twin, dict.fromkeys(FLAGS, Vote(cause="errors 5%")))
