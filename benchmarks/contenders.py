"""Who is measured: the bare function, the yardstick, degrade in its forms, and the peers.

The yardstick Y is what a careful developer writes by hand to time and record a call: a closure
with `*args, **kwargs` that reads the clock twice and appends to a bounded deque. It decides
nothing, protects nothing, and nobody reads what it records.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple

import circuitbreaker
import pybreaker

import degrade
from degrade import SLA, default, degradable, request, snapshot
from degrade.control import Control
from degrade.runtime import current

SAMPLES = 10_000
LIMITS = SLA(p99="250ms", errors="5%")

logging.getLogger("degrade").setLevel(logging.CRITICAL)


class Contender(NamedTuple):
    """One way to call a function.

    Attributes:
        name: What it is.
        call: Takes one argument.
        budget: The most that it may add to the bare call, in Y; None for what is not ours.
        around: Whether it is called inside a request.
    """

    name: str
    call: Callable[[int], Any]
    budget: float | None = None
    around: bool = False


def bare(x: int) -> int:
    return x


async def abare(x: int) -> int:
    return x


def by_hand(fn: Callable[..., Any]) -> Callable[..., Any]:
    """Return the yardstick around a function."""
    record = deque[float](maxlen=SAMPLES).append
    clock = time.perf_counter

    def wrapper(*args: Any, **kwargs: Any) -> Any:
        start = clock()
        result = fn(*args, **kwargs)
        record(clock() - start)
        return result

    return wrapper


def by_hand_async(fn: Callable[..., Any]) -> Callable[..., Any]:
    """Return the yardstick around a coroutine function."""
    record = deque[float](maxlen=SAMPLES).append
    clock = time.perf_counter

    async def wrapper(*args: Any, **kwargs: Any) -> Any:
        start = clock()
        result = await fn(*args, **kwargs)
        record(clock() - start)
        return result

    return wrapper


@degradable("bench.exact", sla=LIMITS, fallback=default(0))
def exact(x: int) -> int:
    return x


@degradable("bench.snapshot", sla=LIMITS, fallback=snapshot(max_age="1h", refresh="1h"))
def kept(x: int) -> int:
    return x


@degradable("bench.star", sla=LIMITS, fallback=default(0))
def star(*args: int, **_: int) -> int:
    return args[0]


@degradable("bench.degraded", sla=LIMITS, fallback=snapshot(max_age="1h", refresh="1h"))
def degraded(x: int) -> int:
    return x


@degradable("bench.aexact", sla=LIMITS, fallback=default(0))
async def aexact(x: int) -> int:
    return x


@degradable("bench.asnapshot", sla=LIMITS, fallback=snapshot(max_age="1h", refresh="1h"))
async def akept(x: int) -> int:
    return x


@degradable("bench.astar", sla=LIMITS, fallback=default(0))
async def astar(*args: int, **_: int) -> int:
    return args[0]


@degradable("bench.adegraded", sla=LIMITS, fallback=snapshot(max_age="1h", refresh="1h"))
async def adegraded(x: int) -> int:
    return x


def healthy() -> list[Contender]:
    """Return who is called while nothing fails; the first is bare, the second the yardstick."""
    return [
        Contender("bare function", bare),
        Contender("Y, by hand", by_hand(bare)),
        Contender("degrade, exact signature", exact, 0.9),
        Contender("degrade, with a snapshot not due", kept, 1.25),
        Contender("degrade, *args and **kwargs", star, 1.6),
        Contender("circuitbreaker", circuitbreaker.CircuitBreaker(name="bench")(bare)),
        Contender("pybreaker", pybreaker.CircuitBreaker()(bare)),
    ]


def healthy_async() -> list[Contender]:
    """Return who is awaited while nothing fails."""
    return [
        Contender("bare coroutine", abare),
        Contender("Y, by hand", by_hand_async(abare)),
        Contender("degrade, exact signature", aexact, 0.95),
        Contender("degrade, with a snapshot not due", akept, 1.25),
        Contender("degrade, *args and **kwargs", astar, 1.6),
        Contender("circuitbreaker", circuitbreaker.CircuitBreaker(name="abench")(abare)),
    ]


def answering() -> list[Contender]:
    """Return who answers while the function is not called."""
    flag, healthy_flag = degrade.flag("bench.degraded"), degrade.flag("bench.exact")
    return [
        Contender("bare function", bare),
        Contender("Y, by hand", by_hand(bare)),
        Contender("degrade, snapshot from memory", degraded, 0.8),
        Contender("degrade, in a request with provenance", degraded, 1.4, around=True),
        Contender("circuitbreaker, open, constant fallback", _open_circuitbreaker()),
        Contender("pybreaker, open, exception caught", _open_pybreaker()),
        Contender("flag.degraded at dial 1", lambda _: flag.degraded, 0.3),
        Contender("flag.degraded at dial 0", lambda _: healthy_flag.degraded, 0.3),
    ]


def prepare() -> None:
    """Warm everything up: threads run, snapshots lie in memory, one flag is held degraded."""
    for call in (exact, kept, star, degraded):
        call(1)
    _until(lambda: len(current().tier) == 2)
    control = Control(current().store, actor="bench")
    control.hold("bench.degraded", "degraded", for_=None, reason="measured")
    _until(lambda: degrade.flag("bench.degraded").degraded)
    with request():
        degraded(1)


async def prepare_async() -> None:
    """Do the same for coroutine functions."""
    for call in (aexact, akept, astar):
        await call(1)
    _until(lambda: len(current().tier) == 3)


def _fails(x: int) -> int:
    raise ValueError(x)


def _open_circuitbreaker() -> Callable[[int], Any]:
    breaker = circuitbreaker.CircuitBreaker(
        failure_threshold=1, recovery_timeout=3600, name="open", fallback_function=lambda _: 0
    )

    answered: Callable[[int], Any] = breaker(_fails)
    for _ in range(2):
        try:
            answered(1)
        except ValueError:
            continue
    if answered(1) != 0:
        raise RuntimeError("the breaker of the benchmark is not open")
    return answered


def _open_pybreaker() -> Callable[[int], Any]:
    breaker = pybreaker.CircuitBreaker(fail_max=1, reset_timeout=3600)

    guarded: Callable[[int], Any] = breaker(_fails)

    def answered(x: int) -> int:
        try:
            return int(guarded(x))
        except (pybreaker.CircuitBreakerError, ValueError):
            return 0

    answered(1)
    return answered


def _until(true: Callable[[], bool], *, within_s: float = 5.0) -> None:
    end = time.monotonic() + within_s
    while not true():
        if time.monotonic() > end:
            raise TimeoutError("the benchmark could not be prepared")
        time.sleep(0.01)
