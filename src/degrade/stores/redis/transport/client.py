"""The link to real servers: one connection for commands, one for the channel."""

from __future__ import annotations

import functools
import hashlib
import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib.resources import files
from typing import Any, TypeVar

from redis import exceptions

from degrade.errors import StoreError
from degrade.forks import follow_forks
from degrade.stores.redis.transport.address import Address, Endpoint, parse
from degrade.stores.redis.transport.base import Check, Command, Transacted, Word
from degrade.stores.redis.transport.connection import FAILURES, OLDEST_S, Connection, shaped
from degrade.stores.redis.transport.errors import explained
from degrade.stores.redis.transport.pending_connection import PendingConnection
from degrade.stores.redis.transport.subscriber import Subscriber
from degrade.stores.redis.transport.topology import route_of
from degrade.units import Duration, seconds

__all__ = ("RedisTransport", "link_of")

T = TypeVar("T")

_TIMEOUT: Duration = "300ms"
_LOOK_AROUND_S = 0.7
"""Who can be asked where the primary is, is asked at most so often: with each poll of a second."""


class RedisTransport:
    """A way to a server, to the primary behind sentinels, or to the primaries of a cluster.

    Args:
        address: What `parse` made of a URL.
        timeout: The most that one call may take; None means what the URL says, else 300 ms.

    Guarantees:
        Every failure is a `StoreError` that says what to do and shows no secret. No call takes
        longer than its timeout (`scatter`: for each server), also while another thread waits for
        a server or a name server.
        At most two connections, in a cluster one for each primary in use and one; and one to a
        sentinel, which is asked about once a second, while calls are made, who the primary is:
        a primary that was replaced is left also when it goes on answering. Nothing is sent
        twice. Safe from several threads, and in forked children, which connect anew.

    Cost:
        Blocks for a round trip; connects at the first use, in a thread of its own, and asks the
        sentinel in another.
    """

    def __init__(self, address: Address, *, timeout: Duration | None = None) -> None:
        self._address = address
        if timeout is None:
            timeout = address.timeout_s or _TIMEOUT
        self._timeout_s = seconds(timeout, what="timeout")
        self._route = route_of(address, timeout_s=self._timeout_s)
        self._oldest_s = OLDEST_S
        self._lock = threading.Lock()
        self._wires: dict[Endpoint, Connection] = {}
        self._dialings: dict[Endpoint | None, PendingConnection] = {}
        self._ears: list[Subscriber] = []
        self._looking = False
        self._looked_at = 0.0
        self._closed = False
        follow_forks(self)

    def __repr__(self) -> str:
        return f"RedisTransport({self.url!r})"

    @property
    def url(self) -> str:
        return self._address.url

    def read(
        self, key: str, commands: Sequence[Command], *, within_s: float | None = None
    ) -> list[Any]:
        if not commands:
            return []
        whole = len(commands) > 1

        def talk(wire: Connection) -> list[Any]:
            if not whole:
                return _checked(wire.ask(commands, end))
            replies = wire.ask([("MULTI",), *commands, ("EXEC",)], end)
            if isinstance(replies[1], exceptions.OutOfMemoryError):
                # A full server queues nothing for MULTI, but still reads; and nobody writes.
                return _checked(wire.ask(commands, end))
            return _checked(_checked(replies)[-1])

        most_s = self._timeout_s if within_s is None else min(self._timeout_s, within_s)
        end = time.monotonic() + most_s
        return _in_shape(commands, self._talk(key, end, talk))

    def write(self, key: str, commands: Sequence[Command]) -> list[Any]:
        if not commands:
            return []
        end = time.monotonic() + self._timeout_s
        return _in_shape(
            commands, self._talk(key, end, lambda wire: _checked(wire.ask(commands, end)))
        )

    def scatter(self, commands: Sequence[Command]) -> list[tuple[Command, StoreError]]:
        left, failed = list(commands), list[tuple[Command, StoreError]]()
        while left:
            key = str(left[0][1])
            place = self._route.known(key)
            here, rest = left[:1], list[Command]()
            for command in left[1:]:
                same = place is not None and self._route.known(str(command[1])) == place
                (here if same else rest).append(command)
            left = rest
            try:
                self.write(key, here)  # where nothing was known, this finds out
            except StoreError as error:
                left = []
                for command in rest:
                    known = self._route.known(str(command[1])) is not None
                    (left if known else here).append(command)
                failed += [(command, error) for command in here]
        return failed

    def transact(
        self,
        keys: Sequence[str],
        checks: Sequence[Check],
        commands: Sequence[Command],
        *,
        deadline: float | None,
    ) -> Transacted:
        words = (len(keys), *keys, *_arguments(checks, commands, deadline))
        script, digest = _script()
        end = time.monotonic() + self._timeout_s

        def talk(wire: Connection) -> Any:
            (reply,) = wire.ask([("EVALSHA", digest, *words)], end)
            if isinstance(reply, exceptions.NoScriptError):  # then it has done nothing
                (reply,) = wire.ask([("EVAL", script, *words)], end)
            return _checked([reply])[0]

        outcome, unix_s, more_us, replies = self._talk(keys[0], end, talk)
        return Transacted(
            done=outcome == b"done",
            late=outcome == b"late",
            now=int(unix_s) + int(more_us) / 1e6,
            replies=tuple(replies),
        )

    def listen(
        self,
        channel: str,
        hear: Callable[[bytes | None], None],
        stopping: Callable[[], bool],
    ) -> None:
        self._check_open()
        route = route_of(self._address, timeout_s=self._timeout_s)
        ear = Subscriber(channel, route, self._address, timeout_s=self._timeout_s)
        self._ears.append(ear)
        try:
            ear.listen(hear, lambda: self._closed or stopping())
        finally:
            if ear in self._ears:  # not in a child that was forked meanwhile
                self._ears.remove(ear)

    def close(self) -> None:
        self._closed = True
        for ear in tuple(self._ears):
            ear.interrupt()
        if self._lock.acquire(timeout=self._timeout_s + 0.1):
            try:
                self._drop_all()
            finally:
                self._lock.release()

    def before_fork(self) -> None:
        """Nothing: a child hangs up for itself alone, and no connection is lost by a fork."""

    def after_fork_in_parent(self) -> None:
        """Nothing: see `before_fork`."""

    def after_fork_in_child(self) -> None:
        self._lock = threading.Lock()
        self._dialings, self._looking = {}, False  # their threads are the parent's
        ears, self._ears = self._ears, []
        for ear in ears:
            ear.let_go()
        self._drop_all()

    def _talk(self, key: str, end: float, talk: Callable[[Connection], T]) -> T:
        with self._holding(end):
            wire = self._wire(key, end)
            try:
                return talk(wire)
            except FAILURES as error:
                failure = explained(error, self._address)
                in_step = isinstance(error, exceptions.ResponseError)
            except BaseException:  # the rest of its reply must not become the answer to the next
                self._lose(wire)
                raise
            if not (in_step and failure.remedy.keeps_connection):
                self._lose(wire)
        raise failure

    def _wire(self, key: str, end: float) -> Connection:
        """Return an open connection to the primary of a key."""
        while True:
            place = self._route.known(key)
            wire = None if place is None else self._wires.get(place)
            if wire is not None:
                if time.monotonic() - wire.since < self._oldest_s and wire.fresh():
                    self._look_around(wire)
                    return wire
                self._lose(wire)
                continue
            if None in self._dialings:  # begun when nothing was known: its wire must not be left
                place = None
            dialing = self._dialings.get(place)
            if dialing is None:
                dialing = PendingConnection(lambda: self._route.open(key))
                self._dialings[place] = dialing
            try:
                wire = dialing.wait(end - time.monotonic())
            except Exception:  # whatever it is, this attempt is over; it is raised again
                del self._dialings[place]
                if place is not None:
                    self._route.lost(place)
                raise
            if wire is None:
                raise explained("TIMEOUT", self._address)
            del self._dialings[place]
            self._keep(wire)

    def _keep(self, wire: Connection) -> None:
        old = self._wires.get(wire.place)
        self._wires[wire.place] = wire
        self._oldest_s = random.uniform(0.8, 1.0) * OLDEST_S  # here, where children draw their own
        self._looked_at = time.monotonic()  # who made it has just asked
        if old is not None:
            old.close()
        for place in [place for place in self._wires if not self._route.leads_to(place)]:
            self._wires.pop(place).close()

    def _lose(self, wire: Connection) -> None:
        self._wires.pop(wire.place, None)
        wire.close()
        self._route.lost(wire.place)

    def _drop_all(self) -> None:
        for wire in self._wires.values():
            wire.close()
        for dialing in self._dialings.values():
            dialing.abandon()
        self._wires, self._dialings = {}, {}
        self._route.hang_up()

    def _look_around(self, used: Connection) -> None:
        """Begin to ask whether the primary is another by now, if it is time to."""
        now = time.monotonic()
        due = now - self._looked_at >= _LOOK_AROUND_S and not self._looking
        if not (due and self._route.is_told):
            return
        self._looked_at, self._looking = now, True
        try:
            threading.Thread(
                target=self._look, args=(used,), name="degrade-connect", daemon=True
            ).start()
        except RuntimeError:  # out of threads, or the interpreter ends: the next time, then
            self._looking = False

    def _look(self, used: Connection) -> None:
        place = None
        with suppress(Exception):  # whatever it is, we stay where we are answered, and ask again
            place = self._route.told()
        with self._lock:
            self._looking = False
            if place not in (None, used.place) and self._wires.get(used.place) is used:
                self._lose(used)  # first, so that there are never more than two
            if self._closed:
                self._drop_all()
        if place is not None:
            for ear in tuple(self._ears):
                ear.move_to(place)

    @contextmanager
    def _holding(self, end: float) -> Iterator[None]:
        self._check_open()
        lock = self._lock
        if not lock.acquire(timeout=max(0.0, end - time.monotonic())):
            raise explained("TIMEOUT", self._address)
        try:
            self._check_open()
            yield
        finally:
            lock.release()

    def _check_open(self) -> None:
        if self._closed:
            raise StoreError(f"the store {self.url} is closed")


def link_of(url: str) -> RedisTransport:
    """Return the link that a URL leads to; it connects at its first use, not here.

    Raises:
        ConfigError: The URL makes no sense; secrets in it are not shown.
    """
    return RedisTransport(parse(url))


def _checked(replies: list[Any]) -> list[Any]:
    for reply in replies:
        if isinstance(reply, Exception):
            raise reply
    return replies


def _in_shape(commands: Sequence[Command], replies: list[Any]) -> list[Any]:
    return [shaped(command, reply) for command, reply in zip(commands, replies, strict=True)]


def _arguments(
    checks: Sequence[Check], commands: Sequence[Command], deadline: float | None
) -> Iterator[Word]:
    yield "" if deadline is None else int(deadline * 1e6)
    yield len(checks)
    for check in checks:
        yield len(check.command)
        yield from check.command
        if check.expected is None:
            yield 0
        else:
            yield 1
            yield check.expected
    yield len(commands)
    for command in commands:
        yield len(command)
        yield from command


@functools.cache
def _script() -> tuple[str, str]:
    """Return the script of `transact`, and the name that servers have for it."""
    text = (
        files("degrade.stores.redis.transport").joinpath("lua", "transact.lua").read_text("utf-8")
    )
    return text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()
