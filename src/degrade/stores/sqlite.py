"""The store of one host: a SQLite file that several processes and the CLI share.

    control     one row a namespace: incarnation, epoch, and the whole state as JSON
    events      the log, capped; one row an event
    flags       what was declared
    instances   the newest heartbeat of each process

Write-ahead logging lets readers go on during a write. `PRAGMA data_version` tells without I/O
to the disk whether anybody else has written. Changes of humans are synced to the disk before
they are acknowledged, heartbeats are not.

A file that was there once and is gone is never made anew by the same process: an empty store
would release every hold, so the error stays until somebody else makes the file again.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import PydanticSerializationError

from degrade.clock import Clock, SystemClock
from degrade.core.records import ControlState, Event, FlagInfo, InstanceReport
from degrade.errors import StoreError
from degrade.ports import Change, Draft
from degrade.stores.apply import (
    EVENT_CAP,
    Head,
    Written,
    append_drafts,
    apply_change,
    apply_sweep,
    digest,
    sequence,
)
from degrade.stores.forks import follow_forks
from degrade.stores.sqlite_file import Damaged, check_file, explained, open_file
from degrade.stores.urls import checked_namespace
from degrade.units import Duration, seconds

__all__ = ("SQLiteStore",)

_FORGET_S = 86_400.0
"""Heartbeats older than this are deleted, seconds."""

_NOT_TEXT = (UnicodeEncodeError, PydanticSerializationError)
"""What text that is not valid Unicode leads to when it is written."""

_LEFT_ALONE: list[sqlite3.Connection] = []
"""Connections of a parent process that a child must not touch, not even to close them."""

RecordT = TypeVar("RecordT", bound=BaseModel)


_ASK_ANYWAY_S = 1.0
"""How long `changed` trusts the look of the log alone, seconds: two commits within one tick of the
file system's clock may look like one."""

_Stamp = tuple[int, int, int]


