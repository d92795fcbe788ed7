"""Deadlines: what a caller waits at most, and what becomes of a late coroutine."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Callable
from typing import Any

import pytest
import trio

import degrade
from degrade import SLA, Runtime, UnavailableError, default, degradable, simplified, snapshot
from degrade.clock import ManualClock
from degrade.control import Control
from degrade.errors import ConfigError, UsageError
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


@late
def test_past_its_deadline_the_ladder_answers_whatever_the_clean_up_takes(
    runtime: Runtime, late: str
):
    async def main() -> None:
        let_go = asyncio.Event()
        ended: list[str] = []

        async def stubborn() -> str:
            try:
                await let_go.wait()
            except asyncio.CancelledError:
                await let_go.wait()  # says goodbye to a server that is frozen
                ended.append("cleaned up")
            return "after all"

        feed = degradable("feed", deadline=SHORT, late=late, fallback=[default("stale")])(stubborn)
        assert await asyncio.wait_for(feed(), 5) == "stale"
        assert ended == []
        let_go.set()
        await settled()
        assert ended == (["cleaned up"] if late == "cancel" else [])
        runtime.tick()
        assert outcomes_of(runtime, "feed") == {"timeout": 1}

    asyncio.run(main())


def test_a_cancelled_caller_waits_for_the_clean_up_of_its_call(runtime: Runtime):
    async def main() -> None:
        started, let_go = asyncio.Event(), asyncio.Event()
        ended: list[str] = []

        @degradable("feed", deadline="1m", fallback=[default("stale")])
        async def feed() -> None:
            started.set()
            try:
                await asyncio.Event().wait()
            finally:
                await let_go.wait()
                ended.append("cleaned up")

        caller = asyncio.ensure_future(feed())
        await started.wait()
        caller.cancel()
        await settled()
        assert not caller.done()
        let_go.set()
        with pytest.raises(asyncio.CancelledError):
            await caller
        assert ended == ["cleaned up"]

    asyncio.run(main())


def test_what_runs_past_its_deadline_is_bounded(runtime: Runtime, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("degrade.runtime.calls.deadline.MAX_BACKGROUND", 3)
    ran: list[int] = []

    async def main() -> None:
        let_go = asyncio.Event()

        @degradable("feed", deadline=SHORT, late="keep", fallback=[default("stale")])
        async def feed(i: int) -> str:
            ran.append(i)
            await let_go.wait()
            return "late"

        assert [await feed(i) for i in range(5)] == ["stale"] * 5
        assert ran == [0, 1, 2]
        let_go.set()
        await settled()
        assert await feed(5) == "late"

    asyncio.run(main())


def test_under_another_loop_the_deadline_is_not_enforced_which_is_said_once(
    runtime: Runtime, caplog: pytest.LogCaptureFixture
):
    @degradable("feed", deadline=SHORT, fallback=[default("stale")])
    async def feed() -> str:
        await trio.sleep(0.02)
        return "full"

    for _ in range(3):
        assert trio.run(feed) == "full"
    assert [record.getMessage() for record in caplog.records] == [
        "the deadline of 5ms is not enforced: the running loop is not one of asyncio's"
    ]
    runtime.tick()
    assert classes_of(runtime, "feed") == {"full": 3}


def test_a_rung_is_bounded_by_the_deadline_of_the_function_or_by_its_own_timeout(runtime: Runtime):
    async def slow() -> str:
        await asyncio.Event().wait()
        return "never"

    @degradable("feed", deadline=SHORT, fallback=[slow, default("stale")])
    async def feed() -> str:
        return await slow()

    @degradable("page", fallback=[simplified(slow, timeout=SHORT), default("stale")])
    async def page() -> str:
        raise Boom

    async def main() -> None:
        for guarded in (feed, page):
            assert await asyncio.wait_for(guarded(), 5) == "stale"

    asyncio.run(main())


@pytest.mark.parametrize("timeout", [0, "-1s", "soon"])
def test_a_timeout_of_a_rung_must_be_a_duration_above_zero(timeout: object):
    async def cheap() -> str:
        return "cheap"

    with pytest.raises(ConfigError, match="timeout"):
        simplified(cheap, timeout=timeout)


def test_a_timeout_of_a_plain_rung_is_refused():
    with pytest.raises(UsageError, match="only a coroutine function") as refused:
        simplified(lambda: "cheap", timeout="1s")
    assert refused.value.code == "sync-deadline"


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
