"""T19 callables: whatever is guarded, and however its call ends: counted once, and when it ended.

    functions     plain, method, class and static method, partial, object, a block (`with`)
    coroutines    the same, by `await`
    generators    are refused where they are decorated, so that none goes unmeasured

Every one is stopped in the middle, to see that nothing counts that has not ended, while Redis
answers and while it is frozen. Whether a later call was counted tells that there is no more.
"""

from __future__ import annotations

import asyncio
import functools
import threading
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from degrade import SLA, Flag, Runtime, UsageError, default, degradable
from degrade.runtime.calls.registry import registry
from degrade.settings import open_store
from tests.servers.waiting import until

pytestmark = [pytest.mark.real, pytest.mark.faults, pytest.mark.timeout(120)]


class Sick(Exception):
    """What a function raises while its dependency is down."""


@dataclass
class Body:
    """What is done in the middle of a call, and what it comes to.

    Attributes:
        error: What it raises when it goes on, if anything.
        inside: Set when it was reached.
        go_on: Set by the test.
    """

    error: BaseException | None = None
    inside: threading.Event = field(default_factory=threading.Event)
    go_on: threading.Event = field(default_factory=threading.Event)

    def run(self) -> str:
        self.inside.set()
        assert self.go_on.wait(30)
        return self.end()

    async def arun(self) -> str:
        self.inside.set()
        await Pause()
        return self.end()

    def end(self) -> str:
        if self.error is not None:
            raise self.error
        return "full"


class Pause:
    """Suspends a coroutine until it is resumed, closed, or something is thrown into it."""

    def __await__(self) -> Generator[None, None, None]:
        yield


class Object:
    """Guarded as an object that can be called, and by its methods."""

    def __call__(self, body: Body) -> str:
        return body.run()

    def method(self, body: Body) -> str:
        return body.run()


class AsyncObject:
    """The same with coroutines."""

    async def __call__(self, body: Body) -> str:
        return await body.arun()

    async def method(self, body: Body) -> str:
        return await body.arun()


def plain(body: Body) -> str:
    return body.run()


async def coroutine(body: Body) -> str:
    return await body.arun()


def turned(more: int, body: Body) -> str:
    return body.run()


async def aturned(more: int, body: Body) -> str:
    return await body.arun()


Guarded = Callable[[Body], Any]
Decorate = Callable[[Any], Any]


def in_class(fn: Any, wrap: Callable[[Any], Any], decorate: Decorate) -> Guarded:
    """Return a guarded method, as an instance gives it."""
    holder = type("Holder", (), {"method": decorate(wrap(fn))})
    guarded: Guarded = holder().method
    return guarded


def own(self: object, body: Body) -> str:
    return body.run()


async def aown(self: object, body: Body) -> str:
    return await body.arun()


FUNCTIONS: dict[str, Callable[[Decorate], Guarded]] = {
    "function": lambda decorate: decorate(plain),
    "method": lambda decorate: in_class(own, lambda fn: fn, decorate),
    "class method": lambda decorate: in_class(own, classmethod, decorate),
    "static method": lambda decorate: in_class(plain, staticmethod, decorate),
    "bound method": lambda decorate: decorate(Object().method),
    "partial": lambda decorate: decorate(functools.partial(turned, 1)),
    "object": lambda decorate: decorate(Object()),
}
COROUTINES: dict[str, Callable[[Decorate], Guarded]] = {
    "coroutine function": lambda decorate: decorate(coroutine),
    "async method": lambda decorate: in_class(aown, lambda fn: fn, decorate),
    "async class method": lambda decorate: in_class(aown, classmethod, decorate),
    "async static method": lambda decorate: in_class(coroutine, staticmethod, decorate),
    "async bound method": lambda decorate: decorate(AsyncObject().method),
    "async partial": lambda decorate: decorate(functools.partial(aturned, 1)),
    "async object": lambda decorate: decorate(AsyncObject()),
}


