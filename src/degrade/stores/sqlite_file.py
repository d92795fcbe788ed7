"""The SQLite file itself: opening it, its tables, and what its failures mean to people."""

from __future__ import annotations

import os
import sqlite3
import time
from pathlib import Path

from degrade.errors import StoreError

__all__ = ("APPLICATION_ID", "SCHEMA_VERSION", "Damaged", "check_file", "explained", "open_file")

APPLICATION_ID = 0x64677264
"""`dgrd`, in the file's header: a database of another program is never written to."""

SCHEMA_VERSION = 1

_TABLES = """
CREATE TABLE control (
    namespace TEXT PRIMARY KEY, incarnation TEXT NOT NULL, epoch INTEGER NOT NULL,
    state TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE events (
    namespace TEXT NOT NULL, seq INTEGER NOT NULL, flag TEXT, body TEXT NOT NULL,
    PRIMARY KEY (namespace, seq)
) WITHOUT ROWID;
CREATE INDEX events_of_flag ON events (namespace, flag, seq);
CREATE TABLE flags (
    namespace TEXT NOT NULL, name TEXT NOT NULL, body TEXT NOT NULL,
    PRIMARY KEY (namespace, name)
) WITHOUT ROWID;
CREATE TABLE instances (
    namespace TEXT NOT NULL, id TEXT NOT NULL, at REAL NOT NULL, body TEXT NOT NULL,
    PRIMARY KEY (namespace, id)
) WITHOUT ROWID;
"""

_ADVICE = {
    sqlite3.SQLITE_BUSY: "another process keeps it locked; look for a stuck writer",
    sqlite3.SQLITE_LOCKED: "another process keeps it locked; look for a stuck writer",
    sqlite3.SQLITE_READONLY: "it is read-only; check its owner, its mode and its file system",
    sqlite3.SQLITE_PERM: "access is denied; check its owner and its mode",
    sqlite3.SQLITE_AUTH: "access is denied; check its owner and its mode",
    sqlite3.SQLITE_FULL: "the disk is full, or a size limit is reached; make room",
    sqlite3.SQLITE_IOERR: "the disk failed or is full; check the file system",
    sqlite3.SQLITE_CORRUPT: "it is damaged; move it away, and the next process to start makes another",
    sqlite3.SQLITE_NOTADB: "it is not a SQLite database; name another file, or move it away",
    sqlite3.SQLITE_CANTOPEN: "it cannot be opened; check that its directory exists and is writable",
}


class Damaged(Exception):  # noqa: N818 - never leaves the store; `explained` turns it into one
    """The file is there, and what it holds is not ours or makes no sense."""


def open_file(path: Path, *, busy_s: float, create: bool) -> sqlite3.Connection:
    """Open the file, with its tables.

    Args:
        path: Absolute.
        busy_s: How long to wait for other writers, seconds.
        create: Make the file if it is not there.
    """
    _check_directory(path)
    if not create and not path.exists():
        raise Damaged(_GONE)
    connection = sqlite3.connect(
        f"{path.as_uri()}?mode={'rwc' if create else 'rw'}",
        uri=True,
        timeout=busy_s,
        isolation_level=None,
        check_same_thread=False,
    )
    try:
        _check_ours(connection, busy_s)
    except BaseException:  # whatever it is, the connection must not leak; it is raised again
        connection.close()
        raise
    return connection


_AGAIN_S = 0.005

_GONE = "it was deleted; the last known state stays until a new process makes the file again"


def check_file(path: Path, inode: tuple[int, int] | None) -> None:
    """Check that the open file is still the one that others open under this path."""
    try:
        stat = os.stat(path)  # noqa: PTH116 - ten times a second, and half the cost of Path.stat
    except FileNotFoundError as error:
        raise Damaged(_GONE) from error
    if (stat.st_dev, stat.st_ino) != inode:
        raise Damaged(
            "another file was put in its place, which is opened at the next try; "
            "make sure that no -wal and -shm file of the old one lies beside it"
        )


def explained(error: Exception, path: Path) -> StoreError:
    """Return the `StoreError` that tells an operator what is wrong with the file, and what to do."""
    if isinstance(error, sqlite3.Error):
        code = getattr(error, "sqlite_errorcode", None)
        advice = _ADVICE.get(code & 0xFF) if isinstance(code, int) else None
        detail = f"{advice} ({error})" if advice else str(error)
    elif isinstance(error, OSError):
        detail = error.strerror or str(error)
    else:
        detail = str(error)
    return StoreError(f"the store sqlite:///{path} cannot be used: {detail}")


def _check_directory(path: Path) -> None:
    if not path.parent.is_dir():
        raise Damaged(
            f"the directory {path.parent} does not exist; make it, or correct the path "
            "(sqlite:/// comes before a relative path, sqlite://// before an absolute one)"
        )
    if path.is_dir():
        raise Damaged("it is a directory; name a file in it")


def _check_ours(connection: sqlite3.Connection, busy_s: float) -> None:
    if _header(connection) == (0, 0, 0):
        _log_ahead(connection, busy_s)
        connection.execute("BEGIN IMMEDIATE")
        if _header(connection) == (0, 0, 0):  # nobody was faster
            for statement in _TABLES.split(";"):
                connection.execute(statement)
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        connection.execute("COMMIT")
    application, version, _ = _header(connection)
    if application != APPLICATION_ID:
        raise Damaged("it is the database of another program; name another file")
    if version > SCHEMA_VERSION:
        raise Damaged(
            f"it was written by a newer release (schema {version}, this one knows "
            f"{SCHEMA_VERSION}); upgrade degrade here"
        )


def _log_ahead(connection: sqlite3.Connection, busy_s: float) -> None:
    """Set the journal mode, for which SQLite waits for nobody who makes the same file just now."""
    end = time.monotonic() + busy_s
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() >= end:
                raise
        else:
            return
        time.sleep(_AGAIN_S)


def _header(connection: sqlite3.Connection) -> tuple[int, int, int]:
    """Return application id, schema version and number of tables."""
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    return application, version, tables
