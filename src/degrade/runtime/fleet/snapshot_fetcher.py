"""Ask the tier that the fleet shares for a snapshot, so that nobody waits for a store.

    a degraded call that misses memory ──ask──> questions, one a key ──> workers ──> SharedTier
                 └── waits for the answer, milliseconds ──────────────────┘

A plain function waits in its thread, a coroutine awaits. Where a plain function is called in the
thread of a running event loop it does not wait, so that the loop goes on: the answer is for the
calls that come next, as is every answer that comes too late.

A question outlives the wait for it, up to a quarter of a second: a store that is slow for a moment,
or a process that is, costs a call its snapshot but not the next one, and no connection, which the
poll uses as well.

Bounds, so that a store that hangs is a matter of one short wait of each process (see `patience`):
two workers, 64 open questions, 128 waiting calls; a key that was not there is not asked for again
for two seconds, one whose value cannot be used for thirty; after a wait in vain, or a poll, one
question at a time until one is answered, and no call waits for that one; after an error nobody asks
for a second, then for twice as long each time, up to thirty, or until the store answers polls again.
"""

from __future__ import annotations

import queue
import sys
import threading
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Final

from degrade.core.enums import Sharing
from degrade.fallback.rung import Call
from degrade.fallback.snapshots.keys import Key
from degrade.fallback.snapshots.shared_tier import SharedTier
from degrade.fallback.snapshots.snapshot_rung import BoundSnapshot, Found
from degrade.runtime.fleet.adaptive_timeout import AdaptiveTimeout

if TYPE_CHECKING:
    from degrade.runtime.internal_errors import InternalErrors
    from degrade.runtime.runtime import Runtime

__all__ = ("PendingFetch", "SnapshotFetcher", "fetcher_of")

MOST_WORKERS: Final = 2
MOST_WAITING: Final = 128
MISS_S: Final = 2.0
"""How long a key that was not there is not asked for again."""
REFUSED_S: Final = 30.0
"""The same for a key whose value cannot be used."""
ANSWER_S: Final = 0.25
"""How long the store may take to answer a question that it was asked in time."""
_AGAIN_S: Final = {Sharing.MISS: MISS_S, Sharing.REFUSED: REFUSED_S}
_IDLE_S: Final = 5.0
_MOST_REMEMBERED: Final = 10_000

Place = tuple[str, str]


class PendingFetch:
    """One key that was asked for; all calls that miss it wait for the same answer.

    Attributes:
        rung, key, place: What is asked for.
        after_s: When the last `off` of the flag ended, store time.
        asked: When, monotonic seconds.
        until: When nobody waits for it any more, monotonic seconds.
        told: The store has answered; what it said may still be looked into.
        found: The answer, once `done`.
    """

    __slots__ = ("_event", "_listeners", "_lock", "after_s", "asked", "done", "found", "key",
                 "place", "rung", "told", "until")  # fmt: skip

    def __init__(
        self, rung: BoundSnapshot, key: Key, place: Place, *, after_s: float, asked: float,
        wait_s: float,
    ) -> None:  # fmt: skip
        self.rung = rung
        self.key = key
        self.place = place
        self.after_s = after_s
        self.asked = asked
        self.until = asked + wait_s
        self.told = False
        self.done = False
        self.found: Found | None = None
        self._event = threading.Event()
        self._listeners: list[Callable[[], object]] = []
        self._lock = threading.Lock()

    def answer(self, found: Found | None) -> None:
        """Give the answer to everybody who waits."""
        with self._lock:
            self.found = found
            self.done = True
            listeners, self._listeners = self._listeners, []
        self._event.set()
        for listen in listeners:
            listen()

    def listen(self, listener: Callable[[], object]) -> bool:
        """Call back when it is answered, in a worker's thread; False when it is already."""
        with self._lock:
            if not self.done:
                self._listeners.append(listener)
            return not self.done

    def wait(self, for_s: float) -> bool:
        """Wait in this thread; return whether it was answered."""
        return self._event.wait(max(for_s, 0.0))


