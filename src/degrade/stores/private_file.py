"""A small file of this user: read only when it can be trusted, replaced as a whole.

It lies where every process of that user looks whatever its environment:
`~/.local/state/degrade/` with the home directory of the user database, or in the directory
that `DEGRADE_LOCAL` names.
"""

from __future__ import annotations

import os
import stat
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from degrade.errors import ConfigError, StoreError

__all__ = ("MAX_BYTES", "PrivateFile", "Signature", "local_directory")

MAX_BYTES = 1 << 20
"""A file larger than this was not written by us."""

_READING = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
"""Follows no link, and does not wait for a writer where something else than a file lies."""

_LEFT_BEHIND_S = 60.0
"""A temporary file older than this has no writer any more."""

Signature = tuple[int, int, int] | None


class PrivateFile:
    """One file that processes of one user share.

    Args:
        what: What it holds, for messages: `"the local holds"`.
        name: Its name in the directory.
        directory: Where it lies; `local_directory()` when None.

    Guarantees:
        Readers see the old file or the new one, never a torn one. Only a regular file that this
        user or root owns, and that nobody else can write, is read; a link is not followed.
    """

    def __init__(
        self, what: str, name: str, *, directory: str | os.PathLike[str] | None = None
    ) -> None:
        folder = local_directory() if directory is None else Path(directory).expanduser()
        self.path = folder.absolute() / name
        self._what = what

    def signature(self) -> Signature:
        """Return what differs once the file was replaced; None without a file.

        Raises:
            StoreError: The file cannot be looked at.
        """
        try:
            found = os.stat(self.path)  # noqa: PTH116 - half the cost of Path.stat, and polled
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self.failed(error.strerror or str(error)) from error
        return found.st_ino, found.st_mtime_ns, found.st_size

    def read(self) -> bytes | None:
        """Return what is in the file; None without a file.

        Raises:
            StoreError: The file cannot be read or must not be trusted.
        """
        try:
            handle = os.open(self.path, _READING)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self.failed(error.strerror or str(error)) from error
        try:
            self._check_trust(os.fstat(handle))
            with os.fdopen(handle, "rb", closefd=False) as file:
                return file.read(MAX_BYTES + 1)
        finally:
            os.close(handle)

    def make_directory(self) -> None:
        """Make the directory, for this user alone, unless it is there.

        Raises:
            OSError: It cannot be made.
        """
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)

    def replace(self, body: bytes, *, sync: bool) -> None:
        """Put a new file, readable by this user alone, in the place of the old one.

        Args:
            body: What shall be in it.
            sync: Wait until it would survive a crash of the host; without it only until it
                survives a crash of the process.

        Raises:
            OSError: It cannot be written; the old one stays.
        """
        handle, name = tempfile.mkstemp(dir=self.path.parent, prefix=self._prefix)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(body)
                if sync:
                    file.flush()
                    os.fsync(file.fileno())
            os.replace(name, self.path)  # noqa: PTH105 - mkstemp gives a name, not a Path
        except BaseException:  # whatever it is, no temporary file stays; it is raised again
            Path(name).unlink(missing_ok=True)
            raise

    def tidy(self) -> None:
        """Remove what processes that were killed while writing have left behind, if possible."""
        oldest = time.time() - _LEFT_BEHIND_S  # not an injected clock: the file system has its own
        with suppress(OSError):
            for left in self.path.parent.glob(f"{self._prefix}*"):
                if left.lstat().st_mtime < oldest:
                    left.unlink(missing_ok=True)

    def failed(self, why: str) -> StoreError:
        """Return the error that says what, where and why."""
        return StoreError(f"{self._what} in {self.path} cannot be used: {why}")

    @property
    def _prefix(self) -> str:
        return f".{self.path.stem}-"

    def _check_trust(self, found: os.stat_result) -> None:
        if not stat.S_ISREG(found.st_mode):
            raise self.failed("it is no regular file; remove it")
        if found.st_size > MAX_BYTES:
            raise self.failed("it is too large to be ours; remove it")
        if hasattr(os, "getuid"):
            if found.st_uid not in (0, os.getuid()):
                raise self.failed(f"it belongs to another user (uid {found.st_uid}); remove it")
            if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
                raise self.failed("others can write it; run chmod 600 on it if you trust it")


def local_directory() -> Path:
    """Return where the files of this user lie: `DEGRADE_LOCAL`, or the user's state directory."""
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
    try:
        return Path("~").expanduser()
    except RuntimeError as error:
        raise ConfigError(
            "this user has no home directory for files of its own; name a directory by DEGRADE_LOCAL"
        ) from error