def with_block(flag: Flag) -> Guarded:
    def block(body: Body) -> str:
        for _ in range(2):
            with flag.call():
                body.run()
                break  # left early, which is an end like any other
        return "full"

    return block


def async_with_block(flag: Flag) -> Guarded:
    async def block(body: Body) -> str:
        for _ in range(2):
            async with flag.call():
                await body.arun()
                break
        return "full"

    return block


class Cancelled(BaseException):
    """The cancellation of a loop that is not asyncio's."""


# How a call ends by itself: what the body raises, what counts without a ladder and with one.
ENDS: dict[str, tuple[type[BaseException] | None, str, str]] = {
    "returns": (None, "full", "full"),
    "fails": (Sick, "failed", "degraded"),
    "times out": (TimeoutError, "failed", "degraded"),
    "is refused": (PermissionError, "ignored", "ignored"),
    "is interrupted": (KeyboardInterrupt, "abandoned", "abandoned"),
    "exits": (SystemExit, "abandoned", "abandoned"),
    "is closed inside": (GeneratorExit, "abandoned", "abandoned"),
}
# How a coroutine is ended from outside, while it waits.
CUTS: dict[str, tuple[BaseException | None, str, str]] = {
    "close()": (None, "abandoned", "abandoned"),
    "cancelled": (Cancelled(), "abandoned", "abandoned"),
    "cancelled by nobody's task": (asyncio.CancelledError(), "failed", "degraded"),
    "throw(Sick)": (Sick("thrown"), "failed", "degraded"),
    "throw(refused)": (PermissionError("thrown"), "ignored", "ignored"),
}


@pytest.fixture
def runtime(redis_server: Any) -> Iterator[Runtime]:
    """A runtime over the server, with no flags but those of the test."""
    before = dict(registry.flags)
    registry.flags.clear()
    with Runtime(open_store(redis_server.url, namespace="matrix")) as runtime:
        yield runtime
    runtime.store.close()
    registry.flags.clear()
    registry.flags.update(before)


