"""The last known state in a file of this host: what a process begins with while its store is away.

    degrade-state 1 <sha256 of the rest, hex>
    {"at": ..., "state": {...}, "machines": {...}}

Every process of one user on one host that has the same namespace and store shares one file,
and the last writer wins; only an older state of the store never replaces a newer one. A file
that is damaged, of a newer format, or that others could have written is not used. Nothing that
was read from it is ever written to a store.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection
from pathlib import Path
from typing import Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from degrade.core.enums import Phase
from degrade.core.records import ControlState
from degrade.errors import StoreError
from degrade.stores.private_file import MAX_BYTES, PrivateFile
from degrade.stores.urls import checked_namespace

__all__ = ("CONFIRM_S", "STALE_S", "Saved", "SavedMachine", "SavedState")

CONFIRM_S: Final = 60.0
"""How old a file may become that still says what is true."""

STALE_S: Final = 3_600.0
"""A machine that was saved longer ago says nothing of now."""

_MAGIC: Final = b"degrade-state"
_VERSION: Final = 1


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="allow", allow_inf_nan=False, defer_build=True)


class SavedMachine(_Record):
    """What the automation of a process thought of a flag that was not steady.

    Attributes:
        at: When, wall time of the host.
        phase: The phase.
        share: Share of calls that ran, 0 to 1.
        left_s: What was left of the running cooldown, seconds.
        cooldown_s: The next cooldown, before jitter, seconds.
        cause: Why it was not steady, one line.
    """

    at: float
    phase: Phase
    share: float = Field(ge=0, le=1)
    left_s: float = Field(ge=0)
    cooldown_s: float = Field(ge=0)
    cause: str


class Saved(_Record):
    """What one file holds.

    Attributes:
        at: When the store was heard last, wall time of the host.
        state: What the store said last; its `now` is the store's time at `at`.
        machines: Flag to its machine; steady ones are left out.
    """

    at: float
    state: ControlState
    machines: dict[str, SavedMachine] = Field(default_factory=dict)


class SavedState:
    """The file of the last known state.

    Args:
        namespace: Which fleet.
        store: The URL of its store, without secrets; each has a file of its own.
        directory: Where the file lies; that of the local holds when None.

    Guarantees:
        Readers see the old file or the new one, never a torn one, whenever a writer is killed.
        What a crash of the host tears is told by its checksum, and not used.

    Cost:
        Reading: a tenth of a millisecond for 20 holds. Writing does not wait for the disk.
    """

    def __init__(
        self,
        namespace: str,
        store: str,
        *,
        directory: str | os.PathLike[str] | None = None,
    ) -> None:
        of_store = hashlib.sha256(store.encode()).hexdigest()[:12]
        self._file = PrivateFile(
            "the saved state",
            f"{checked_namespace(namespace)}.{of_store}.state",
            directory=directory,
        )

    @property
    def path(self) -> Path:
        """Where the file lies."""
        return self._file.path

    def read(self) -> Saved | None:
        """Return what was saved last; None without a file.

        Raises:
            StoreError: The file cannot be read, must not be trusted, is damaged or is too new.
        """
        body = self._file.read()
        if body is None:
            return None
        head, _, rest = body.partition(b"\n")
        magic, *words = head.split(b" ")
        if magic == _MAGIC and words and words[0].isdigit() and int(words[0]) > _VERSION:
            raise self._file.failed(
                f"its format {int(words[0])} is newer than this release of degrade"
            )
        if head != _head(rest):
            raise self._file.failed("it is damaged; it will be written anew")
        try:
            return Saved.model_validate_json(rest)
        except ValidationError as error:
            raise self._file.failed("its content has another format; it is not used") from error

    def write(self, saved: Saved, *, watched: Collection[str]) -> None:
        """Replace the file, but for what is newer in it, or of flags that are not `watched`.

        Nothing is written while the file says the same and is less than a minute old.

        Args:
            saved: The newest state that was read live, and each watched flag's machine.
            watched: The flags of this process.

        Raises:
            StoreError: It cannot be written; the old file stays.
        """
        found = self._found()
        if found is not None:
            saved = _merged(found, saved, watched)
            if saved.at - found.at < CONFIRM_S and _same(found, saved):
                return
        rest = saved.model_dump_json().encode()
        body = _head(rest) + b"\n" + rest
        if len(body) > MAX_BYTES:
            raise self._file.failed(f"the state is too large for it ({len(body)} bytes)")
        try:
            self._file.make_directory()
            self._file.replace(body, sync=False)
        except OSError as error:
            raise self._file.failed(error.strerror or str(error)) from error

    def tidy(self) -> None:
        """Remove what processes that were killed while writing have left behind, if possible."""
        self._file.tidy()

    def _found(self) -> Saved | None:
        try:
            return self.read()
        except StoreError:  # whatever lies there is replaced
            return None

    def __repr__(self) -> str:
        return f"SavedState({str(self.path)!r})"


def _head(rest: bytes) -> bytes:
    return b"%b %d %b" % (_MAGIC, _VERSION, hashlib.sha256(rest).hexdigest().encode())


def _merged(found: Saved, mine: Saved, watched: Collection[str]) -> Saved:
    """Return what to write: the newer state of the store, and the machines of both."""
    newer = (
        found.state.incarnation == mine.state.incarnation and found.state.epoch > mine.state.epoch
    )
    others = {
        name: machine
        for name, machine in found.machines.items()
        if name not in watched and mine.at - machine.at < STALE_S
    }
    state = found.state.model_copy(update={"now": mine.state.now}) if newer else mine.state
    return mine.model_copy(update={"state": state, "machines": {**others, **mine.machines}})


def _same(one: Saved, other: Saved) -> bool:
    """Whether two say the same, but for when."""
    there = one.state.model_copy(update={"now": other.state.now})
    return there == other.state and one.machines == other.machines
