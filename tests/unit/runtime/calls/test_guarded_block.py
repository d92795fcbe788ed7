"""A guarded block: which branch to take, and how it counts."""

from __future__ import annotations

import asyncio

import pytest
from func_timeout import FunctionTimedOut

import degrade
from degrade import SLA, Flag, Recovery, Runtime, UsageError
from degrade.clock import ManualClock
from degrade.control import Control
from degrade.runtime.calls.guarded_block import GuardedBlock
from tests.unit.runtime.doing import (
    Boom,
    classes_of,
    outcomes_of,
    pass_time,
    stats_of,
    watch_of,
)


@pytest.fixture(params=["with", "async with"])
def run(request: pytest.FixtureRequest):
    """Run a body within a block, in either way."""

    def synchronously(flag: Flag, body):
        with flag.call() as call:
            return body(call)

    def asynchronously(flag: Flag, body):
        async def main():
            async with flag.call() as call:
                await asyncio.sleep(0)
                return body(call)

        return asyncio.run(main())

    return synchronously if request.param == "with" else asynchronously


def raising(error: BaseException):
    def body(call: GuardedBlock) -> None:
        raise error

    return body


def test_a_healthy_block_is_full(runtime: Runtime, clock: ManualClock, run):
    def body(call: GuardedBlock) -> bool:
        clock.advance(0.25)
        return call.degraded

    flag = Flag("feed")
    assert [run(flag, body) for _ in range(3)] == [False] * 3
    runtime.tick()
    assert classes_of(runtime, "feed") == {"full": 3}
    assert stats_of(runtime, "feed").duration_sum_s == pytest.approx(0.75)


def test_a_degraded_block_is_told_and_its_time_counts_for_nothing(
    runtime: Runtime, control: Control, clock: ManualClock, run
):
    def body(call: GuardedBlock) -> bool:
        clock.advance(60)
        return call.degraded

    flag = Flag("feed", sla=SLA(p99="1s"))
    control.hold("feed", "degraded", for_=None, reason="drill")
    with degrade.request():
        assert run(flag, body)
        assert [(s.flag, s.reason) for s in degrade.served()] == [("feed", "hold by ana: drill")]
    runtime.tick()
    assert classes_of(runtime, "feed") == {"degraded": 1}
    assert outcomes_of(runtime, "feed") == {}
    assert stats_of(runtime, "feed").duration_sum_s == 0


@pytest.mark.parametrize(
    ("error", "how", "outcome"),
    [
        (Boom("mine"), "failed", "failure"),
        (PermissionError("no"), "ignored", "ignored"),
        (KeyboardInterrupt(), "abandoned", "abandoned"),
        (GeneratorExit(), "abandoned", "abandoned"),
        (asyncio.CancelledError(), "failed", "failure"),  # of a dependency: no task was cancelled
        (FunctionTimedOut("late"), "failed", "timeout"),
    ],
)
@pytest.mark.parametrize("degraded", [False, True])
def test_an_exception_leaves_the_block_as_it_is(
    runtime: Runtime, control: Control, error: BaseException, how: str, outcome: str,
    degraded: bool,
):  # fmt: skip
    flag = Flag("feed")
    if degraded:
        control.hold("feed", "degraded", for_=None, reason="drill")
    with pytest.raises(type(error)) as caught, flag.call():
        raise error
    assert caught.value is error
    assert caught.value.__context__ is None
    runtime.tick()
    assert classes_of(runtime, "feed") == {how: 1}
    assert outcomes_of(runtime, "feed") == ({} if degraded else {outcome: 1})


def test_failing_blocks_trip_the_flag(runtime: Runtime, run):
    flag = Flag("feed", sla=SLA(errors="5%"))
    for _ in range(3):
        with pytest.raises(Boom):
            run(flag, raising(Boom()))
    runtime.tick()
    assert flag.degraded
    assert run(flag, lambda call: call.degraded)


def test_a_hung_block_counts_while_it_hangs(runtime: Runtime, clock: ManualClock):
    flag = Flag("feed", sla=SLA(errors="5%"))
    blocks = [flag.call().__enter__() for _ in range(3)]
    pass_time(runtime, clock, 9.75)
    assert not flag.degraded
    pass_time(runtime, clock, 0.5)
    assert flag.degraded
    for block in blocks:
        block.__exit__(None, None, None)
    runtime.tick()
    assert classes_of(runtime, "feed") == {"full": 3}


def test_a_block_is_used_once(runtime: Runtime):
    block = Flag("feed").call()
    with block:
        pass
    with pytest.raises(UsageError, match="anew for each run") as caught, block:
        pass
    assert caught.value.code == "block-reused"
    runtime.tick()
    assert classes_of(runtime, "feed") == {"full": 1}


def test_blocks_of_one_flag_may_nest(runtime: Runtime):
    flag = Flag("feed")
    with flag.call() as outer, flag.call() as inner:
        assert outer is not inner
    runtime.tick()
    assert classes_of(runtime, "feed") == {"full": 2}


@pytest.mark.parametrize("error", [None, Boom(), KeyboardInterrupt()])
def test_a_probing_block_gives_its_permit_back(
    runtime: Runtime, control: Control, clock: ManualClock, error: BaseException | None
):
    flag = Flag("feed", recovery=Recovery(steps=(0.01, 1.0)))
    control.hold("feed", "degraded", for_=None, reason="drill")
    control.release("feed", reason="over")
    clock.advance(1)
    with pytest.raises(type(error)) if error else degrade.request(), flag.call() as call:
        assert not call.degraded, "nothing ran for a second, so this one is a probe"
        assert watch_of(runtime, "feed").permits.in_flight == 1
        with flag.call() as second:
            assert second.degraded, "one probe at a time"
        if error is not None:
            raise error
    assert watch_of(runtime, "feed").permits.in_flight == 0


def test_leaving_a_block_that_was_not_entered_is_harmless(runtime: Runtime):
    block = Flag("feed").call()
    block.__exit__(None, None, None)
    assert repr(block) == "<block of feed degraded=False>"