class Counted:
    """What the library has counted, asked when everything before has been folded in."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._marks = 0
        self._mark = degradable("mark")(lambda: None)

    def of(self, name: str) -> dict[str, int]:
        self._mark()
        self._marks += 1
        until(
            lambda: self._all("mark") == {"full": self._marks},
            every_s=0.002, what="a later call to be counted",
        )  # fmt: skip
        return self._all(name)

    def _all(self, name: str) -> dict[str, int]:
        (found,) = (stats for stats in self._runtime.stats() if stats.name == name)
        return {how.value: number for how, number in found.calls.items() if number}


@dataclass
class Case:
    """One guarded callable, and what its calls have come to."""

    name: str
    guarded: Guarded
    ladder: bool
    expected: dict[str, int] = field(default_factory=dict)


def declared() -> tuple[list[Case], list[Case]]:
    """Return guarded functions and guarded coroutines, each without a ladder and with one."""
    sla = SLA(errors="99%", min_bad=1_000)  # nothing trips: what is asked is what counts
    made: tuple[list[Case], list[Case]] = ([], [])
    for group, makers in zip(made, (FUNCTIONS, COROUTINES), strict=True):
        for kind, make in makers.items():
            for ladder in (False, True):
                name = f"{kind.replace(' ', '-')}.{'ladder' if ladder else 'bare'}"
                fallback = {"fallback": [default("degraded")]} if ladder else {}
                group.append(Case(name, make(degradable(Flag(name, sla=sla), **fallback)), ladder))
    for group, maker, name in (
        (made[0], with_block, "block"),
        (made[1], async_with_block, "async-block"),
    ):
        group.append(Case(name, maker(Flag(name, sla=sla)), ladder=False))
    return made


def check(counted: Counted, case: Case, body: Body, finish: Callable[[], Any], how: str) -> None:
    """See that a call counts for nothing before its end, and once after it."""
    assert body.inside.wait(10)
    assert counted.of(case.name) == case.expected, f"{case.name} counted before its end"
    answer = finish()
    case.expected[how] = case.expected.get(how, 0) + 1
    assert counted.of(case.name) == case.expected, f"{case.name} once, as {how}"
    if how in ("full", "degraded"):
        assert answer == how
    elif isinstance(body.error, BaseException):
        assert answer is body.error, f"{case.name}: the function's own exception, untouched"


def outcome_of(do: Callable[[], Any]) -> Any:
    """Return what a call returns or raises."""
    try:
        return do()
    except BaseException as error:  # noqa: BLE001 - whichever it is, it is compared
        return error


def call_in_a_thread(counted: Counted, case: Case, error: BaseException | None, how: str) -> None:
    body, found = Body(error), []
    thread = threading.Thread(
        target=lambda: found.append(outcome_of(lambda: case.guarded(body))), daemon=True
    )
    thread.start()

    def finish() -> Any:
        body.go_on.set()
        thread.join(10)
        return found[0]

    check(counted, case, body, finish, how)


def resumed(awaited: Any) -> Any:
    """Let a coroutine go on to its end."""
    try:
        awaited.send(None)
    except StopIteration as done:
        return done.value
    raise AssertionError("it waits on")


def thrown_into(awaited: Any, error: BaseException) -> Any:
    try:
        awaited.throw(error)
    except StopIteration as done:
        return done.value
    raise AssertionError("it waits on")


def await_it(
    counted: Counted, case: Case, error: BaseException | None, how: str, end: Callable[[Any], Any]
) -> None:
    body = Body(error)
    awaited = case.guarded(body)
    assert counted.of(case.name) == case.expected, f"{case.name} was not awaited yet"
    awaited.send(None)
    check(counted, case, body, lambda: outcome_of(lambda: end(awaited)), how)


def play(counted: Counted, functions: list[Case], coroutines: list[Case]) -> int:
    """End every callable in every way, and return how many calls that took."""
    played = 0
    for case in functions:
        for kind, without, with_ladder in ENDS.values():
            error = kind("own") if kind else None
            call_in_a_thread(counted, case, error, with_ladder if case.ladder else without)
            played += 1
    for case in coroutines:
        for kind, without, with_ladder in ENDS.values():
            error = kind("own") if kind else None
            await_it(counted, case, error, with_ladder if case.ladder else without, resumed)
            played += 1
        for thrown, without, with_ladder in CUTS.values():
            end = (
                (lambda awaited, thrown=thrown: thrown_into(awaited, thrown))
                if thrown is not None
                else (lambda awaited: awaited.close())
            )
            await_it(counted, case, None, with_ladder if case.ladder else without, end)
            played += 1
    return played


def generator(body: Body) -> Iterator[str]:
    yield "full"


async def agenerator(body: Body) -> AsyncIterator[str]:
    yield "full"


def test_every_callable_counts_once_however_it_ends(runtime, redis_server, figures):
    figures.about(
        "T19 callables", "every kind of callable ends in every way, twice: on a frozen Redis, too"
    )
    for fn in (generator, agenerator, functools.partial(generator)):
        with pytest.raises(UsageError) as refused:
            degradable("refused")(fn)
        assert refused.value.code == "decorated-generator"
    functions, coroutines = declared()
    counted = Counted(runtime)
    assert counted.of("mark") == {"full": 1}
    until(lambda: runtime.orders.known, what="the first state")
    played = play(counted, functions, coroutines)
    redis_server.freeze()
    until(
        lambda: runtime.internal_errors.counts.get("store", 0) > 0, what="the silence to be noticed"
    )
    played += play(counted, functions, coroutines)
    redis_server.thaw()
    counts = {case.name: sum(case.expected.values()) for case in (*functions, *coroutines)}
    figures.note("kinds of callables", len(counts))
    figures.note("ways to end", f"{len(ENDS)}, and {len(CUTS)} more of coroutines")
    figures.note("calls, each counted once and at its end", f"{played:,}", f"{played:,}")
    assert sum(counts.values()) == played
    assert {watch.permits.in_flight for watch in runtime.watched()} == {0}
