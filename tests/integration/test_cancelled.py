"""A cancellation belongs to the caller whose task was asked to end; any other is a failure."""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import suppress
from typing import Any

import anyio
import anyio.from_thread
import anyio.to_thread
import pytest
import trio
import uvloop

from degrade import Runtime, default, degradable, flag
from degrade.core.enums import Outcome
from tests.unit.runtime.doing import stats_of

Run = Callable[[Coroutine[Any, Any, Any]], Any]
LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "asyncio": asyncio.new_event_loop,
    "uvloop": uvloop.new_event_loop,
}


@pytest.fixture(params=sorted(LOOPS))
def run(request: pytest.FixtureRequest) -> Iterator[Run]:
    """Run a coroutine on a real event loop."""
    with asyncio.Runner(loop_factory=LOOPS[request.param]) as runner:
        yield runner.run


@pytest.fixture(autouse=True)
def runtime(forget_flags: None) -> Iterator[Runtime]:
    with Runtime(threads="manual") as runtime:
        yield runtime


def guarded(work: Callable[[], Any]) -> Callable[[], Any]:
    """Guard what is awaited, or called when it is a plain function."""
    decorate = degradable("price", fallback=default("fallback"))

    def price() -> Any:
        return work()

    async def aprice() -> Any:
        return await work()

    return decorate(aprice if asyncio.iscoroutinefunction(work) else price)


def outcomes(runtime: Runtime) -> dict[Outcome, int]:
    """Return what the guarded function did."""
    runtime.tick()
    return {kind: n for kind, n in stats_of(runtime, "price").primary.items() if n}


async def cancelled_by_its_client() -> None:
    """Wait for what a client library cancels by itself, on a lost connection."""
    answer = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_soon(answer.cancel)
    await answer


async def forever() -> None:
    await asyncio.Event().wait()


# ------------------------------------------------------------------ of a dependency


def test_a_cancelled_future_of_a_dependency_is_answered_from_the_ladder(run: Run, runtime: Runtime):
    assert run(guarded(cancelled_by_its_client)()) == "fallback"
    assert outcomes(runtime) == {Outcome.FAILURE: 1}


def test_callers_that_share_a_cancelled_loader_are_answered(run: Run, runtime: Runtime):
    async def main() -> list[Any]:
        loader = asyncio.create_task(asyncio.sleep(60))

        async def wait() -> None:
            await asyncio.shield(loader)

        price = guarded(wait)
        callers = [asyncio.create_task(price()) for _ in range(5)]
        await asyncio.sleep(0)
        loader.cancel()
        return await asyncio.gather(*callers, return_exceptions=True)

    assert run(main()) == ["fallback"] * 5
    assert outcomes(runtime) == {Outcome.FAILURE: 5}


def test_a_cancelled_task_in_a_group_inside_of_the_call_is_a_failure(run: Run, runtime: Runtime):
    async def work() -> None:
        async with asyncio.TaskGroup() as group:
            part = group.create_task(cancelled_by_its_client())
        await part

    assert run(guarded(work)()) == "fallback"
    assert outcomes(runtime) == {Outcome.FAILURE: 1}


def test_a_timeout_that_is_over_is_forgotten(run: Run, runtime: Runtime):
    price = guarded(cancelled_by_its_client)

    async def main() -> Any:
        with suppress(TimeoutError):
            async with asyncio.timeout(0):
                await forever()
        return await price()

    assert run(main()) == "fallback"


def test_a_plain_function_in_a_task_or_a_callback_fails(run: Run, runtime: Runtime):
    async def main() -> list[Any]:
        loop = asyncio.get_running_loop()
        dead = loop.create_future()
        dead.cancel()
        price = guarded(dead.result)
        answers = [price()]
        called = loop.create_future()
        loop.call_soon(lambda: called.set_result(price()))
        return [*answers, await called]

    assert run(main()) == ["fallback", "fallback"]
    assert outcomes(runtime) == {Outcome.FAILURE: 2}


