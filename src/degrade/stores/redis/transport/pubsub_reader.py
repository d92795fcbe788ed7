"""The messages of a channel, read from its socket with as little as possible in between.

Every microsecond between a hint and the flag that it turns is paid by each process of a fleet, on
machines where many of them wake up at once. So nothing but one `recv` and a comparison lies between
the socket and a message as servers send it, `*3 $7 message $4 hint $126 {...}`; everything else
they may say goes by the rules of RESP2. Where it can, the system itself ends a wait (SO_RCVTIMEO):
Python's timeout asks it twice, once whether there is something to read and once for it.
"""

from __future__ import annotations

import socket
import struct
import sys
import time
from typing import Any, Final

from redis import exceptions

__all__ = ("PubSubReader",)

_AT_ONCE: Final = 65_536
_MOST_BYTES: Final = 1_048_576
"""A reply that is longer is none of ours: the connection is given up."""

_END: Final = b"\r\n"
_DEEPEST: Final = 8
_BY_SYSTEM: Final = sys.platform == "linux" and struct.calcsize("l") == 8


class PubSubReader:
    """What a connection hears; nobody else may read from it any more.

    Args:
        sock: The connected socket, where no reply is under way.
        channel: The channel that it is, or will be, subscribed to.
    """

    def __init__(self, sock: Any, channel: str) -> None:
        name = channel.encode()
        self._sock = sock
        self._by_system = _BY_SYSTEM and type(sock) is socket.socket  # TLS has no such end
        self._waits_s = 0.0
        self._start = b"*3\r\n$7\r\nmessage\r\n$%d\r\n%b\r\n$" % (len(name), name)
        self._left = b""

    def next(self, within_s: float, finish_s: float) -> Any:
        """Return the next reply: the bytes of a message, or a list of another kind.

        Args:
            within_s: How long to wait until it begins; None is returned when it does not.
            finish_s: How long it may take from then on.

        Raises:
            redis.RedisError, OSError: The connection broke, the server sent an error, or nonsense,
                or it did not finish in time.
        """
        data, end = self._left, 0.0
        while True:
            if data:
                found = self._taken(data)
                if found is not None:
                    return found
                if len(data) > _MOST_BYTES:
                    raise exceptions.InvalidResponse("a reply on the channel is too long")
                now = time.monotonic()
                end = end or now + finish_s
                within_s = end - now
                if within_s <= 0:
                    raise exceptions.TimeoutError("no time was left")
            self._wait_at_most(within_s)
            try:
                more = self._sock.recv(_AT_ONCE)
            except (TimeoutError, BlockingIOError):
                if data:
                    raise exceptions.TimeoutError("a reply did not end in time") from None
                return None
            if not more:
                raise exceptions.ConnectionError("the server closed the connection")
            data = data + more if data else more

    def _wait_at_most(self, within_s: float) -> None:
        timeout_s = self._sock.gettimeout()
        if not self._by_system:
            if timeout_s != within_s:  # setting it asks the system
                self._sock.settimeout(within_s)
            return
        if timeout_s is not None:
            self._sock.settimeout(None)
        if self._waits_s != within_s:
            whole_us = max(1, round(within_s * 1e6))
            ends_after = struct.pack("ll", *divmod(whole_us, 1_000_000))
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, ends_after)
            self._waits_s = within_s

    def _taken(self, data: bytes) -> Any:
        """Return the first reply of what was received, and keep the rest; None if it is not whole."""
        start = self._start
        if data.startswith(start):
            begin = data.find(_END, len(start))
            if begin < 0:
                return None
            end = begin + 2 + _number(data[len(start) : begin])
            if len(data) < end + 2:
                return None
            self._left = data[end + 2 :]
            return data[begin + 2 : end]
        try:
            reply, at = _reply(data, 0, _DEEPEST)
        except IndexError:
            return None
        self._left = data[at:]
        if isinstance(reply, Exception):
            raise reply
        return reply if isinstance(reply, list) else [reply]


def _reply(data: bytes, at: int, deepest: int) -> tuple[Any, int]:
    """Return the reply that begins at an index, and where it ends.

    Raises:
        IndexError: It is not whole.
    """
    end = data.find(_END, at)
    if end < 0 or at >= len(data):
        raise IndexError
    kind, line, at = data[at : at + 1], data[at + 1 : end], end + 2
    if kind == b"+":
        return line, at
    if kind == b"-":
        return exceptions.ResponseError(line.decode("utf-8", "replace")), at
    if kind == b":":
        return _number(line), at
    if kind == b"$":
        if line == b"-1":
            return None, at
        end = at + _number(line)
        if len(data) < end + 2:
            raise IndexError
        return data[at:end], end + 2
    if kind == b"*" and deepest > 0:
        items = []
        for _ in range(_number(line)):
            item, at = _reply(data, at, deepest - 1)
            items.append(item)
        return items, at
    raise exceptions.InvalidResponse(f"no reply begins with {kind!r}")


def _number(text: bytes) -> int:
    if not (text.isdigit() and len(text) <= 9):
        raise exceptions.InvalidResponse(f"not a number: {text[:20]!r}")
    return int(text)
