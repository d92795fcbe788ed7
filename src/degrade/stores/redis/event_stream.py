"""The log of a namespace in Redis: a stream whose entry ids are the events' numbers.

degrade:{ns}:events   17-0   event   {"v":1,"id":"000000000017",...}
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from typing import Any

from pydantic import ValidationError

from degrade.core.records import Event
from degrade.stores.redis.transport.base import Command, Transport
from degrade.stores.state_changes import LogHead, digest, sequence

__all__ = ("RedisLog",)

_FIELD = b"event"
_PAGE = 1_000
_MOST = 10**17
"""An event's number has at most 18 digits; beyond this one an id is none of ours."""

log = logging.getLogger("degrade.stores")


class RedisLog:
    """Reads the stream, and says what to append.

    Args:
        link: The way to the server.
        key: Of the stream.
        cap: Entries kept, roughly: Redis drops the oldest by whole nodes of about a hundred.
    """

    def __init__(self, link: Transport, key: str, *, cap: int) -> None:
        self._link = link
        self._key = key
        self._cap = cap

    def commands(self, events: Sequence[Event]) -> list[Command]:
        """Return the commands that append events."""
        return [
            (
                "XADD", self._key, "MAXLEN", "~", self._cap,
                f"{int(event.id)}-0", "event", event.model_dump_json(),
            )
            for event in events
        ]  # fmt: skip

    def head(self) -> LogHead:
        """Return the end of the stream, as its newest entry has it."""
        (entries,) = self._link.read(self._key, [("XREVRANGE", self._key, "+", "-", "COUNT", 1)])
        for entry, fields in entries:
            event = _event(fields)
            return LogHead(_number(entry), "" if event is None else digest(event))
        return LogHead()

    def head_past(self, event: Event) -> LogHead | None:
        """Return the end of a stream that lets an event be appended no more, but later ones.

        None if the newest entry is not what hinders it, or has so large an id that none can follow.
        """
        head = self.head()
        return head if int(event.id) <= head.seq < _MOST else None

    def events(self, *, since: str | None, flag: str | None, limit: int) -> list[Event]:
        """Return events as `Store.events` does."""
        entries = self._newest_first() if since is None else self._after(sequence(since))
        if limit <= 0:
            return []
        found: list[Event] = []
        for event in entries:
            if flag is None or event.flag == flag:
                found.append(event)
                if len(found) == limit:
                    break
        return found[::-1] if since is None else found

    def _after(self, number: int) -> Iterator[Event]:
        start = f"{number + 1}-0"
        while start:
            entries = self._page("XRANGE", start, "+")
            yield from _events(entries)
            start = f"{_number(entries[-1][0]) + 1}-0" if len(entries) == _PAGE else ""

    def _newest_first(self) -> Iterator[Event]:
        end = "+"
        while end:
            entries = self._page("XREVRANGE", end, "-")
            yield from _events(entries)
            last = _number(entries[-1][0]) if len(entries) == _PAGE else 0
            end = f"{last - 1}-0" if last > 1 else ""

    def _page(self, command: str, start: str, end: str) -> list[Any]:
        (entries,) = self._link.read(self._key, [(command, self._key, start, end, "COUNT", _PAGE)])
        return list(entries)


def _events(entries: Sequence[Any]) -> Iterator[Event]:
    return (event for _, fields in entries if (event := _event(fields)) is not None)


def _event(fields: dict[bytes, bytes]) -> Event | None:
    """Return the event of an entry; None for one that another release wrote in another way."""
    try:
        return Event.model_validate_json(fields[_FIELD])
    except (KeyError, ValidationError):
        log.debug("an entry of the log cannot be read; it is left out")
        return None


def _number(entry: bytes) -> int:
    return int(entry.partition(b"-")[0])
