"""The store of one host: a SQLite file that several processes and the CLI share.

    control     one row a namespace: incarnation, epoch, and the whole state as JSON
    events      the log, capped; one row an event
    flags       what was declared
    instances   the newest heartbeat of each process

Write-ahead logging lets readers go on during a write. `PRAGMA data_version` tells without I/O
to the disk whether anybody else has written. Changes of humans are synced to the disk before
they are acknowledged, heartbeats are not.

Missing is not a release. A file that was deleted, moved, emptied or replaced while a process had
it open is made again, or merged, from the last known state: see `sqlite_state`. A command, which
knows nothing, makes no file.
"""

from __future__ import annotations

import itertools
import logging
import os
import socket
import sqlite3
import threading
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import cast

from pydantic_core import PydanticSerializationError

from degrade.clock import Clock, SystemClock
from degrade.core.records import ControlState, Event, FlagInfo, InstanceReport
from degrade.errors import StoreError
from degrade.forks import follow_forks
from degrade.ports import Change, EventDraft
from degrade.stores.sqlite_rows import (
    data_version,
    look,
    namespaces,
    put_events,
    put_state,
    readable,
    transaction,
)
from degrade.stores.sqlite_schema import (
    TO_CREATE,
    Damaged,
    alone,
    explained,
    fate,
    is_empty,
    open_file,
    remove_leftovers,
)
from degrade.stores.sqlite_state import Kept, filled, is_lost, next_life, with_change
from degrade.stores.state_changes import (
    EVENT_CAP,
    LogHead,
    Written,
    append_drafts,
    apply_change,
    apply_sweep,
    sequence,
)
from degrade.stores.urls import checked_namespace
from degrade.units import Duration, seconds

__all__ = ("SQLiteStore",)

log = logging.getLogger("degrade.stores")

_FORGET_S = 86_400.0
"""Heartbeats older than this are deleted, seconds."""

_NOT_TEXT = (UnicodeEncodeError, PydanticSerializationError)
"""What text that is not valid Unicode leads to when it is written."""

_LEFT_ALONE: list[sqlite3.Connection] = []
"""Connections of a parent process that a child must not touch, not even to close them."""


_ASK_ANYWAY_S = 1.0
"""How long `changed` trusts the look of the log alone, seconds: two commits within one tick of the
file system's clock may look like one."""

_Stamp = tuple[int, int, int]


