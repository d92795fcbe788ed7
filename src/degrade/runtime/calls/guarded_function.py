"""The slow way of a guarded function: whatever is not a plain healthy call.

The wrapper (see `wrap`) answers healthy calls and, while a flag is degraded for everyone,
snapshots that lie decoded in memory. Everything else comes here, as steps for a driver:

    call ──> admit ──RUN or permit──> run ──success──> capture ──> full answer
               │                       └──failure──> ladder ──> degraded answer, or its exception
               └──SERVE──> ladder ──> degraded answer, or UnavailableError

Invariants: the user's exception is never replaced, written to or looked up by its class; an
interrupt of the caller leaves the call as itself, whatever instruction of ours it meets; a permit
is given back and the call is off the books whatever happens; an error of our own leads to a plain
run of the function, never to an exception of ours.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Generator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from degrade.context import CaptureScope, DegradedStatus, context, who
from degrade.core.enums import CallClass, Mode, Outcome, RungKind
from degrade.core.probe_permits import Permit
from degrade.errors import UnavailableError
from degrade.fallback.rung import BoundRung
from degrade.fallback.snapshots.keys import Key
from degrade.fallback.snapshots.snapshot_rung import BoundSnapshot
from degrade.interrupts import is_interrupt, raise_as_it_is
from degrade.runtime.calls.attempt import Attempt
from degrade.runtime.calls.awaitables import (
    FIRST_RESULTS,
    give_awaitable,
    guard_awaiting,
    is_awaitable,
    is_awaited,
)
from degrade.runtime.calls.call_site import CallSite
from degrade.runtime.calls.ladder_walk import LadderWalk
from degrade.runtime.calls.step_driver import RAISE, Result, Step, Steps, adrive, drive
from degrade.runtime.current_runtime import current
from degrade.runtime.monitoring.fast_path import UNBOUND
from degrade.runtime.monitoring.flag_monitor import RUN, SERVE, FlagMonitor, Route

if TYPE_CHECKING:
    from degrade.runtime.calls.deadline import Deadline
    from degrade.runtime.calls.flag import Flag

__all__ = ("GuardedFunction",)

log = logging.getLogger("degrade.runtime")

Arguments = tuple[Any, ...]
Keywords = dict[str, Any]
_Admitted = tuple[Route | Permit, Callable[[], Any]]
"""How a call was admitted before, and what does its work."""
Pending = list[Any]
"""What the wrapper holds while a call ends by an exception: the exception, then its attempt."""


class GuardedFunction:
    """One guarded function: its flag, its ladder, and the slow way through them.

    Args:
        flag: The flag it belongs to.
        fn: The function.
        awaits: Whether it is a coroutine function.
        awaits_result: Whether it is a plain function that is known to return awaitables.
        rungs: Its ladder, bound.
        accept: Says of a result whether it is good; a rejected one is a failure.
        deadline: Bounds what the caller of a coroutine waits.
        bounds: What bounds each rung, in the order of the ladder; None for no bound.
        declared_by: The decorator, and what it was applied to.
    """

    __slots__ = (
        "__weakref__", "_declared_by", "_results", "accept", "awaits", "awaits_result", "bind_cells", "deadline", "flag", "fn",
        "forget_awaitables", "ladder", "site", "snapshot", "watch",
    )  # fmt: skip

    RAISE = RAISE

    def __init__(
        self,
        flag: Flag,
        fn: Callable[..., Any],
        *,
        awaits: bool,
        awaits_result: bool = False,
        rungs: Sequence[BoundRung],
        accept: Callable[[Any], bool] | None,
        deadline: Deadline | None,
        bounds: Sequence[Deadline | None] = (),
        declared_by: tuple[Callable[..., Any], Any] | None = None,
    ) -> None:
        self._declared_by = declared_by
        self.flag = flag
        self.fn = fn
        self.awaits = awaits
        self.awaits_result = awaits_result
        self.forget_awaitables: Callable[[GuardedFunction], None] | None = None
        """Set while the results of a plain function are looked at: ends that."""
        self._results = 0
        self.ladder = LadderWalk(flag, rungs, bounds, accept, awaits=awaits or awaits_result)
        self.accept = accept
        self.deadline = deadline
        self.snapshot = next((rung for rung in rungs if isinstance(rung, BoundSnapshot)), None)
        self.watch: FlagMonitor | None = None
        self.bind_cells: Callable[..., None] = _nowhere
        self.site = CallSite(fn, is_direct=deadline is None and not awaits_result)

    def __reduce__(self) -> tuple[Any, ...]:
        """Travel as the decorator and the function, to which the other process applies it again."""
        return _declare_again, self._declared_by or ()

    @property
    def rungs(self) -> tuple[BoundRung, ...]:
        """The rungs of the ladder, best first."""
        return self.ladder.rungs

    @property
    def kinds(self) -> tuple[RungKind, ...]:
        """The kinds of the rungs."""
        return self.ladder.kinds

    # ------------------------------------------------------------------ for the wrapper

    def call(self, args: Arguments, kwargs: Keywords) -> Any:
        """Answer a call of a function that the wrapper did not answer itself."""
        if self.awaits_result or self._is_first_awaited():
            return self._call_awaitable(args, kwargs)
        return drive(self._call(args, kwargs))

    def _is_first_awaited(self) -> bool:
        """Whether no result was seen yet, and the code that calls awaits the one of this call."""
        asks = self.forget_awaitables is not None and not self._results
        return asks and is_awaited(sys._getframe(3))  # noqa: SLF001 - above are call and wrapper

    def is_awaitable(self, result: Any) -> bool:
        """Return whether a result of a plain function is awaitable, and learn from it."""
        if is_awaitable(result):
            self.awaits_result = self.ladder.awaits = True
            self.site.is_direct = False
            self.flag.note_awaitable(self.fn)
            return True
        self._results += 1
        if self._results >= FIRST_RESULTS and self.forget_awaitables and not self.awaits_result:
            self.forget_awaitables(self)
            self.forget_awaitables = None
        return False

    def awaiting(self, start: float, result: Any, args: Arguments, kwargs: Keywords) -> Any:
        """Guard the awaiting of a result instead of the call that made it."""
        Attempt(self.bound(), start).withdraw()
        return self._guard_awaiting(result, RUN, partial(_give, result), args, kwargs)

    def broke(self, start: float, pending: Pending, args: Arguments, kwargs: Keywords) -> Any:
        """Record the exception of a call; return an answer of the ladder, or `RAISE`."""
        answer = drive(self._broke(self._pending(start, pending), pending[0], args, kwargs))
        if answer is not RAISE and self._is_first_awaited():
            return give_awaitable(answer)
        return answer

    def rejected(
        self, start: float, pending: Pending, result: Any, args: Arguments, kwargs: Keywords
    ) -> Any:
        """Record a result that `accept=` rejects; answer from the ladder, or with the result."""
        return drive(self._rejected(self._pending(start, pending), result, args, kwargs))

    async def acall(self, args: Arguments, kwargs: Keywords) -> Any:
        """Answer a call of a coroutine function, as `call` does."""
        return await adrive(self._call(args, kwargs))

    async def abroke(
        self, start: float, pending: Pending, args: Arguments, kwargs: Keywords
    ) -> Any:
        """Record the exception of a coroutine, as `broke` does."""
        return await adrive(self._broke(self._pending(start, pending), pending[0], args, kwargs))

    async def arejected(
        self, start: float, pending: Pending, result: Any, args: Arguments, kwargs: Keywords
    ) -> Any:
        """Record the rejected result of a coroutine, as `rejected` does."""
        return await adrive(self._rejected(self._pending(start, pending), result, args, kwargs))

    def settle(self, start: float, pending: Pending) -> None:
        """Take a call off the books whose ending was interrupted; harmless for any other."""
        attempt = pending[1] if len(pending) > 1 else self._pending(start, pending)
        attempt.close()

    def is_interrupted(self) -> bool:
        """Whether it was an interrupt that kept the wrapper from finding a snapshot."""
        error = sys.exception()
        if isinstance(error, (KeyError, TypeError)):  # not there, or not hashable
            return False
        return not isinstance(error, Exception) or is_interrupt(error)

    def bind(self, watch: FlagMonitor | None) -> None:
        """Let the function and its wrapper go by this watch from now on.

        Without one only the gate shuts: calls that have passed it still need somewhere to end.
        """
        gate = UNBOUND if watch is None else watch.gate
        self.watch, watch = watch, watch or self.watch
        if watch is None:
            return
        recorder, snapshot = watch.recorder, self.snapshot
        self.bind_cells(
            gate,
            watch.clock,
            recorder.started,
            recorder.ended.extend,
            watch.counters.ages,
            None if snapshot is None else snapshot.book.entries,
        )

    def bound(self) -> FlagMonitor:
        """Return the watch of the current runtime, which adopts the flag when it is new to it."""
        return self.watch or self.flag.bound()

    def accepted(self, result: Any) -> bool:
        """Return whether `accept=` takes a result."""
        return self.ladder.accepts(result)

    def _call_awaitable(self, args: Arguments, kwargs: Keywords) -> Any:
        """Call a function that returns awaitables; what it raises by itself is raised by awaiting."""
        watch = self.bound()
        made, do = None, partial(self.fn, *args, **kwargs)
        route = self.flag.admit(watch)
        if route is not SERVE:
            try:
                made = do()
            except BaseException as error:  # awaiting it says what it means
                if self.flag.outcome(error) is Outcome.ABANDONED:
                    self.flag.leave(watch, route)
                    raise
                do = partial(raise_as_it_is, error)
            else:
                do = partial(_give, made)
                if not is_awaitable(made):
                    return drive(self._call(args, kwargs, (route, do)))
        return self._guard_awaiting(made, route, do, args, kwargs)

    def _guard_awaiting(
        self,
        made: Any,
        route: Route | Permit,
        do: Callable[[], Any],
        args: Arguments,
        kwargs: Keywords,
    ) -> Any:
        return guard_awaiting(made, lambda: adrive(self._call(args, kwargs, (route, do))))

    # ------------------------------------------------------------------ the steps of a call

    def _call(self, args: Arguments, kwargs: Keywords, admitted: _Admitted | None = None) -> Steps:
        watch = self.bound()
        attempt = Attempt(watch)
        do = admitted[1] if admitted else partial(self.fn, *args, **kwargs)
        route = admitted[0] if admitted else self.flag.admit(watch)  # its permit must not get lost
        try:
            if route is not SERVE:
                return (yield from self._run(attempt, do, args, kwargs))
            stamp = watch.gate.stamp
            answer = yield from self.ladder.walk(attempt, args, kwargs, watch.resolved.mode, stamp)
            if answer is None:
                raise self._unavailable(attempt, stamp.reason)
            return answer.value
        finally:
            try:
                attempt.close()
                self.flag.leave(watch, route)
            except BaseException:  # an interrupt: what it may have prevented is harmless to repeat
                attempt.close()
                self.flag.give_back(watch, route)
                raise

    def _run(
        self, attempt: Attempt, do: Callable[[], Any], args: Arguments, kwargs: Keywords
    ) -> Steps:
        watch = attempt.watch
        key = self._due(watch, args, kwargs)
        scope = CaptureScope()
        if self.deadline is not None:
            late_result = partial(self._capture_late, watch, key, scope, watch.clock())
            do = self.deadline.wrap(do, late_result)
        step = Step(do, self.awaits or self.awaits_result)
        start = attempt.begin()
        if key is None:
            result, error = yield step
        else:
            result, error = yield from self._within(scope, step)
        if error is not None:
            return (yield from self._broke(attempt, error, args, kwargs))
        if self.forget_awaitables and not step.awaits and self.is_awaitable(result):
            attempt.withdraw()
            return self._guard_awaiting(result, RUN, partial(_give, result), args, kwargs)
        if not self.accepted(result):
            return (yield from self._rejected(attempt, result, args, kwargs))
        attempt.succeed()
        if key is not None and not scope.tainted:
            self._capture(watch, key, result, start)
        return result

    def _within(self, scope: CaptureScope, step: Step) -> Generator[Step, Result, Result]:
        """Do a step inside of a scope, which ends whatever happens."""
        try:
            with scope:
                return (yield step)
        finally:
            scope.leave()  # again: an interrupt may have met the end of the block

    def _broke(
        self, attempt: Attempt, error: BaseException, args: Arguments, kwargs: Keywords
    ) -> Steps:
        if self.site.was_interrupted(error):
            attempt.close()
            return RAISE
        late = self.deadline is not None and self.deadline.passed(error)
        if not self._failed(attempt, error, late=late):
            return RAISE
        reason = "its deadline passed" if late else f"failed call: {_kind_of(error)}"
        stamp = DegradedStatus(self.flag.name, reason, None)
        answer = yield from self.ladder.walk(attempt, args, kwargs, Mode.DEGRADED, stamp)
        if answer is not None:
            return answer.value
        if late:
            raise self._unavailable(attempt, f"{self.deadline} passed") from None
        attempt.classify(CallClass.FAILED)
        return RAISE

    def _rejected(self, attempt: Attempt, result: Any, args: Arguments, kwargs: Keywords) -> Steps:
        attempt.end(Outcome.FAILURE)
        stamp = DegradedStatus(self.flag.name, "result rejected", None)
        answer = yield from self.ladder.walk(attempt, args, kwargs, Mode.DEGRADED, stamp)
        if answer is None:
            attempt.classify(CallClass.FAILED)
            return result
        return answer.value

    # ------------------------------------------------------------------ outcomes

    def _pending(self, start: float, pending: Pending) -> Attempt:
        """Return the attempt of a call that the wrapper began, kept in `pending`."""
        error = pending[0]
        is_recorded = isinstance(error, BaseException) and self.site.was_recorded(error)
        attempt = Attempt(self.bound(), start, is_recorded=is_recorded)
        pending.append(attempt)
        return attempt

    def _failed(self, attempt: Attempt, error: BaseException, *, late: bool) -> bool:
        """Record how a call ended by `error`; return whether the ladder may answer it."""
        outcome = Outcome.TIMEOUT if late else self.flag.outcome(error)
        attempt.end(outcome)
        if outcome in (Outcome.ABANDONED, Outcome.IGNORED):
            attempt.classify(CallClass(outcome.value))
            return False
        if not late and attempt.watch.is_news(error):
            log.warning(
                "%s failed with %s; further ones of this type are only counted",
                self.flag.name,
                _kind_of(error),
                exc_info=error,
            )
        return True

    def _unavailable(self, attempt: Attempt, cause: str) -> UnavailableError:
        attempt.classify(CallClass.FAILED)
        around = context()
        if around is not None:
            around.branch()
        return UnavailableError(
            self.flag.name,
            since=attempt.watch.gate.stamp.since,
            retry_after_s=attempt.watch.retry_after_s(),
            cause=cause,
        )

    # ------------------------------------------------------------------ snapshots

    def _due(self, watch: FlagMonitor, args: Arguments, kwargs: Keywords) -> Key | None:
        """Return the key under which a result should be captured now, None when none should."""
        if self.snapshot is None:
            return None
        return self.snapshot.wanted(args, kwargs, who(), watch.clock())

    def _capture(self, watch: FlagMonitor, key: Key, result: Any, start: float) -> None:
        """Encode a result now, so that no later change reaches it, and send it on its way."""
        if self.snapshot is None:
            return
        runtime = current()
        try:
            admitted_s = runtime.store_now() - (watch.clock() - start)
            captured = self.snapshot.capture(
                key, result, admitted_s=start, wall_s=admitted_s, epoch=watch.state.epoch
            )
            if captured is not None:
                runtime.keep(captured)
        except Exception as error:  # a store of others, or a bug of ours: the result stands
            if is_interrupt(error):
                raise
            runtime.internal_errors.note("capture")

    def _capture_late(
        self, watch: FlagMonitor, key: Key | None, scope: CaptureScope, start: float, result: Any
    ) -> None:
        """Take the result of a coroutine that finished after its deadline."""
        if key is not None and not scope.tainted and self.accepted(result):
            self._capture(watch, key, result, start)


def _declare_again(decorator: Callable[..., Any], fn: Any) -> GuardedFunction:
    wrapper = decorator(fn)
    guard: GuardedFunction = wrapper.__degrade_flag__.guards[-1]  # the newest
    return guard


def _kind_of(error: BaseException) -> str:
    """Return the name of an exception's class, whatever its metaclass makes of the attribute."""
    return str(type.__dict__["__name__"].__get__(type(error)))


def _give(value: Any) -> Any:
    return value


def _nowhere(*_: object) -> None:
    """Bind nothing: the guard has no wrapper yet."""
