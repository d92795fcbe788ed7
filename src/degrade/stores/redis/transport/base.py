"""What the store needs of a Redis server: one batch, one round trip, and a channel to hear.

Everything that decides lies above this border, in Python; below it lie sockets. So one small
script suffices for every change:

    transact   if the deadline, in server time, is past: nothing, "late"
               if a check differs from what was expected: nothing, and what is there
               else all commands, and their replies

A command is a tuple of words, as on the command line of redis-cli. Numbers are written as
Python prints them. Replies of `read` are those of redis-py without decoding (`HGETALL` a
dictionary of bytes); replies from `transact` are those of a script (`HGETALL` a flat list).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from degrade.errors import StoreError

__all__ = ("Check", "Command", "Transacted", "Transport", "Word")

Word = str | bytes | int | float
Command = tuple[Word, ...]


@dataclass(frozen=True, slots=True)
class Check:
    """A command that only reads, and the reply without which nothing shall happen.

    Attributes:
        command: For example `("HGET", key, field)`.
        expected: The reply; None for one that is not there.
    """

    command: Command
    expected: str | bytes | None


@dataclass(frozen=True, slots=True)
class Transacted:
    """What became of a `transact`.

    Attributes:
        done: The commands were run.
        late: The deadline had passed.
        now: Server time, Unix seconds.
        replies: Of the commands when done, else of the checks (empty when late).
    """

    done: bool
    late: bool
    now: float
    replies: tuple[Any, ...]


class Transport(Protocol):
    """A way to the primary that holds a key.

    Every method may block, at most for the timeouts of its settings, and raises `StoreError`
    for whatever goes wrong, with what an operator can do about it. Nothing is retried. Safe
    from several threads. After an error the next call finds its way anew.
    """

    @property
    def url(self) -> str:
        """What it leads to, with secrets left out."""
        ...

    def read(
        self, key: str, commands: Sequence[Command], *, within_s: float | None = None
    ) -> list[Any]:
        """Run commands that only read as one MULTI/EXEC, so that the replies fit together.

        Args:
            key: Lies on the server to ask; in a cluster all keys lie in its slot.
            commands: What to read.
            within_s: The most it may take, when that is less than the settings' timeout.
        """
        ...

    def transact(
        self,
        keys: Sequence[str],
        checks: Sequence[Check],
        commands: Sequence[Command],
        *,
        deadline: float | None,
    ) -> Transacted:
        """Run commands as one script, if it is not late and every check holds.

        Args:
            keys: Every key that checks and commands touch, all in one slot.
            checks: What must be so.
            commands: What to do then, in order.
            deadline: Server time, Unix seconds, after which nothing shall happen any more;
                None for what does no harm late.
        """
        ...

    def write(self, key: str, commands: Sequence[Command]) -> list[Any]:
        """Run commands on the server of a key in one batch that is no transaction."""
        ...

    def scatter(self, commands: Sequence[Command]) -> list[tuple[Command, StoreError]]:
        """Run commands of one key each, their second word, in one batch for each server.

        Returns:
            Those of the servers that failed, some of which may have been run, and why; a server
            that fails takes the timeout, and keeps nothing from the others.
        """
        ...

    def listen(
        self,
        channel: str,
        hear: Callable[[bytes | None], None],
        stopping: Callable[[], bool],
    ) -> None:
        """Hear a channel until `stopping`, which is asked at least every second.

        Subscribes anew after every error, on the server that is the primary then, with a
        back-off of 0.2 to 1 s with full jitter; notices a frozen server by a missing pong.

        Args:
            channel: Its name; in a cluster it is heard on the primary of the key of that name.
            hear: Called in this thread with each message, and with None whenever messages may
                have been lost: after each (re)subscription.
            stopping: Whether to return.
        """
        ...

    def close(self) -> None:
        """Give back the sockets; further calls raise `StoreError`."""
        ...
