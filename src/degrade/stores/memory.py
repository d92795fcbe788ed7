"""The store of one process: nothing to set up, nothing that outlives it."""

from __future__ import annotations

import threading
import uuid
import zlib
from collections import deque
from collections.abc import Callable, Sequence

from degrade.clock import Clock, SystemClock
from degrade.core.records import ControlState, Event, FlagInfo, InstanceReport
from degrade.errors import StoreError
from degrade.forks import follow_forks
from degrade.ports import Change, EventDraft
from degrade.stores.state_changes import (
    EVENT_CAP,
    LogHead,
    Written,
    append_drafts,
    apply_change,
    apply_sweep,
    event_id,
    sequence,
)
from degrade.stores.urls import checked_namespace

__all__ = ("MemoryStore",)


class MemoryStore:
    """Keeps a namespace in this process's memory.

    Args:
        clock: Its wall time is the store's time.
        namespace: Which fleet it belongs to; for people only, as nobody else can see it.
        event_cap: Events kept; the oldest go first.

    Guarantees:
        Safe from several threads. A forked child has a copy of its own.

    Cost:
        A lock held for microseconds; no I/O.
    """

    shared = False
    fleet = None
    blobs = None

    def __init__(
        self,
        *,
        clock: Clock | None = None,
        namespace: str = "default",
        event_cap: int = EVENT_CAP,
    ) -> None:
        self.namespace = checked_namespace(namespace)
        self._clock: Clock = SystemClock() if clock is None else clock
        self._lock = threading.Lock()
        self._state = ControlState(incarnation=uuid.uuid4().hex, epoch=0, now=self._clock.wall())
        self._head = LogHead()
        self._events: deque[Event] = deque(maxlen=event_cap)
        self._flags: dict[str, bytes] = {}
        self._instances: dict[str, tuple[float, bytes]] = {}
        self._read_epoch: int | None = None
        self._closed = False
        self._callbacks: list[Callable[[ControlState | None], None]] = []
        follow_forks(self)

    @property
    def url(self) -> str:
        return "memory://"

    def now(self) -> float:
        return self._clock.wall()

    def read(self) -> ControlState:
        with self._lock:
            self._check()
            self._read_epoch = self._state.epoch
            return self._state.model_copy(update={"now": self._clock.wall()}, deep=True)

    def changed(self, since: ControlState | None = None) -> bool:
        self._check()
        return (self._read_epoch if since is None else since.epoch) != self._state.epoch

    def change(self, change: Change) -> tuple[Event, ...]:
        written = self._write(lambda now: apply_change(self._state, self._head, change, now=now))
        return self._told(written)

    def sweep(self, instance: str) -> tuple[Event, ...]:
        written = self._write(lambda now: apply_sweep(self._state, self._head, instance, now=now))
        return self._told(written)

    def append(self, drafts: Sequence[EventDraft]) -> tuple[Event, ...]:
        return self._write(lambda now: append_drafts(self._state, self._head, drafts, now=now))

    def events(
        self, *, since: str | None = None, flag: str | None = None, limit: int = 1_000
    ) -> list[Event]:
        after = "" if since is None else event_id(sequence(since))
        with self._lock:
            self._check()
            found = [
                event
                for event in self._events
                if event.id > after and (flag is None or event.flag == flag)
            ]
        if limit <= 0:
            return []
        return found[-limit:] if since is None else found[:limit]

    def declare(self, flags: Sequence[FlagInfo]) -> None:
        with self._lock:
            self._check()
            self._flags.update((info.name, info.model_dump_json().encode()) for info in flags)

    def flags(self) -> dict[str, FlagInfo]:
        with self._lock:
            self._check()
            found = sorted(self._flags.items())
        return {name: FlagInfo.model_validate_json(body) for name, body in found}

    def report(self, report: InstanceReport) -> None:
        with self._lock:
            self._check()
            at = self._clock.wall()
            body = zlib.compress(report.model_copy(update={"at": at}).model_dump_json().encode(), 1)
            self._instances[report.id] = (at, body)

    def goodbye(self, instance: str) -> None:
        with self._lock:
            self._check()
            self._instances.pop(instance, None)

    def instances(self, *, within_s: float = 600.0) -> list[InstanceReport]:
        with self._lock:
            self._check()
            oldest = self._clock.wall() - within_s
            bodies = [body for at, body in self._instances.values() if at >= oldest]
        recent = [InstanceReport.model_validate_json(zlib.decompress(body)) for body in bodies]
        return sorted(recent, key=lambda report: (-report.at, report.id))

    def subscribe(self, callback: Callable[[ControlState | None], None]) -> None:
        self._callbacks.append(callback)

    def close(self) -> None:
        with self._lock:
            self._closed = True

    def before_fork(self) -> None:
        self._lock.acquire()

    def after_fork_in_parent(self) -> None:
        self._lock.release()

    def after_fork_in_child(self) -> None:
        self._lock = threading.Lock()

    def _write(self, apply: Callable[[float], Written]) -> tuple[Event, ...]:
        with self._lock:
            self._check()
            written = apply(self._clock.wall())
            self._state, self._head = written.state, written.head
            self._events.extend(written.events)
        return written.events

    def _told(self, events: tuple[Event, ...]) -> tuple[Event, ...]:
        """Tell the subscribers of a change, after the lock is released."""
        if events:
            for callback in self._callbacks:
                callback(None)
        return events

    def _check(self) -> None:
        if self._closed:
            raise StoreError("the memory store is closed")

    def __repr__(self) -> str:
        return f"MemoryStore(namespace={self.namespace!r})"
