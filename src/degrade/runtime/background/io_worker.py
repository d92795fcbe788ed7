"""The I/O worker: does everything that can block, so that no call and no tick ever does.

    captures ──> memory tier            (queued by calls)
             ──> tier of the fleet      (in batches, at most once a second)
    drafts   ──> the store's log        (queued by the ticker, kept until they are written)
    store    ──> orders of the runtime  (polled; at once when this process wrote them)
    runtime  ──> heartbeat in the store (when something changed, at most once a second)
    runtime  <─> the state saved on this host (read before the first poll)

Whatever the store raises is counted and told once a minute; the last known state stays in force.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from degrade.errors import StoreError
from degrade.runtime.background.event_queue import EventQueue
from degrade.runtime.background.warm_up import build_models
from degrade.runtime.background.worker import Worker

if TYPE_CHECKING:
    from degrade.ports import EventDraft
    from degrade.runtime.runtime import Runtime

__all__ = ("IOWorker",)

POLL_S: Final = 0.2
FLEET_POLL_S: Final = 1.0
"""How often a fleet's store is read, give or take a fifth; hints tell sooner."""
MEMBER_S: Final = 0.8
ALONE_S: Final = 2.5
"""How often a process looks at its host's file when no store is shared and nothing happens."""
REPORT_S: Final = 1.0
BUSY_REPORT_S: Final = 5.0
QUIET_REPORT_S: Final = 10.0
ALONE_REPORT_S: Final = 20.0
"""The same where only this process can read it; still well before it would count as silent."""
SWEEP_S: Final = 60.0
LOOK_S: Final = 5.0
MOST_QUEUED: Final = 10_000


def _nothing() -> None:
    """Do nothing."""