def test_a_plain_function_that_runs_a_loop_of_its_own_fails(runtime: Runtime):
    assert guarded(lambda: asyncio.run(cancelled_by_its_client()))() == "fallback"
    assert outcomes(runtime) == {Outcome.FAILURE: 1}


def test_a_cancelled_future_of_a_pool_is_a_failure(runtime: Runtime):
    dead: concurrent.futures.Future[None] = concurrent.futures.Future()
    dead.cancel()
    assert guarded(dead.result)() == "fallback"
    assert outcomes(runtime) == {Outcome.FAILURE: 1}


def test_a_thread_that_waits_for_a_cancelled_coroutine_fails(run: Run, runtime: Runtime):
    async def main() -> Any:
        loop = asyncio.get_running_loop()

        def work() -> Any:
            return asyncio.run_coroutine_threadsafe(cancelled_by_its_client(), loop).result(30)

        return await asyncio.to_thread(guarded(work))

    assert run(main()) == "fallback"
    assert outcomes(runtime) == {Outcome.FAILURE: 1}


def test_a_late_coroutine_that_goes_on_fails_by_its_own_cancellation(run: Run, runtime: Runtime):
    @degradable("price", fallback=default("fallback"), deadline="30s", late="keep")
    async def price() -> None:
        await cancelled_by_its_client()

    assert run(price()) == "fallback"
    assert outcomes(runtime) == {Outcome.FAILURE: 1}


def test_a_block_fails_by_the_cancellation_of_a_dependency(run: Run, runtime: Runtime):
    @degradable("price")
    def declared() -> None: ...

    async def main() -> None:
        async with flag("price").call():
            await cancelled_by_its_client()

    with pytest.raises(asyncio.CancelledError):
        run(main())
    assert outcomes(runtime) == {Outcome.FAILURE: 1}


# ------------------------------------------------------------------ of the caller


async def by_cancel(price: Callable[[], Awaitable[Any]]) -> None:
    task = asyncio.ensure_future(price())
    await asyncio.sleep(0)
    task.cancel()
    await task


async def by_timeout(price: Callable[[], Awaitable[Any]]) -> None:
    async with asyncio.timeout(0.01):
        await price()


async def by_wait_for(price: Callable[[], Awaitable[Any]]) -> None:
    await asyncio.wait_for(price(), 0.01)


async def by_gather(price: Callable[[], Awaitable[Any]]) -> None:
    both = asyncio.gather(price(), forever())
    await asyncio.sleep(0)
    both.cancel()
    await both


async def by_a_failed_sibling(price: Callable[[], Awaitable[Any]]) -> None:
    async def fail() -> None:
        raise LookupError

    with pytest.raises(ExceptionGroup):
        async with asyncio.TaskGroup() as group:
            group.create_task(price())
            group.create_task(fail())
    raise TimeoutError


async def by_its_own_failed_child(price: Callable[[], Awaitable[Any]]) -> None:
    async def fail() -> None:
        raise LookupError

    with pytest.raises(ExceptionGroup):
        async with asyncio.TaskGroup() as group:
            group.create_task(fail())
            await price()
    raise TimeoutError


async def by_move_on_after(price: Callable[[], Awaitable[Any]]) -> None:
    with anyio.move_on_after(0.01) as scope:
        await price()
    assert scope.cancelled_caught
    raise TimeoutError


async def by_fail_after(price: Callable[[], Awaitable[Any]]) -> None:
    with anyio.fail_after(0.01):
        await price()


async def by_an_outer_scope(price: Callable[[], Awaitable[Any]]) -> None:
    with anyio.move_on_after(0.01):
        with anyio.CancelScope():
            async with anyio.create_task_group() as group:
                group.start_soon(price)
                await price()
    raise TimeoutError


async def by_a_scope_that_was_cancelled_before(price: Callable[[], Awaitable[Any]]) -> None:
    with anyio.CancelScope() as scope:
        scope.cancel()
        await price()
    raise TimeoutError


