"""Deadlines: what a caller waits at most, and what becomes of a late coroutine."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Callable
from typing import Any

import pytest

import degrade
from degrade import SLA, Runtime, UnavailableError, default, degradable, snapshot
from degrade.clock import ManualClock
from degrade.control import Control
from tests.unit.runtime.doing import (
    Boom,
    Sick,
    classes_of,
    outcomes_of,
    pass_time,
    stats_of,
    watch_of,
)

KEPT = snapshot(max_age="1h", refresh="1s", copy=False)
SHORT = "5ms"

late = pytest.mark.parametrize("late", ["cancel", "keep"])


class Slow:
    """A coroutine function that waits until it is let go, and tells what became of each run."""

    def __init__(self) -> None:
        self.go = asyncio.Event()
        self.ended: list[str] = []
        self.value: Any = "late"

    async def __call__(self) -> Any:
        try:
            await self.go.wait()
        except BaseException as error:
            self.ended.append(type(error).__name__)
            raise
        self.ended.append("finished")
        if isinstance(self.value, Exception):
            raise self.value
        return self.value


async def settled() -> None:
    """Let everything that can run do so."""
    for _ in range(10):
        await asyncio.sleep(0)


def captured(runtime: Runtime, flag: str = "feed") -> list[Any]:
    books = [book for book in runtime.tier.books() if book.flag == flag]
    return [entry.value for book in books for entry in book.entries.values()]


@late
def test_past_its_deadline_a_call_is_answered_by_the_ladder(runtime: Runtime, late: str):
    async def main() -> None:
        slow = Slow()
        feed = degradable("feed", deadline=SHORT, late=late, fallback=[default("stale")])(slow)
        with degrade.request():
            assert [await feed() for _ in range(3)] == ["stale"] * 3
            assert {served.reason for served in degrade.served()} == {"its deadline passed"}
        slow.go.set()
        await settled()
        wanted = "CancelledError" if late == "cancel" else "finished"
        assert slow.ended == [wanted] * 3

    asyncio.run(main())
    runtime.tick()
    assert classes_of(runtime, "feed") == {"degraded": 3}
    assert outcomes_of(runtime, "feed") == {"timeout": 3}
    assert watch_of(runtime, "feed")._tally.in_flight == 0


@late
def test_past_its_deadline_without_a_ladder_a_call_is_unavailable(runtime: Runtime, late: str):
    async def main() -> None:
        slow = Slow()
        feed = degradable("feed", deadline=SHORT, late=late)(slow)
        for _ in range(2):
            with pytest.raises(UnavailableError, match="the deadline of 5ms passed") as caught:
                await feed()
            assert caught.value.__suppress_context__
        slow.go.set()
        await settled()

    asyncio.run(main())
    runtime.tick()
    assert classes_of(runtime, "feed") == {"failed": 2}
    assert outcomes_of(runtime, "feed") == {"timeout": 2}


@late
def test_passed_deadlines_trip_an_errors_limit_and_a_latency_limit(runtime: Runtime, late: str):
    async def main() -> None:
        slow = Slow()
        by_errors = degradable("errors", sla=SLA(errors="5%"), deadline=SHORT, late=late,
                               fallback=[default(0)])(slow)  # fmt: skip
        by_latency = degradable("latency", sla=SLA(p99="10s"), deadline=SHORT, late=late,
                                fallback=[default(0)])(slow)  # fmt: skip
        for _ in range(3):
            await by_errors()
            await by_latency()
        slow.go.set()
        await settled()

    asyncio.run(main())
    runtime.tick()
    assert stats_of(runtime, "errors").phase == "degraded"
    assert stats_of(runtime, "latency").phase == "degraded", "failing fast is not being fast"


@late
def test_in_time_it_is_as_without_a_deadline(runtime: Runtime, late: str):
    mine = Boom("mine")

    async def fn(what: Any) -> Any:
        await asyncio.sleep(0)
        if isinstance(what, BaseException):
            raise what
        return what

    async def main() -> None:
        feed = degradable("feed", deadline="30s", late=late)(fn)
        for _ in range(2):
            assert await feed(5) == 5
            with pytest.raises(Boom) as caught:
                await feed(mine)
            assert caught.value is mine

    asyncio.run(main())
    runtime.tick()
    assert classes_of(runtime, "feed") == {"full": 2, "failed": 2}


@late
@pytest.mark.parametrize("error", [TimeoutError("mine"), ConnectionError("mine")])
def test_a_timeout_of_the_users_own_is_a_failure_and_stays_it(
    runtime: Runtime, late: str, error: Exception
):
    async def fn() -> None:
        raise error

    async def main() -> None:
        feed = degradable("feed", deadline="30s", late=late)(fn)
        for _ in range(2):
            with pytest.raises(type(error)) as caught:
                await feed()
            assert caught.value is error

    asyncio.run(main())
    runtime.tick()
    assert outcomes_of(runtime, "feed") == {"failure": 2}


@late
def test_a_cancelled_caller_takes_its_call_with_it(runtime: Runtime, late: str):
    async def main() -> None:
        slow = Slow()
        feed = degradable("feed", deadline="30s", late=late, fallback=[default(0)])(slow)
        tasks = [asyncio.create_task(feed()) for _ in range(3)]
        await settled()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await settled()
        assert all(task.cancelled() for task in tasks)
        assert slow.ended == ["CancelledError"] * 3

    asyncio.run(main())
    runtime.tick()
    assert classes_of(runtime, "feed") == {"abandoned": 3}


def test_a_call_that_refuses_to_be_cancelled_gives_its_result(runtime: Runtime):
    async def stubborn() -> str:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return "after all"
        return "never"

    feed = degradable("feed", deadline=SHORT, fallback=[default("stale")])(stubborn)
    assert asyncio.run(feed()) == "after all"


def test_a_deadline_of_a_part_is_no_deadline_of_the_whole(runtime: Runtime):
    async def main() -> None:
        slow = Slow()
        part = degradable("part", deadline=SHORT)(slow)

        @degradable("feed", deadline="30s", fallback=[default("stale")])
        async def feed() -> Any:
            return await part()

        assert await feed() == "stale"

    asyncio.run(main())
    runtime.tick()
    assert outcomes_of(runtime, "part") == {"timeout": 1}
    assert outcomes_of(runtime, "feed") == {"failure": 1}


def test_deadlines_within_asyncio_timeouts_keep_apart(runtime: Runtime):
    async def main() -> None:
        slow = Slow()
        feed = degradable("feed", deadline="30s", fallback=[default("stale")])(slow)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.005):
                await feed()

    asyncio.run(main())
    runtime.tick()
    assert classes_of(runtime, "feed") == {"abandoned": 1}


# ------------------------------------------------------------------ late results


def test_a_late_result_refreshes_the_snapshot(
    runtime: Runtime, control: Control, clock: ManualClock
):
    async def main() -> None:
        slow = Slow()
        feed = degradable("feed", deadline=SHORT, late="keep", fallback=[KEPT, default("none")])(
            slow
        )
        assert await feed() == "none"
        clock.advance(3)
        slow.go.set()
        await settled()
        runtime.tick()
        assert captured(runtime) == ["late"]
        with degrade.request():
            control.hold("feed", "degraded", for_=None, reason="drill")
            assert await feed() == "late"
            assert degrade.served()[0].age_s == 3, "its age counts from the start of its call"

    asyncio.run(main())


def test_a_late_result_is_kept_when_the_flag_has_degraded_meanwhile(
    runtime: Runtime, control: Control
):
    async def main() -> None:
        slow = Slow()
        feed = degradable("feed", deadline=SHORT, late="keep", fallback=[KEPT, default("none")])(
            slow
        )
        await feed()
        control.hold("feed", "degraded", for_=None, reason="drill")
        slow.go.set()
        await settled()
        runtime.tick()
        assert await feed() == "late"

    asyncio.run(main())


@pytest.mark.parametrize("why", ["rejected", "raised", "off since", "built on a degraded part",
                                 "built on a part degraded after the deadline"])  # fmt: skip
def test_a_late_result_is_not_kept_when_it_was(
    runtime: Runtime, control: Control, clock: ManualClock, why: str
):
    part = degradable("part", fallback=[default("stale")])(Sick())

    async def main() -> None:
        slow = Slow()
        slow.value = Boom("late") if why == "raised" else "bad"

        @degradable("feed", deadline=SHORT, late="keep", fallback=[KEPT, default("none")],
                    accept=lambda result: why != "rejected")  # fmt: skip
        async def feed() -> Any:
            if why == "built on a degraded part":
                part()
            result = await slow()
            if why == "built on a part degraded after the deadline":
                part()
            return result

        if why.startswith("built"):
            control.hold("part", "degraded", for_=None, reason="drill")
        assert await feed() == "none"
        if why == "off since":
            clock.advance(1)
            control.hold("feed", "off", for_=None, reason="wrong")
            clock.advance(1)
            control.release("feed", reason="deployed", now=True)
        slow.go.set()
        await settled()
        runtime.tick()
        assert captured(runtime) == []

    asyncio.run(main())
    gc.collect()  # an exception that nobody looked at would be told now


def test_late_results_count_no_second_time(runtime: Runtime, clock: ManualClock):
    async def main() -> None:
        slow = Slow()
        feed = degradable("feed", sla=SLA(p99="10s"), deadline=SHORT, late="keep",
                          fallback=[default("none")])(slow)  # fmt: skip
        await feed()
        pass_time(runtime, clock, 2)
        slow.go.set()
        await settled()

    asyncio.run(main())
    pass_time(runtime, clock, 2)
    assert classes_of(runtime, "feed") == {"degraded": 1}
    assert outcomes_of(runtime, "feed") == {"timeout": 1}


def test_a_kept_task_is_not_collected_while_it_runs(runtime: Runtime):
    """Loops hold tasks weakly, and nobody else holds what this one waits for."""

    async def main() -> str:
        waits_for: list[weakref.ref[asyncio.Future[str]]] = []
        ended: list[str] = []

        async def fn() -> None:
            future: asyncio.Future[str] = asyncio.get_running_loop().create_future()
            waits_for.append(weakref.ref(future))
            ended.append(await future)

        await degradable("feed", deadline=SHORT, late="keep", fallback=[default(0)])(fn)()
        gc.collect()
        future = waits_for[0]()
        assert future is not None, "the task was collected"
        future.set_result("finished")
        await settled()
        return ended[0]

    assert asyncio.run(main()) == "finished"


@late
def test_a_loop_may_end_while_late_ones_run(runtime: Runtime, late: str):
    async def main() -> Any:
        return await degradable("feed", deadline=SHORT, late=late, fallback=[default("stale")])(
            Slow()
        )()

    assert asyncio.run(main()) == "stale"
    assert asyncio.run(main()) == "stale"


def test_a_hung_call_counts_at_its_deadline_and_once(runtime: Runtime, clock: ManualClock):
    """The loop is blocked, so that nobody can cancel: the ticker sees it all the same."""

    async def main() -> None:
        slow = Slow()
        feed: Callable[[], Any] = degradable(
            "feed", sla=SLA(errors="5%"), deadline="30s", fallback=[default("stale")]
        )(slow)
        tasks = [asyncio.create_task(feed()) for _ in range(3)]
        await settled()
        pass_time(runtime, clock, 29.75)
        assert stats_of(runtime, "feed").phase == "steady"
        pass_time(runtime, clock, 0.5)
        assert stats_of(runtime, "feed").phase == "degraded"
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    asyncio.run(main())
