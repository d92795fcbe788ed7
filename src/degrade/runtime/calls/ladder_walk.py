"""Going down the ladder of a guarded function until a rung answers."""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from degrade.context import DegradedStatus, context, who
from degrade.core.enums import CallClass, Mode, Outcome, RungKind
from degrade.core.ladder import choose
from degrade.fallback.rung import Answer, BoundRung, Call
from degrade.fallback.snapshots.snapshot_rung import BoundSnapshot, Found
from degrade.interrupts import is_interrupt, raise_as_it_is
from degrade.runtime.calls.attempt import Attempt
from degrade.runtime.calls.step_driver import Result, Step
from degrade.runtime.current_runtime import current
from degrade.runtime.monitoring.flag_monitor import FlagMonitor

if TYPE_CHECKING:
    from degrade.runtime.calls.deadline import Deadline
    from degrade.runtime.calls.flag import Flag

__all__ = ("LadderWalk",)

log = logging.getLogger("degrade.runtime")


class LadderWalk:
    """The ladder of one function, and the way down.

    Args:
        flag: The flag it belongs to.
        rungs: The rungs, bound.
        bounds: What bounds each rung, in the same order; None for no bound.
        accept: Says of a result, also of a rung, whether it is good; None takes all.

    Attributes:
        awaits: Whether the caller waits by awaiting.
    """

    __slots__ = ("_accept", "_bounds", "_flag", "awaits", "kinds", "rungs")

    def __init__(
        self,
        flag: Flag,
        rungs: Sequence[BoundRung],
        bounds: Sequence[Deadline | None],
        accept: Callable[[Any], bool] | None,
        *,
        awaits: bool,
    ) -> None:
        self._flag = flag
        self.rungs = tuple(rungs)
        self.kinds = tuple(rung.kind for rung in rungs)
        self._bounds = tuple(bounds) or (None,) * len(rungs)
        self._accept = accept
        self.awaits = awaits

    def accepts(self, result: Any) -> bool:
        """Return whether a result is good; an `accept=` that raises takes it."""
        try:
            return self._accept is None or bool(self._accept(result))
        except Exception as error:  # the user's predicate is broken: said once, the result stands
            if is_interrupt(error):
                raise
            if self._flag.first("accept"):
                log.exception("accept= of %s raised; the result is accepted", self._flag.name)
            return True

    def walk(
        self,
        attempt: Attempt,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        mode: Mode,
        stamp: DegradedStatus,
    ) -> Generator[Step, Result, Answer | None]:
        """Go down the ladder; return the first answer, recorded and noted.

        Raises:
            BaseException: A rung was interrupted, or refused what was asked for.
        """
        watch = attempt.watch
        call = Call(
            args=args,
            kwargs=kwargs,
            subject=who(),
            monotonic_s=watch.clock(),
            wall_s=watch.wall(),
        )
        for index in choose(self.kinds, mode):
            rung, bound = self.rungs[index], self._bounds[index]
            do: Callable[[], Any] = partial(rung.serve, call)
            if rung.is_async:
                serve = partial(rung.serve_async, call)
                do = serve if bound is None else bound.wrap(serve)
            answer, error = yield Step(do, rung.is_async, of_rung=True)
            if error is None and answer is None and isinstance(rung, BoundSnapshot):
                answer, error = yield from self._ask(watch, rung, call)
            if error is not None:
                self._rung_failed(attempt, rung, error)
                continue
            if answer is None:
                continue
            if rung.kind is RungKind.SIMPLIFIED and not self.accepts(answer.value):
                watch.counters.dropped.append(f"rung_{rung.kind.value}")
                continue
            attempt.classify((rung.kind, answer.age_s))
            around = context()
            if around is not None:
                keep = around.aside if rung.side_effect else around.note
                keep((stamp, rung.kind, answer.age_s))
            served: Answer = answer
            return served
        return None

    def _rung_failed(self, attempt: Attempt, rung: BoundRung, error: BaseException) -> None:
        """Note that a rung could not serve, so that the next one is tried.

        Raises:
            BaseException: `error`, when it is none of the rung's: an interrupt, or a refusal.
        """
        outcome = Outcome.ABANDONED if is_interrupt(error) else self._flag.refusal(error)
        if outcome is not None:
            attempt.classify(CallClass(outcome.value))
            raise_as_it_is(error)
        attempt.watch.counters.dropped.append(f"rung_{rung.kind.value}")
        if self._flag.first((rung.kind, id(type(error)))):
            log.warning(
                "rung %s of %s failed; the next one is tried",
                rung.kind.value,
                self._flag.name,
                exc_info=error,
            )

    def _ask(
        self, watch: FlagMonitor, rung: BoundSnapshot, call: Call
    ) -> Generator[Step, Result, tuple[Answer | None, BaseException | None]]:
        """Ask the tier that the fleet shares for what memory does not have, for milliseconds."""
        fetcher = current().fetcher
        question = None if fetcher is None else fetcher.ask(rung, call, after_s=watch.off_ended)
        if fetcher is None or question is None:
            return None, None
        wait = fetcher.awaited if self.awaits else fetcher.wait
        found, error = yield Step(partial(wait, question), self.awaits, of_rung=True)
        if error is not None or not isinstance(found, Found):
            return None, error
        serve = partial(rung.serve_found, found, watch.clock())
        return (yield Step(serve, awaits=False, of_rung=True))
