"""The snapshot rung: keeps healthy results, and serves the last one for the same key.

    before the function runs   wanted(...)   the key, when a result of it is due
    after it returned well     capture(...)  encodes there and then, on the caller's thread
    later, off the call path   MemoryTier.insert(capture)
    while degraded             serve(call)
    where it is not in memory  received(...)  checks what the tier of the fleet has for the key

The key is made before the function runs, which may change its arguments. A refresh takes a
result that was computed anyway, so keys that fall due together stampede nobody; what encoding
costs is bounded by the budget, and one capture a key is on its way at a time. A function whose
results are refused again and again is tried once a minute, so that others have the budget.

A served result is decoded for its call, unless nobody can change it.
"""

from __future__ import annotations

import logging
import weakref
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, Never

from degrade.core.enums import RungKind
from degrade.errors import CodecError, UsageError
from degrade.fallback.data import is_immutable
from degrade.fallback.responses import find_response, named_response
from degrade.fallback.rung import (
    Answer,
    BoundRung,
    Call,
    Rung,
    Subject,
    Target,
    is_generator_callable,
    name_of,
)
from degrade.fallback.snapshots.capture_budget import Account
from degrade.fallback.snapshots.codec import Codec, check_data
from degrade.fallback.snapshots.keys import Key, KeyMaker
from degrade.fallback.snapshots.memory_tier import (
    UNDECODED,
    Capture,
    Entry,
    MemoryTier,
    SnapshotTable,
)
from degrade.fallback.snapshots.return_types import resolve_returns

__all__ = (
    "MAX_REFUSED",
    "MAX_UNTRUSTED_BYTES",
    "RETRY_REFUSED_S",
    "SKIP_REASONS",
    "BoundSnapshot",
    "Found",
    "SnapshotRung",
)

_log = logging.getLogger("degrade.fallback")

SKIP_REASONS = ("budget", "pending", "backlog", "no-key", "outside", "encode", "refused", "void")
"""Why a due result was not captured."""

MAX_REFUSED = 10
"""Results of a function that are refused in a row before it is tried less often."""
RETRY_REFUSED_S = 60.0
"""How often it is tried then."""

MAX_UNTRUSTED_BYTES = 4 * 1024 * 1024
"""The largest JSON of a snapshot that is shared: what others wrote is read with more care, bytes."""

_RESPONSE = (
    "the next user would get the cookies that were set on it for another; put the snapshot on the "
    "function that returns the data, and make the response from that"
)
_PENDING_S = 5.0
_MAX_PENDING = 1_000
_MOST_AHEAD_S = 2.0
"""How far the store's time may seem ahead: the clock of a process lags by the time of a reply."""


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class SnapshotRung(Rung[Never]):
    """What `snapshot(...)` returns; see there."""

    max_age_s: float
    refresh_s: float
    key: tuple[str, ...] | Callable[..., Any] | None
    everyone: bool
    transform: Callable[[Any], Any] | None
    copy: bool
    share: bool

    @property
    def kind(self) -> RungKind:
        return RungKind.SNAPSHOT

    def bind(self, target: Target) -> BoundSnapshot:
        if is_generator_callable(target.fn):
            raise UsageError(
                f"{target.name!r}: snapshot() cannot keep the generator {name_of(target.fn)}, "
                "which can be read only once; return a list, or leave snapshot() out",
                code="snapshot-generator",
            )
        keys = KeyMaker(target, self.key, everyone=self.everyone)
        try:
            codec = Codec(target) if self.copy else None
        except UsageError:
            _check_no_response(target)
            raise
        if codec is None:
            _check_no_response(target)
        return BoundSnapshot(self, keys, codec, target.name)

    def __repr__(self) -> str:
        return f"snapshot(max_age={self.max_age_s:g})"


@dataclass(frozen=True, slots=True)
class Found:
    """What the tier of the fleet had for a key, checked and decoded.

    Attributes:
        key, entry: The snapshot.
        value: Its result for all who wait for it, UNDECODED where each needs one of its own.
        first: The result that was decoded for checking, for the first of them.
    """

    key: Key
    entry: Entry
    value: Any
    first: list[Any]


