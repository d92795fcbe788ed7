"""The slow way of a guarded function: whatever is not a plain healthy call.

The wrapper (see `wrap`) answers healthy calls and, while a flag is degraded for everyone,
snapshots that lie decoded in memory. Everything else comes here, as steps for a driver:

    call ──> admit ──RUN or permit──> run ──success──> capture ──> full answer
               │                       └──failure──> ladder ──> degraded answer, or its exception
               └──SERVE──> ladder ──> degraded answer, or UnavailableError

Invariants: the user's exception is never replaced; a permit is given back whatever happens; an
error of our own leads to a plain run of the function, never to an exception of ours.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from degrade.core.ladder import choose
from degrade.core.words import CallClass, Mode, Outcome
from degrade.errors import UnavailableError
from degrade.fallback.base import Answer, BoundRung, Call
from degrade.fallback.keys import Key
from degrade.fallback.snapshots import BoundSnapshot, Found
from degrade.runtime.drive import RAISE, Step, Steps, adrive, drive
from degrade.runtime.gate import UNBOUND
from degrade.runtime.provenance import Scope, Stamp, context, who
from degrade.runtime.recorder import Marked
from degrade.runtime.slot import current
from degrade.runtime.watch import SERVE, Watch

if TYPE_CHECKING:
    from degrade.runtime.deadline import Deadline
    from degrade.runtime.flags import Flag

__all__ = ("Guard",)

log = logging.getLogger("degrade.runtime")

Arguments = tuple[Any, ...]
Keywords = dict[str, Any]


class Guard:
    """One guarded function: its flag, its ladder, and the slow way through them.

    Args:
        flag: The flag it belongs to.
        fn: The function.
        awaits: Whether it is a coroutine function.
        rungs: Its ladder, bound.
        accept: Says of a result whether it is good; a rejected one is a failure.
        deadline: Bounds what the caller of a coroutine waits.
    """

    __slots__ = (
        "__weakref__",
        "accept",
        "awaits",
        "bind_cells",
        "deadline",
        "flag",
        "fn",
        "kinds",
        "rungs",
        "snapshot",
        "watch",
    )

    def __init__(
        self,
        flag: Flag,
        fn: Callable[..., Any],
        *,
        awaits: bool,
        rungs: Sequence[BoundRung],
        accept: Callable[[Any], bool] | None,
        deadline: Deadline | None,
    ) -> None:
        self.flag = flag
        self.fn = fn
        self.awaits = awaits
        self.rungs = tuple(rungs)
        self.kinds = tuple(rung.kind for rung in rungs)
        self.accept = accept
        self.deadline = deadline
        self.snapshot = next((rung for rung in rungs if isinstance(rung, BoundSnapshot)), None)
        self.watch: Watch | None = None
        self.bind_cells: Callable[..., None] = _nowhere

    # ------------------------------------------------------------------ for the wrapper

    def call(self, args: Arguments, kwargs: Keywords) -> Any:
        """Answer a call of a function that the wrapper did not answer itself."""
        return drive(self._call(args, kwargs))

    def broke(self, start: float, error: BaseException, args: Arguments, kwargs: Keywords) -> Any:
        """Record the exception of a call; return an answer of the ladder, or `RAISE`."""
        return drive(self._broke(self.bound(), start, error, args, kwargs), raises=False)

    def rejected(self, start: float, result: Any, args: Arguments, kwargs: Keywords) -> Any:
        """Record a result that `accept=` rejects; answer from the ladder, or with the result."""
        return drive(self._rejected(self.bound(), start, result, args, kwargs))

    async def acall(self, args: Arguments, kwargs: Keywords) -> Any:
        """Answer a call of a coroutine function, as `call` does."""
        return await adrive(self._call(args, kwargs))

    async def abroke(
        self, start: float, error: BaseException, args: Arguments, kwargs: Keywords
    ) -> Any:
        """Record the exception of a coroutine, as `broke` does."""
        return await adrive(self._broke(self.bound(), start, error, args, kwargs), raises=False)

    async def arejected(self, start: float, result: Any, args: Arguments, kwargs: Keywords) -> Any:
        """Record the rejected result of a coroutine, as `rejected` does."""
        return await adrive(self._rejected(self.bound(), start, result, args, kwargs))

    def bind(self, watch: Watch | None) -> None:
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

    def bound(self) -> Watch:
        """Return the watch of the current runtime, which adopts the flag when it is new to it."""
        return self.watch or self.flag.bound()

    def accepted(self, result: Any) -> bool:
        """Return whether `accept=` takes a result; an `accept` that raises takes it."""
        try:
            return self.accept is None or bool(self.accept(result))
        except Exception:  # the user's predicate is broken: said once, and the result stands
            if self.flag.first("accept"):
                log.exception("accept= of %s raised; the result is accepted", self.flag.name)
            return True

    # ------------------------------------------------------------------ the steps of a call

    def _call(self, args: Arguments, kwargs: Keywords) -> Steps:
        watch = self.bound()
        route = self.flag.admit(watch)
        try:
            if route is not SERVE:
                return (yield from self._run(watch, args, kwargs))
            stamp = watch.gate.stamp
            answer = yield from self._walk(watch, args, kwargs, watch.resolved.mode, stamp)
            if answer is None:
                raise self._unavailable(watch, stamp.reason)
            return answer.value
        finally:
            self.flag.leave(watch, route)

    def _run(self, watch: Watch, args: Arguments, kwargs: Keywords) -> Steps:
        key = self._due(watch, args, kwargs)
        start = watch.clock()
        do: Callable[[], Any] = partial(self.fn, *args, **kwargs)
        scope = Scope()
        if self.deadline is not None:
            do = self.deadline.bounding(do, partial(self._capture_late, watch, key, scope, start))
        watch.recorder.started.append(start)
        try:
            if key is None:
                result = yield Step(do, self.awaits)
            else:
                with scope:
                    result = yield Step(do, self.awaits)
                if scope.tainted:
                    key = None
        except BaseException as error:  # noqa: BLE001 - every end of a call is an outcome
            return (yield from self._broke(watch, start, error, args, kwargs))
        if not self.accepted(result):
            return (yield from self._rejected(watch, start, result, args, kwargs))
        watch.recorder.ended.extend((start, watch.clock()))
        self._capture(watch, key, result, start)
        return result

    def _broke(
        self, watch: Watch, start: float, error: BaseException, args: Arguments, kwargs: Keywords
    ) -> Steps:
        late = self.deadline is not None and self.deadline.passed(error)
        if not self._failed(watch, start, error, late=late):
            return RAISE
        reason = "its deadline passed" if late else f"failed call: {type(error).__name__}"
        stamp = Stamp(self.flag.name, reason, None)
        answer = yield from self._walk(watch, args, kwargs, Mode.DEGRADED, stamp)
        if answer is not None:
            return answer.value
        if late:
            raise self._unavailable(watch, f"{self.deadline} passed") from None
        watch.ended(CallClass.FAILED)
        return RAISE

    def _rejected(
        self, watch: Watch, start: float, result: Any, args: Arguments, kwargs: Keywords
    ) -> Steps:
        watch.recorder.marked.append(Marked(start, watch.clock(), Outcome.FAILURE))
        stamp = Stamp(self.flag.name, "result rejected", None)
        answer = yield from self._walk(watch, args, kwargs, Mode.DEGRADED, stamp)
        if answer is None:
            watch.ended(CallClass.FAILED)
            return result
        return answer.value

    def _walk(
        self, watch: Watch, args: Arguments, kwargs: Keywords, mode: Mode, stamp: Stamp
    ) -> Generator[Step, Any, Answer | None]:
        """Go down the ladder; return the first answer, recorded and noted."""
        call = Call(
            args=args,
            kwargs=kwargs,
            subject=who(),
            monotonic_s=watch.clock(),
            wall_s=watch.wall(),
        )
        for index in choose(self.kinds, mode):
            rung = self.rungs[index]
            serve = rung.serve_async if rung.is_async else rung.serve
            try:
                answer: Answer | None = yield Step(partial(serve, call), rung.is_async)
                if answer is None and isinstance(rung, BoundSnapshot):
                    answer = yield from self._ask(watch, rung, call)
            except Exception as error:  # noqa: BLE001 - a broken rung is one that cannot serve
                self._rung_broke(watch, rung, error)
                continue
            except BaseException:  # cancelled or interrupted in its rung: a class, and on it goes
                watch.ended(CallClass.ABANDONED)
                raise
            if answer is not None:
                watch.answered(rung.kind, answer.age_s)
                around = context()
                if around is not None:
                    keep = around.aside if rung.side_effect else around.note
                    keep((stamp, rung.kind, answer.age_s))
                return answer
        return None

    # ------------------------------------------------------------------ outcomes

    def _failed(self, watch: Watch, start: float, error: BaseException, *, late: bool) -> bool:
        """Record how a call ended by `error`; return whether the ladder may answer it."""
        outcome = Outcome.TIMEOUT if late else self.flag.outcome(error)
        watch.recorder.marked.append(Marked(start, watch.clock(), outcome))
        if outcome is Outcome.ABANDONED:
            watch.ended(CallClass.ABANDONED)
            return False
        if outcome is Outcome.IGNORED:
            watch.ended(CallClass.IGNORED)
            return False
        if not late and self.flag.first(type(error)):
            log.warning(
                "%s failed with %s; further ones of this type are only counted",
                self.flag.name,
                type(error).__name__,
                exc_info=error,
            )
        return True

    def _rung_broke(self, watch: Watch, rung: BoundRung, error: Exception) -> None:
        watch.counters.dropped.append(f"rung_{rung.kind.value}")
        if self.flag.first((rung.kind, type(error))):
            log.warning(
                "rung %s of %s failed; the next one is tried",
                rung.kind.value,
                self.flag.name,
                exc_info=error,
            )

    def _unavailable(self, watch: Watch, cause: str) -> UnavailableError:
        watch.ended(CallClass.FAILED)
        around = context()
        if around is not None:
            around.branch()
        return UnavailableError(
            self.flag.name,
            since=watch.gate.stamp.since,
            retry_after_s=watch.retry_after_s(),
            cause=cause,
        )

    # ------------------------------------------------------------------ snapshots

    def _ask(
        self, watch: Watch, rung: BoundSnapshot, call: Call
    ) -> Generator[Step, Any, Answer | None]:
        """Ask the tier that the fleet shares for what memory does not have, for milliseconds."""
        asker = current().asker
        question = None if asker is None else asker.ask(rung, call, after_s=watch.off_ended)
        if asker is None or question is None:
            return None
        wait = asker.awaited if self.awaits else asker.wait
        found: Found | None = yield Step(partial(wait, question), self.awaits)
        return None if found is None else rung.serve_found(found, watch.clock())

    def _due(self, watch: Watch, args: Arguments, kwargs: Keywords) -> Key | None:
        """Return the key under which a result should be captured now, None when none should."""
        if self.snapshot is None:
            return None
        return self.snapshot.wanted(args, kwargs, who(), watch.clock())

    def _capture(self, watch: Watch, key: Key | None, result: Any, start: float) -> None:
        """Encode a result now, so that no later change reaches it, and send it on its way."""
        if self.snapshot is None or key is None:
            return
        runtime = current()
        try:
            admitted_s = runtime.store_now() - (watch.clock() - start)
            captured = self.snapshot.capture(
                key, result, admitted_s=start, wall_s=admitted_s, epoch=watch.state.epoch
            )
            if captured is not None:
                runtime.keep(captured)
        except Exception:  # noqa: BLE001 - a store of others, or a bug of ours: the result stands
            runtime.troubles.note("capture")

    def _capture_late(
        self, watch: Watch, key: Key | None, scope: Scope, start: float, result: Any
    ) -> None:
        """Take the result of a coroutine that finished after its deadline."""
        if not scope.tainted and self.accepted(result):
            self._capture(watch, key, result, start)


def _nowhere(*_: object) -> None:
    """Bind nothing: the guard has no wrapper yet."""
