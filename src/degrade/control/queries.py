"""What a human can see: how things stand, why, what happened, and whether an order has arrived."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

from degrade.clock import Clock, SystemClock
from degrade.control.fleet_votes import fold_fleet
from degrade.control.propagation import Propagation, undone, wait_applied
from degrade.control.status import Status, Why, fold_status, fold_why
from degrade.control.validation import bad, checked_wait, unknown
from degrade.core.records import ControlState, Event
from degrade.errors import StoreError
from degrade.ports import Store
from degrade.stores.local_holds import LocalHolds
from degrade.units import Duration, Ratio

__all__ = ("WAIT_S", "Queries")

WAIT_S = 10.0
"""How long to wait for the instances unless told, seconds."""

_NEWS_S = 3_600.0
"""How long a restored store is news, seconds."""


class Queries:
    """The verbs that change nothing; the arguments are those of `Control`."""

    def __init__(
        self,
        store: Store,
        *,
        clock: Clock | None = None,
        local: LocalHolds | None = None,
        namespace: str | None = None,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self._store = store
        self._clock: Clock = SystemClock() if clock is None else clock
        self._namespace = namespace or str(getattr(store, "namespace", "default"))
        self._local = LocalHolds(self._namespace, clock=self._clock) if local is None else local
        self._sleep = sleep

    def status(self, flag: str | None = None) -> Status:
        """Return how every flag, or one, stands, and what to do now.

        Raises:
            UnknownFlagError: `flag` is neither declared nor held; the message has the closest.
            StoreError: The store cannot be read.
        """
        reports = self._store.instances()
        state, flags = self._store.read(), self._store.flags()
        try:
            local = self._local.read()
        except StoreError:  # a damaged file of this host must not hide how the fleet stands
            local = {}
        fleet = self._store.fleet
        views = {} if fleet is None else fold_fleet(state, fleet.votes(), reports)
        status = fold_status(
            state,
            flags=flags,
            reports=reports,
            local=local,
            fleet=views,
            restored=self._restored(state),
            store=self._store.url,
            namespace=self._namespace,
            only=flag,
        )
        if flag is not None and not status.flags:
            raise unknown(flag, {*flags, *state.holds})
        return status

    def why(self, flag: str, *, events: int = 10) -> Why:
        """Return why a flag is as it is: orders, evidence of each instance, its last events.

        Raises:
            UnknownFlagError: `flag` is neither declared nor held; the message has the closest.
            StoreError: The store cannot be read.
        """
        status = self.status(flag)
        return fold_why(
            status,
            flag,
            self._store.instances(),
            self._store.events(flag=flag, limit=events),
        )

    def events(
        self, since: str | None = None, flag: str | None = None, *, limit: int = 1_000
    ) -> list[Event]:
        """Return events after the id `since`, oldest first; without it the newest `limit`.

        Raises:
            ConfigError: `since` is no event id.
            StoreError: The store cannot be read.
        """
        return self._store.events(since=since, flag=flag, limit=limit)

    def wait_applied(
        self, epoch: int, *, share: Ratio = 1.0, timeout: Duration = WAIT_S
    ) -> Propagation:
        """Wait until a share of the instances has applied the change with an epoch.

        Instances count until ten minutes after their last heartbeat, unless they said goodbye.

        Args:
            epoch: Of the change, as the verbs return it.
            share: How many are enough.
            timeout: The longest to wait.

        Returns:
            How far it has come, and who is missing; `enough` says whether that suffices.

        Raises:
            ConfigError: A value cannot be used (codes `bad-hold`, `bad-ratio`, `bad-duration`).
        """
        waits = checked_wait(share, timeout)
        if waits is None:
            raise bad("share=None: say which share of the instances to wait for")
        return self._wait(epoch, waits)

    def _restored(self, state: ControlState) -> Event | None:
        """Return how the store was restored within the last hour, None if it was not."""
        if state.now - state.not_before > _NEWS_S:  # no life of it began since
            return None
        found = [event for event in self._store.events() if event.type == "restored"]
        return found[-1] if found and state.now - found[-1].at <= _NEWS_S else None

    def _wait(self, epoch: int, waits: tuple[float, float]) -> Propagation:
        share, timeout_s = waits
        arrived = wait_applied(
            self._store, epoch, share=share, timeout_s=timeout_s,
            monotonic=self._clock.monotonic, sleep=self._sleep,
        )  # fmt: skip
        try:
            return replace(arrived, undone=undone(self._store.events(), epoch))
        except StoreError:
            return arrived
