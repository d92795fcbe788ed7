"""One engine for functions and coroutines: the guard says what to do next, a driver does it.

The guard's logic is a generator of steps. A step is a callable; the driver calls it (and awaits
what it returns, for a coroutine function), and sends the value, or throws the exception, back
into the generator. The generator ends with an answer, or with `RAISE` when the exception that
began it all, the function's own, must go on to the caller, untouched.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from types import TracebackType
from typing import Any, Final, NamedTuple, Never

__all__ = ("RAISE", "Step", "Steps", "adrive", "drive")


class _Raise:
    def __repr__(self) -> str:
        return "RAISE"


RAISE: Final = _Raise()


class Step(NamedTuple):
    """Something to do between two decisions.

    Attributes:
        do: Does it.
        awaits: Whether what it returns must be awaited.
    """

    do: Callable[[], Any]
    awaits: bool


Steps = Generator[Step, Any, Any]


def drive(steps: Steps, *, raises: bool = True) -> Any:
    """Run steps to their end and return the answer.

    Args:
        steps: What to do.
        raises: The function runs in the first step; without it the caller has its exception
            already, and gets `RAISE` as the answer.

    Raises:
        BaseException: What the function raised, when the steps end with `RAISE`.
    """
    raised: BaseException | None = None
    trace = None
    answer: Any = None
    try:
        step = next(steps)
        while True:
            try:
                value = step.do()
            except BaseException as error:  # noqa: BLE001 - the steps decide what it means
                if raised is None:  # later ones are of rungs
                    raised, trace = error, error.__traceback__
                step = steps.throw(error)
            else:
                step = steps.send(value)
    except StopIteration as done:
        answer = done.value
    try:
        if answer is RAISE and raises and raised is not None:
            _raise(raised, trace)
        return answer
    finally:
        raised = trace = None  # else this frame, the traceback and the exception hold each other


async def adrive(steps: Steps, *, raises: bool = True) -> Any:
    """Run steps to their end as `drive` does, awaiting those that want it."""
    raised: BaseException | None = None
    trace = None
    answer: Any = None
    try:
        step = next(steps)
        while True:
            try:
                value = step.do()
                if step.awaits:
                    value = await value
            except BaseException as error:  # noqa: BLE001 - the steps decide what it means
                if raised is None:  # later ones are of rungs
                    raised, trace = error, error.__traceback__
                step = steps.throw(error)
            else:
                step = steps.send(value)
    except StopIteration as done:
        answer = done.value
    try:
        if answer is RAISE and raises and raised is not None:
            _raise(raised, trace)
        return answer
    finally:
        raised = trace = None  # else this frame, the traceback and the exception hold each other


def _raise(error: BaseException, trace: TracebackType | None) -> Never:
    before = error.__context__
    try:
        raise error.with_traceback(trace)
    finally:
        error.__context__ = before  # raising anew has put there what is being handled now
        del error, trace
