"""Holds in a file of this host: how an operator acts when the store is dead.

Every process of one user on one host reads the file, and on that host it replaces the store's
hold on a flag. It lies where every process of that user looks whatever its environment:
`~/.local/state/degrade/<namespace>.json` with the home directory of the user database, or in
the directory that `DEGRADE_LOCAL` names.

Only a file that this user or root owns, and that nobody else can write, is obeyed.
"""

from __future__ import annotations

import json
import os
import stat
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from degrade.clock import Clock, SystemClock
from degrade.core.records import Hold
from degrade.errors import StoreError
from degrade.stores.apply import ended
from degrade.stores.urls import checked_namespace

__all__ = ("LocalHolds", "local_directory")

_MAX_BYTES = 1 << 20
"""A file larger than this was not written by us."""

_Signature = tuple[int, int, int] | None


class _File(BaseModel):
    model_config = ConfigDict(frozen=True, extra="allow", defer_build=True)

    v: Literal[1] = 1
    holds: dict[str, Hold] = {}


class LocalHolds:
    """The holds that are in force on this host alone.

    Args:
        namespace: Which fleet; each has a file of its own.
        directory: Where the file lies; `local_directory()` when None.
        clock: Its wall time stamps holds, and tells which have ended.

    Guarantees:
        Readers see the old file or the new one, never a torn one. No file is no hold. A file
        that is damaged, too large, or that others could have written is a `StoreError`, so
        that the reader keeps what it knew.

    Cost:
        `changed` is one `stat`, about 2 microseconds; `read` opens the file only when it changed.
    """

    def __init__(
        self,
        namespace: str = "default",
        *,
        directory: str | os.PathLike[str] | None = None,
        clock: Clock | None = None,
    ) -> None:
        folder = local_directory() if directory is None else Path(directory).expanduser()
        self.path = folder.absolute() / f"{checked_namespace(namespace)}.json"
        self._clock: Clock = SystemClock() if clock is None else clock
        self._holds: dict[str, Hold] = {}
        self._seen: _Signature | Literal["never"] = "never"
        self._thread_lock = threading.Lock()

    def changed(self) -> bool:
        """Whether the file differs from the one that `read` returned last.

        Raises:
            StoreError: The file cannot be looked at.
        """
        return self._signature() != self._seen

    def read(self) -> dict[str, Hold]:
        """Return flag (or `*`) to hold; expired ones may be among them.

        Raises:
            StoreError: The file cannot be read or must not be trusted.
        """
        signature = self._signature()
        if signature != self._seen:
            self._holds = self._load()
            self._seen = signature
        return dict(self._holds)

    def hold(self, flag: str, hold: Hold) -> Hold | None:
        """Write a hold on a flag (or `*`) and return the one that it replaces, if any.

        Raises:
            StoreError: The file cannot be read or written.
        """
        with self._writing() as holds:
            before = holds.get(flag)
            holds[flag] = hold
        return before

    def release(self, flag: str) -> dict[str, Hold]:
        """Remove the hold on a flag, or with `*` every hold, and return what was removed.

        Raises:
            StoreError: The file cannot be read or written.
        """
        with self._writing() as holds:
            removed = {name: hold for name, hold in holds.items() if flag in ("*", name)}
            for name in removed:
                del holds[name]
        return removed

    def _signature(self) -> _Signature:
        try:
            found = os.stat(self.path)  # noqa: PTH116 - half the cost of Path.stat, and polled
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._failed(error.strerror or str(error)) from error
        return found.st_ino, found.st_mtime_ns, found.st_size

    def _load(self) -> dict[str, Hold]:
        try:
            handle = os.open(self.path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0))
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise self._failed(error.strerror or str(error)) from error
        try:
            self._check_trust(os.fstat(handle))
            with os.fdopen(handle, "rb", closefd=False) as file:
                body = file.read(_MAX_BYTES + 1)
        finally:
            os.close(handle)
        try:
            return dict(_File.model_validate_json(body).holds)
        except ValidationError as error:
            raise self._failed("it is damaged; remove it, and hold again") from error

    def _check_trust(self, found: os.stat_result) -> None:
        if not stat.S_ISREG(found.st_mode):
            raise self._failed("it is no regular file; remove it")
        if found.st_size > _MAX_BYTES:
            raise self._failed("it is too large to be ours; remove it")
        if hasattr(os, "getuid"):
            if found.st_uid not in (0, os.getuid()):
                raise self._failed(f"it belongs to another user (uid {found.st_uid}); remove it")
            if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
                raise self._failed("others can write it; run chmod 600 on it if you trust it")

    @contextmanager
    def _writing(self) -> Iterator[dict[str, Hold]]:
        """Give the holds in force to change, alone among threads and processes, then write them."""
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with self._thread_lock, _alone(self.path.with_suffix(".lock")):
                now = self._clock.wall()
                holds = {flag: hold for flag, hold in self._load().items() if not ended(hold, now)}
                yield holds
                self._replace(holds)
        except OSError as error:
            if isinstance(error, StoreError):
                raise
            raise self._failed(
                f"{error.strerror or error}; name a writable directory by DEGRADE_LOCAL, "
                "for the services too"
            ) from error

    def _replace(self, holds: dict[str, Hold]) -> None:
        body = _File(holds=holds).model_dump(mode="json")
        handle, name = tempfile.mkstemp(dir=self.path.parent, prefix=f".{self.path.stem}-")
        try:
            with os.fdopen(handle, "w", encoding="ascii") as file:
                json.dump(body, file, indent=1)
                file.flush()
                os.fsync(file.fileno())
            os.replace(name, self.path)  # noqa: PTH105 - mkstemp gives a name, not a Path
        except BaseException:  # whatever it is, no temporary file stays; it is raised again
            Path(name).unlink(missing_ok=True)
            raise

    def _failed(self, why: str) -> StoreError:
        return StoreError(f"the local holds in {self.path} cannot be used: {why}")

    def __repr__(self) -> str:
        return f"LocalHolds({str(self.path)!r})"


def local_directory() -> Path:
    """Return where the files of local holds lie: `DEGRADE_LOCAL`, or the user's state directory."""
    named = os.environ.get("DEGRADE_LOCAL")
    if named:
        return Path(named).expanduser()
    return _home() / ".local" / "state" / "degrade"


def _home() -> Path:
    # By the user database, not by HOME: sudo, services and cron jobs have another HOME or none.
    if sys.platform != "win32":
        import pwd  # noqa: PLC0415 - not on Windows

        try:
            return Path(pwd.getpwuid(os.getuid()).pw_dir)
        except KeyError:  # a container's user without an entry
            pass
    return Path("~").expanduser()


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Keep other writers out while the lock file is held; it is left behind, empty."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o600)
    try:
        if sys.platform != "win32":
            import fcntl  # noqa: PLC0415 - not on Windows

            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
