"""How busy the machine was: near saturation a p99 tells of the queue for its cores, not of Redis."""

from __future__ import annotations

from pathlib import Path
from typing import Final

__all__ = ("Busy",)

_STAT: Final = Path("/proc/stat")
_IDLE: Final = (3, 4)
"""Where the first line has the time in which nothing ran, and that spent waiting for disks."""


class Busy:
    """Measures from its making on; over all cores, whatever runs on them.

    Args:
        stat: Where the kernel counts it; elsewhere than on Linux it is not there.
    """

    def __init__(self, stat: Path = _STAT) -> None:
        self._stat = stat
        self._before = self._read()

    def share(self) -> float | None:
        """Return the share of the cores that was in use, 0 to 1; None where it is not counted."""
        after = self._read()
        if self._before is None or after is None:
            return None
        spent = [now - then for now, then in zip(after, self._before, strict=True)]
        total = sum(spent)
        return 1 - sum(spent[place] for place in _IDLE) / total if total else None

    def _read(self) -> list[int] | None:
        try:
            first = self._stat.read_text(encoding="ascii").splitlines()[0]
        except (OSError, IndexError):
            return None
        return [int(word) for word in first.split()[1:9]]  # guests are counted in others, too
