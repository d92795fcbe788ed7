"""A tier of snapshots in memory that several runtimes of one test share, and that can hang."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from degrade.clock import Clock
from degrade.errors import CodecError, StoreError
from degrade.ports import Blob
from degrade.stores.memory import MemoryStore


class Shelf:
    """A dictionary of bodies.

    Attributes:
        bodies: What lies there, by flag and key; tests put there what they like.
        asked: Every question, in order.
        batches: The number of snapshots of every batch.
        sick: Whether it refuses to work.
        frozen: Cleared, nobody gets an answer until it is set again.
    """

    def __init__(self, limit: int = 4 * 1024 * 1024) -> None:
        self.limit = limit
        self.bodies: dict[tuple[str, str], bytes] = {}
        self.kept_s: dict[tuple[str, str], float] = {}
        self.asked: list[tuple[str, str]] = []
        self.batches: list[int] = []
        self.sick = False
        self.going = threading.Event()
        self.going.set()

    def get(self, flag: str, key: str, *, within_s: float) -> bytes | None:
        self.asked.append((flag, key))
        if self.sick:
            raise StoreError("the shelf is sick")
        if not self.going.wait(within_s):
            raise StoreError("the shelf is frozen")
        body = self.bodies.get((flag, key))
        if body is not None and len(body) > self.limit:
            raise CodecError("too large")
        return body

    def put(self, blobs: Sequence[Blob]) -> None:
        if self.sick:
            raise StoreError("the shelf is sick")
        self.batches.append(len(blobs))
        for blob in blobs:
            if not blob.replaces and (blob.flag, blob.key) in self.bodies:
                continue
            self.bodies[blob.flag, blob.key] = blob.body
            self.kept_s[blob.flag, blob.key] = blob.keep_s


class ShelfStore(MemoryStore):
    """A store with a shelf; its clock is the time of the store."""

    def __init__(self, shelf: Shelf, clock: Clock) -> None:
        super().__init__(clock=clock)
        self.shelf = shelf

    @property
    def blobs(self) -> Shelf:  # type: ignore[override] # a memory store has none
        return self.shelf