class IOWorker(Worker):
    """The thread that carries; its queue drops the oldest work when it is full, and counts that.

    Attributes:
        began: Set once the state saved on this host was read, if there is any.
        heard: Set once the store was read.
    """

    def __init__(self, runtime: Runtime) -> None:
        super().__init__("degrade-io")
        self.bell.ring()  # the first round is at once: who asks next should find the flags declared
        self._runtime = runtime
        self.began = threading.Event()
        self.heard = threading.Event()
        self._queue: deque[tuple[str, Callable[[], object], Callable[[], object]]] = deque()
        self._reported = -1e9
        self._poll_at = -1e9
        self._member_at = -1e9
        self._backlog = EventQueue(runtime)
        self._answered = False
        self._swept = self._looked = runtime.clock.monotonic()

    def put(
        self, what: str, work: Callable[[], object], *, dropped: Callable[[], object] = _nothing
    ) -> None:
        """Queue work; callable from any thread, never blocks.

        Args:
            what: What it is, for counting it when it fails or is dropped.
            work: Does it; may raise.
            dropped: Called instead when the work is dropped.
        """
        if len(self._queue) >= MOST_QUEUED:
            _, _, give_up = self._queue.popleft()
            give_up()
            self._runtime.internal_errors.note("queue_full", tell=False)
        self._queue.append((what, work, dropped))
        self.bell.ring()

    def tell(self, draft: EventDraft) -> None:
        """Queue an event for the store's log; those that wait together are written together."""
        self._backlog.tell(draft)
        self.put("store", self._backlog.write)

    def poll_now(self) -> None:
        """Let the store be read at once."""
        self._poll_at = float("-inf")
        self.bell.ring()

    def deliver(self) -> None:
        """Do all that is queued, in the calling thread."""
        while self._queue:
            try:
                what, work, _ = self._queue.popleft()
            except IndexError:
                return
            try:
                work()
            except Exception:  # noqa: BLE001 - stores and disks fail in many ways; counted and told
                self._runtime.internal_errors.note(what)

    def carry(self) -> None:
        """Do one round: what is queued, what the store has new, the heartbeat when it is due."""
        runtime = self._runtime
        now = runtime.clock.monotonic()
        if not self.began.is_set():
            self._begin()
        self.deliver()
        if runtime.fetcher is not None and runtime.fetcher.tier.due():
            self.put("share", runtime.fetcher.tier.send)
            self.deliver()
        if now >= self._poll_at:
            self._poll_at = now + self._poll_s()
            self._answered = self._poll()
            if self._answered and self._backlog.due():
                self.put("store", self._backlog.retry)
                self.deliver()
            if runtime.orders.known and not self.heard.is_set():
                self.heard.set()
        if now - self._reported >= self._report_s():
            self._reported = now
            runtime.heartbeat.report()
        if runtime.member is not None and now - self._member_at >= MEMBER_S:
            self._member_at = now
            try:
                runtime.member.round()
            except Exception:  # noqa: BLE001 - stores of others fail in ways of their own
                runtime.internal_errors.note("store")
        if now - self._looked >= LOOK_S:
            self._looked = now
            runtime.revive()
        if now - self._swept >= SWEEP_S:
            self._swept = now
            runtime.tier.sweep(now)
        if runtime.saver is not None:
            runtime.saver.save(runtime.watched())

    def _poll(self) -> bool:
        """Read the store and this host's file when they have something new.

        Returns:
            Whether the store answered.
        """
        runtime, answered = self._runtime, False
        try:
            if not runtime.orders.known or self._changed():
                runtime.refresh()
            else:
                runtime.orders.seen(runtime.clock.monotonic())
            answered = True
        except Exception:  # noqa: BLE001 - stores of others fail in ways of their own; the file counts
            runtime.internal_errors.note("store")
        try:
            if runtime.orders.take_local() or runtime.orders.due(runtime.store_now()):
                runtime.obey()
        except StoreError:
            runtime.internal_errors.note("local")
        return answered

    def _changed(self) -> bool:
        """Ask whether the store has something new; who asks for snapshots hears how that goes."""
        runtime, fetcher = self._runtime, self._runtime.fetcher
        if fetcher is None:
            return runtime.store.changed(runtime.orders.live)
        answered = False
        fetcher.poll_began()
        try:
            changed = runtime.store.changed(runtime.orders.live)
            answered = True
        finally:
            fetcher.poll_ended(answered=answered)
        return changed

    def _poll_s(self) -> float:
        """Return how long to wait until the next poll; a fleet's processes poll out of step."""
        if self._runtime.member is None:
            return POLL_S
        return FLEET_POLL_S * self._runtime.member.jitter()

    def _report_s(self) -> float:
        """Return how old a heartbeat may become; in a fleet, calls alone are no news."""
        runtime = self._runtime
        if runtime.newsworthy:
            return REPORT_S
        if runtime.busy:
            return REPORT_S if runtime.member is None else BUSY_REPORT_S
        return QUIET_REPORT_S if runtime.store.shared else ALONE_REPORT_S

    def _wait_s(self) -> float:
        runtime = self._runtime
        if runtime.member is not None:
            return max(0.0, self._poll_at - runtime.clock.monotonic())
        if runtime.store.shared:
            return POLL_S
        return REPORT_S if runtime.newsworthy or runtime.busy else ALONE_S

    def round(self) -> None:
        """Do one round, whatever happens in it."""
        try:
            self.carry()
        except Exception:  # noqa: BLE001 - the I/O worker must not die; what broke is counted and told
            self._runtime.internal_errors.note("io_worker")

    def _begin(self) -> None:
        """Read what the last process of this host saved, before the store is asked."""
        runtime = self._runtime
        if runtime.threads == "background":
            build_models()
        if runtime.saver is not None:
            runtime.saver.read()
        self.began.set()
        runtime.recall()

    def _run(self) -> None:
        runtime = self._runtime
        while not self.stopping:
            self.bell.wait(self._wait_s())
            self.round()
        if runtime.saver is not None:  # first, since a store that is away takes its time
            runtime.saver.save(runtime.watched(), at_end=True)
        if self._answered and self._backlog.failed:
            self.put("store", self._backlog.retry)
        self.deliver()  # what came while the last round was under way
        if runtime.fetcher is not None:
            self.put("share", runtime.fetcher.tier.send)
            self.deliver()
        runtime.heartbeat.goodbye()
