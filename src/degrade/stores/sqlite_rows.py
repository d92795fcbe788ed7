"""Rows of the SQLite file: transactions, and what is read and written in them."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar, cast

from pydantic import BaseModel, ValidationError

from degrade.core.records import ControlState, Event
from degrade.stores.sqlite_schema import Damaged
from degrade.stores.sqlite_state import Kept, body_of, state_of
from degrade.stores.state_changes import LogHead, Written, digest

__all__ = (
    "data_version",
    "look",
    "namespaces",
    "put_events",
    "put_state",
    "readable",
    "transaction",
)

log = logging.getLogger("degrade.stores")

RecordT = TypeVar("RecordT", bound=BaseModel)


@contextmanager
def transaction(connection: sqlite3.Connection, *, synced: bool = False) -> Iterator[None]:
    """Write as a whole or not at all; `synced` waits until a crash of the host would not lose it."""
    connection.execute(f"PRAGMA synchronous = {'FULL' if synced else 'NORMAL'}")
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:  # whatever it is, half a change must not stay open; it is raised again
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def data_version(connection: sqlite3.Connection) -> int:
    """Return what differs once another connection has written."""
    version: int = connection.execute("PRAGMA data_version").fetchone()[0]
    return version


def readable(kind: type[RecordT], rows: Iterable[tuple[str]]) -> Iterator[RecordT]:
    """Yield the records that this release can read; a newer form counts as not written."""
    for (body,) in rows:
        try:
            yield kind.model_validate_json(body)
        except ValidationError:
            log.debug("a %s cannot be read; it is left out", kind.__name__)


def look(connection: sqlite3.Connection, namespace: str) -> tuple[Kept | None, LogHead]:
    """Return what the file has of a namespace: the state, None without one, and the log's end.

    Raises:
        Damaged: The state cannot be read.
    """
    row = connection.execute(
        "SELECT incarnation, epoch, state FROM control WHERE namespace = ?", (namespace,)
    ).fetchone()
    last = connection.execute(
        "SELECT seq, body FROM events WHERE namespace = ? ORDER BY seq DESC LIMIT 1", (namespace,)
    ).fetchone()
    head = LogHead()
    if last is not None:
        newest = next(readable(Event, [last[1:]]), None)
        head = LogHead(last[0], "" if newest is None else digest(newest))
    if row is None:
        return None, head
    incarnation, epoch, body = row
    try:
        state = state_of(body)
    except ValueError as error:
        raise Damaged(
            "its state is damaged, or of a newer release; upgrade degrade here, or move the file "
            "away, and the processes that run make it again"
        ) from error
    if (state.incarnation, state.epoch) != (incarnation, epoch):
        raise Damaged("its control row contradicts itself")
    return state, head


def put_state(connection: sqlite3.Connection, namespace: str, state: ControlState) -> None:
    """Write the state of a namespace over the one before."""
    connection.execute(
        "INSERT INTO control (namespace, incarnation, epoch, state) VALUES (?, ?, ?, ?) "
        "ON CONFLICT (namespace) DO UPDATE SET incarnation = excluded.incarnation, "
        "epoch = excluded.epoch, state = excluded.state",
        (namespace, state.incarnation, state.epoch, body_of(cast("Kept", state))),
    )


def put_events(
    connection: sqlite3.Connection, namespace: str, written: Written, *, cap: int
) -> None:
    """Write events, and forget the oldest ones beyond the cap."""
    connection.executemany(
        "INSERT INTO events (namespace, seq, flag, body) VALUES (?, ?, ?, ?)",
        [
            (namespace, int(event.id), event.flag, event.model_dump_json())
            for event in written.events
        ],
    )
    connection.execute(
        "DELETE FROM events WHERE namespace = ? AND seq <= ?", (namespace, written.head.seq - cap)
    )


def namespaces(connection: sqlite3.Connection) -> list[str]:
    """Return the names of the namespaces in the file."""
    rows = connection.execute("SELECT namespace FROM control ORDER BY namespace")
    return [name for (name,) in rows]
