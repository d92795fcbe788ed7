"""Snapshots of other processes, asked for by real threads and loops, of a store that hangs."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Self

import pytest

import degrade
from degrade import Runtime, default, degradable, snapshot
from degrade.clock import SystemClock
from degrade.control import Control
from degrade.core.enums import Sharing
from degrade.errors import StoreError
from degrade.ports import Store
from degrade.runtime import current_runtime
from degrade.runtime.calls.registry import registry
from degrade.runtime.fleet import adaptive_timeout, snapshot_fetcher
from degrade.settings import open_store
from tests.integration.test_threads import classes_of, stats_of, together, until
from tests.servers.redis_server import RedisServer
from tests.shelf import Shelf, ShelfStore

pytestmark = [pytest.mark.real]

LONG_S = 1.5
"""A wait that nobody overlooks."""


async def feed_later(user: str) -> list[str]:
    return [f"for {user}"]


def feed(user: str) -> list[str]:
    return [f"for {user}"]


def rungs() -> list[Any]:
    return [snapshot(max_age="1h"), default(["nothing"])]


@pytest.fixture
def shelf(monkeypatch: pytest.MonkeyPatch) -> Iterator[Shelf]:
    monkeypatch.setattr(snapshot_fetcher, "_IDLE_S", 0.02)
    until(lambda: fetchers() == 0)
    before, runtime = dict(registry.flags), current_runtime.existing()
    registry.flags.clear()
    shelf = Shelf()
    yield shelf
    shelf.going.set()
    registry.flags.clear()
    registry.flags.update(before)
    current_runtime.swap(runtime)


class Cold:
    """A process with nothing in memory, whose flag `feed` is degraded; the shelf has `u1`."""

    def __init__(
        self,
        shelf: Shelf,
        fn: Callable[[str], Any] = feed,
        *,
        wait_s: float = LONG_S,
        store: Store | None = None,
    ) -> None:
        self.store: Store = store or ShelfStore(shelf, SystemClock())
        self.fn = degradable("feed", fallback=rungs())(fn)
        with Runtime(self.store) as warm:
            warm.refresh()
            result = self.fn("u1")
            if asyncio.iscoroutine(result):
                asyncio.run(result)
            until(lambda: stats_of(warm, "feed").sharing[Sharing.SENT] == 1)
        Control(self.store, actor="ana").hold("feed", "degraded", for_=None, reason="drill")
        self.runtime = Runtime(self.store, snapshot_wait_s=wait_s)
        self.runtime.refresh()
        current_runtime.swap(self.runtime)
        self.runtime.adopt_all()

    @property
    def shared(self) -> dict[str, int]:
        sharing = stats_of(self.runtime, "feed").sharing
        return {how.value: n for how, n in sharing.items() if n}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.runtime.close()


def fetchers() -> int:
    return sum(thread.name == "degrade-fetch" for thread in threading.enumerate())


def test_a_cold_process_serves_what_another_captured(shelf: Shelf):
    with Cold(shelf) as cold:
        assert cold.fn("u1") == ["for u1"]
        assert cold.fn("u1") == ["for u1"]
        assert cold.shared == {"hit": 1}


def test_a_coroutine_awaits_the_answer(shelf: Shelf):
    with Cold(shelf, feed_later) as cold:
        assert asyncio.run(cold.fn("u1")) == ["for u1"]
        assert cold.shared == {"hit": 1}


def test_a_frozen_store_costs_one_short_wait_and_piles_up_no_threads(shelf: Shelf):
    with Cold(shelf, wait_s=0.02) as cold:
        cold.fn("u1")
        shelf.going.clear()
        waits: list[float] = []

        def work(number: int) -> None:
            for i in range(20):
                began = time.monotonic()
                assert cold.fn(f"v{number}-{i}") == ["nothing"]
                waits.append(time.monotonic() - began)

        together(work, 16)
        assert fetchers() <= snapshot_fetcher.MOST_WORKERS
        assert len(shelf.asked) <= 1 + adaptive_timeout.MOST_OPEN
        assert sum(wait_s > 0.015 for wait_s in waits) <= 2 * 16
        assert sorted(waits)[len(waits) // 2] < 0.01
        assert classes_of(cold.runtime, "feed") == {"degraded": 321}
        shelf.going.set()
        shelf.asked.clear()
        until(lambda: cold.fn("u9") == ["nothing"] and bool(shelf.asked))  # asked again, later


@pytest.mark.slow
def test_after_a_wait_in_vain_no_call_waits_until_the_store_has_answered(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(adaptive_timeout, "PAUSE_S", 0.05)
    with Cold(shelf) as cold:
        shelf.going.clear()
        began = time.monotonic()
        assert cold.fn("v1") == ["nothing"]
        assert time.monotonic() - began > LONG_S / 2
        shelf.asked.clear()
        waits: list[float] = []

        def asked_again() -> bool:
            began = time.monotonic()
            assert cold.fn("v2") == ["nothing"]
            waits.append(time.monotonic() - began)
            return bool(shelf.asked)

        until(asked_again)
        assert max(waits) < LONG_S / 2
        shelf.going.set()
        until(lambda: cold.fn("u1") == ["for u1"])


async def serve_many(cold: Cold) -> tuple[float, float]:
    """Let many coroutines miss memory at once; return how long that took, and the loop's lag."""
    lags: list[float] = []

    async def probe() -> None:
        while True:
            began = time.monotonic()
            await asyncio.sleep(0.005)
            lags.append(time.monotonic() - began - 0.005)

    probing = asyncio.create_task(probe())
    await asyncio.sleep(0)
    began = time.monotonic()
    answers = await asyncio.gather(*(cold.fn(f"v{i}") for i in range(100)))
    took_s = time.monotonic() - began
    await asyncio.sleep(0.01)
    probing.cancel()
    assert answers == [["nothing"]] * 100
    return took_s, max(lags)


