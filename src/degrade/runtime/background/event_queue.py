"""Events of the automation on their way into the store's log, kept until they are written.

    tell ──> waiting ──> batch ──append──> the log      oldest first
                           └── failed: kept; tried again once the store answered a later poll

An append that failed may have been carried out all the same (its answer came too late), so the
log is asked for the batch before it is tried again. What is found there is not written twice.
"""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from degrade.ports import EventDraft

if TYPE_CHECKING:
    from collections.abc import Mapping

    from degrade.core.records import Event
    from degrade.runtime.runtime import Runtime

__all__ = ("MOST_WAITING", "EventQueue")

MOST_WAITING: Final = 10_000
LATE_S: Final = 1.0
"""An event that was written later than this after it happened says by how much."""
_BATCH: Final = 200
_AGAIN_S: Final = 1.0
_LONGEST_S: Final = 30.0
_LOOK_BACK: Final = 1_000
"""Newest events among which a batch is looked for."""
_DRIFT_S: Final = 1.0
"""How far the store's time, as it is known without asking, may be ahead of the truth."""

_Told = tuple[EventDraft, float]
"""A draft, and the monotonic time of what it tells."""


class EventQueue:
    """The events of one runtime that its store's log does not have yet.

    Args:
        runtime: Whose.

    Attributes:
        failed: The last append failed; what comes meanwhile waits behind it.

    Guarantees:
        They are written in order, and none is lost while the process runs, but the oldest of
        more than `MOST_WAITING`, which are counted. One is written twice only if an append that
        timed out is carried out between the look into the log and the next append, or if a
        thousand newer events hide it. The end of the process waits for none.
    """

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._waiting: deque[_Told] = deque(maxlen=MOST_WAITING)
        self._batch: list[_Told] = []
        self._tried_at = 0.0
        self._again_at = float("-inf")
        self._pause_s = _AGAIN_S
        self.failed = False

    def tell(self, draft: EventDraft) -> None:
        """Add an event that happened now; callable from any thread, never blocks."""
        if len(self._waiting) >= MOST_WAITING:
            self._runtime.internal_errors.note("queue_full", tell=False)
        self._waiting.append((draft, self._runtime.clock.monotonic()))

    def write(self) -> None:
        """Write what waits; not after an append that failed, which is for `retry`."""
        if not self.failed:
            self._write()

    def due(self) -> bool:
        """Return whether to `retry`, now that the store answered something else."""
        waits = self.failed or self._waiting
        return bool(waits) and self._runtime.clock.monotonic() >= self._again_at

    def retry(self) -> None:
        """Write what waits, also after an append that failed: less and less often while it does."""
        self._again_at = self._runtime.clock.monotonic() + self._pause_s
        self._pause_s = min(_LONGEST_S, 2 * self._pause_s)
        if self.failed:
            self._forget_written()
        self._write()
        self._again_at, self._pause_s = float("-inf"), _AGAIN_S

    def _write(self) -> None:
        store, waiting = self._runtime.store, self._waiting
        while self._batch or waiting:
            while waiting and len(self._batch) < _BATCH:
                self._batch.append(waiting.popleft())
            now = self._runtime.clock.monotonic()
            if not self.failed:
                self._tried_at = store.now()
            self.failed = True  # until it is known to be written
            store.append([_dated(draft, now - at) for draft, at in self._batch])
            self.failed, self._batch = False, []

    def _forget_written(self) -> None:
        """Take out of the batch what is in the log since it was tried first."""
        instance, since = self._runtime.instance, self._tried_at - _DRIFT_S
        there = Counter(
            _sign(event)
            for event in self._runtime.store.events(limit=_LOOK_BACK)
            if event.instance == instance and event.at >= since
        )
        kept: list[_Told] = []
        for draft, at in self._batch:
            sign = _sign(draft)
            if there[sign]:
                there[sign] -= 1
            else:
                kept.append((draft, at))
        self._batch, self.failed = kept, bool(kept)


def _dated(draft: EventDraft, late_s: float) -> EventDraft:
    if late_s <= LATE_S:
        return draft
    return replace(draft, evidence={**draft.evidence, "late_s": round(late_s, 1)})


def _sign(told: EventDraft | Event) -> tuple[object, ...]:
    """Return what tells an event of an instance from its others, however late it is written."""
    evidence: Mapping[str, Any] = told.evidence
    return (
        told.type,
        told.flag,
        told.cause,
        *(repr(evidence.get(name)) for name in ("from", "to", "share", "cooldown_s")),
    )
