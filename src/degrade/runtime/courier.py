"""The courier: does everything that can block, so that no call and no tick ever does.

    captures ──> memory tier            (queued by calls)
             ──> tier of the fleet      (in batches, at most once a second)
    drafts   ──> the store's log        (queued by the ticker)
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

from degrade.runtime.worker import Worker

if TYPE_CHECKING:
    from degrade.runtime.runtime import Runtime

__all__ = ("Courier",)

POLL_S: Final = 0.2
ALONE_S: Final = 2.0
"""How often a process looks at its host's file when no store is shared and nothing happens."""
REPORT_S: Final = 1.0
QUIET_REPORT_S: Final = 10.0
SWEEP_S: Final = 60.0
LOOK_S: Final = 5.0
MOST_QUEUED: Final = 10_000


def _nothing() -> None:
    """Do nothing."""


class Courier(Worker):
    """The thread that carries; its queue drops the oldest work when it is full, and counts that.

    Attributes:
        began: Set once the state saved on this host was read, if there is any.
        heard: Set once the store was read.
    """

    def __init__(self, runtime: Runtime) -> None:
        super().__init__("degrade-courier")
        self.bell.ring()  # the first round is at once: who asks next should find the flags declared
        self._runtime = runtime
        self.began = threading.Event()
        self.heard = threading.Event()
        self._queue: deque[tuple[str, Callable[[], object], Callable[[], object]]] = deque()
        self._reported = -1e9
        self._polled = -1e9
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
            self._runtime.troubles.note("queue_full", tell=False)
        self._queue.append((what, work, dropped))
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
                self._runtime.troubles.note(what)

    def carry(self) -> None:
        """Do one round: what is queued, what the store has new, the heartbeat when it is due."""
        runtime = self._runtime
        now = runtime.clock.monotonic()
        if not self.began.is_set():
            self._begin()
        self.deliver()
        if runtime.asker is not None and runtime.asker.tier.due():
            self.put("share", runtime.asker.tier.send)
            self.deliver()
        if now - self._polled >= POLL_S:
            self._polled = now
            runtime.poll()
            if runtime.orders.known and not self.heard.is_set():
                self.heard.set()
        due_s = REPORT_S if runtime.newsworthy else QUIET_REPORT_S
        if now - self._reported >= due_s:
            self._reported = now
            runtime.heartbeat.report()
        if now - self._looked >= LOOK_S:
            self._looked = now
            runtime.revive()
        if now - self._swept >= SWEEP_S:
            self._swept = now
            runtime.tier.sweep(now)
        if runtime.saver is not None:
            runtime.saver.save(runtime.watched())

    def round(self) -> None:
        """Do one round, whatever happens in it."""
        try:
            self.carry()
        except Exception:  # noqa: BLE001 - the courier must not die; what broke is counted and told
            self._runtime.troubles.note("courier")

    def _begin(self) -> None:
        """Read what the last process of this host saved, before the store is asked."""
        runtime = self._runtime
        if runtime.saver is not None:
            runtime.saver.read()
        self.began.set()
        runtime.recall()

    def _run(self) -> None:
        runtime = self._runtime
        while not self.stopping:
            alone_s = REPORT_S if runtime.newsworthy else ALONE_S
            self.bell.wait(POLL_S if runtime.store.shared else alone_s)
            self.round()
        self.deliver()  # what came while the last round was under way
        if runtime.asker is not None:
            self.put("share", runtime.asker.tier.send)
            self.deliver()
        if runtime.saver is not None:
            runtime.saver.save(runtime.watched(), at_end=True)
        runtime.heartbeat.goodbye()
