"""The store of a fleet: the control state of a namespace in one slot of Redis.

ledger   the state and every change of it
log      the stream of events
fleet    heartbeats, votes, verdicts, leases
blobs    snapshots, on any slot
"""

from __future__ import annotations

import os
import random
import socket
from collections.abc import Callable, Sequence

from pydantic import ValidationError

from degrade.clock import Clock, SystemClock
from degrade.core.records import ControlState, Event, FlagInfo, InstanceReport
from degrade.errors import StoreError
from degrade.ports import Blobs, Change, EventDraft
from degrade.stores.redis.event_stream import RedisLog
from degrade.stores.redis.fleet import RedisFleet
from degrade.stores.redis.keys import Keys
from degrade.stores.redis.snapshots import RedisBlobs
from degrade.stores.redis.state.repository import StateRepository
from degrade.stores.redis.transport.base import Transport
from degrade.stores.signed_snapshots import SignedBlobs
from degrade.stores.state_changes import EVENT_CAP, append_drafts, apply_change, apply_sweep
from degrade.stores.urls import checked_namespace

__all__ = ("RedisStore",)


class RedisStore:
    """Keeps a namespace in Redis, for a fleet.

    Args:
        link: The way to the server.
        namespace: Which fleet: application and environment.
        clock: Measures the time between two readings of the server's time.
        server_time: Whether the store's time is the server's. False takes the clock's wall
            time, as tests of ends and ages do.
        event_cap: Events kept, roughly; the oldest go first.
        snapshot_keys: Sign snapshots: the first one signs, each of them verifies.
        rng: Randomness of waits and ids.

    Guarantees:
        Every failure is a `StoreError`. A change is written as a whole or not at all, and not
        after its deadline. A state that was lost, or went back, is restored from what is known
        here; until then what is known stays. Safe from several threads, and in forked children.

    Cost:
        Blocks: one round trip for `changed`, another for `read` after a change, one for a
        change that nobody else interferes with.
    """

    shared = True

    def __init__(
        self,
        link: Transport,
        *,
        namespace: str = "default",
        clock: Clock | None = None,
        server_time: bool = True,
        event_cap: int = EVENT_CAP,
        snapshot_keys: Sequence[bytes] = (),
        rng: random.Random | None = None,
    ) -> None:
        self.namespace = checked_namespace(namespace)
        self._link = link
        self._keys = Keys(namespace)
        self._closed = False
        self._callbacks: list[Callable[[ControlState | None], None]] = []
        self._log = RedisLog(link, self._keys.events, cap=event_cap)
        self._ledger = StateRepository(
            link,
            self._keys,
            self._log,
            clock=SystemClock() if clock is None else clock,
            server_time=server_time,
            writer=lambda: f"{socket.gethostname()}/{os.getpid()}",
            rng=random.SystemRandom() if rng is None else rng,  # which no child inherits
        )
        self.now = self._ledger.now
        self.fleet = RedisFleet(link, self._keys, self._ledger)
        blobs = RedisBlobs(link, namespace=namespace)
        self.blobs: Blobs | None = SignedBlobs(blobs, snapshot_keys, namespace=namespace)

    @property
    def url(self) -> str:
        return self._link.url

    def read(self) -> ControlState:
        self._check_open()
        return self._ledger.read()

    def changed(self, since: ControlState | None = None) -> bool:
        self._check_open()
        return self._ledger.changed(since)

    def change(self, change: Change) -> tuple[Event, ...]:
        self._check_open()
        return self._told(
            self._ledger.write(lambda state, head, now: apply_change(state, head, change, now=now))
        )

    def sweep(self, instance: str) -> tuple[Event, ...]:
        self._check_open()
        return self._told(
            self._ledger.write(lambda state, head, now: apply_sweep(state, head, instance, now=now))
        )

    def append(self, drafts: Sequence[EventDraft]) -> tuple[Event, ...]:
        self._check_open()
        if not drafts:
            return ()
        return self._ledger.write(
            lambda state, head, now: append_drafts(state, head, drafts, now=now)
        )

    def events(
        self, *, since: str | None = None, flag: str | None = None, limit: int = 1_000
    ) -> list[Event]:
        self._check_open()
        return self._log.events(since=since, flag=flag, limit=limit)

    def declare(self, flags: Sequence[FlagInfo]) -> None:
        self._check_open()
        if flags:
            rows = [word for info in flags for word in (info.name, info.model_dump_json())]
            self._link.write(self._keys.flags, [("HSET", self._keys.flags, *rows)])

    def flags(self) -> dict[str, FlagInfo]:
        self._check_open()
        (found,) = self._link.read(self._keys.flags, [("HGETALL", self._keys.flags)])
        infos = filter(None, map(_info, found.values()))
        return {info.name: info for info in sorted(infos, key=lambda info: info.name)}

    def report(self, report: InstanceReport) -> None:
        self._check_open()
        self.fleet.beat(report, {})

    def goodbye(self, instance: str) -> None:
        self._check_open()
        self.fleet.goodbye(instance)

    def instances(self, *, within_s: float = 600.0) -> list[InstanceReport]:
        self._check_open()
        return self.fleet.instances(within_s=within_s)

    def subscribe(self, callback: Callable[[ControlState | None], None]) -> None:
        self._callbacks.append(callback)

    def close(self) -> None:
        self._closed = True
        self._link.close()

    def _told(self, events: tuple[Event, ...]) -> tuple[Event, ...]:
        if events:
            known = self._ledger.known
            for callback in self._callbacks:
                callback(None if known is None else known.state)
        return events

    def _check_open(self) -> None:
        if self._closed:
            raise StoreError(f"the store {self.url} is closed")

    def __repr__(self) -> str:
        return f"RedisStore({self.url!r}, namespace={self.namespace!r})"


def _info(body: bytes) -> FlagInfo | None:
    """Return a declaration; None for one that another release wrote in another way."""
    try:
        return FlagInfo.model_validate_json(body)
    except ValidationError:
        return None
