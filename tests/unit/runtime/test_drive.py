"""The engine: steps for functions and for coroutines come to the same."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Callable, Generator
from typing import Any

import pytest

from degrade.runtime.drive import RAISE, Step, Steps, adrive, drive
from tests.unit.runtime.doing import Boom

Run = Callable[..., Any]


def asynchronously(steps: Steps, **options: bool) -> Any:
    """Run steps that wait for nothing, without the cycles that an event loop leaves."""
    coroutine = adrive(steps, **options)
    try:
        coroutine.send(None)
    except StopIteration as done:
        return done.value
    raise AssertionError("it waits")


both = pytest.mark.parametrize("run", [drive, asynchronously])


def fails(error: BaseException) -> Step:
    def do() -> None:
        raise error

    return Step(do, awaits=False)


@both
def test_values_go_back_into_the_steps(run: Run):
    def steps() -> Generator[Step, Any, list[int]]:
        return [(yield Step(lambda: 1, awaits=False)), (yield Step(lambda: 2, awaits=False))]

    assert run(steps()) == [1, 2]


def test_only_a_step_that_wants_it_is_awaited():
    async def three() -> int:
        await asyncio.sleep(0)
        return 3

    def steps() -> Generator[Step, Any, tuple[int, Any]]:
        awaited = yield Step(three, awaits=True)
        bare = yield Step(three, awaits=False)
        return awaited, bare

    awaited, bare = asyncio.run(adrive(steps()))
    assert awaited == 3
    assert asyncio.run(bare) == 3


@both
def test_steps_may_answer_for_an_exception(run: Run):
    def steps() -> Generator[Step, Any, str]:
        try:
            yield fails(Boom("one"))
        except Boom as error:
            return f"instead of {error}"
        return "never"

    assert run(steps()) == "instead of one"


@both
def test_the_first_exception_goes_on_whatever_was_tried_after_it(run: Run):
    first = Boom("first")

    def steps() -> Generator[Step, Any, Any]:
        try:
            yield fails(first)
        except Boom:
            with pytest.raises(KeyError):
                yield fails(KeyError("second"))
        return RAISE

    with pytest.raises(Boom) as caught:
        run(steps())
    assert caught.value is first


@both
def test_a_caller_that_has_the_exception_is_told_to_raise_it(run: Run):
    def steps() -> Generator[Step, Any, Any]:
        with pytest.raises(KeyError):
            yield fails(KeyError("of a rung"))
        return RAISE

    assert run(steps(), raises=False) is RAISE


@both
def test_what_the_steps_raise_themselves_goes_on(run: Run):
    def steps() -> Generator[Step, Any, Any]:
        yield Step(lambda: 1, awaits=False)
        raise Boom("of the steps")

    with pytest.raises(Boom, match="of the steps"):
        run(steps())


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

    def steps() -> Generator[Step, Any, Any]:
        try:
            yield Step(user, awaits=False)
        except Boom:
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
