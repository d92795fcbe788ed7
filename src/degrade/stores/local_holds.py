"""Holds in a file of this host: how an operator acts when the store is dead.

Every process of one user on one host reads the file `<namespace>.json`, and on that host it
replaces the store's hold on a flag. Only a file that this user or root owns, and that nobody
else can write, is obeyed.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from degrade.clock import Clock, SystemClock
from degrade.core.records import Hold
from degrade.errors import StoreError
from degrade.stores.private_file import PrivateFile, Signature
from degrade.stores.state_changes import ended
from degrade.stores.urls import checked_namespace

__all__ = ("LocalHolds",)


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
        self._file = PrivateFile(
            "the local holds", f"{checked_namespace(namespace)}.json", directory=directory
        )
        self._clock: Clock = SystemClock() if clock is None else clock
        self._holds: dict[str, Hold] = {}
        self._seen: Signature | Literal["never"] = "never"
        self._thread_lock = threading.Lock()

    @property
    def path(self) -> Path:
        """Where the file lies."""
        return self._file.path

    def changed(self) -> bool:
        """Whether the file differs from the one that `read` returned last.

        Raises:
            StoreError: The file cannot be looked at.
        """
        return self._file.signature() != self._seen

    def read(self) -> dict[str, Hold]:
        """Return flag (or `*`) to hold; expired ones may be among them.

        Raises:
            StoreError: The file cannot be read or must not be trusted.
        """
        signature = self._file.signature()
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

    def _load(self) -> dict[str, Hold]:
        body = self._file.read()
        if body is None:
            return {}
        try:
            return dict(_File.model_validate_json(body).holds)
        except ValidationError as error:
            raise self._file.failed("it is damaged; remove it, and hold again") from error

    @contextmanager
    def _writing(self) -> Iterator[dict[str, Hold]]:
        """Give the holds in force to change, alone among threads and processes, then write them."""
        try:
            self._file.make_directory()
            with self._thread_lock, _alone(self.path.with_suffix(".lock")):
                now = self._clock.wall()
                holds = {flag: hold for flag, hold in self._load().items() if not ended(hold, now)}
                yield holds
                self._replace(holds)
        except OSError as error:
            if isinstance(error, StoreError):
                raise
            raise self._file.failed(
                f"{error.strerror or error}; name a writable directory by DEGRADE_LOCAL, "
                "for the services too"
            ) from error

    def _replace(self, holds: dict[str, Hold]) -> None:
        body = json.dumps(_File(holds=holds).model_dump(mode="json"), indent=1)
        self._file.replace(body.encode("ascii"), sync=True)

    def __repr__(self) -> str:
        return f"LocalHolds({str(self.path)!r})"


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
