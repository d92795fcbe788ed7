"""One engine for functions and coroutines: the guard says what to do next, a driver does it.

The guard's logic is a generator of steps. A step is a callable; the driver calls it, awaits what
it returns for a coroutine function, and sends `(value, None)` or `(None, exception)` back. So an
exception that is raised *in* the generator is never one of a step: it comes from the guard's
caller, and goes on to it. The generator ends with an answer, or with `RAISE` when the exception of
the function, which began it all, must go on to the caller.

The steps after that exception run inside its handler, because only a bare `raise` there passes an
exception on without writing to it.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any, Final, NamedTuple

__all__ = ("RAISE", "Result", "Step", "Steps", "adrive", "drive")


class _Raise:
    def __repr__(self) -> str:
        return "RAISE"


RAISE: Final = _Raise()

Result = tuple[Any, BaseException | None]
"""What a step came to: its value, or its exception."""


class Step(NamedTuple):
    """Something to do between two decisions.

    Attributes:
        do: Does it.
        awaits: Whether what it returns must be awaited.
        of_rung: It belongs to the ladder, which goes on when it fails.
    """

    do: Callable[[], Any]
    awaits: bool
    of_rung: bool = False


Steps = Generator[Step, Result, Any]


def drive(steps: Steps) -> Any:
    """Run steps to their end and return the answer; `RAISE` if the caller has the exception.

    Raises:
        BaseException: What the function raised, when the steps end with `RAISE`; and what the
            steps raise themselves.
    """
    try:
        try:
            step = next(steps)
        except StopIteration as done:
            return done.value
        if step.of_rung:
            return _resume(steps, _tried(step))
        try:
            value = step.do()
        except BaseException as error:
            answer = _resume(steps, (None, error))
            if answer is RAISE:
                raise
            return answer
        return _resume(steps, (value, None))
    finally:
        steps.close()


def _resume(steps: Steps, result: Result) -> Any:
    try:
        while True:
            result = _tried(steps.send(result))
    except StopIteration as done:
        return done.value


def _tried(step: Step) -> Result:
    try:
        return step.do(), None
    except BaseException as error:  # noqa: BLE001 - the steps decide what it means
        return None, error


async def adrive(steps: Steps) -> Any:
    """Run steps to their end as `drive` does, awaiting those that want it."""
    try:
        try:
            step = next(steps)
        except StopIteration as done:
            return done.value
        if step.of_rung:
            return await _aresume(steps, await _atried(step))
        try:
            value = step.do()
            if step.awaits:
                value = await value
        except BaseException as error:
            answer = await _aresume(steps, (None, error))
            if answer is RAISE:
                raise
            return answer
        return await _aresume(steps, (value, None))
    finally:
        steps.close()


async def _aresume(steps: Steps, result: Result) -> Any:
    try:
        while True:
            result = await _atried(steps.send(result))
    except StopIteration as done:
        return done.value


async def _atried(step: Step) -> Result:
    try:
        value = step.do()
        return (await value if step.awaits else value), None
    except BaseException as error:  # noqa: BLE001 - the steps decide what it means
        return None, error
