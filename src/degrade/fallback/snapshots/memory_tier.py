"""The memory tier: snapshots in plain dictionaries that calls read without a lock.

    calls    read    Book.entries      one dictionary a rung
    worker   writes  MemoryTier        cachetools keeps the books: bytes, order of writing

Two shares of `max_bytes` are counted apart: three quarters for what was written (keys, encoded
results, and what the books themselves take), one quarter for results that degraded calls have
decoded. Past its share the oldest goes; a decoded result then is decoded again when needed. Only
what nobody can change is kept decoded; the rest is decoded anew for each call.

Invariants: the sum of both never exceeds `max_bytes`; after `void` no call finds an entry made
before, and none admitted before it can come in later; `entries` stays the same dictionary for the
life of its book; a value that was decoded stays in its entry, and is let go by a new entry in its
place, so that a call may read `value` twice. All changes happen under one lock, which no call ever waits for.
"""

from __future__ import annotations

import threading
import weakref
from collections import Counter
from collections.abc import Callable
from typing import Any, Final

from cachetools import FIFOCache

from degrade.clock import Clock, SystemClock
from degrade.core.enums import Sharing
from degrade.fallback.snapshots.capture_budget import CaptureBudget
from degrade.fallback.snapshots.keys import Key
from degrade.fallback.snapshots.object_size import deep_size, key_size

__all__ = ("UNDECODED", "Capture", "Entry", "MemoryTier", "SnapshotTable")


class _Undecoded:
    __slots__ = ()

    def __repr__(self) -> str:
        return "UNDECODED"

    def __reduce__(self) -> str:
        return "UNDECODED"


UNDECODED: Final = _Undecoded()
"""Stands in `Entry.value` until a degraded call decodes it; never comes back there."""

_OVERHEAD = 800
"""Bytes that an entry takes in the books and dictionaries beside its key and its result."""


class Entry:
    """One snapshot in memory.

    Attributes:
        blob: The encoded result; empty when the object itself is kept.
        value: The result, or UNDECODED.
        created: When its call was admitted, Unix seconds.
        at: The same in monotonic seconds.
        expires: When it is too old to be served, monotonic seconds.
        due: When a fresher result is wanted, monotonic seconds.
        size: Bytes that it is counted with.
    """

    __slots__ = ("at", "blob", "created", "due", "expires", "size", "value")

    def __init__(
        self,
        *,
        created: float,
        at: float,
        expires: float,
        due: float,
        blob: bytes = b"",
        value: Any = UNDECODED,
    ) -> None:
        self.blob = blob
        self.value = value
        self.created = created
        self.at = at
        self.expires = expires
        self.due = due
        self.size = 0

    def undecoded(self) -> Entry:
        """Return the same snapshot without its decoded value."""
        fresh = Entry(
            created=self.created, at=self.at, expires=self.expires, due=self.due, blob=self.blob
        )
        fresh.size = self.size
        return fresh


class _Entries(dict[Key, Entry]):
    """Key to snapshot. They stay in their process, also when a wrapper is pickled by value."""

    __slots__ = ()

    def __reduce__(self) -> tuple[Any, ...]:
        return _Entries, ()


class SnapshotTable:
    """The snapshots of one rung.

    Attributes:
        entries: Key to snapshot, for calls to read; only the tier changes it.
        flag: The flag's name.
        pending: Keys whose capture is on its way, with a mark of when it began.
        sharing: What came of its snapshots on their way from and to a shared tier.
        void_before: What was admitted by this monotonic time is refused.
    """

    __slots__ = ("entries", "flag", "pending", "sharing", "void_before")

    def __init__(self, flag: str) -> None:
        self.flag = flag
        self.entries: dict[Key, Entry] = _Entries()
        self.pending: dict[Key, tuple[float]] = {}
        self.sharing: Counter[Sharing] = Counter()
        self.void_before = float("-inf")


