"""The engine: steps for functions and for coroutines come to the same."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Callable
from typing import Any

import pytest

from degrade.runtime.calls.step_driver import RAISE, Step, Steps, adrive, drive
from tests.unit.runtime.doing import Boom

Run = Callable[..., Any]


def asynchronously(steps: Steps) -> Any:
    """Run steps that wait for nothing, without the cycles that an event loop leaves."""
    coroutine = adrive(steps)
    try:
        coroutine.send(None)
    except StopIteration as done:
        return done.value
    raise AssertionError("it waits")


both = pytest.mark.parametrize("run", [drive, asynchronously])


def fails(error: BaseException, *, of_rung: bool = False) -> Step:
    def do() -> None:
        raise error

    return Step(do, awaits=False, of_rung=of_rung)


@both
def test_values_go_back_into_the_steps(run: Run):
    def steps() -> Steps:
        return [(yield Step(lambda: 1, awaits=False)), (yield Step(lambda: 2, awaits=False))]

    assert run(steps()) == [(1, None), (2, None)]


def test_only_a_step_that_wants_it_is_awaited():
    async def three() -> int:
        await asyncio.sleep(0)
        return 3

    def steps() -> Steps:
        (awaited, _) = yield Step(three, awaits=True)
        (bare, _) = yield Step(three, awaits=False)
        return awaited, bare

    awaited, bare = asyncio.run(adrive(steps()))
    assert awaited == 3
    assert asyncio.run(bare) == 3


@both
@pytest.mark.parametrize("of_rung", [False, True])
def test_steps_may_answer_for_an_exception(run: Run, of_rung: bool):
    def steps() -> Steps:
        value, error = yield fails(Boom("one"), of_rung=of_rung)
        assert value is None
        return f"instead of {error}"

    assert run(steps()) == "instead of one"


@both
def test_the_first_exception_goes_on_whatever_was_tried_after_it(run: Run):
    first = Boom("first")

    def steps() -> Steps:
        _, error = yield fails(first)
        assert error is first
        _, error = yield fails(KeyError("second"), of_rung=True)
        assert isinstance(error, KeyError)
        return RAISE

    with pytest.raises(Boom) as caught:
        run(steps())
    assert caught.value is first


@both
def test_a_caller_that_has_the_exception_is_told_to_raise_it(run: Run):
    def steps() -> Steps:
        yield fails(KeyError("of a rung"), of_rung=True)
        return RAISE

    assert run(steps()) is RAISE


@both
def test_steps_may_end_without_a_step(run: Run):
    def steps() -> Steps:
        return RAISE
        yield

    assert run(steps()) is RAISE


@both
def test_what_the_steps_raise_themselves_goes_on(run: Run):
    def steps() -> Steps:
        yield Step(lambda: 1, awaits=False)
        raise Boom("of the steps")

    with pytest.raises(Boom, match="of the steps"):
        run(steps())


@both
def test_a_function_may_raise_stop_iteration(run: Run):
    def steps() -> Steps:
        yield fails(StopIteration("over"))
        return RAISE

    with pytest.raises((StopIteration, RuntimeError), match=r"over|StopIteration"):
        run(steps())


@both
def test_steps_that_are_left_end_all_the_same(run: Run):
    ended: list[str] = []

    def steps() -> Steps:
        try:
            yield fails(Boom("one"))
            yield Step(lambda: 1, awaits=False, of_rung=True)
            raise Boom("interrupted")
        finally:
            ended.append("closed")

    with pytest.raises(Boom, match="interrupted"):
        run(steps())
    assert ended == ["closed"]


class Local:
    """Something that lives in a frame of the user."""


@both
@pytest.mark.parametrize("answer", [RAISE, "served"])
def test_what_a_failed_call_held_is_let_go_without_the_garbage_collector(run: Run, answer: Any):
    seen: list[weakref.ref[Local]] = []

    def user() -> None:
        local = Local()
        seen.append(weakref.ref(local))
        raise Boom("mine")

    def steps() -> Steps:
        yield Step(user, awaits=False)
        return answer

    gc.disable()
    try:
        try:
            run(steps())
        except Boom:
            assert answer is RAISE
        assert seen[0]() is None
    finally:
        gc.enable()


def test_raise_says_its_name():
    assert repr(RAISE) == "RAISE"
