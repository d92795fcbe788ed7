"""The readers: who they are is all that the ranker and the load have to agree on."""

from __future__ import annotations

__all__ = ("READERS", "reader_id")

READERS = 600


def reader_id(number: int) -> str:
    """Return the name of a reader, `reader-0001` for number 0."""
    return f"reader-{number + 1:04d}"