class BoundSnapshot(BoundRung):
    """The snapshots of one flag's rung.

    Attributes:
        book: Where they are; a book of its own until `attach`.
        keys: Makes their keys.
        transform: Called with a stored result at each serving, None to serve it as it is.
        max_age_s: No older result is served.
        skipped: Captures not made, by reason; the functions of a flag count together.
    """

    __slots__ = (
        "__weakref__", "_account", "_codec", "_flag", "_namesakes", "_next_try", "_refresh_s",
        "_refused", "_share", "_tier", "_told", "book", "keys", "max_age_s", "skipped", "transform",
    )  # fmt: skip

    def __init__(self, rung: SnapshotRung, keys: KeyMaker, codec: Codec | None, flag: str) -> None:
        super().__init__(RungKind.SNAPSHOT)
        self.keys = keys
        self.transform = rung.transform
        self.max_age_s = rung.max_age_s
        self.skipped: dict[str, int] = dict.fromkeys(SKIP_REASONS, 0)
        self.book = SnapshotTable(flag)
        self._refresh_s = rung.refresh_s
        self._codec = codec
        self._flag = flag
        self._share = rung.share
        self._account = Account()
        self._refused = 0
        self._next_try = float("-inf")
        self._tier: MemoryTier | None = None
        self._namesakes: set[object] = set()
        self._told = False

    def attach(self, tier: MemoryTier, code: object = None) -> None:
        """Keep snapshots in this tier from now on.

        They are in the book of the function's code, which a function that is declared anew
        finds again, or in a book of its own where its name is not its alone.
        """
        alone = self.keys.alone
        self._tier = tier
        self.book = tier.book(self._flag, code, self if alone else None)
        self._namesakes = tier.namesakes(self._flag, self.keys.name)
        if len(self._namesakes) < 2:  # no more need be known
            told = self.keys.by_function
            self._namesakes.add(weakref.ref(self) if alone and not told else code)

    def due(self, key: Key, monotonic_s: float) -> bool:
        """Whether a fresher result of this key is wanted."""
        entry = self.book.entries.get(key)
        return entry is None or monotonic_s >= entry.due

    def wanted(
        self,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        subject: Subject,
        monotonic_s: float,
    ) -> Key | None:
        """Return the key of a call about to run whose result should be captured, else None.

        Guarantees:
            Raises nothing.
        """
        tier = self._tier
        if tier is None:
            return None
        refused = self._refused >= MAX_REFUSED
        if refused and monotonic_s < self._next_try:
            self.skipped["refused"] += 1
            return None
        if not tier.budget.allowed(monotonic_s, self._account):
            self.skipped["budget"] += 1
            return None
        key = self.keys.key(args, kwargs, subject)
        if key is None:
            self.skipped["outside" if self.keys.bars(subject) else "no-key"] += 1
            return None
        if not self.due(key, monotonic_s):
            return None
        if refused:
            self._next_try = monotonic_s + RETRY_REFUSED_S
        return key

    def capture(
        self, key: Key, value: object, *, admitted_s: float, wall_s: float, epoch: int
    ) -> Capture | None:
        """Encode a good result for its key; None when it is skipped, which is counted.

        Args:
            key: What `wanted` returned for the call.
            value: What the function returned.
            admitted_s, wall_s: When the call was admitted, in monotonic time and the store's.
            epoch: The epoch in which it was.

        Guarantees:
            Raises nothing. The capture is to be given to `MemoryTier.insert`, or to `drop`.

        Cost:
            Encodes on the caller's thread, and takes what that cost from the budget.
        """
        tier, book = self._tier, self.book
        if tier is None:
            return None
        if admitted_s <= book.void_before:
            self.skipped["void"] += 1
            return None
        if len(book.pending) >= _MAX_PENDING:
            self.skipped["backlog"] += 1
            return None
        mark = (admitted_s,)
        other = book.pending.setdefault(key, mark)
        if other is not mark:
            if admitted_s - other[0] < _PENDING_S:
                self.skipped["pending"] += 1
                return None
            book.pending[key] = mark  # the other one is lost
        entry = Entry(
            created=wall_s,
            at=admitted_s,
            expires=admitted_s + self.max_age_s,
            due=admitted_s + self._refresh_s,
        )
        codec = self._codec
        started = tier.clock.monotonic()
        body = b""
        try:
            if codec is None:
                _check_shareable(value)
                check_data(value, self._flag, kept=True)
                entry.value = value
            else:
                body = codec.dump(value)
            self._refused = 0
        except CodecError as error:
            book.pending.pop(key, None)
            self._tell("cannot store %s: %s", self._flag, error)
            self.skipped["encode"] += 1
            self._refused += 1
            self._next_try = admitted_s + RETRY_REFUSED_S
            return None
        finally:
            ended = tier.clock.monotonic()
            tier.budget.spent(ended, ended - started, self._account)
        if codec is None:
            return Capture(book, key, entry)
        text = self.text(key)
        seal = partial(codec.seal, body, key=text, created=wall_s, epoch=epoch)
        shared_as = text if self.shares and len(body) <= MAX_UNTRUSTED_BYTES else ""
        return Capture(book, key, entry, seal, shared_as=shared_as)

    def serve(self, call: Call) -> Answer | None:
        key = self.keys.key(call.args, call.kwargs, call.subject)
        if key is None:
            return None
        book = self.book
        entry = book.entries.get(key)
        if entry is None or call.monotonic_s >= entry.expires:
            return None
        value = entry.value
        if value is UNDECODED:
            value = self._decode(key, entry)
        return self._answer(value, call.monotonic_s - entry.at)

    # ------------------------------------------------------------------ shared with the fleet

    @property
    def shares(self) -> bool:
        """Whether a key means the same in every process, so that snapshots may be shared."""
        return self._codec is not None and self.keys.name is not None and len(self._namesakes) == 1

    def text(self, key: Key) -> str:
        """Return what tells a snapshot from the others of the flag, the same in every process."""
        return f"{self.keys.name or ''}({self.keys.text(key)})"

    def received(
        self, key: Key, body: bytes, *, monotonic_s: float, store_s: float, after_s: float
    ) -> Found:
        """Check what another process may have stored for a key, and take it into memory.

        Args:
            key: The key that was asked for.
            body: What lay there.
            monotonic_s, store_s: Now, in this process's monotonic time and the store's time.
            after_s: When the last `off` of the flag ended, store time: nothing older is served.

        Raises:
            CodecError: It cannot be served, whatever the reason.

        Guarantees:
            Raises nothing else, whatever the bytes are.

        Cost:
            Decodes, with the validators of the user, on a worker's thread. Calls that wait for
            the same key decode on their own, but for the first.
        """
        codec, tier, book = self._codec, self._tier, self.book
        if codec is None or tier is None:
            raise CodecError("nothing to decode")
        opened = codec.open(body, key=self.text(key))
        age_s = store_s - opened.created
        at = monotonic_s - max(age_s, 0.0)
        if age_s >= self.max_age_s or age_s < -_MOST_AHEAD_S:
            raise CodecError(f"snapshot of an age of {age_s:.3f} s")
        if opened.created <= after_s or at <= book.void_before:
            raise CodecError("snapshot from before an off ended")
        value = codec.load_strange(opened, limit=MAX_UNTRUSTED_BYTES)
        entry = Entry(
            created=opened.created,
            at=at,
            expires=at + self.max_age_s,
            due=at + self._refresh_s,
            blob=body,
        )
        if not self._may_share(value):
            tier.adopt(book, key, entry, UNDECODED)
            return Found(key, entry, UNDECODED, [value])
        tier.adopt(book, key, entry, value)
        return Found(key, entry, value, [])

    def serve_found(self, found: Found, monotonic_s: float) -> Answer | None:
        """Return the answer from what was received, None when it may not be served any more."""
        entry = found.entry
        if monotonic_s >= entry.expires or entry.at <= self.book.void_before:
            return None
        value = found.value
        if value is UNDECODED:
            try:
                value = found.first.pop()
            except IndexError:
                value = self._decode(found.key, entry)
        return self._answer(value, monotonic_s - entry.at)

    def refused(self, error: CodecError) -> None:
        """Tell, once, of a snapshot that could not be read."""
        self._tell("cannot read a snapshot of %s: %s", self._flag, error)

    # ------------------------------------------------------------------ private

    def _answer(self, value: Any, age_s: float) -> Answer | None:
        if value is UNDECODED:
            return None
        if self.transform is not None:
            value = self.transform(value)
        return Answer(value, max(age_s, 0.0))

    def _may_share(self, value: Any) -> bool:
        """Whether all callers may get one decoded result."""
        return self._share or is_immutable(value)

    def _decode(self, key: Key, entry: Entry) -> Any:
        """Return the result of a snapshot, UNDECODED when it cannot be read: then it goes."""
        codec, tier, book = self._codec, self._tier, self.book
        if codec is None or tier is None:
            return UNDECODED
        try:
            value = codec.decode(entry.blob, key=self.text(key)).value
        except CodecError as error:
            tier.discard(book, key, entry)
            self.refused(error)
            return UNDECODED
        if self._may_share(value):
            tier.keep_decoded(book, key, entry, value)
        return value

    def _tell(self, message: str, *args: object) -> None:
        if not self._told:
            self._told = True
            _log.warning(message, *args)


def _check_no_response(target: Target) -> None:
    """Refuse a function that is annotated to return a response, which belongs to one request.

    Raises:
        UsageError: It is (code `snapshot-return-type`).
    """
    response = None
    with suppress(Exception):  # an annotation that cannot be resolved here; values are checked, too
        response = named_response(resolve_returns(target))
    if response is not None:
        raise UsageError(
            f"{target.name!r}: snapshot() cannot keep the {response.__qualname__} that "
            f"{name_of(target.fn)} returns: {_RESPONSE}",
            code="snapshot-return-type",
        )


def _check_shareable(value: object) -> None:
    """Refuse to keep a response itself.

    Raises:
        CodecError: The value is one, or holds one.
    """
    response = find_response(value)
    if response is not None:
        raise CodecError(f"it is a {type(response).__qualname__}: {_RESPONSE}")
