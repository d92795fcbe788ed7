"""The SQLite file itself: opening it, its tables, and what its failures mean to people."""

from __future__ import annotations

import os
import sqlite3
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from degrade.errors import StoreError

__all__ = (
    "APPLICATION_ID",
    "SCHEMA_VERSION",
    "TO_CREATE",
    "Damaged",
    "alone",
    "explained",
    "fate",
    "is_empty",
    "open_file",
    "remove_leftovers",
)

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
    sqlite3.SQLITE_CORRUPT: "it is damaged; move it away, and the processes that run make it again",
    sqlite3.SQLITE_NOTADB: "it is not a SQLite database; name another file, or move it away",
    sqlite3.SQLITE_CANTOPEN: "it cannot be opened; check that its directory exists and is writable",
}


class Damaged(Exception):  # noqa: N818 - never leaves the store; `explained` turns it into one
    """The file is there, and what it holds is not ours or makes no sense."""


def open_file(
    path: Path, *, busy_s: float, create: bool, tidy: bool = False, mode: int | None = None
) -> sqlite3.Connection:
    """Open the file, with its tables.

    Args:
        path: Absolute.
        busy_s: How long to wait for other writers, seconds.
        create: Make the file if it is not there, or has no tables.
        tidy: No other process makes the file now, so the log of one that is gone may go.
        mode: Permissions of a file that is made again.
    """
    _check_directory(path)
    missing = not path.exists()
    if not create and (missing or is_empty(path)):
        raise Damaged(_NOT_THERE if missing else _EMPTY)
    if tidy and (missing or is_empty(path)):
        remove_leftovers(path)
    if mode is not None and not path.exists():
        path.touch()
        path.chmod(mode)  # before SQLite gives its log the same
    connection = sqlite3.connect(
        f"{path.as_uri()}?mode={'rwc' if create else 'rw'}",
        uri=True,
        timeout=busy_s,
        isolation_level=None,
        check_same_thread=False,
    )
    try:
        _check_ours(connection, busy_s, create=create)
    except BaseException:  # whatever it is, the connection must not leak; it is raised again
        connection.close()
        raise
    return connection


_AGAIN_S = 0.005

TO_CREATE = (
    "check the path, or start the service, which makes it; to order something before its first "
    "start, say `degrade --create ...`"
)
_NOT_THERE = f"there is no such file; {TO_CREATE}"
_EMPTY = f"the file is empty, so no service has used it; {TO_CREATE}"
_ENDINGS = ("-wal", "-shm", "-journal")


@contextmanager
def alone(path: Path, *, within_s: float) -> Iterator[bool]:
    """Keep other processes from making files in the directory of a path; yield whether it worked.

    A lock on the directory leaves no file behind. Where there is none (another system, a directory
    that may not be read, a process that holds it for too long) the caller goes on without it.
    """
    if sys.platform == "win32":  # where no file can be removed that another process has open
        yield True
        return
    import fcntl  # noqa: PLC0415 - not on Windows

    try:
        handle = os.open(path.parent, os.O_RDONLY)
    except OSError:
        yield False
        return
    try:
        end, locked = time.monotonic() + within_s, False
        while not locked:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                locked = True
            except BlockingIOError:
                if time.monotonic() >= end:
                    break
                time.sleep(_AGAIN_S)
            except OSError:  # a file system without locks
                break
        yield locked
        if locked:  # a child that was forked meanwhile has the handle, too
            fcntl.flock(handle, fcntl.LOCK_UN)
    finally:
        os.close(handle)


def fate(path: Path, inode: tuple[int, int] | None) -> str | None:
    """Return what became of the open file; None while others open the same under this path."""
    try:
        stat = os.stat(path)  # noqa: PTH116 - ten times a second, and half the cost of Path.stat
    except (FileNotFoundError, NotADirectoryError):
        return "the file was deleted or moved away"
    if (stat.st_dev, stat.st_ino) != inode:
        return "another file was put in its place"
    return None if stat.st_size else "the file was emptied"


def is_empty(path: Path) -> bool:
    """Whether the file is there and has nothing in it."""
    try:
        return path.stat().st_size == 0
    except OSError:
        return False


def remove_leftovers(path: Path) -> None:
    """Remove the log of a file that is gone; a new file must not be read together with it.

    An empty file beside a log was emptied while it was in use: it goes, too, because the processes
    that have it open recognise the new one by its inode.
    """
    left = [log for ending in _ENDINGS if (log := path.with_name(path.name + ending)).exists()]
    for file in (path, *left) if left else ():
        file.unlink(missing_ok=True)


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


def _check_ours(connection: sqlite3.Connection, busy_s: float, *, create: bool) -> None:
    if _header(connection) == (0, 0, 0):
        if not create:
            raise Damaged(_EMPTY)
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
