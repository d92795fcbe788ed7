"""What a runtime has only with a store that joins several hosts: loaded when there is one."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from degrade.fallback.snapshots.memory_tier import Capture

if TYPE_CHECKING:
    from degrade.runtime.background.io_worker import IOWorker
    from degrade.runtime.fleet.hint_listener import Listener
    from degrade.runtime.fleet.membership import Membership
    from degrade.runtime.fleet.snapshot_fetcher import SnapshotFetcher
    from degrade.runtime.fleet.state_persistence import StatePersistence
    from degrade.runtime.runtime import Runtime
    from degrade.stores.state_file import SavedState

__all__ = ("fetcher_for", "keep_for_all", "listener_for", "member_for", "saver_for")


def member_for(runtime: Runtime, rng: random.Random) -> Membership | None:
    """Return the runtime's part in its fleet."""
    fleet = runtime.store.fleet
    if fleet is None:
        return None
    from degrade.runtime.fleet.membership import Membership  # noqa: PLC0415 - see the module

    return Membership(runtime, fleet, rng)


def listener_for(runtime: Runtime) -> Listener | None:
    """Return a listener that runs, if a thread can be started."""
    if runtime.member is None or runtime.threads != "background":
        return None
    from degrade.runtime.fleet.hint_listener import Listener  # noqa: PLC0415 - see the module

    listener = Listener(runtime, runtime.member.fleet)
    listener.try_start()
    return listener


def fetcher_for(runtime: Runtime, wait_s: float) -> SnapshotFetcher | None:
    """Return what asks the tier that the fleet shares for snapshots."""
    if runtime.store.blobs is None:
        return None
    from degrade.runtime.fleet.snapshot_fetcher import fetcher_of  # noqa: PLC0415 - see the module

    return fetcher_of(runtime, wait_s)


def saver_for(
    runtime: Runtime, saved: SavedState | None, rng: random.Random
) -> StatePersistence | None:
    """Return what keeps the last known state in a file."""
    if saved is None:
        return None
    from degrade.runtime.fleet.state_persistence import StatePersistence  # noqa: PLC0415 - see the module

    return StatePersistence(saved, runtime, rng)


def keep_for_all(runtime: Runtime, io_worker: IOWorker, capture: Capture) -> None:
    """Let the I/O worker put a capture into memory, and offer it to the fleet.

    One that was made before the store's time was known does not have it, and stays here.
    """
    fetcher, memory, stamped = runtime.fetcher, runtime.tier, runtime.orders.known

    def keep() -> None:
        if memory.insert(capture) and stamped and fetcher is not None:
            fetcher.tier.offer(capture)

    io_worker.put("insert", keep, dropped=lambda: memory.drop(capture))
