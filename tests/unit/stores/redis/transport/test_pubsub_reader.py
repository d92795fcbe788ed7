from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress

import pytest
from redis import exceptions

from degrade.stores.redis.transport.pubsub_reader import PubSubReader

HINT = b'{"v":1,"epoch":5}'


def message(body: bytes, channel: bytes = b"hint") -> bytes:
    return b"*3\r\n$7\r\nmessage\r\n$%d\r\n%b\r\n$%d\r\n%b\r\n" % (
        len(channel), channel, len(body), body,
    )  # fmt: skip


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    one, other = socket.socketpair()
    with one, other:
        yield one, other


class OneAtATime:
    """A socket from which a read brings no more than a few bytes."""

    def __init__(self, sock: socket.socket, most: int) -> None:
        self._sock = sock
        self._most = most
        self.settimeout, self.gettimeout = sock.settimeout, sock.gettimeout

    def recv(self, size: int) -> bytes:
        return self._sock.recv(min(size, self._most))


def heard(ends: tuple[socket.socket, socket.socket], count: int = 1) -> list[object]:
    messages = PubSubReader(ends[1], "hint")
    return [messages.next(1.0, 1.0) for _ in range(count)]


@pytest.mark.parametrize(
    "body", [b"", HINT, b"\r\n$7\r\nmessage", bytes(range(256)), b"x" * 90_000]
)
def test_a_message_is_heard_as_it_was_sent(ends, body):
    ends[0].sendall(message(body) + message(b"next"))
    assert heard(ends, 2) == [body, b"next"]


@pytest.mark.parametrize("piece", [1, 2, 7])
def test_a_message_in_pieces_is_heard_once(ends, piece):
    whole = b"*3\r\n$9\r\nsubscribe\r\n$4\r\nhint\r\n:1\r\n" + message(HINT) * 2

    ends[0].sendall(whole)
    messages = PubSubReader(OneAtATime(ends[1], piece), "hint")
    found = [messages.next(1.0, 1.0) for _ in range(3)]
    assert found == [[b"subscribe", b"hint", 1], HINT, HINT]
    assert messages.next(0.01, 1.0) is None


@pytest.mark.parametrize(
    ("said", "reply"),
    [
        (b"*2\r\n$4\r\npong\r\n$0\r\n\r\n", [b"pong", b""]),
        (b"+PONG\r\n", [b"PONG"]),
        (b"*3\r\n$9\r\nsubscribe\r\n$4\r\nhint\r\n:1\r\n", [b"subscribe", b"hint", 1]),
        (b"*3\r\n$11\r\nunsubscribe\r\n$-1\r\n:0\r\n", [b"unsubscribe", None, 0]),
        (message(HINT, b"another"), [b"message", b"another", HINT]),
    ],
)
def test_what_is_no_message_of_the_channel_is_told_apart(ends, said, reply):
    ends[0].sendall(said + message(HINT))
    assert heard(ends, 2) == [reply, HINT]


@pytest.mark.parametrize(
    "said",
    [
        b"*3\r\n$7\r\nmessage\r\n$4\r\nhint\r\n$x\r\n", b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"*1\r\n" * 20, b"$-2\r\n", b"*9999999999\r\n",
    ],
    ids=range(5),
)  # fmt: skip
def test_nonsense_is_no_reply(ends, said):
    ends[0].sendall(said)
    with pytest.raises(exceptions.InvalidResponse):
        heard(ends)


def test_a_message_without_end_fills_no_memory(ends):
    def shout() -> None:
        with suppress(OSError):
            ends[0].sendall(
                b"*3\r\n$7\r\nmessage\r\n$4\r\nhint\r\n$99999999\r\n" + b"x" * 3_000_000
            )

    shouting = threading.Thread(target=shout)
    shouting.start()
    with pytest.raises(exceptions.InvalidResponse, match="too long"):
        PubSubReader(ends[1], "hint").next(5.0, 5.0)
    ends[1].close()
    shouting.join(5)


def test_an_error_of_the_server_is_raised(ends):
    ends[0].sendall(b"-NOPERM this user has no permissions\r\n")
    with pytest.raises(exceptions.ResponseError, match="NOPERM"):
        heard(ends)


def test_silence_is_waited_for_as_long_as_asked_whoever_used_the_socket_before(ends):
    messages = PubSubReader(ends[1], "hint")
    for within_s in (0.05, 0.05, 0.2):
        began = time.monotonic()
        assert messages.next(within_s, 1.0) is None
        assert within_s <= time.monotonic() - began + 0.01 < 5
        ends[1].settimeout(3.0)  # as whoever sends a PING does
    ends[0].sendall(message(HINT))
    assert messages.next(1.0, 1.0) == HINT


def test_a_message_that_does_not_end_is_given_up(ends):
    ends[0].sendall(message(HINT)[:-5])
    with pytest.raises((TimeoutError, exceptions.TimeoutError)):
        PubSubReader(ends[1], "hint").next(1.0, 0.05)


def test_an_end_of_the_connection_is_raised(ends):
    ends[0].close()
    with pytest.raises(exceptions.ConnectionError, match="closed"):
        heard(ends)


def test_silence_is_nothing(ends):
    assert PubSubReader(ends[1], "hint").next(0.01, 1.0) is None
