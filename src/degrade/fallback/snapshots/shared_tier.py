"""The tier of snapshots that the processes of a fleet share.

    captures, when they are in memory ──offer──> queue ──send──> Blobs      the I/O worker
    a key that memory does not have ──find──> Blobs ──checks──> memory      a worker

The queue keeps the newest snapshot of a key. It is bounded in entries and bytes; beyond them the
oldest goes, and is counted. A key is sent at most once per `refresh`, however often its snapshot
was lost from memory meanwhile.

A store that lost everything is sent again what it had from here, as far as memory still has it: a
fleet that is degraded makes no new snapshots, and a process that starts then has none. It goes
slowly, since all processes do it, and replaces nothing that somebody else has sent since.

Invariants: what was admitted before a void is not sent after it; what is found is served only
when its age by the store's time allows it, whatever the clocks of the hosts say.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from hashlib import blake2b
from typing import TYPE_CHECKING, Final, NamedTuple

from degrade.core.enums import Sharing
from degrade.errors import CodecError
from degrade.fallback.snapshots.keys import Key
from degrade.fallback.snapshots.memory_tier import Capture, SnapshotTable
from degrade.ports import Blob, Blobs, PartlyStoredError, UntrustedError

if TYPE_CHECKING:
    from degrade.fallback.snapshots.snapshot_rung import BoundSnapshot, Found

__all__ = ("SharedTier",)

SEND_EVERY_S: Final = 1.0
MOST_QUEUED: Final = 2_000
MOST_QUEUED_BYTES: Final = 16 * 1024 * 1024
_BATCH: Final = 200
_LEAST: Final = 25
"""Snapshots of a batch, as long as a part of the store takes them."""
_BATCH_BYTES: Final = 1024 * 1024
_MOST_REMEMBERED: Final = 10_000
_AGAIN: Final = 50
"""Snapshots that are sent again with each `send`, to a store that lost them."""


class _Sent(NamedTuple):
    """What was sent for a place: the snapshot of a key, admitted at a monotonic time."""

    at: float
    book: SnapshotTable
    key: Key
    shared_as: str


class SharedTier:
    """Snapshots on their way to and from the store of the fleet.

    Args:
        blobs: Where they are kept.
        monotonic: The clock of this process.
        store_now: The store's time, Unix seconds; None while it is not known.

    Guarantees:
        No lock is held while the store is asked, and none is one that healthy calls take.
    """

    def __init__(
        self,
        blobs: Blobs,
        *,
        monotonic: Callable[[], float],
        store_now: Callable[[], float | None],
    ) -> None:
        self._blobs = blobs
        self._monotonic = monotonic
        self._store_now = store_now
        self._lock = threading.Lock()
        self._queue: dict[bytes, Capture] = {}
        self._bytes = 0
        self._sent: dict[bytes, _Sent] = {}
        self._lost: dict[bytes, _Sent] = {}
        self._next_s = float("-inf")
        self._most = _BATCH

    @property
    def waiting_bytes(self) -> int:
        """Bytes that wait for being sent."""
        return self._bytes

    def __len__(self) -> int:
        return len(self._queue)

    @property
    def knows_time(self) -> bool:
        """Whether the store's time is known, without which no age can be judged."""
        return self._store_now() is not None

    # ------------------------------------------------------------------ to the store

    def offer(self, capture: Capture) -> None:
        """Queue a capture that the memory tier has taken, in place of an older one of its key."""
        size = len(capture.entry.blob)
        if not capture.shared_as or not 0 < size <= self._blobs.limit:
            return
        place = _place(capture.book.flag, capture.shared_as)
        with self._lock:
            sent = self._sent.get(place)
            refresh_s = capture.entry.due - capture.entry.at
            void_before = capture.book.void_before
            if (
                sent is not None
                and sent.at > void_before
                and capture.entry.at - sent.at < refresh_s
            ):
                return
            self._lost.pop(place, None)
            self._drop(place)
            self._queue[place] = capture
            self._bytes += size
            while len(self._queue) > MOST_QUEUED or self._bytes > MOST_QUEUED_BYTES:
                self._count(self._drop(next(iter(self._queue))), Sharing.UNSENT)

    def lost(self) -> None:
        """Send again what was sent: the store has lost it."""
        with self._lock:
            self._lost |= self._sent
            self._sent.clear()

    def due(self) -> bool:
        """Whether `send` has something to do."""
        return bool(self._queue or self._lost) and self._monotonic() >= self._next_s

    def send(self) -> None:
        """Send what is queued, in batches, and a little of what the store has lost.

        Raises:
            StoreError: The store does not take all of it; what it did not take is sent later.

        Cost:
            Blocks: one round trip a batch of 200 snapshots or 1 MB; of less after an error, which
            one that is too large for the way there may have caused.
        """
        self._next_s = self._monotonic() + SEND_EVERY_S
        failure: PartlyStoredError | None = None
        try:
            self._send_queued()
        except PartlyStoredError as error:
            failure = error
        self._send_again()
        if failure is not None:
            raise failure

    # ------------------------------------------------------------------ from the store

    def find(
        self,
        rung: BoundSnapshot,
        key: Key,
        *,
        after_s: float,
        within_s: float,
        told: Callable[[], None],
    ) -> tuple[Sharing, Found | None]:
        """Ask for a key of a rung, and take what can be served into memory.

        Args:
            rung: The snapshot rung that misses it.
            key: The key.
            after_s: When the last `off` of the flag ended, store time.
            within_s: The most that the store may take.
            told: Called when the store has answered, before what it said is looked into.

        Returns:
            What came of it, which is counted too, and what may be served.

        Raises:
            StoreError: The store did not answer.

        Cost:
            Blocks; decodes.
        """
        flag = rung.book.flag
        how = Sharing.FAILED
        try:
            body = self._blobs.get(flag, rung.text(key), within_s=within_s)
            told()
            store_s = self._store_now()
            if body is None or store_s is None:
                how = Sharing.MISS
                return how, None
            found = rung.received(
                key, body, monotonic_s=self._monotonic(), store_s=store_s, after_s=after_s
            )
            how = Sharing.HIT
        except CodecError as error:
            told()
            how = Sharing.REFUSED
            if not isinstance(error, UntrustedError):  # the tier has logged that one
                rung.refused(error)
            return how, None
        else:
            return how, found
        finally:
            self.count(rung.book, how)

    def count(self, book: SnapshotTable, how: Sharing) -> None:
        """Count what came of a snapshot."""
        with self._lock:
            self._count(book, how)

    # ------------------------------------------------------------------ private

    def _send_queued(self) -> None:
        while batch := self._batch():
            left = set(batch)
            try:
                self._put([self._blob(capture) for capture in batch.values()])
                left = set()
            except PartlyStoredError as error:
                left = {_place(blob.flag, blob.key) for blob in error.left}
                raise
            finally:  # also after an interrupt: nothing that was queued is lost
                self._take_back({place: batch[place] for place in batch if place in left})
                with self._lock:
                    for place, made in batch.items():
                        if place not in left:
                            sent = _Sent(made.entry.at, made.book, made.key, made.shared_as)
                            self._note_sent(place, sent)

    def _send_again(self) -> None:
        again = self._again()
        if not again:
            return
        left = set(again)
        try:
            self._put(list(again.values()))
            left = set()
        except PartlyStoredError as error:
            left = {_place(blob.flag, blob.key) for blob in error.left}
            raise
        finally:
            with self._lock:
                for place in again:
                    sent = self._lost.pop(place, None)
                    if sent is None:
                        continue
                    if place in left:
                        self._lost[place] = sent  # the others first, the next time
                    else:
                        self._note_sent(place, sent)

    def _batch(self) -> dict[bytes, Capture]:
        """Take the oldest off the queue, without those that may not be sent any more."""
        now = self._monotonic()
        batch: dict[bytes, Capture] = {}
        size = 0
        with self._lock:
            most_bytes = _BATCH_BYTES * self._most // _BATCH
            while self._queue and len(batch) < self._most and size < most_bytes:
                place, capture = next(iter(self._queue.items()))
                self._drop(place)
                entry = capture.entry
                if entry.at <= capture.book.void_before or entry.expires <= now:
                    self._count(capture.book, Sharing.UNSENT)
                    continue
                batch[place] = capture
                size += len(entry.blob)
        return batch

    def _put(self, blobs: Sequence[Blob]) -> None:
        try:
            self._blobs.put(blobs)
        except PartlyStoredError:  # the part that is away does not slow down the others
            self._most = min(self._most, max(_LEAST, self._most // 8))
            raise
        except BaseException:  # whatever it was, the batch may have been too large; it is raised on
            self._most = max(1, self._most // 8)
            raise
        self._most = min(2 * self._most, _BATCH)

    def _again(self) -> dict[bytes, Blob]:
        """Return some of what was lost, and forget what memory has no more."""
        now = self._monotonic()
        again: dict[bytes, Blob] = {}
        left = _BATCH_BYTES * self._most // _BATCH
        with self._lock:
            for place, (_, book, key, shared_as) in list(self._lost.items()):
                entry = book.entries.get(key)
                if entry is None or not entry.blob or entry.expires <= now:
                    del self._lost[place]
                    continue
                keep_s = entry.expires - now
                again[place] = Blob(book.flag, shared_as, entry.blob, keep_s, replaces=False)
                left -= len(entry.blob)
                if left <= 0 or len(again) >= min(_AGAIN, self._most):
                    break
        return again

    def _note_sent(self, place: bytes, sent: _Sent) -> None:
        self._sent.pop(place, None)
        self._sent[place] = sent
        self._count(sent.book, Sharing.SENT)
        while len(self._sent) > _MOST_REMEMBERED:
            del self._sent[next(iter(self._sent))]

    def _blob(self, capture: Capture) -> Blob:
        return Blob(
            flag=capture.book.flag,
            key=capture.shared_as,
            body=capture.entry.blob,
            keep_s=capture.entry.expires - self._monotonic(),
        )

    def _take_back(self, batch: dict[bytes, Capture]) -> None:
        """Queue again what was not sent, where nothing newer has come and there is room."""
        with self._lock:
            for place, capture in batch.items():
                size = len(capture.entry.blob)
                room = len(self._queue) < MOST_QUEUED and self._bytes + size <= MOST_QUEUED_BYTES
                if place in self._queue or not room:
                    self._count(capture.book, Sharing.UNSENT)
                else:
                    self._queue[place] = capture
                    self._bytes += size

    def _drop(self, place: bytes) -> SnapshotTable | None:
        capture = self._queue.pop(place, None)
        if capture is None:
            return None
        self._bytes -= len(capture.entry.blob)
        return capture.book

    def _count(self, book: SnapshotTable | None, how: Sharing) -> None:
        if book is not None:
            book.sharing[how] += 1

    def __repr__(self) -> str:
        return f"<SharedTier {len(self)} waiting, {self.waiting_bytes} bytes>"


def _place(flag: str, shared_as: str) -> bytes:
    text = f"{flag}\n{shared_as}"
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()