@pytest.mark.parametrize(
    "end",
    [
        by_cancel,
        by_timeout,
        by_wait_for,
        by_gather,
        by_a_failed_sibling,
        by_its_own_failed_child,
        by_move_on_after,
        by_fail_after,
        by_an_outer_scope,
        by_a_scope_that_was_cancelled_before,
    ],
)
def test_a_caller_that_is_asked_to_end_ends(
    run: Run, runtime: Runtime, end: Callable[[Any], Coroutine[Any, Any, None]]
):
    with pytest.raises((asyncio.CancelledError, TimeoutError)):
        run(end(guarded(forever)))
    assert set(outcomes(runtime)) == {Outcome.ABANDONED}


def test_a_scope_of_the_call_that_is_cancelled_is_no_failure(run: Run, runtime: Runtime):
    async def work() -> str:
        with anyio.move_on_after(0.01):
            await forever()
        return "in time"

    assert run(guarded(work)()) == "in time"


def test_tasks_that_a_closing_loop_cancels_are_abandoned(runtime: Runtime):
    price = guarded(forever)
    tasks = []

    async def main() -> None:
        tasks.append(asyncio.ensure_future(price()))
        await asyncio.sleep(0)

    asyncio.run(main())
    assert tasks[0].cancelled()
    assert outcomes(runtime) == {Outcome.ABANDONED: 1}


@pytest.mark.parametrize("how", ["check_cancelled", "run"])
def test_a_worker_thread_whose_caller_was_cancelled_is_abandoned(
    run: Run, runtime: Runtime, how: str
):
    raised: list[BaseException] = []
    running = threading.Event()

    def work() -> None:
        running.set()
        if how == "run":
            anyio.from_thread.run(anyio.sleep, 60)
        while True:
            anyio.from_thread.check_cancelled()

    price = guarded(work)

    def in_thread() -> None:
        try:
            price()
        except BaseException as error:
            raised.append(error)
            raise

    async def main() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(anyio.to_thread.run_sync, in_thread)
            await asyncio.to_thread(running.wait, 30)
            group.cancel_scope.cancel()

    run(main())
    assert "CancelledError" in type(raised[0]).__name__
    assert outcomes(runtime) == {Outcome.ABANDONED: 1}


def test_a_worker_thread_whose_caller_goes_on_fails(run: Run, runtime: Runtime):
    price = guarded(lambda: asyncio.run(cancelled_by_its_client()))

    async def main() -> Any:
        return await anyio.to_thread.run_sync(price)

    assert run(main()) == "fallback"


def test_an_interrupt_while_a_thread_is_asked_reaches_the_caller(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch
):
    def interrupted() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(anyio.from_thread, "check_cancelled", interrupted)
    with pytest.raises(KeyboardInterrupt):
        guarded(lambda: asyncio.run(cancelled_by_its_client()))()


# ------------------------------------------------------------------ on trio


def test_a_cancellation_of_trio_is_never_swallowed(runtime: Runtime):
    async def work() -> None:
        await trio.sleep_forever()

    price = guarded(work)

    async def main() -> bool:
        with trio.move_on_after(0.01) as scope:
            await price()
        return scope.cancelled_caught

    assert trio.run(main)
    assert outcomes(runtime) == {Outcome.ABANDONED: 1}


def test_a_group_with_a_cancellation_of_trio_is_never_swallowed(runtime: Runtime):
    async def work() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep_forever)
            try:
                await trio.sleep_forever()
            finally:
                raise LookupError

    price = guarded(work)

    async def main() -> None:
        with trio.move_on_after(0.01):
            await price()

    with pytest.raises(ExceptionGroup) as caught:
        trio.run(main)
    assert caught.group_contains(LookupError)


def test_a_thread_of_trio_whose_caller_was_cancelled_is_abandoned(runtime: Runtime):
    running = threading.Event()

    def work() -> None:
        running.set()
        while True:
            trio.from_thread.check_cancelled()

    price = guarded(work)

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.to_thread.run_sync, price)
            while not running.is_set():
                await trio.lowlevel.checkpoint()
            nursery.cancel_scope.cancel()

    trio.run(main)
    assert outcomes(runtime) == {Outcome.ABANDONED: 1}
