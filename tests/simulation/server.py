"""An in-memory Redis in virtual time, with everything that can happen to a real one.

The three ways to use it are those of a `Link`; what can happen to it are methods: it is emptied,
goes back to an older state, loses a key.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from degrade.errors import StoreError
from degrade.stores.redis.transport.base import Check, Command, Transacted
from tests.simulation.keyspace import Keyspace, Refused, words

__all__ = ("Copy", "SimServer")

Copy = tuple[dict[bytes, Any], dict[bytes, float]]
"""Everything that a server holds at one moment."""

Hear = Callable[[bytes], None]


class SimServer:
    """One primary, as its clients see it.

    Args:
        now: Server time, Unix seconds.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._heard: dict[bytes, list[Hear]] = {}
        self.keys = Keyspace(now, self._publish)

    # ------------------------------------------------------------------ for links

    def read(self, commands: Sequence[Command]) -> list[Any]:
        """Run commands as one transaction; the replies are those of a client.

        Raises:
            StoreError: One of them is refused.
        """
        return [self._as_client(words(command)) for command in commands]

    def write(self, commands: Sequence[Command]) -> list[Any]:
        """Run commands in one batch: all of them are run, whatever becomes of one."""
        found: list[Any] = []
        error: StoreError | None = None
        for command in commands:
            try:
                found.append(self._as_client(words(command)))
            except StoreError as refused:
                error = error or refused
        if error is not None:
            raise error
        return found

    def transact(
        self, checks: Sequence[Check], commands: Sequence[Command], *, deadline: float | None
    ) -> Transacted:
        """Run commands as one script, if it is not late and every check holds.

        Raises:
            StoreError: A command is refused; those before it have been run.
        """
        now = self._now()
        if deadline is not None and now > deadline:
            return Transacted(done=False, late=True, now=now, replies=())
        shown = tuple(self._run(words(check.command)) for check in checks)
        if any(
            _text(reply) != _raw(check.expected) for reply, check in zip(shown, checks, strict=True)
        ):
            return Transacted(done=False, late=False, now=now, replies=shown)
        replies = tuple(self._run(words(command)) for command in commands)
        return Transacted(done=True, late=False, now=now, replies=replies)

    def subscribe(self, channel: str, hear: Hear) -> Callable[[], None]:
        """Hear the messages of a channel; return what ends that."""
        hearing = self._heard.setdefault(channel.encode(), [])
        hearing.append(hear)
        return lambda: hearing.remove(hear) if hear in hearing else None

    # ------------------------------------------------------------------ what can happen

    def wipe(self) -> None:
        """Lose everything: `FLUSHALL`, or a restart without a disk."""
        self.keys.do_flushall(())

    def evict(self, key: str) -> bool:
        """Lose one key, as `maxmemory` may."""
        return self.keys.forget(key.encode())

    def copy(self) -> Copy:
        """Return what it holds, as a replica that lags from now on does."""
        return self.keys.copy()

    def promote(self, copy: Copy) -> None:
        """Go on from an older copy: a replica became the primary, or a backup was restored."""
        self.keys.put(copy)

    # ------------------------------------------------------------------ helpers

    def _publish(self, channel: bytes, message: bytes) -> int:
        hearing = list(self._heard.get(channel, ()))
        for hear in hearing:
            hear(message)
        return len(hearing)

    def _run(self, command: Sequence[bytes]) -> Any:
        try:
            return self.keys.run(command)
        except Refused as refused:
            raise StoreError(f"the server refuses {command[0]!r}: {refused}") from refused

    def _as_client(self, command: Sequence[bytes]) -> Any:
        reply = self._run(command)
        shape = _SHAPES.get(command[0].upper())
        return reply if shape is None else shape(reply)


def _pairs(flat: Sequence[bytes]) -> dict[bytes, bytes]:
    return dict(zip(flat[::2], flat[1::2], strict=True))


def _entries(rows: Sequence[Any]) -> list[tuple[bytes, dict[bytes, bytes]]]:
    return [(number, _pairs(fields)) for number, fields in rows]


_SHAPES: dict[bytes, Callable[[Any], Any]] = {
    b"TIME": lambda reply: (int(reply[0]), int(reply[1])),
    b"SET": lambda reply: None if reply is None else reply == b"OK",
    b"FLUSHALL": lambda reply: reply == b"OK",
    b"PEXPIRE": bool,
    b"HEXISTS": bool,
    b"HSETNX": bool,
    b"HGETALL": _pairs,
    b"ZSCORE": lambda reply: None if reply is None else float(reply),
    b"XRANGE": _entries,
    b"XREVRANGE": _entries,
}
"""What redis-py makes of the replies of some commands."""


def _text(reply: Any) -> Any:
    return b"%d" % reply if isinstance(reply, int) else reply


def _raw(expected: str | bytes | None) -> bytes | None:
    return expected.encode() if isinstance(expected, str) else expected
