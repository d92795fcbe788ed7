"""One connection to one server, where nothing waits longer than it is told to.

redis-py speaks the protocol (RESP2); its pools, retries and clients are not used, since their
defaults differ from version to version and hold a caller for up to a minute.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import socket
import ssl
import time
from collections.abc import Mapping, Sequence
from typing import Any

import redis
from redis import exceptions
from redis.backoff import NoBackoff
from redis.retry import Retry

from degrade.stores.redis.transport.address import Address, Credentials, Endpoint
from degrade.stores.redis.transport.base import Command
from degrade.stores.redis.transport.pubsub_reader import PubSubReader

__all__ = ("CLIENT_NAME", "FAILURES", "OLDEST_S", "Connection", "shaped")

CLIENT_NAME = "degrade"

FAILURES = (exceptions.RedisError, OSError, UnicodeError, ssl.SSLError)
"""What a wire raises; UnicodeError for words that are no text."""

OLDEST_S = 300.0
"""A connection lives at most so long: a name may lead elsewhere since."""

_MOST_BYTES_AT_ONCE = 32_768


class _Bounded:
    """A socket whose steps all together end at one moment, however slowly the bytes trickle."""

    def __init__(self, sock: socket.socket) -> None:
        self.raw = self._sock = sock
        self._end: float | None = None

    def give_up_at(self, end: float) -> None:
        self._end = end
        self._sock.settimeout(_left(end))

    def settimeout(self, timeout_s: float | None) -> None:
        self._end = None
        self._sock.settimeout(timeout_s)

    def sendall(self, data: bytes, *flags: int) -> None:
        left = memoryview(data)
        while left:
            if self._end is not None:
                self._sock.settimeout(_left(self._end))
            left = left[self._sock.send(left, *flags) :]

    def recv(self, size: int, *flags: int) -> bytes:
        if self._end is not None:
            self._sock.settimeout(_left(self._end))
        return self._sock.recv(size, *flags)

    def recv_into(self, buffer: Any, *more: int) -> int:
        if self._end is not None:
            self._sock.settimeout(_left(self._end))
        return self._sock.recv_into(buffer, *more)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)


class _Timed:
    """A connection of redis-py that is given a moment to end at, not a timeout for each step."""

    _sock: Any

    @property
    def raw(self) -> socket.socket | None:
        return None if self._sock is None else self._sock.raw

    def give_up_at(self, end: float) -> None:
        if self._sock is None:
            raise exceptions.ConnectionError("the connection was closed")
        self._sock.give_up_at(end)

    def hang_up(self) -> None:
        sock = self._sock
        if sock is not None:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def _connect(self) -> Any:  # for redis-py it is a socket
        connect: Any = super()
        return _Bounded(connect._connect())  # noqa: SLF001 - made to be overridden


class _Tcp(_Timed, redis.Connection):
    pass


class _TcpTls(_Timed, redis.SSLConnection):
    pass


class _Unix(_Timed, redis.UnixDomainSocketConnection):
    pass


class Connection:
    """A connection to a server, made by the constructor.

    Not safe to use from two threads at once, except `close`.

    Args:
        place: Where the server listens.
        address: For TLS.
        secrets: Who we are to this server.
        db: Number of the database.
        timeout_s: The most that each step of connecting may take; name resolution is not bounded.

    Raises:
        redis.RedisError, OSError: As everything here; turned into words by whoever owns the wire.
    """

    def __init__(
        self,
        place: Endpoint,
        address: Address,
        *,
        secrets: Credentials,
        db: int,
        timeout_s: float,
    ) -> None:
        self.place = place
        self._connection: Any = _made(place, address, secrets, db, timeout_s)
        try:
            self._connection.connect()
        except BaseException:  # whatever it is, the socket must not leak; it is raised again
            self.close()
            raise
        self.since = time.monotonic()

    def fresh(self) -> bool:
        """Whether the server has neither hung up nor said anything unasked since the last reply."""
        try:
            return not self._connection.can_read(0)
        except FAILURES:
            return False

    def ask(self, commands: Sequence[Command], end: float) -> list[Any]:
        """Send commands in one batch, and return one reply for each, errors among them.

        Args:
            commands: At least one.
            end: When to give up, monotonic seconds.
        """
        self.send(commands, end)
        return [self.reply(end) for _ in commands]

    def send(self, commands: Sequence[Command], end: float) -> None:
        connection = self._connection
        packed = connection.pack_commands(commands)
        connection.give_up_at(end)
        connection.send_packed_command(packed, check_health=False)

    def reply(self, end: float) -> Any:
        """Return the next reply; an error that the server sent is returned, not raised."""
        connection = self._connection
        connection.give_up_at(end)
        try:
            return connection.read_response()
        except exceptions.ResponseError as error:
            return error

    def messages(self, channel: str) -> PubSubReader:
        """Return what reads a channel's messages from now on; `reply` must not be used any more."""
        sock = self._connection.raw
        if sock is None:
            raise exceptions.ConnectionError("the connection was closed")
        return PubSubReader(sock, channel)

    def interrupt(self) -> None:
        """End what another thread waits for on this wire; that thread closes it."""
        self._connection.hang_up()

    def close(self) -> None:
        """Hang up; in a forked child only let go of what the parent still uses."""
        with contextlib.suppress(*FAILURES, AttributeError):  # a wire that is just breaking
            self._connection.disconnect()


