"""What processes have seen last, in memory that they share: asking them would disturb them."""

from __future__ import annotations

import mmap
import struct
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from types import TracebackType
from typing import Self

_WORD = struct.Struct("q")


class Noted:
    """A number for each of several processes, which each writes for itself.

    Args:
        count: How many processes.
    """

    def __init__(self, count: int) -> None:
        self._file = tempfile.NamedTemporaryFile()  # noqa: SIM115 - `close` closes it
        self._file.truncate(count * _WORD.size)
        self._memory = mmap.mmap(self._file.fileno(), 0)

    def place(self, index: int) -> tuple[str, int]:
        """Return what a process needs to write its number."""
        return self._file.name, index

    @staticmethod
    def opened(path: str, index: int) -> Callable[[int], None]:
        """Return what writes the number of this process."""
        with Path(path).open("r+b") as file:
            memory = mmap.mmap(file.fileno(), 0)
        return lambda number: _WORD.pack_into(memory, index * _WORD.size, number)

    def all_at(self, number: int, who: Iterable[int]) -> bool:
        """Return whether these processes have written this number last."""
        found = (_WORD.unpack_from(self._memory, index * _WORD.size) for index in who)
        return all(one == number for (one,) in found)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._memory.close()
        self._file.close()
