"""Storms of interrupts: an exception of a signal handler or of another thread is the caller's own."""

from __future__ import annotations

import asyncio
import ctypes
import gc
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from degrade import (
    SLA,
    Recovery,
    Runtime,
    UnavailableError,
    default,
    degradable,
    flag,
    omit,
    snapshot,
)
from degrade.context import context
from degrade.control import Control
from degrade.core.enums import Outcome

pytestmark = [
    pytest.mark.real,
    pytest.mark.slow,
    pytest.mark.timeout(60, method="thread"),  # SIGALRM is taken
    pytest.mark.filterwarnings("ignore:coroutine .* was never awaited"),  # met between both
]

STORM_S = 0.5


class OfBase(BaseException):
    """As of a time limit that derives from BaseException."""


class OfException(Exception):
    """As of a time limit that derives from Exception."""


LADDERS: dict[str, Any] = {
    "no ladder": (),
    "default": [default("FALLBACK")],
    "snapshot": [snapshot(max_age="1h", refresh="1ms", everyone=True), default("FALLBACK")],
    "rungs": [lambda user: None if user else "cheap", default("FALLBACK")],
    "refusing": [snapshot(max_age="1h", copy=False, everyone=True), omit()],
}
KNOWN = {"full", "FALLBACK", "cheap", None}


def feed_of(ladder: str, *, fails: bool = False, awaits: bool = False) -> Callable[[str], Any]:
    """Return a guarded function that takes next to no time, so that nearly all of it is ours."""
    decorate = degradable(
        "storm.coroutine" if awaits else "storm",
        sla=SLA(errors="5%"),
        recovery=Recovery(cooldown="20ms", step_time="1s"),
        fallback=LADDERS[ladder],
    )

    def feed(user: str) -> str:
        if fails:
            raise LookupError(user)
        return "full"

    async def afeed(user: str) -> str:
        return feed(user)

    if not awaits:
        return decorate(feed)
    guarded = decorate(afeed)

    def call(user: str) -> Any:
        coroutine = guarded(user)
        try:
            coroutine.send(None)  # nothing in it waits
        except StopIteration as done:
            return done.value
        finally:
            coroutine.close()
        raise AssertionError("it waits")

    return call


@contextmanager
def alarms(kind: type[BaseException]) -> Iterator[list[bool]]:
    """Let SIGALRM raise; the list has an item once it did."""
    rang: list[bool] = []

    def ring(*_: object) -> None:
        rang.append(True)
        raise kind

    before = signal.signal(signal.SIGALRM, ring)
    gc.disable()  # Python swallows what is raised while it collects
    try:
        yield rang
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        gc.enable()


def storm(call: Callable[[], Any], kind: type[BaseException], *, for_s: float) -> Counter[str]:
    """Call again and again under time limits; return what came of the calls and of the limits."""
    seen: Counter[str] = Counter()
    end = time.monotonic() + for_s
    with alarms(kind) as rang:
        while time.monotonic() < end:
            rang.clear()
            try:
                try:
                    signal.setitimer(signal.ITIMER_REAL, random.uniform(5e-5, 4e-4))
                    while not rang:
                        try:
                            result = call()
                        except (LookupError, UnavailableError):
                            result = None
                        seen["strange" if result not in KNOWN else "calls"] += 1
                    seen["swallowed"] += 1
                finally:
                    signal.setitimer(signal.ITIMER_REAL, 0)
            except kind:
                seen["raised"] += 1
    return seen


def in_flight(runtime: Runtime) -> int:
    runtime.tick()
    monitors = runtime._watches.values()
    return sum(each._tally.in_flight + each.permits.in_flight for each in monitors)


@pytest.mark.parametrize("awaits", [False, True], ids=["sync", "async"])
@pytest.mark.parametrize("fails", [False, True], ids=["healthy", "failing"])
@pytest.mark.parametrize("ladder", LADDERS)
@pytest.mark.parametrize("threads", ["manual", "inline"])
def test_a_time_limit_reaches_the_caller_and_leaves_nothing_in_flight(
    threads: str, ladder: str, fails: bool, awaits: bool
):
    with Runtime(threads=threads) as runtime:
        feed = feed_of(ladder, fails=fails, awaits=awaits)
        seen = storm(lambda: feed("ana"), OfBase, for_s=STORM_S)
        assert seen["raised"] > 20, seen
        assert not seen["swallowed"], seen
        assert not seen["strange"], seen
        assert in_flight(runtime) == 0
        assert context() is None


