"""Calls that run while their flag is bound to another runtime, or to none."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from degrade import Flag, Runtime, default, degradable, snapshot
from degrade.clock import ManualClock
from degrade.control import Control
from degrade.runtime import current_runtime
from tests.unit.runtime.doing import classes_of, watch_of

KEPT = snapshot(max_age="1h", refresh="1h", copy=False)

Act = Callable[[], object]


def plain(act: Act) -> Callable[[], Any]:
    return degradable("feed")(lambda: act() and "fresh")


def generic(act: Act) -> Callable[[], Any]:
    return degradable("feed")(lambda *_, **__: act() and "fresh")


def accepted(act: Act) -> Callable[[], Any]:
    return degradable("feed", accept=bool)(lambda: act() and "fresh")


def kept(act: Act) -> Callable[[], Any]:
    return degradable("feed", fallback=[KEPT])(lambda: act() and "fresh")


def awaited(act: Act) -> Callable[[], Any]:
    @degradable("feed")
    async def feed() -> str:
        await asyncio.sleep(0)
        act()
        await asyncio.sleep(0)
        return "fresh"

    return lambda: asyncio.run(feed())


def bounded(act: Act) -> Callable[[], Any]:
    @degradable("feed", deadline="1m")
    async def feed() -> str:
        act()
        return "fresh"

    return lambda: asyncio.run(feed())


def failing(act: Act) -> Callable[[], Any]:
    def feed() -> str:
        act()
        raise OSError

    return degradable("feed", fallback=[default("fresh")])(feed)


def block(act: Act) -> Callable[[], Any]:
    flag = Flag("feed")

    def feed() -> str:
        with flag.call():
            act()
        return "fresh"

    return feed


WAYS = [plain, generic, accepted, kept, awaited, bounded, failing, block]


class Acting:
    """What a guarded function does in its second call; the first one is over by then."""

    def __init__(self) -> None:
        self.acts: list[Act] = [lambda: True]

    def __call__(self) -> bool:
        self.acts.pop()()
        return True


@pytest.mark.parametrize("threads", ["manual", "inline"])
@pytest.mark.parametrize("way", WAYS)
def test_a_call_survives_the_end_of_its_runtime(way, threads, clock: ManualClock):
    runtime = Runtime(clock=clock, threads=threads).__enter__()
    act = Acting()
    feed = way(act)
    assert feed() == "fresh"
    runtime.tick()
    act.acts = [lambda: runtime.__exit__(None, None, None)]
    assert feed() == "fresh"
    assert act.acts == []


@pytest.mark.parametrize("way", WAYS)
def test_a_call_survives_that_its_flag_is_declared_anew(way, runtime: Runtime):
    def declare() -> None:
        Flag("feed", level=3, _place=runtime._watches["feed"].flag.place)

    act = Acting()
    feed = way(act)
    assert feed() == "fresh"
    runtime.tick()
    act.acts = [declare]
    assert feed() == "fresh"
    assert act.acts == []


@pytest.mark.parametrize("seen_s", [None, 0.5, 60.0], ids=["unseen", "seen", "long seen"])
@pytest.mark.parametrize("way", WAYS)
def test_a_call_that_ends_under_another_runtime_does_not_run_for_good_in_its_first_one(
    way, seen_s: float | None, runtime: Runtime, clock: ManualClock
):
    other = Runtime(clock=clock, threads="manual")

    def move() -> None:
        if seen_s is not None:
            clock.advance(seen_s)
            runtime.tick()
            assert watch_of(runtime, "feed")._tally.in_flight == 1
        other.__enter__()

    act = Acting()
    feed = way(act)
    assert feed() == "fresh"
    runtime.tick()
    act.acts = [move]
    assert feed() == "fresh"
    other.__exit__(None, None, None)
    assert current_runtime.current() is runtime
    runtime.tick()
    assert watch_of(runtime, "feed").quiet
    act.acts = [lambda: True]
    assert feed() == "fresh"
    runtime.tick()
    assert watch_of(runtime, "feed").quiet


def test_calls_that_ended_before_another_runtime_came_are_counted(
    runtime: Runtime, clock: ManualClock
):
    feed = degradable("feed")(lambda: "fresh")
    feed()
    feed()
    with Runtime(clock=clock, threads="manual"):
        feed()
    runtime.tick()
    assert classes_of(runtime, "feed") == {"full": 2}


def test_a_flag_declared_while_the_runtime_is_replaced_is_adopted_by_the_new_one(
    clock: ManualClock,
):
    class Slow(Runtime):
        """Another thread puts a runtime in its place while it is about to adopt a flag."""

        def adopt(self, flag: Flag) -> Any:
            if current_runtime.existing() is self:
                current_runtime.swap(new)
            return super().adopt(flag)

    new = Runtime(clock=clock, threads="manual")
    with Slow(clock=clock, threads="manual"):
        flag = Flag("feed")
        Control(new.store, actor="ana", clock=clock).hold(
            "feed", "degraded", for_=None, reason="drill"
        )
        assert flag.degraded
