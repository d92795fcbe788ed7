"""The readers: their names, on which the ranker and the load agree, and how the load says it is one."""

from __future__ import annotations

__all__ = ("LOAD_AGENT", "READERS", "reader_id")

READERS = 600
LOAD_AGENT = "news-feed-load"
"""The `User-Agent` of the load; every other request for stories is a visitor's."""


def reader_id(number: int) -> str:
    """Return the name of a reader, `reader-0001` for number 0."""
    return f"reader-{number + 1:04d}"
