"""One engine for functions and coroutines: the guard says what to do next, a driver does it.

The guard's logic is a generator of steps. A step is a callable; the driver calls it (and awaits
what it returns, for a coroutine function), and sends the value, or throws the exception, back
into the generator. The generator ends with an answer, or with `RAISE` when the exception of the
newest step must go on to the caller, untouched.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any, Final, NamedTuple

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


def drive(steps: Steps) -> Any:
    """Run steps to their end and return the answer.

    Raises:
        BaseException: What the newest step raised, when the steps end with `RAISE`.
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
                raised, trace = error, error.__traceback__
                step = steps.throw(error)
            else:
                step = steps.send(value)
    except StopIteration as done:
        answer = done.value
    if answer is RAISE and raised is not None:
        raise raised.with_traceback(trace)
    return answer


async def adrive(steps: Steps) -> Any:
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
                raised, trace = error, error.__traceback__
                step = steps.throw(error)
            else:
                step = steps.send(value)
    except StopIteration as done:
        answer = done.value
    if answer is RAISE and raised is not None:
        raise raised.with_traceback(trace)
    return answer
