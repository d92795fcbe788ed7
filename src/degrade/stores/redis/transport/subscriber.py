"""Hearing a channel for as long as it takes: one subscription after the other.

A server that freezes leaves its connections open and silent, and a cut cable does, too. So
after a while without a word we ask for one (PING), and the answer has a deadline of its own.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable

from degrade.stores.redis.transport.address import Address, Endpoint
from degrade.stores.redis.transport.connection import FAILURES, OLDEST_S, Connection
from degrade.stores.redis.transport.errors import LinkError, explained
from degrade.stores.redis.transport.pending_connection import PendingConnection
from degrade.stores.redis.transport.pubsub_reader import PubSubReader
from degrade.stores.redis.transport.topology import Route

__all__ = ("Subscriber",)

log = logging.getLogger("degrade.stores")

_LOOK_UP_S = 1.0
"""How often the end is asked for."""

_QUIET_S = 2.0
"""Silence after which a sign of life is asked for."""

_BACK_OFF_S = (0.2, 1.0)
_SETTLED_S = 5.0
"""A subscription that lasted so long was none of a series that fails."""

_NOT_ALLOWED_S = 30.0
"""Pause between tries when the server does not let us listen."""

_TELL_EVERY_S = 60.0


class Subscriber:
    """One listener of one channel.

    Args:
        channel: Its name.
        route: A way of its own.
        address: For messages to people.
        timeout_s: The most that an answer may take.
    """

    def __init__(self, channel: str, route: Route, address: Address, *, timeout_s: float) -> None:
        self._channel = channel
        self._route = route
        self._address = address
        self._timeout_s = timeout_s
        self._wire: Connection | None = None
        self._left: Connection | None = None
        self._told_at: float | None = None

    def interrupt(self) -> None:
        """Wake the thread that listens; it asks whether to stop."""
        wire = self._wire
        if wire is not None:
            wire.interrupt()

    def move_to(self, place: Endpoint) -> None:
        """Subscribe anew, unless it is there already that we listen; from whatever thread."""
        wire = self._wire
        if wire is not None and wire.place != place:
            self._left = wire
            wire.interrupt()

    def let_go(self) -> None:
        """In a forked child: close what the parent goes on using."""
        wire, self._wire = self._wire, None
        if wire is not None:
            wire.close()

    def listen(self, hear: Callable[[bytes | None], None], over: Callable[[], bool]) -> None:
        """Call `hear` with each message until it is over, and with None after each subscription."""
        failures = 0
        while not over():
            began, failure = time.monotonic(), None
            try:
                self._subscription(hear, over)
            except LinkError as error:
                failure = error
            if failure is None:
                continue
            place = self._route.known(self._channel)
            if place is not None:
                self._route.lost(place)
            if over():
                return
            self._tell(failure)
            failures = 0 if time.monotonic() - began > _SETTLED_S else failures + 1
            self._pause(failure, failures, over)

    def _subscription(self, hear: Callable[[bytes | None], None], over: Callable[[], bool]) -> None:
        wire = self._opened(over)
        if wire is None:
            return
        self._wire = wire
        try:
            messages = self._subscribed(wire)
            hear(None)
            self._hear(wire, messages, hear, over)
        except LinkError:
            if self._left is not wire:
                raise
        finally:
            self._wire = None
            wire.close()

    def _opened(self, over: Callable[[], bool]) -> Connection | None:
        dialing = PendingConnection(lambda: self._route.open(self._channel))
        while not over():
            wire = dialing.wait(_LOOK_UP_S)
            if wire is not None:
                return wire
        dialing.abandon()
        return None

    def _subscribed(self, wire: Connection) -> PubSubReader:
        try:
            messages = wire.messages(self._channel)
            wire.send([("SUBSCRIBE", self._channel)], _soon(self._timeout_s))
            if messages.next(self._timeout_s, self._timeout_s) is None:
                raise TimeoutError("no answer to a SUBSCRIBE")
        except FAILURES as error:
            failure = explained(error, self._address, where=f"the channel {self._channel}")
        else:
            return messages
        raise failure

    def _hear(
        self,
        wire: Connection,
        messages: PubSubReader,
        hear: Callable[[bytes | None], None],
        over: Callable[[], bool],
    ) -> None:
        oldest = wire.since + random.uniform(0.8, 1.0) * OLDEST_S
        quiet_since = time.monotonic()
        asked_at: float | None = None
        while not over() and quiet_since < oldest:
            wait_s = _LOOK_UP_S if asked_at is None else min(_LOOK_UP_S, self._timeout_s)
            try:
                reply = messages.next(wait_s, self._timeout_s)
                now = time.monotonic()
                if reply is not None:
                    quiet_since, asked_at = now, None
                elif asked_at is not None and now - asked_at >= self._timeout_s:
                    raise TimeoutError("no answer to a PING")
                elif asked_at is None and now - quiet_since >= _QUIET_S:
                    wire.send([("PING",)], _soon(self._timeout_s))
                    asked_at = now
            except FAILURES as error:
                failure = explained(error, self._address, where=f"the channel {self._channel}")
            else:
                if type(reply) is bytes:
                    hear(reply)
                continue
            raise failure

    def _pause(self, failure: LinkError, failures: int, over: Callable[[], bool]) -> None:
        if failure.reason == "NOPERM":
            pause_s = _NOT_ALLOWED_S
        else:
            first, most = _BACK_OFF_S
            pause_s = random.uniform(0.0, min(most, first * 2 ** min(failures, 10)))
        end = time.monotonic() + pause_s
        while not over() and (left := end - time.monotonic()) > 0:
            time.sleep(min(left, _LOOK_UP_S))

    def _tell(self, failure: LinkError) -> None:
        now = time.monotonic()
        if self._told_at is None or (
            failure.reason != "NOPERM" and now - self._told_at >= _TELL_EVERY_S
        ):
            self._told_at = now
            log.warning("changes of the fleet are seen by polling only: %s", failure)


def _soon(timeout_s: float) -> float:
    return time.monotonic() + timeout_s
