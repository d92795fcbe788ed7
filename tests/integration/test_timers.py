"""A timer that was set in the call is a timeout of the call; one around the call is the caller's."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import gevent
import gevent.event
import pytest
from func_timeout import FunctionTimedOut, func_timeout

from degrade import SLA, Runtime, default, degradable, flag
from degrade.core.enums import Outcome
from tests.unit.runtime.doing import stats_of


@pytest.fixture(autouse=True)
def runtime(forget_flags: None) -> Iterator[Runtime]:
    with Runtime(threads="manual") as runtime:
        yield runtime


def guarded(work: Callable[[], Any], **options: Any) -> Callable[[], Any]:
    @degradable("slow", fallback=default("fallback"), **options)
    def slow() -> Any:
        return work()

    return slow


def outcomes(runtime: Runtime) -> dict[Outcome, int]:
    runtime.tick()
    return {kind: n for kind, n in stats_of(runtime, "slow").primary.items() if n}


def in_a_with() -> None:
    with gevent.Timeout(0.01):
        gevent.sleep(60)


def closed_by_hand() -> None:
    timeout = gevent.Timeout.start_new(0.01)
    try:
        gevent.sleep(60)
    finally:
        timeout.close()


def with_timeout() -> None:
    gevent.with_timeout(0.01, gevent.sleep, 60)


def waiting_for_a_result() -> None:
    gevent.event.AsyncResult().get(timeout=0.01)


def waiting_for_a_greenlet() -> None:
    sleeper = gevent.spawn(gevent.sleep, 60)
    try:
        sleeper.get(timeout=0.01)
    finally:
        sleeper.kill()


def waiting_for_a_thread() -> None:
    func_timeout(0.05, time.sleep, (0.2,))


INSIDE = [
    in_a_with,
    closed_by_hand,
    with_timeout,
    waiting_for_a_result,
    waiting_for_a_greenlet,
    waiting_for_a_thread,
]


@pytest.mark.parametrize("work", INSIDE)
def test_a_timer_of_the_call_is_a_timeout_that_the_ladder_answers(
    runtime: Runtime, work: Callable[[], None]
):
    assert guarded(work)() == "fallback"
    assert outcomes(runtime) == {Outcome.TIMEOUT: 1}


@pytest.mark.parametrize("work", INSIDE)
def test_a_timer_of_a_block_is_a_timeout(runtime: Runtime, work: Callable[[], None]):
    degradable("slow", sla=SLA(errors="5%"))(lambda: None)
    with pytest.raises((gevent.Timeout, FunctionTimedOut)), flag("slow").call():
        work()
    assert outcomes(runtime) == {Outcome.TIMEOUT: 1}


def test_a_timer_around_the_call_reaches_the_caller(runtime: Runtime):
    slow = guarded(lambda: gevent.sleep(60))
    with pytest.raises(gevent.Timeout) as caught, gevent.Timeout(0.01) as mine:
        slow()
    assert caught.value is mine
    with gevent.Timeout(0.01, False):
        assert slow() == "never"
    assert outcomes(runtime) == {Outcome.ABANDONED: 2}


def test_an_inner_timer_leaves_the_outer_one_alone(runtime: Runtime):
    with gevent.Timeout(60) as mine:
        assert guarded(in_a_with)() == "fallback"
        assert mine.pending


def test_a_call_around_the_block_of_the_timer_times_out(runtime: Runtime):
    inner = degradable("inner", fallback=default("never"))(lambda: gevent.sleep(60))

    def work() -> None:
        with gevent.Timeout(0.01):
            inner()

    assert guarded(work)() == "fallback"
    assert outcomes(runtime) == {Outcome.TIMEOUT: 1}
    assert stats_of(runtime, "inner").primary[Outcome.ABANDONED] == 1


def only_cancelled() -> None:
    timeout = gevent.Timeout.start_new(0.01)
    try:
        gevent.sleep(60)
    finally:
        timeout.cancel()


def test_a_timer_that_is_never_closed_counts_where_it_is_named(runtime: Runtime):
    with pytest.raises(gevent.Timeout):
        guarded(only_cancelled)()
    assert outcomes(runtime) == {Outcome.ABANDONED: 1}


def test_naming_the_timer_says_that_it_is_the_calls(runtime: Runtime):
    slow = guarded(only_cancelled, failures=(Exception, gevent.Timeout))
    assert slow() == "fallback"
    assert outcomes(runtime) == {Outcome.TIMEOUT: 1}


def test_a_killed_greenlet_ends(runtime: Runtime):
    slow = gevent.spawn(guarded(lambda: gevent.sleep(60)))
    gevent.sleep(0)
    slow.kill()
    assert isinstance(slow.value, gevent.GreenletExit)
    assert outcomes(runtime) == {Outcome.ABANDONED: 1}


def test_a_thread_that_func_timeout_stops_ends(runtime: Runtime):
    ended: list[object] = []
    done = threading.Event()

    def work() -> None:
        while True:
            time.sleep(0.001)

    slow = guarded(work)

    def in_its_thread() -> None:
        try:
            ended.append(slow())
        except BaseException as error:
            ended.append(type(error))
            raise
        finally:
            done.set()

    with pytest.raises(FunctionTimedOut):
        func_timeout(0.05, in_its_thread)
    assert done.wait(30)
    (raised,) = ended
    assert isinstance(raised, type)
    assert issubclass(raised, FunctionTimedOut)
    assert outcomes(runtime) == {Outcome.ABANDONED: 1}
