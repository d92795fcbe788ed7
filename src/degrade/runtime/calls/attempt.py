"""One call on the books: its start, its end and its class, each recorded once.

An interrupt (see `degrade.interrupts`) may come after any instruction, so nobody can know whether
the one that records was executed. What is recorded is therefore an iterator that a queue consumes:
doing it again records nothing, and `close` may do it again whatever happened.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from degrade.core.enums import CallClass, Outcome, RungKind
from degrade.runtime.monitoring.call_recorder import EndedCall

if TYPE_CHECKING:
    from degrade.runtime.monitoring.flag_monitor import FlagMonitor

__all__ = ("Attempt",)

_Record = tuple[Callable[[Iterator[Any]], None], Iterator[Any]]


class Attempt:
    """A call that is under way.

    Args:
        watch: Where it counts.
        start: When its function was called, monotonic seconds; None until `begin`.
        is_recorded: Its end is on the books already.

    Guarantees:
        After `close`, which may be called any number of times, the call is in flight no more and
        has one outcome and one class; those that were not said are `abandoned`.
    """

    __slots__ = ("_class", "_end", "start", "watch")

    def __init__(
        self, watch: FlagMonitor, start: float | None = None, *, is_recorded: bool = False
    ) -> None:
        self.watch = watch
        self.start = start
        self._end: _Record | None = (_nowhere, iter(())) if is_recorded else None
        self._class: _Record | None = self._end

    def begin(self) -> float:
        """Record that the function is called now, and return the time."""
        start = self.start = self.watch.clock()
        self.watch.recorder.started.append(start)
        return start

    def succeed(self) -> None:
        """Record that the function returned a good result, which is a full answer."""
        end: tuple[Any, ...] = (self.start, self.watch.clock())
        self._end = self._class = self.watch.recorder.ended.extend, iter(end)
        self._end[0](self._end[1])

    def end(self, outcome: Outcome) -> None:
        """Record any other end of the function, unless one was recorded."""
        if self._end is None:
            if self.start is None:
                return
            mark = EndedCall(self.start, self.watch.clock(), outcome)
            self._end = self.watch.recorder.marked.extend, iter((mark,))
        self._end[0](self._end[1])

    def withdraw(self) -> None:
        """Take back the start: another attempt guards what the function began."""
        try:
            self.watch.recorder.started.remove(self.start)  # type: ignore[arg-type]  # it began
        except ValueError:
            self.close()  # counted as running already
        self._end = self._class = _nowhere, iter(())

    def classify(self, how: CallClass | tuple[RungKind, float | None]) -> None:
        """Record what the caller got, unless that was recorded: a class, or a rung and an age."""
        if self._class is None:
            self._class = self.watch.counters.ends.extend, iter((how,))
        self._class[0](self._class[1])

    def close(self) -> None:
        """Finish what an interrupt may have left undone."""
        self.end(Outcome.ABANDONED)
        self.classify(CallClass.ABANDONED)


def _nowhere(record: Iterator[Any]) -> None:
    """Record nothing: it is on the books already."""