def test_a_coroutine_never_blocks_its_loop_while_the_store_is_frozen(shelf: Shelf):
    with Cold(shelf, feed_later) as cold:
        shelf.going.clear()
        took_s, lag_s = asyncio.run(serve_many(cold))
        assert took_s > LONG_S * 0.9, "nobody waited, so nothing was shown"
        assert lag_s < LONG_S / 2
        assert fetchers() <= snapshot_fetcher.MOST_WORKERS


def test_a_frozen_redis_blocks_no_loop_and_is_left_alone(shelf: Shelf, redis_server: RedisServer):
    store = open_store(f"{redis_server.url}?timeout={2 * LONG_S:g}s", namespace="shop")
    with Cold(shelf, feed_later, wait_s=2 * LONG_S, store=store) as cold:
        assert asyncio.run(cold.fn("u1")) == ["for u1"]
        redis_server.freeze()
        took_s, lag_s = asyncio.run(serve_many(cold))
        assert took_s > 0.25, "nobody waited, so nothing was shown"
        assert lag_s < LONG_S / 2
        assert fetchers() <= snapshot_fetcher.MOST_WORKERS
        took_s, _ = asyncio.run(serve_many(cold))
        assert took_s < LONG_S / 2, "a server that hangs was asked again at once"
        redis_server.thaw()
        until(lambda: asyncio.run(cold.fn("v0")) == ["nothing"] and _missed(cold) > 0)
    store.close()


def _missed(cold: Cold) -> int:
    return cold.shared.get("miss", 0)


def test_a_plain_function_does_not_wait_in_the_thread_of_a_running_loop(shelf: Shelf):
    async def serve(cold: Cold) -> tuple[list[str], float]:
        began = time.monotonic()
        answer = cold.fn("u1")
        return answer, time.monotonic() - began

    with Cold(shelf) as cold:
        shelf.going.clear()
        answer, took_s = asyncio.run(serve(cold))
        assert answer == ["nothing"]
        assert took_s < LONG_S / 2
        shelf.going.set()
        until(lambda: cold.fn("u1") == ["for u1"])  # the answer is for the calls that come next


def test_an_answer_that_comes_too_late_is_for_the_next_call(shelf: Shelf):
    class Deaf(Shelf):
        def get(self, flag: str, key: str, *, within_s: float) -> bytes | None:
            return super().get(flag, key, within_s=30)

    slow = Deaf()
    with Cold(slow, wait_s=0.05) as cold:
        slow.going.clear()
        assert cold.fn("u1") == ["nothing"]
        assert cold.fn("u2") == ["nothing"]  # after a wait in vain nobody asks for a while
        slow.going.set()
        until(lambda: cold.shared.get("hit") == 1)
        assert cold.fn("u1") == ["for u1"]
        assert len(slow.asked) == 1
        assert cold.shared == {"late": 1, "unasked": 1, "hit": 1}


def test_a_question_outlives_the_wait_for_it_and_is_no_error(shelf: Shelf):
    class Noting(Shelf):
        def get(self, flag: str, key: str, *, within_s: float) -> bytes | None:
            limits.append(within_s)
            return super().get(flag, key, within_s=30)

    limits: list[float] = []
    slow = Noting()
    with Cold(slow, wait_s=0.01) as cold:
        slow.going.clear()
        assert cold.fn("u1") == ["nothing"]
        slow.going.set()
        until(lambda: cold.shared.get("hit") == 1)
        assert cold.fn("u1") == ["for u1"]
        assert limits == [snapshot_fetcher.ANSWER_S]
        assert cold.runtime.internal_errors.counts["shared_snapshot"] == 0


def longest(cold: Cold, users: Sequence[str]) -> float:
    """Call for each user, and return the longest wait."""
    waits = []
    for user in users:
        began = time.monotonic()
        assert cold.fn(user) == ["nothing"]
        waits.append(time.monotonic() - began)
    return max(waits)


def test_no_call_waits_for_a_store_that_the_io_worker_waits_for_in_vain(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
):
    polls: list[float] = []

    def hang(_: object) -> bool:
        polls.append(time.monotonic())
        shelf.going.wait(30)
        raise StoreError("the store is frozen")

    with Cold(shelf, wait_s=4 * LONG_S) as cold:
        assert cold.fn("u1") == ["for u1"]  # so that it is known how long answers take
        shelf.going.clear()
        monkeypatch.setattr(cold.store, "changed", hang)
        until(lambda: bool(polls) and time.monotonic() > polls[0] + LONG_S)
        assert longest(cold, [f"v{i}" for i in range(20)]) < LONG_S / 2
        shelf.going.set()