class SQLiteStore:
    """Keeps namespaces in one SQLite file, shared by the processes of a host.

    Args:
        path: The file; its directory must exist, on a local disk.
        clock: Its wall time is the store's time.
        create: Make the file, and the namespace in it, at the first use, and again whenever it is
            lost. False refuses a store that is not there, as commands do.
        namespace: Which fleet; several live in one file without seeing each other.
        busy: How long to wait for another writer before giving up.
        event_cap: Events kept; the oldest go first.

    Guarantees:
        Every failure is a `StoreError` that says what to do. A change is written as a whole or
        not at all, also when the process is killed. A state that was lost, or went back, is
        restored from what is known here. Safe from several threads, and in forked children,
        which get a connection of their own.

    Cost:
        Blocks: some 10 microseconds for `changed`, a sync of the disk for `change`, at worst
        `busy` behind another writer. One connection, opened at the first use.
    """

    shared = True
    fleet = None
    blobs = None

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        clock: Clock | None = None,
        namespace: str = "default",
        create: bool = True,
        busy: Duration = "2s",
        event_cap: int = EVENT_CAP,
    ) -> None:
        self.path = Path(path).expanduser().absolute()
        self.namespace = checked_namespace(namespace)
        self._clock: Clock = SystemClock() if clock is None else clock
        self._busy_s = seconds(busy, what="busy")
        self._event_cap = event_cap
        self._create = create
        self._known: Kept | None = None
        self._end = LogHead()
        self._told: set[tuple[str, str]] = set()
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        self._inode: tuple[int, int] | None = None
        self._mode: int | None = None
        self._fork_locked = False
        self._read_marker: tuple[str, int] | None = None
        self._data_version: int | None = None
        self._log_path = self.path.with_name(f"{self.path.name}-wal")
        self._quiet_since: tuple[_Stamp | None, float] = (None, 0.0)
        self._closed = False
        self._callbacks: list[Callable[[ControlState | None], None]] = []
        follow_forks(self)

    @property
    def url(self) -> str:
        return f"sqlite:///{self.path}"

    def now(self) -> float:
        return self._clock.wall()

    def read(self) -> ControlState:
        stamp = self._log_stamp()
        with self._using() as connection:
            version = data_version(connection)
            state = self._learn(*self._settled(connection))
            self._data_version = version
            self._quiet_since = (stamp, self._clock.monotonic())
            self._read_marker = (state.incarnation, state.epoch)
            update = {"now": self._clock.wall(), "holds": dict(state.holds)}
            return state.model_copy(update=update)

    def changed(self, since: ControlState | None = None) -> bool:
        if since is not None and self._read_marker != (since.incarnation, since.epoch):
            return True
        stamp, now = self._log_stamp(), self._clock.monotonic()
        quiet, asked_at = self._quiet_since
        if stamp is not None and stamp == quiet and now - asked_at < _ASK_ANYWAY_S:
            return False
        with self._using() as connection:
            version = data_version(connection)
            if self._read_marker is None:
                return True
            if version == self._data_version:
                self._quiet_since = (stamp, now)
                return False
            row = connection.execute(
                "SELECT incarnation, epoch FROM control WHERE namespace = ?", (self.namespace,)
            ).fetchone()
            if row != self._read_marker:
                return True
            self._data_version = version
            self._quiet_since = (stamp, now)
            return False

    def _log_stamp(self) -> _Stamp | None:
        """Return what every commit changes of the files; None when one of them is not there."""
        try:
            log, file = self._log_path.stat(), self.path.stat()
        except OSError:
            return None
        return (file.st_ino, log.st_size, log.st_mtime_ns) if file.st_size else None

    def change(self, change: Change) -> tuple[Event, ...]:
        return self._shared(
            self._write(
                lambda state, head, now: apply_change(state, head, change, now=now), synced=True
            )
        )

    def sweep(self, instance: str) -> tuple[Event, ...]:
        return self._shared(
            self._write(
                lambda state, head, now: apply_sweep(state, head, instance, now=now), synced=True
            )
        )

    def append(self, drafts: Sequence[EventDraft]) -> tuple[Event, ...]:
        if not drafts:
            return ()
        return self._write(
            lambda state, head, now: append_drafts(state, head, drafts, now=now), synced=False
        )

    def events(
        self, *, since: str | None = None, flag: str | None = None, limit: int = 1_000
    ) -> list[Event]:
        where, values = "namespace = ?", [self.namespace]
        if flag is not None:
            where, values = f"{where} AND flag = ?", [*values, flag]
        after = -1 if since is None else sequence(since)
        order = "DESC" if since is None else "ASC"
        if limit <= 0:
            return []
        with self._using() as connection:
            rows = connection.execute(
                f"SELECT body FROM events WHERE {where} AND seq > ? ORDER BY seq {order}",  # noqa: S608 - our own words
                (*values, after),
            )
            found = list(itertools.islice(readable(Event, rows), limit))
        return found[::-1] if since is None else found

    def declare(self, flags: Sequence[FlagInfo]) -> None:
        rows = [(self.namespace, info.name, info.model_dump_json()) for info in flags]
        with self._using() as connection, transaction(connection):
            connection.executemany(
                "INSERT INTO flags (namespace, name, body) VALUES (?, ?, ?) "
                "ON CONFLICT (namespace, name) DO UPDATE SET body = excluded.body "
                "WHERE body <> excluded.body",
                rows,
            )

    def flags(self) -> dict[str, FlagInfo]:
        with self._using() as connection:
            rows = connection.execute(
                "SELECT body FROM flags WHERE namespace = ? ORDER BY name", (self.namespace,)
            )
            return {info.name: info for info in readable(FlagInfo, rows)}

    def report(self, report: InstanceReport) -> None:
        now = self._clock.wall()
        body = report.model_copy(update={"at": now}).model_dump_json()
        with self._using() as connection, transaction(connection):
            connection.execute(
                "INSERT INTO instances (namespace, id, at, body) VALUES (?, ?, ?, ?) "
                "ON CONFLICT (namespace, id) DO UPDATE SET at = excluded.at, body = excluded.body",
                (self.namespace, report.id, now, body),
            )
            connection.execute(
                "DELETE FROM instances WHERE namespace = ? AND at < ?",
                (self.namespace, now - _FORGET_S),
            )

    def goodbye(self, instance: str) -> None:
        with self._using() as connection, transaction(connection):
            connection.execute(
                "DELETE FROM instances WHERE namespace = ? AND id = ?", (self.namespace, instance)
            )

    def instances(self, *, within_s: float = 600.0) -> list[InstanceReport]:
        with self._using() as connection:
            rows = connection.execute(
                "SELECT body FROM instances WHERE namespace = ? AND at >= ? ORDER BY at DESC, id",
                (self.namespace, self._clock.wall() - within_s),
            )
            return list(readable(InstanceReport, rows))

    def subscribe(self, callback: Callable[[ControlState | None], None]) -> None:
        self._callbacks.append(callback)

    def close(self) -> None:
        with self._lock:
            self._closed = True
            self._drop()

    def before_fork(self) -> None:
        self._fork_locked = self._lock.acquire(timeout=self._busy_s + 1)
        if self._fork_locked:
            self._drop()

    def after_fork_in_parent(self) -> None:
        if self._fork_locked:
            self._fork_locked = False
            self._lock.release()

    def after_fork_in_child(self) -> None:
        # A connection is left here only if no thread could wait for it before the fork. It must
        # be neither used nor closed by the child while another thread was inside it.
        used, self._fork_locked = self._lock.locked() and not self._fork_locked, False
        self._lock = threading.Lock()
        if used and self._connection is not None:
            _LEFT_ALONE.append(self._connection)
            self._connection = None
        self._drop()

    def _shared(self, events: tuple[Event, ...]) -> tuple[Event, ...]:
        """Tell the subscribers of a change, after the lock is released."""
        if events:
            for callback in self._callbacks:
                callback(None)
        return events

    def _write(
        self, apply: Callable[[ControlState, LogHead, float], Written], *, synced: bool
    ) -> tuple[Event, ...]:
        with self._using() as connection:
            with transaction(connection, synced=synced):
                state, head = self._settled(connection)
                written = apply(state, head, self._clock.wall())
                if written.events:
                    if written.state is not state:
                        written = with_change(written)
                    self._put(connection, written, before=state)
            if written.events and not self._create and (lost := fate(self.path, self._inode)):
                raise Damaged(
                    f"{lost} while it was written, so it may be lost: look, and try again"
                )
            self._learn(written.state, written.head)
            return written.events

    def _put(self, connection: sqlite3.Connection, written: Written, *, before: object) -> None:
        if written.state is not before:
            put_state(connection, self.namespace, written.state)
            # Our own commit leaves our data_version alone, so `changed` must ask the table.
            self._data_version = None
            self._quiet_since = (None, 0.0)
        put_events(connection, self.namespace, written, cap=self._event_cap)

    def _settled(self, connection: sqlite3.Connection) -> tuple[Kept, LogHead]:
        """Return the state and the end of the log, made or restored if the file lacks them."""
        shown, head = look(connection, self.namespace)
        if shown is not None and not is_lost(self._known, shown):
            return shown, head
        if not self._create:
            there = ", ".join(map(repr, namespaces(connection)))
            raise Damaged(
                f"it has no namespace {self.namespace!r}{f', only {there}' if there else ''}; "
                f"check --namespace, or {TO_CREATE}"
            )
        open_one = connection.in_transaction
        with nullcontext() if open_one else transaction(connection, synced=True):
            shown, head = look(connection, self.namespace)  # another process may have been faster
            if shown is not None and not is_lost(self._known, shown):
                return shown, head
            written = next_life(
                self._known, shown, max(head, self._end, key=lambda end: end.seq),
                incarnation=uuid.uuid4().hex,
                writer=f"{socket.gethostname()}/{os.getpid()}",
                now=self._clock.wall(),
            )  # fmt: skip
            self._put(connection, written, before=shown)
        for event in written.events:
            log.warning("%s (%s): the last known state was restored", event.cause, self.path)
        return cast("Kept", written.state), written.head

    def _learn(self, state: ControlState, head: LogHead) -> Kept:
        """Take what is in the file now; what cannot be read stays as it was known."""
        shown = cast("Kept", state)  # as it was read, with what a change made of it
        for place, records in shown.unread.items():
            for name in sorted(records):
                if (place, name) not in self._told:
                    self._told.add((place, name))
                    log.warning(
                        "what %s has for %r cannot be read, and changes nothing: it is damaged, "
                        "or another release wrote it", place, name,
                    )  # fmt: skip
        found = filled(shown, self._known)
        if self._create:
            self._known, self._end = found, head
        return found

    def _open(self) -> sqlite3.Connection:
        with alone(self.path, within_s=self._busy_s) as locked:
            connection = open_file(
                self.path, busy_s=self._busy_s, create=self._create, tidy=locked, mode=self._mode
            )
            try:
                self._settled(connection)
                stat = self.path.stat()
            except BaseException:  # the connection must not leak, whatever it is; raised again
                connection.close()
                raise
        self._connection, self._inode = connection, (stat.st_dev, stat.st_ino)
        self._mode = stat.st_mode & 0o777
        return connection

    @contextmanager
    def _using(self) -> Iterator[sqlite3.Connection]:
        """Give the connection to one thread, and turn every failure into a `StoreError`."""
        with self._lock:
            if self._closed:
                raise StoreError(f"the store {self.url} is closed")
            try:
                if self._connection is not None and fate(self.path, self._inode):
                    self._leave(self._connection)
                yield self._connection or self._open()
            except (sqlite3.Error, OSError, Damaged, *_NOT_TEXT) as error:
                self._drop()
                raise explained(error, self.path) from error

    def _leave(self, connection: sqlite3.Connection) -> None:
        """Close a file that is gone, after a last look: it still has what was not read from it."""
        try:
            if self._create and is_empty(self.path):
                with alone(self.path, within_s=self._busy_s) as locked:
                    # Before it is closed, which would write the log into the empty file; but not
                    # what another process has made of it meanwhile.
                    if locked and is_empty(self.path):
                        remove_leftovers(self.path)
            shown, head = look(connection, self.namespace)
            if self._known is not None and shown is not None and not is_lost(self._known, shown):
                self._learn(shown, head)
            if not is_empty(self.path):
                connection.execute("PRAGMA wal_checkpoint")  # into a file that was moved away
        except (sqlite3.Error, Damaged):  # it was emptied, or is damaged: what is known stays
            return
        finally:
            self._drop()

    def _drop(self) -> None:
        connection, self._connection, self._data_version = self._connection, None, None
        self._quiet_since = (None, 0.0)
        if connection is not None:
            try:
                connection.close()
            except sqlite3.Error:  # nothing can be done with a connection that does not even close
                return

    def __repr__(self) -> str:
        return f"SQLiteStore({str(self.path)!r}, namespace={self.namespace!r})"
