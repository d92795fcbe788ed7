"""T20 cancel_hang: cancelled and hung calls while a flag recovers cost no permit and hide nothing."""

from __future__ import annotations

import asyncio
import contextlib
import random
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest

from degrade import SLA, Flag, Recovery, Runtime, default, degradable
from degrade.runtime.calls.registry import registry
from degrade.settings import open_store
from tests.servers.waiting import until

pytestmark = [pytest.mark.real, pytest.mark.timeout(120)]

CALLERS = 40
TAKES_S = 0.05
CANCELLED_WITHIN_S = 0.02
ENOUGH = 300
"""Cancelled probes, before the store hangs and again after it did."""
LIMIT_S, NOTICED_S = 0.5, 1.0
HUNG = 3
AT_ONCE_S = 3.0
"""Soon: a lost permit would come back with its lease only, after ten seconds."""
QUICK = Recovery(cooldown=0.3, step_time=0.3, step_calls=3, steps=(0.25, 1.0))


class Sick(Exception):
    """What the function raises while its dependency is down."""


class Storm:
    """Tasks of one loop that call, and while it rages cancel every call before it can end.

    Args:
        call: The guarded coroutine function.

    Attributes:
        raging: Whether calls are cancelled.
        full, cancelled: How many calls were answered in full, and how many were cut short.
    """

    def __init__(self, call: Callable[[], Awaitable[str]]) -> None:
        self._call = call
        self._stopping = False
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()))
        self.raging = False
        self.full = self.cancelled = 0
        self._thread.start()

    def stop(self) -> None:
        """Make no more calls, and wait for the end of those that are under way."""
        self._stopping = True
        self._thread.join(30)
        assert not self._thread.is_alive()

    async def _run(self) -> None:
        await asyncio.gather(*(self._caller(random.Random(n)) for n in range(CALLERS)))

    async def _caller(self, rng: random.Random) -> None:
        while not self._stopping:
            await asyncio.sleep(rng.uniform(0.0, 0.02))
            if self.raging:
                await self._cut_short(rng)
                continue
            with contextlib.suppress(Sick):
                answer = await self._call()
                self.full += answer == "full"

    async def _cut_short(self, rng: random.Random) -> None:
        """Cancel a call at a random moment, also before it began, some of them twice."""
        task = asyncio.ensure_future(self._call())
        if rng.random() < 0.9:
            await asyncio.sleep(rng.uniform(0.0, CANCELLED_WITHIN_S))
        for _ in range(rng.choice((1, 2))):
            task.cancel()
        await asyncio.wait({task})
        self.cancelled += task.cancelled()


class Feed:
    """Two functions, one of which can be ill, and one hang."""

    def __init__(self) -> None:
        self.ill, self.hanging, self.released = (threading.Event() for _ in range(3))

    async def ranking(self) -> str:
        await asyncio.sleep(TAKES_S)
        if self.ill.is_set():
            raise Sick
        return "full"

    def ads(self) -> str:
        if self.hanging.is_set():
            self.released.wait(60)
        return "full"

    def declare(self) -> tuple[Callable[[], Awaitable[str]], Callable[[], str]]:
        """Return both as guarded functions."""
        ranking = Flag("feed.ranking", sla=SLA(errors="20%", over="5s"), recovery=QUICK)
        ads = Flag("feed.ads", sla=SLA(p99=LIMIT_S), recovery=QUICK)
        ladder = [default("degraded")]
        return (
            degradable(ranking, fallback=ladder)(self.ranking),
            degradable(ads, fallback=ladder)(self.ads),
        )


@pytest.fixture
def runtime(redis_server: Any) -> Iterator[Runtime]:
    """A runtime over the server, with no flags but those of the test."""
    before = dict(registry.flags)
    registry.flags.clear()
    with Runtime(open_store(redis_server.url, namespace="storm")) as runtime:
        yield runtime
    registry.flags.clear()
    registry.flags.update(before)


@pytest.fixture
def storms() -> Iterator[Callable[[Callable[[], Awaitable[str]]], Storm]]:
    """Begin a storm by calling it; it ends with the test."""
    with contextlib.ExitStack() as stack:

        def begin(call: Callable[[], Awaitable[str]]) -> Storm:
            storm = Storm(call)
            stack.callback(storm.stop)
            return storm

        yield begin


def test_storms_of_cancelled_and_hung_calls_lose_no_permit(runtime, redis_server, storms, figures):
    figures.about(
        "T20 cancel_hang",
        "every probe of a recovering flag is cancelled, three calls of another hang, and so does "
        "Redis",
    )
    feed = Feed()
    ranking, ads = feed.declare()
    watches = {watch.flag.name: watch for watch in runtime.watched()}
    watch, other = watches["feed.ranking"], watches["feed.ads"]
    storm = storms(ranking)
    until(lambda: storm.full > 10 * CALLERS, what="calm")
    feed.ill.set()
    until(lambda: watch.state.phase == "degraded", every_s=0.001, what="a breach")
    storm.raging = True
    feed.ill.clear()

    until(lambda: watch.state.phase == "recovering", what="a recovery")
    began = storm.cancelled
    until(lambda: storm.cancelled > began + ENOUGH, what="a storm")
    redis_server.freeze()
    feed.hanging.set()
    stuck = [threading.Thread(target=ads, daemon=True) for _ in range(HUNG)]
    hung_at = time.monotonic()
    for thread in stuck:
        thread.start()
    until(lambda: other.state.phase == "degraded", every_s=0.002, what="hung calls to be seen")
    seen_s = time.monotonic() - hung_at
    feed.hanging.clear()  # for those that come from now on
    before = storm.cancelled
    until(lambda: storm.cancelled > before + ENOUGH, what="a storm while the store hangs")
    assert watch.state.phase == "recovering", "no cancelled call is evidence"
    cancelled = storm.cancelled - began
    storm.stop()
    until(lambda: watch.permits.in_flight == 0, within_s=AT_ONCE_S, what="every permit")

    ended = time.monotonic()
    storms(ranking)
    until(lambda: watch.state.phase == "steady", what="the flag to be steady after the storm")
    back_s = time.monotonic() - ended
    until(
        lambda: ads() == "full" and other.state.phase == "steady",
        every_s=0.05, what="the other to be steady, with calls that still hang",
    )  # fmt: skip
    assert all(thread.is_alive() for thread in stuck)
    redis_server.thaw()
    until(lambda: (runtime.state_age_s() or 9.0) < 2.0, what="the store to be heard again")
    feed.released.set()
    for thread in stuck:
        thread.join(30)
    leaked = watch.permits.in_flight + other.permits.in_flight
    figures.note("calls cancelled while the flag recovered", f"{cancelled:,}")
    figures.note("leaked permits", leaked, "0")
    figures.note("hung calls were seen after", seen_s, f"{LIMIT_S + NOTICED_S:g} s", unit="s")
    figures.note("steady again after the storm", back_s, unit="s")
    assert leaked == 0
    assert seen_s <= LIMIT_S + NOTICED_S