def test_a_poll_in_vain_keeps_everybody_from_waiting_until_a_question_is_answered(shelf: Shelf):
    with Cold(shelf, wait_s=4 * LONG_S) as cold:
        asks = cold.runtime.fetcher
        assert asks is not None
        asks.poll_began()
        asks.poll_ended(answered=False)
        shelf.going.clear()
        assert longest(cold, ["u1"]) < LONG_S / 2
        shelf.going.set()
        until(lambda: cold.shared.get("hit") == 1)
        assert cold.fn("u1") == ["for u1"]
        assert cold.shared == {"hit": 1}


def test_when_polls_are_answered_again_it_is_asked_at_once(shelf: Shelf):
    with Cold(shelf) as cold:
        asks = cold.runtime.fetcher
        assert asks is not None
        shelf.sick = True
        assert cold.fn("v1") == ["nothing"]
        shelf.sick = False
        assert cold.fn("u1") == ["nothing"]  # for a second nobody asks
        asks.poll_ended(answered=False)
        asks.poll_ended(answered=True)
        cold.fn("u1")
        until(lambda: cold.shared.get("hit") == 1)
        assert cold.fn("u1") == ["for u1"]


def test_all_who_miss_one_key_wait_for_one_answer(shelf: Shelf):
    with Cold(shelf) as cold:
        shelf.going.clear()
        done: list[list[str]] = []
        threads = [threading.Thread(target=lambda: done.append(cold.fn("u1"))) for _ in range(10)]
        for thread in threads:
            thread.start()
        until(lambda: cold.runtime.fetcher is not None and cold.runtime.fetcher._waiting == 10)
        shelf.going.set()
        for thread in threads:
            thread.join(10)
        assert done == [["for u1"]] * 10
        assert len(shelf.asked) == 1


def test_a_cancelled_call_is_abandoned_and_the_store_not_blamed(shelf: Shelf):
    async def serve(cold: Cold) -> None:
        task = asyncio.create_task(cold.fn("u1"))
        while not shelf.asked:  # noqa: ASYNC110 - a worker's thread asks, which has no event
            await asyncio.sleep(0.001)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        shelf.going.set()

    with Cold(shelf, feed_later) as cold:
        shelf.going.clear()
        asyncio.run(serve(cold))
        until(lambda: cold.shared == {"hit": 1})
        assert classes_of(cold.runtime, "feed") == {"abandoned": 1}
        assert asyncio.run(cold.fn("u1")) == ["for u1"]


def test_workers_end_when_nobody_asks(shelf: Shelf):
    with Cold(shelf) as cold:
        assert cold.fn("u1") == ["for u1"]
        until(lambda: fetchers() == 0)
        assert cold.fn("u2") == ["nothing"]
        assert cold.shared == {"hit": 1, "miss": 1}


def test_where_no_thread_can_be_started_nobody_asks(shelf: Shelf, monkeypatch: pytest.MonkeyPatch):
    start = threading.Thread.start

    def refuse(thread: threading.Thread) -> None:
        if thread.name == "degrade-fetch":
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", refuse)
    with Cold(shelf) as cold:
        began = time.monotonic()
        assert cold.fn("u1") == cold.fn("u1") == ["nothing"]
        assert time.monotonic() - began < LONG_S / 2
        assert shelf.asked == []
        assert cold.runtime.internal_errors.counts["no_thread"] == 1


def test_a_validator_that_exits_ends_no_worker(shelf: Shelf):
    with Cold(shelf) as cold:
        rung = next(iter(degrade.flag("feed").guards)).snapshot
        assert rung is not None
        received = type(rung).received

        def dies(*args: Any, **kwargs: Any) -> Any:
            raise SystemExit

        type(rung).received = dies  # type: ignore[method-assign] # as a validator of the user may
        try:
            assert cold.fn("u1") == ["nothing"]
            until(lambda: cold.shared == {"failed": 1})
        finally:
            type(rung).received = received  # type: ignore[method-assign] # as it was
        assert cold.fn("u1") == ["for u1"]


def test_a_forked_child_asks_with_workers_of_its_own(shelf: Shelf):
    with Cold(shelf) as cold:
        shelf.going.clear()
        asking = threading.Thread(target=cold.fn, args=("u7",))
        asking.start()
        until(lambda: bool(shelf.asked))  # a question is open, and a worker busy, while it forks
        pid = os.fork()
        if pid == 0:
            shelf.going = threading.Event()
            shelf.going.set()
            code = 1
            try:
                code = 0 if cold.fn("u1") == ["for u1"] else 2
            finally:
                os._exit(code)
        shelf.going.set()
        _, status = os.waitpid(pid, 0)
        asking.join(10)
        assert os.waitstatus_to_exitcode(status) == 0