def shaped(command: Command, reply: Any) -> Any:
    """Return a reply in the shape that redis-py gives it, such as a dictionary for HGETALL."""
    shape = _shapes().get(str(command[0]).upper())
    return reply if shape is None or reply is None else shape(reply)


@functools.cache
def _shapes() -> Mapping[str, Any]:
    client = redis.Redis(protocol=2, retry=Retry(NoBackoff(), 0))  # it never connects
    return {name: client.response_callbacks[name] for name in list(client.response_callbacks)}


_KINDS: Any = {"tcp": _Tcp, "tls": _TcpTls, "unix": _Unix}  # redis-py leaves most of them untyped


def _made(
    place: Endpoint, address: Address, secrets: Credentials, db: int, timeout_s: float
) -> Any:
    options: dict[str, Any] = {
        "db": db,
        "username": secrets.username,
        "password": secrets.password,
        "socket_timeout": timeout_s,
        "socket_connect_timeout": timeout_s,
        "socket_read_size": _MOST_BYTES_AT_ONCE,
        "retry": Retry(NoBackoff(), 0),
        "retry_on_timeout": False,
        "health_check_interval": 0,
        "decode_responses": False,
        "protocol": 2,
        "client_name": None,  # a user without the right to set one could not connect at all
        **_SILENT,
    }
    if not place.port:
        return _KINDS["unix"](path=place.host, **options)
    options |= {"host": place.host, "port": place.port, "socket_keepalive": True}
    if address.tls is None:
        return _KINDS["tcp"](**options)
    tls = address.tls
    return _KINDS["tls"](
        ssl_ca_certs=tls.ca_certs,
        ssl_certfile=tls.certfile,
        ssl_keyfile=tls.keyfile,
        ssl_cert_reqs="required" if tls.verify else "none",
        ssl_check_hostname=tls.check_hostname,
        **options,
    )


def _silent() -> dict[str, Any]:
    """Return what keeps a connection from introducing itself, in the version that is installed.

    Older servers count every CLIENT SETINFO as an error.
    """
    known = {
        name
        for base in redis.Connection.__mro__
        if "__init__" in vars(base)
        for name in inspect.signature(vars(base)["__init__"]).parameters
    }
    if "driver_info" in known:
        return {"driver_info": None}
    return dict.fromkeys(known & {"lib_name", "lib_version"})


_SILENT = _silent()


def _left(end: float) -> float:
    left = end - time.monotonic()
    if left <= 0:
        raise exceptions.TimeoutError("no time was left")
    return left