class Capture:
    """An encoded result on its way into the tier; `seal` finishes it off the call path.

    Attributes:
        shared_as: What tells it from the other snapshots of the flag in the whole fleet; empty
            when it stays in this process.
    """

    __slots__ = ("book", "entry", "key", "seal", "shared_as")

    def __init__(
        self,
        book: SnapshotTable,
        key: Key,
        entry: Entry,
        seal: Callable[[], bytes] | None = None,
        *,
        shared_as: str = "",
    ) -> None:
        self.book = book
        self.key = key
        self.entry = entry
        self.seal = seal
        self.shared_as = shared_as


_Place = tuple[SnapshotTable, Key]


class _Books(FIFOCache[_Place, int]):
    """Bytes in order of writing; tells who goes when there is no room."""

    def __init__(self, max_bytes: int, dropped: Callable[[_Place], None]) -> None:
        super().__init__(max_bytes, getsizeof=lambda size: size)
        self._dropped = dropped

    def popitem(self) -> tuple[_Place, int]:
        place, size = super().popitem()
        self._dropped(place)
        return place, size


class MemoryTier:
    """All snapshots of a process.

    Args:
        max_bytes: The most that keys, encoded and decoded results take together.
        clock: For measuring what captures cost.
        budget: What captures may cost.

    Guarantees:
        Calls only read; `insert`, `void` and `sweep` may be called from any thread but a call's.
    """

    def __init__(
        self,
        max_bytes: int = 64 * 1024 * 1024,
        *,
        clock: Clock | None = None,
        budget: CaptureBudget | None = None,
    ) -> None:
        self.max_bytes = max_bytes
        self.clock: Clock = clock or SystemClock()
        self.budget = budget or CaptureBudget()
        self._lock = threading.Lock()
        self._by_code: dict[tuple[str, object], SnapshotTable] = {}
        self._owned: dict[weakref.ref[object], SnapshotTable] = {}
        self._named: dict[tuple[str, str | None], set[object]] = {}
        self._decoded, self._written = self._new_books()

    @property
    def bytes(self) -> int:
        """Bytes counted now."""
        return int(self._written.currsize + self._decoded.currsize)

    def __len__(self) -> int:
        return len(self._written)

    def book(self, flag: str, code: object = None, owner: object | None = None) -> SnapshotTable:
        """Return the book of a function of a flag, or of its owner alone, the same every time.

        An owner's book is there for as long as the owner is; `sweep` empties it, if need be.
        """
        if owner is None:
            return self._by_code.setdefault((flag, code), SnapshotTable(flag))
        return self._owned.setdefault(weakref.ref(owner, self._disown), SnapshotTable(flag))

    def _disown(self, owner: weakref.ref[object]) -> None:
        """Forget the empty book of an owner that died; called wherever its last reference goes."""
        book = self._owned.get(owner)
        if book is not None and not book.entries and not book.pending:
            self._owned.pop(owner, None)

    def books(self) -> list[SnapshotTable]:
        """Return every book, as of now."""
        return [*self._by_code.values(), *self._owned.values()]

    def namesakes(self, flag: str, name: str | None) -> set[object]:
        """Return what stands for the flag's functions of one name, for adding to it."""
        return self._named.setdefault((flag, name), set())

    def insert(self, capture: Capture) -> bool:
        """Finish a capture and store it; False when it may not or cannot be kept.

        Cost:
            Compresses the result; takes the tier's lock for a moment, longer when it evicts.
        """
        book, key, entry = capture.book, capture.key, capture.entry
        try:
            if entry.at <= book.void_before:
                return False
            if capture.seal is not None:
                entry.blob = capture.seal()
                capture.seal = None
            entry.size = _OVERHEAD + key_size(key) + len(entry.blob)
            if entry.value is not UNDECODED:
                entry.size += deep_size(entry.value)
            with self._lock:
                return self._put(book, key, entry)
        finally:
            book.pending.pop(key, None)

    def drop(self, capture: Capture) -> None:
        """Give up a capture, so that the next call of its key may make another."""
        capture.book.pending.pop(capture.key, None)

    def adopt(self, book: SnapshotTable, key: Key, entry: Entry, value: Any) -> None:
        """Take a snapshot that another tier had, unless a newer one is here or there is no room.

        Args:
            book, key, entry: The snapshot and where it belongs.
            value: Its decoded result to share with the calls to come; UNDECODED for none.

        Cost:
            Takes the tier's lock for a moment, as `insert` does.
        """
        entry.size = _OVERHEAD + key_size(key) + len(entry.blob)
        with self._lock:
            kept = self._put(book, key, entry)
        if kept and value is not UNDECODED:
            self.keep_decoded(book, key, entry, value)

    def keep_decoded(self, book: SnapshotTable, key: Key, entry: Entry, value: Any) -> None:
        """Share a decoded result, which no caller may change, with the calls to come.

        Nothing is kept when there is no room.

        Cost:
            Called by a degraded call: never waits. When the tier is busy, nothing is kept either.
        """
        size = deep_size(value)
        if size > self._decoded.maxsize or not self._lock.acquire(blocking=False):
            return
        try:
            if book.entries.get(key) is entry:
                self._decoded[book, key] = size
                entry.value = value
        finally:
            self._lock.release()

    def discard(self, book: SnapshotTable, key: Key, entry: Entry) -> None:
        """Drop one entry that cannot be used, unless a newer one has taken its place."""
        with self._lock:
            if book.entries.get(key) is entry:
                del book.entries[key]
                self._forget(book, key)

    def void(self, flag: str, monotonic_s: float) -> int:
        """Drop everything of a flag that was admitted by now, and refuse what still comes.

        Returns:
            How many entries were dropped.
        """
        dropped = 0
        with self._lock:
            for book in self.books():
                if book.flag != flag:
                    continue
                book.void_before = max(book.void_before, monotonic_s)
                gone = [key for key, entry in book.entries.items() if entry.at <= book.void_before]
                for key in gone:
                    del book.entries[key]
                for key in gone:
                    self._forget(book, key)
                dropped += len(gone)
        return dropped

    def sweep(self, monotonic_s: float) -> int:
        """Drop what is too old to be served, or has lost its owner; returns how many entries."""
        with self._lock:
            left = [owner for owner in list(self._owned) if owner() is None]
            gone = [(book, key) for book in map(self._owned.pop, left) for key in book.entries]
            gone += [
                (book, key)
                for book in self.books()
                for key, entry in book.entries.items()
                if entry.expires <= monotonic_s
            ]
            for book, key in gone:
                del book.entries[key]
                self._forget(book, key)
        return len(gone)

    def after_fork(self) -> None:
        """Start empty with a new lock: the parent may have been writing when it forked."""
        self._lock = threading.Lock()
        for book in self.books():
            book.entries.clear()
            book.pending.clear()
            book.sharing.clear()
        self._decoded, self._written = self._new_books()

    def __repr__(self) -> str:
        return f"<MemoryTier {len(self)} snapshots, {self.bytes} of {self.max_bytes} bytes>"

    def _new_books(self) -> tuple[_Books, _Books]:
        decoded = self.max_bytes // 4
        return _Books(decoded, self._undecode), _Books(self.max_bytes - decoded, self._evicted)

    def _put(self, book: SnapshotTable, key: Key, entry: Entry) -> bool:
        older = book.entries.get(key)
        if (
            entry.at <= book.void_before
            or entry.size > self._written.maxsize
            or (older is not None and older.at > entry.at)
        ):
            return False
        if older is not None:
            self._forget(book, key)
        self._written[book, key] = entry.size
        book.entries[key] = entry
        return True

    def _forget(self, book: SnapshotTable, key: Key) -> None:
        self._written.pop((book, key), None)
        self._decoded.pop((book, key), None)

    def _evicted(self, place: _Place) -> None:
        book, key = place
        book.entries.pop(key, None)
        self._decoded.pop(place, None)

    def _undecode(self, place: _Place) -> None:
        book, key = place
        book.entries[key] = book.entries[key].undecoded()