@pytest.mark.parametrize("mode", ["off", "degraded", "normal", "recovering"])
@pytest.mark.parametrize("ladder", ["default", "snapshot", "rungs"])
def test_a_time_limit_reaches_the_caller_in_every_mode(mode: str, ladder: str):
    with Runtime() as runtime:
        feed = feed_of(ladder)
        feed("ana")
        control = Control(runtime.store, actor="test")
        if mode == "recovering":
            control.hold("storm", "degraded", for_=None, reason="test")
            control.release("storm", reason="test")
        else:
            control.hold("storm", mode, for_=None, reason="test")
        seen = storm(lambda: feed("ana"), OfBase, for_s=2 * STORM_S)
        assert seen["raised"] > 20, seen
        assert not seen["swallowed"], seen
        assert not seen["strange"], seen
        assert in_flight(runtime) == 0


@pytest.mark.parametrize("ladder", LADDERS)
@pytest.mark.parametrize("threads", ["manual", "inline"])
def test_a_time_limit_that_is_an_ordinary_exception_is_swallowed_by_the_function_alone(
    threads: str, ladder: str
):
    inside: list[bool] = []

    class Limit(Exception):
        pass

    with Runtime(threads=threads) as runtime:
        feed = feed_of(ladder)
        body = flag("storm").guards[0].fn.__code__
        seen: Counter[str] = Counter()
        end = time.monotonic() + STORM_S

        def ring(_: int, frame: Any) -> None:
            inside.append(frame.f_code is body)
            raise Limit

        before = signal.signal(signal.SIGALRM, ring)
        gc.disable()
        try:
            while time.monotonic() < end:
                inside.clear()
                try:
                    try:
                        signal.setitimer(signal.ITIMER_REAL, random.uniform(5e-5, 4e-4))
                        while not inside:
                            feed("ana")
                        seen["inside" if inside[0] else "swallowed"] += 1
                    finally:
                        signal.setitimer(signal.ITIMER_REAL, 0)
                except Limit:
                    seen["raised"] += 1
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
            gc.enable()
        assert seen["raised"] > 20, seen
        assert not seen["swallowed"], seen
        assert in_flight(runtime) == 0
        assert context() is None


@pytest.mark.parametrize(
    ("threads", "kind"),
    [
        ("manual", OfBase),
        ("manual", OfException),
        ("background", OfBase),
        ("background", OfException),
        ("inline", OfBase),  # an ordinary one may be taken for a trouble of the store's
    ],
)
def test_an_exception_of_another_thread_reaches_the_caller(threads: str, kind: type[BaseException]):
    seen: Counter[str] = Counter()
    stop = threading.Event()
    with Runtime(threads=threads) as runtime:
        feed = feed_of("snapshot")
        feed("ana")

        def work() -> None:
            while not stop.is_set():
                try:
                    while not stop.is_set():
                        result = feed("ana")
                        seen["strange" if result not in KNOWN else "calls"] += 1
                except kind:
                    seen["raised"] += 1

        def patiently() -> None:
            while not stop.is_set():
                try:
                    work()
                except kind:  # between two lines of the test itself
                    seen["raised"] += 1

        thread = threading.Thread(target=patiently)
        thread.start()
        sent, end = 0, time.monotonic() + STORM_S
        while time.monotonic() < end:
            before = seen["raised"]
            sent += ctypes.pythonapi.PyThreadState_SetAsyncExc(
                ctypes.c_ulong(thread.ident or 0), ctypes.py_object(kind)
            )
            patience = time.monotonic() + 0.1
            while seen["raised"] == before and time.monotonic() < patience:
                time.sleep(0)
        stop.set()
        thread.join()
        assert sent > 5
        stats = next(each for each in runtime.stats() if each.name == "storm")
        assert seen["raised"] + stats.primary[Outcome.FAILURE] == sent  # met the function itself
        assert seen["raised"] > sent / 2
        assert not seen["strange"], seen
        assert in_flight(runtime) == 0


def test_a_time_limit_within_a_coroutine_that_waits_is_the_callers():
    class Limit(BaseException):
        pass

    async def main() -> None:
        with Runtime(threads="manual") as runtime:

            @degradable("waits", sla=SLA(errors="5%"), fallback=[default("FALLBACK")])
            async def feed() -> str:
                await asyncio.sleep(0)
                raise Limit

            for _ in range(20):
                with pytest.raises(Limit):
                    await feed()
            assert in_flight(runtime) == 0

    asyncio.run(main())


def test_after_a_storm_the_books_are_empty_and_the_ticker_rests():
    with Runtime() as runtime:
        feed = feed_of("default")
        feed("ana")
        seen = storm(lambda: feed("ana"), OfBase, for_s=2 * STORM_S)
        assert seen["raised"] > 20
        assert not seen["swallowed"]
        until = time.monotonic() + 20
        while not runtime._asleep and time.monotonic() < until:
            time.sleep(0.05)
        assert runtime._asleep
        assert flag("storm").degraded is False
        assert in_flight(runtime) == 0