class SQLiteStore:
    """Keeps namespaces in one SQLite file, shared by the processes of a host.

    Args:
        path: The file; made at the first use. Its directory must exist, on a local disk.
        clock: Its wall time is the store's time.
        namespace: Which fleet; several live in one file without seeing each other.
        busy: How long to wait for another writer before giving up.
        event_cap: Events kept; the oldest go first.

    Guarantees:
        Every failure is a `StoreError` that says what to do. A change is written as a whole or
        not at all, also when the process is killed. Safe from several threads, and in forked
        children, which get a connection of their own.

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
        busy: Duration = "2s",
        event_cap: int = EVENT_CAP,
    ) -> None:
        self.path = Path(path).expanduser().absolute()
        self.namespace = checked_namespace(namespace)
        self._clock: Clock = SystemClock() if clock is None else clock
        self._busy_s = seconds(busy, what="busy")
        self._event_cap = event_cap
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        self._inode: tuple[int, int] | None = None
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
            version = _data_version(connection)
            state = self._state(connection)
            self._data_version = version
            self._quiet_since = (stamp, self._clock.monotonic())
            self._read_marker = (state.incarnation, state.epoch)
            return state.model_copy(update={"now": self._clock.wall()})

    def changed(self, since: ControlState | None = None) -> bool:
        if since is not None and self._read_marker != (since.incarnation, since.epoch):
            return True
        stamp, now = self._log_stamp(), self._clock.monotonic()
        quiet, asked_at = self._quiet_since
        if stamp is not None and stamp == quiet and now - asked_at < _ASK_ANYWAY_S:
            return False
        with self._using() as connection:
            version = _data_version(connection)
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
            log, inode = self._log_path.stat(), self.path.stat().st_ino
        except OSError:
            return None
        return (inode, log.st_size, log.st_mtime_ns)

    def change(self, change: Change) -> tuple[Event, ...]:
        return self._told(
            self._write(
                lambda state, head, now: apply_change(state, head, change, now=now), synced=True
            )
        )

    def sweep(self, instance: str) -> tuple[Event, ...]:
        return self._told(
            self._write(
                lambda state, head, now: apply_sweep(state, head, instance, now=now), synced=True
            )
        )

    def append(self, drafts: Sequence[Draft]) -> tuple[Event, ...]:
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
        with self._using() as connection:
            rows = connection.execute(
                f"SELECT body FROM events WHERE {where} AND seq > ? "  # noqa: S608 - our own words
                f"ORDER BY seq {order} LIMIT ?",
                (*values, after, max(0, limit)),
            ).fetchall()
            found = [_record(Event, body) for (body,) in rows]
        return found[::-1] if since is None else found

    def declare(self, flags: Sequence[FlagInfo]) -> None:
        rows = [(self.namespace, info.name, info.model_dump_json()) for info in flags]
        with self._using() as connection, _transaction(connection):
            connection.executemany(
                "INSERT INTO flags (namespace, name, body) VALUES (?, ?, ?) "
                "ON CONFLICT (namespace, name) DO UPDATE SET body = excluded.body "
                "WHERE body <> excluded.body",
                rows,
            )

    def flags(self) -> dict[str, FlagInfo]:
        with self._using() as connection:
            rows = connection.execute(
                "SELECT name, body FROM flags WHERE namespace = ? ORDER BY name", (self.namespace,)
            ).fetchall()
            return {name: _record(FlagInfo, body) for name, body in rows}

    def report(self, report: InstanceReport) -> None:
        now = self._clock.wall()
        body = report.model_copy(update={"at": now}).model_dump_json()
        with self._using() as connection, _transaction(connection):
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
        with self._using() as connection, _transaction(connection):
            connection.execute(
                "DELETE FROM instances WHERE namespace = ? AND id = ?", (self.namespace, instance)
            )

    def instances(self, *, within_s: float = 600.0) -> list[InstanceReport]:
        with self._using() as connection:
            rows = connection.execute(
                "SELECT body FROM instances WHERE namespace = ? AND at >= ? ORDER BY at DESC, id",
                (self.namespace, self._clock.wall() - within_s),
            ).fetchall()
            return [_record(InstanceReport, body) for (body,) in rows]

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

    def _told(self, events: tuple[Event, ...]) -> tuple[Event, ...]:
        """Tell the subscribers of a change, after the lock is released."""
        if events:
            for callback in self._callbacks:
                callback(None)
        return events

    def _write(
        self, apply: Callable[[ControlState, Head, float], Written], *, synced: bool
    ) -> tuple[Event, ...]:
        with self._using() as connection, _transaction(connection, synced=synced):
            state, head = self._state(connection), self._head(connection)
            written = apply(state, head, self._clock.wall())
            if not written.events:
                return ()
            if written.state is not state:
                connection.execute(
                    "UPDATE control SET epoch = ?, state = ? WHERE namespace = ?",
                    (written.state.epoch, written.state.model_dump_json(), self.namespace),
                )
                # Our own commit leaves our data_version alone, so `changed` must ask the table.
                self._data_version = None
                self._quiet_since = (None, 0.0)
            connection.executemany(
                "INSERT INTO events (namespace, seq, flag, body) VALUES (?, ?, ?, ?)",
                [
                    (self.namespace, int(event.id), event.flag, event.model_dump_json())
                    for event in written.events
                ],
            )
            connection.execute(
                "DELETE FROM events WHERE namespace = ? AND seq <= ?",
                (self.namespace, written.head.seq - self._event_cap),
            )
            return written.events

    def _state(self, connection: sqlite3.Connection) -> ControlState:
        row = connection.execute(
            "SELECT incarnation, epoch, state FROM control WHERE namespace = ?", (self.namespace,)
        ).fetchone()
        if row is None:
            raise Damaged("its control row is missing")
        incarnation, epoch, body = row
        state = _record(ControlState, body)
        if (state.incarnation, state.epoch) != (incarnation, epoch):
            raise Damaged("its control row contradicts itself")
        return state

    def _head(self, connection: sqlite3.Connection) -> Head:
        row = connection.execute(
            "SELECT seq, body FROM events WHERE namespace = ? ORDER BY seq DESC LIMIT 1",
            (self.namespace,),
        ).fetchone()
        return Head() if row is None else Head(row[0], digest(_record(Event, row[1])))

    def _open(self) -> sqlite3.Connection:
        connection = open_file(self.path, busy_s=self._busy_s, create=self._inode is None)
        try:
            self._begin_life(connection)
            stat = self.path.stat()
        except BaseException:  # whatever it is, the connection must not leak; it is raised again
            connection.close()
            raise
        self._connection, self._inode = connection, (stat.st_dev, stat.st_ino)
        return connection

    def _begin_life(self, connection: sqlite3.Connection) -> None:
        query = "SELECT 1 FROM control WHERE namespace = ?"
        if connection.execute(query, (self.namespace,)).fetchone() is not None:
            return
        state = ControlState(incarnation=uuid.uuid4().hex, epoch=0, now=self._clock.wall())
        with _transaction(connection, synced=True):
            connection.execute(
                "INSERT INTO control (namespace, incarnation, epoch, state) VALUES (?, ?, 0, ?) "
                "ON CONFLICT (namespace) DO NOTHING",
                (self.namespace, state.incarnation, state.model_dump_json()),
            )

    @contextmanager
    def _using(self) -> Iterator[sqlite3.Connection]:
        """Give the connection to one thread, and turn every failure into a `StoreError`."""
        with self._lock:
            if self._closed:
                raise StoreError(f"the store {self.url} is closed")
            try:
                if self._connection is not None:
                    check_file(self.path, self._inode)
                yield self._connection or self._open()
            except (sqlite3.Error, OSError, Damaged, *_NOT_TEXT) as error:
                self._drop()
                raise explained(error, self.path) from error

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


@contextmanager
def _transaction(connection: sqlite3.Connection, *, synced: bool = False) -> Iterator[None]:
    connection.execute(f"PRAGMA synchronous = {'FULL' if synced else 'NORMAL'}")
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:  # whatever it is, half a change must not stay open; it is raised again
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _data_version(connection: sqlite3.Connection) -> int:
    version: int = connection.execute("PRAGMA data_version").fetchone()[0]
    return version


def _record(kind: type[RecordT], body: str) -> RecordT:
    try:
        return kind.model_validate_json(body)
    except ValidationError as error:
        raise Damaged(f"a {kind.__name__} in it cannot be read") from error