class SnapshotFetcher:
    """The questions of one runtime.

    Args:
        tier: Whom to ask.
        monotonic: The clock of this process.
        wait_s: The longest that a call waits, seconds.
        threads: `"background"` asks in workers; `"manual"` in the calling thread, for tests;
            `"inline"` not at all, because there a call would wait for the store itself.
        internal_errors: Where errors of the store are counted and told.

    Guarantees:
        Raises nothing into a call. Healthy calls take none of its locks.
    """

    def __init__(
        self,
        tier: SharedTier,
        *,
        monotonic: Callable[[], float],
        wait_s: float,
        threads: str,
        internal_errors: InternalErrors,
    ) -> None:
        self.tier = tier
        self.wait_s = wait_s
        self.asking = threads != "inline"
        self._at_once = threads == "manual"
        self._monotonic = monotonic
        self._internal_errors = internal_errors
        self._lock = threading.Lock()
        self._open: dict[Place, PendingFetch] = {}
        self._questions: queue.SimpleQueue[PendingFetch] = queue.SimpleQueue()
        self._workers = self._waiting = 0
        self._not_before: dict[Place, float] = {}
        self._patience = AdaptiveTimeout()
        self._polled_since: float | None = None
        self._poll_answered = True

    def ask(self, rung: BoundSnapshot, call: Call, *, after_s: float) -> PendingFetch | None:
        """Ask for the snapshot of a call; None when it is not asked for.

        Cost:
            Does not wait, unless it is answered in this thread (`threads="manual"`).
        """
        if not self.asking or not rung.shares or not self.tier.knows_time:
            return None
        key = rung.keys.key(call.args, call.kwargs, call.subject)
        if key is None:
            return None
        place = (rung.book.flag, rung.text(key))
        now = self._monotonic()
        with self._lock:
            question = self._open.get(place)
            if question is not None:
                return question
            if self._not_before.get(place, now) > now:
                return None
            if self._patience.may_ask(now, open_now=len(self._open)):
                question = PendingFetch(
                    rung, key, place, after_s=after_s, asked=now, wait_s=self.wait_s
                )
                self._open[place] = question
                if self._at_once or self._staffed():
                    self._patience.asked(now)
                    self._questions.put(question)
                else:
                    del self._open[place]
                    question = None
        if question is None:
            self.tier.count(rung.book, Sharing.UNASKED)
        elif self._at_once:
            self._answer(self._questions.get())
        return question

    def wait(self, question: PendingFetch) -> Found | None:
        """Wait for the answer in this thread; None when it does not come in time."""
        if question.done:
            return question.found
        if _in_event_loop() or not self._may_wait(question):
            return None
        patient = False
        try:
            while (left_s := self._left_s(question)) > 0:
                question.wait(left_s)
            patient = True
        finally:
            self._waited(question, patient=patient)
        return question.found

    async def awaited(self, question: PendingFetch) -> Found | None:
        """Await the answer; None when it does not come in time, or no asyncio loop runs."""
        if question.done:
            return question.found
        if not _in_event_loop() or not self._may_wait(question):
            return None
        from degrade.runtime.fleet.awaiting import answered  # noqa: PLC0415 - asyncio, which runs already

        patient = False
        try:
            while (left_s := self._left_s(question)) > 0:
                await answered(question, left_s)
            patient = True
        finally:
            self._waited(question, patient=patient)
        return question.found

    # ------------------------------------------------------------------ what the poll knows

    def poll_began(self) -> None:
        """Note that the I/O worker waits for the store, too: how long that takes counts here."""
        self._polled_since = self._monotonic()

    def poll_ended(self, *, answered: bool) -> None:
        """Note what came of it: no call waits for a store that does not answer the I/O worker."""
        self._polled_since = None
        if answered and self._poll_answered:
            return
        self._poll_answered = answered
        with self._lock:
            if answered:
                self._patience.returned()
            else:
                self._patience.doubtful = True

    # ------------------------------------------------------------------ private

    def _may_wait(self, question: PendingFetch) -> bool:
        left_s = self._left_s(question)
        with self._lock:
            room = self._waiting < MOST_WAITING
            may = room and left_s > 0
            self._waiting += may
        if not room:
            self.tier.count(question.rung.book, Sharing.LATE)
        return may

    def _left_s(self, question: PendingFetch) -> float:
        """Return how long a call goes on waiting, as far as is known now; 0 when it need not."""
        if question.done:
            return 0.0
        now = self._monotonic()
        if question.told:  # what the store said is being looked into
            return question.until - now
        with self._lock:
            until = self._patience.until(now, wait_s=self.wait_s, others_since=self._polled_since)
        return min(question.until, until) - now

    def _waited(self, question: PendingFetch, *, patient: bool) -> None:
        with self._lock:
            self._waiting -= 1
        if question.done or not patient:  # a call that was cancelled says nothing of the store
            return
        self.tier.count(question.rung.book, Sharing.LATE)
        now = self._monotonic()
        with self._lock:
            until = self._patience.until(now, wait_s=self.wait_s, others_since=self._polled_since)
            if not question.told and until <= now:  # else it has answered others meanwhile
                self._patience.doubtful = True

    def _hear(self, question: PendingFetch) -> None:
        """Note that the store has answered a question."""
        now = self._monotonic()
        with self._lock:
            question.told = True
            self._patience.answered(now, took_s=now - question.asked, wait_s=self.wait_s)

    def _staffed(self) -> bool:
        """Start a worker when all are busy; return whether there is one at all."""
        if self._workers >= min(MOST_WORKERS, len(self._open)):
            return True
        try:
            threading.Thread(target=self._work, name="degrade-fetch", daemon=True).start()
        except RuntimeError:  # no thread can be started: nobody asks
            if self._workers == 0:
                self.asking = False
                self._internal_errors.note("no_thread")
                return False
        else:
            self._workers += 1
        return True

    def _work(self) -> None:
        while True:
            try:
                self._answer(self._questions.get(timeout=_IDLE_S))
            except queue.Empty:
                with self._lock:
                    if self._questions.empty():
                        self._workers -= 1
                        return
            except BaseException:  # noqa: BLE001 - a validator of the user that exits ends no worker
                self._internal_errors.note("shared_snapshot")

    def _answer(self, question: PendingFetch) -> None:
        how, found = Sharing.LATE, None
        try:
            left_s = question.until - self._monotonic()
            if left_s > 0:  # else it has waited here for too long
                how, found = self.tier.find(
                    question.rung,
                    question.key,
                    after_s=question.after_s,
                    within_s=max(left_s, ANSWER_S),
                    told=partial(self._hear, question),
                )
        except Exception:  # noqa: BLE001 - stores of others fail in ways of their own; counted and told
            with self._lock:
                self._patience.failed(self._monotonic())
            self._internal_errors.note("shared_snapshot")
        finally:
            now = self._monotonic()
            with self._lock:
                self._open.pop(question.place, None)
                if not self._open:
                    self._patience.settled()
                if how in _AGAIN_S:
                    self._remember(question.place, now + _AGAIN_S[how])
            question.answer(found)

    def _remember(self, place: Place, not_before: float) -> None:
        self._not_before.pop(place, None)
        self._not_before[place] = not_before
        if len(self._not_before) > _MOST_REMEMBERED:
            del self._not_before[next(iter(self._not_before))]


def fetcher_of(runtime: Runtime, wait_s: float) -> SnapshotFetcher | None:
    """Return an fetcher for a runtime, None when its store has no tier that a fleet can share."""
    blobs, monotonic, orders = runtime.store.blobs, runtime.clock.monotonic, runtime.orders
    if blobs is None:
        return None
    tier = SharedTier(
        blobs,
        monotonic=monotonic,
        store_now=lambda: runtime.store_now() if orders.known else None,
    )
    return SnapshotFetcher(
        tier,
        monotonic=monotonic,
        wait_s=wait_s,
        threads=runtime.threads,
        internal_errors=runtime.internal_errors,
    )


def _in_event_loop() -> bool:
    """Whether an event loop of asyncio runs in this thread; does not load asyncio."""
    asyncio = sys.modules.get("asyncio")
    if asyncio is None:
        return False
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
