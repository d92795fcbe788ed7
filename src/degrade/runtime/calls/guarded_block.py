"""A guarded block of code: `with flag.call() as call:`."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING, Self

from degrade.context import context
from degrade.core.enums import CallClass, Outcome, RungKind
from degrade.core.probe_permits import Permit
from degrade.errors import UsageError
from degrade.runtime.monitoring.call_recorder import EndedCall
from degrade.runtime.monitoring.flag_monitor import RUN, SERVE, FlagMonitor, Route

if TYPE_CHECKING:
    from degrade.runtime.calls.flag import Flag

__all__ = ("GuardedBlock",)

_CLASS_OF = {
    Outcome.FAILURE: CallClass.FAILED,
    Outcome.TIMEOUT: CallClass.FAILED,
    Outcome.IGNORED: CallClass.IGNORED,
    Outcome.ABANDONED: CallClass.ABANDONED,
}


class GuardedBlock:
    """One run of a guarded block; made by `Flag.call()`, used once.

    Attributes:
        degraded: Which branch to take; set when the block is entered.

    Guarantees:
        Exceptions of the block are never replaced or swallowed.
    """

    __slots__ = ("_flag", "_route", "_start", "_watch", "degraded")

    def __init__(self, flag: Flag) -> None:
        self._flag = flag
        self._watch: FlagMonitor | None = None
        self._route: Route | Permit = RUN
        self._start = 0.0
        self.degraded = False

    def __enter__(self) -> Self:
        if self._watch is not None:
            raise UsageError(
                f"this block of {self._flag.name!r} was entered before; "
                "write `with flag.call() as call:` anew for each run",
                code="block-reused",
            )
        watch = self._watch = self._flag.bound()
        self._route = self._flag.admit(watch)
        self.degraded = self._route is SERVE
        self._start = watch.clock()
        if not self.degraded:
            watch.recorder.started.append(self._start)
        elif (around := context()) is not None:
            around.branch()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        watch = self._watch
        if watch is None:
            return
        try:
            if error is None:
                self._finished(watch)
                return
            outcome = self._flag.outcome(error)
            if not self.degraded:
                watch.recorder.marked.append(EndedCall(self._start, watch.clock(), outcome))
            watch.ended(_CLASS_OF[outcome])
        finally:
            self._flag.leave(watch, self._route)

    def _finished(self, watch: FlagMonitor) -> None:
        if not self.degraded:
            watch.recorder.ended.extend((self._start, watch.clock()))
            return
        watch.answered(RungKind.SIMPLIFIED, None)
        around = context()
        if around is not None:
            around.note((watch.gate.stamp, RungKind.SIMPLIFIED, None))

    async def __aenter__(self) -> Self:
        return self.__enter__()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.__exit__(kind, error, trace)

    def __repr__(self) -> str:
        return f"<block of {self._flag.name} degraded={self.degraded}>"
