"""The runtime: every flag of this process under one store, one clock and its threads.

calls ──> watches <──tick── ticker                 no I/O
└──transitions, captures──> I/O worker ──> store, memory tier
orders <──poll── I/O worker
orders <──hints── listener                     of a fleet
"""

from __future__ import annotations

import atexit
import random
import threading
import uuid
from collections.abc import Collection, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Literal, Self

from degrade.clock import Clock, SystemClock
from degrade.context import OUTSIDE
from degrade.core.enums import ALL_FLAGS
from degrade.core.state_machine import Transition
from degrade.errors import ConfigError, StoreError
from degrade.fallback.snapshots.memory_tier import Capture, MemoryTier
from degrade.ports import FlagStats, Store
from degrade.runtime import current_runtime
from degrade.runtime.background.heartbeat import Heartbeat
from degrade.runtime.background.inline_ticker import InlineTicker
from degrade.runtime.background.io_worker import IOWorker
from degrade.runtime.background.ticker import Ticker, yield_to_others
from degrade.runtime.calls.flag import Flag, declared
from degrade.runtime.internal_errors import InternalErrors
from degrade.runtime.joining import (
    fetcher_for,
    keep_for_all,
    listener_for,
    member_for,
    saver_for,
)
from degrade.runtime.monitoring.flag_monitor import FlagMonitor
from degrade.runtime.monitoring.flag_report import draft_of, report_of, stats_of
from degrade.runtime.orders.apply_orders import followed
from degrade.runtime.orders.current_orders import CurrentOrders
from degrade.stores.memory import MemoryStore
from degrade.units import Duration, seconds

if TYPE_CHECKING:
    from degrade.core.records import ControlState, FlagReport
    from degrade.runtime.fleet.hint_listener import Listener
    from degrade.stores.local_holds import LocalHolds
    from degrade.stores.state_file import SavedState

__all__ = ("Runtime", "Threads")

Threads = Literal["background", "inline", "manual"]

_BEGIN_WITHIN_S = 0.2
"""How long the first call waits for the state saved on this host: a disk can be frozen."""


class Runtime:
    """Watches every flag of the process.

    Use it as a context manager to swap the runtime of the process for a while, as tests do:
    `with Runtime(clock=ManualClock(), threads="manual") as runtime:`.

    Args:
        store: Where orders and events are kept; a memory store by default. The caller closes it.
        clock: Both times; the system's by default.
        threads: Who does the work that calls leave behind: `"background"` threads, the calls
            themselves now and then (`"inline"`), or nobody but `tick()` (`"manual"`).
        snapshot_bytes: The most that snapshots may take in memory.
        snapshot_wait_s: The longest that a degraded call waits for one of another process.
        local: Orders from a file of this host, which replace the store's for their flags.
        saved: The file that keeps the last known state for the next process of this host.
        rng: Randomness of jitter and dial.

    Guarantees:
        Nothing of it raises into a guarded call. Without its store it goes on with the last
        known orders, and with its own judgement.
    """

    def __init__(
        self,
        store: Store | None = None,
        *,
        clock: Clock | None = None,
        threads: Threads = "background",
        snapshot_bytes: int = 64 * 1024 * 1024,
        snapshot_wait_s: float = 0.02,
        local: LocalHolds | None = None,
        saved: SavedState | None = None,
        rng: random.Random | None = None,
    ) -> None:
        if threads not in ("background", "inline", "manual"):
            raise ConfigError(f"threads={threads!r}: give 'background', 'inline' or 'manual'")
        self.clock: Clock = SystemClock() if clock is None else clock
        self.store: Store = MemoryStore(clock=self.clock) if store is None else store
        self.threads: Threads = threads
        self.instance = uuid.uuid4().hex[:12]
        self.started_wall = self.clock.wall()
        self.orders = CurrentOrders(local)
        self.newsworthy, self.busy = True, False
        self.internal_errors = InternalErrors(self.clock)
        self.tier = MemoryTier(snapshot_bytes, clock=self.clock)
        self._own_rng = rng is None
        self._rng = random.Random() if rng is None else rng
        self.saver = saver_for(self, saved, self._rng)
        self._lock = threading.RLock()
        self._watches: dict[str, FlagMonitor] = {}
        self.member = member_for(self, self._rng)
        self._io_worker = IOWorker(self)
        self._ticker: Ticker | None = None
        self._listener: Listener | None = None
        self._closed = False
        self.fetcher = fetcher_for(self, snapshot_wait_s)
        self._before: Runtime | None = None
        self._inline = InlineTicker(self)
        self.heartbeat = Heartbeat(self)
        self._asleep = threads != "manual"
        self.store.subscribe(self._own_change)

    # ------------------------------------------------------------------ flags

    def adopt(self, flag: Flag) -> FlagMonitor:
        """Watch a flag from now on, and bind it to this runtime."""
        with self._lock:
            watch = self._watches.get(flag.name)
            if watch is None or watch.flag is not flag:
                if watch is None or watch.flag.sla != flag.sla:  # else its history goes on
                    watch = FlagMonitor(
                        flag, now=self.clock.monotonic(), clock=self.clock.monotonic,
                        wall=self.clock.wall, store_now=self.store_now, rng=self._rng,
                    )  # fmt: skip
                watch.flag = flag
                watch.inline, watch.asleep = self.threads == "inline", self._asleep
                self.orders.apply_to(watch)
                if self.saver is not None:
                    self.saver.resume(watch)
                self._watches[flag.name] = watch
                self.heartbeat.undeclared = self.newsworthy = True
                watch.settle()
                if self.member is not None:
                    self._told(watch, self.member.obey(watch, self.clock.monotonic()))
            flag.bind(watch, self.tier)
            return watch

    def store_now(self) -> float:
        """Return the store's time, Unix seconds, which ends orders."""
        if self.orders.from_file:
            return self.orders.saved_now(self.clock.wall())
        return self.store.now()

    def adopt_all(self) -> None:
        """Adopt every declared flag."""
        for flag in declared():
            self.adopt(flag)

    def let_go(self) -> None:
        """Unbind every flag; what is known of them stays, should this runtime come back."""
        with self._lock:
            for watch in self._watches.values():
                watch.flag.bind(None)
                watch.forget()

    # ------------------------------------------------------------------ threads

    def wake(self) -> None:
        """Start or rouse what works in the background; called by calls that find a shut gate.

        Where no thread can be started, the calls themselves do the work from then on.
        """
        if not self._asleep or self._stir():
            return
        with self._lock:
            if not self._asleep or self._closed:
                return
            try:
                if self.threads == "background":
                    self._ticker = Ticker(self)
                    self._ticker.start()
                    if not self._io_worker.alive:
                        self._io_worker.start()
            except RuntimeError:
                self.internal_errors.note("no_thread")
                self.threads = "inline"
                for watch in self._watches.values():
                    watch.inline = True
            if self.saver is not None and self._io_worker.alive:
                self._io_worker.began.wait(_BEGIN_WITHIN_S)
                self.recall()
            self._listener = listener_for(self)
            atexit.register(self.close)
            self.rest(asleep=False)

    def _stir(self) -> bool:
        """Rouse the ticker where it sleeps; return whether there is one at all."""
        if self._ticker is not None and self._asleep:
            self._ticker.call_up()
        return self._ticker is not None

    def rest(self, *, asleep: bool) -> bool:
        """Shut every gate, so that the next call rouses the ticker, or open them.

        They stay open while a call runs or a machine moves; returns whether they are shut.
        """
        with self._lock:
            watches = self.watched()
            asleep = asleep and self.threads == "background" and not self._closed
            asleep = asleep and all(watch.quiet for watch in watches)
            if asleep is not self._asleep:
                self._asleep = asleep
                for watch in watches:
                    watch.rest(asleep=asleep)
            return asleep

    def revive(self) -> None:
        """Start a background thread again that died; each of the two looks after the other."""
        if self._ticker is None or self._closed or self.threads != "background":
            return
        for worker in (self._ticker, self._io_worker, self._listener):
            if worker is not None and not worker.alive:
                self.internal_errors.note("thread")
                worker.start()

    def tick_inline(self) -> None:
        """Tick at the end of a call, at most four times a second, without threads."""
        self._inline.tick()

    def tick(self, *, yield_after_s: float | None = None) -> int:
        """Fold every flag's calls, judge them, and move the machines.

        Args:
            yield_after_s: Let other threads run after that long, seconds.

        Returns:
            How many calls were folded.
        """
        calls = 0
        clock = self.clock.monotonic
        slice_end = (now := clock()) + (yield_after_s or 0.0)
        if self.orders.due(self.store_now()):
            self.obey()
        for watch in self.watched():
            with self._lock:
                calls -= watch.folded
                if transitions := watch.fold(now):
                    self._told(watch, transitions)
                calls += watch.folded
            if yield_after_s is not None and (now := clock()) > slice_end:
                yield_to_others()
                slice_end = (now := clock()) + yield_after_s
        if calls and self.heartbeat.called(now):
            self._io_worker.bell.ring()
        if self.threads == "manual":
            self._io_worker.carry()
        return calls

    def _told(self, watch: FlagMonitor, transitions: Sequence[Transition]) -> None:
        for transition in transitions:
            self.newsworthy = True
            self._io_worker.tell(draft_of(watch, transition, self.instance))
            ended = None if self.member is None else self.member.ended(watch, transition)
            if ended is not None:
                self._io_worker.put("fleet", ended)
            self._stir()

    # ------------------------------------------------------------------ orders

    def wait_ready(self, timeout: Duration = "500ms") -> bool:
        """Wait until the store was read once, before the first call; return whether it was.

        Args:
            timeout: The most to wait; without background threads the store's own timeouts count.

        Guarantees:
            Never raises for a store that is away, slow or broken.

        Cost:
            Blocks: a coroutine awaits `asyncio.to_thread(runtime.wait_ready)`.
        """
        limit_s = seconds(timeout, what="timeout")
        self.wake()
        if self.threads == "background":
            self._io_worker.heard.wait(limit_s)
        else:  # nobody else would read it
            with self._lock:
                self._io_worker.round()
        return self.orders.known

    def recall(self) -> None:
        """Begin with what the last process of this host saved, until the store is read."""
        with self._lock:
            if self.saver is not None and self.saver.recall(self.watched()):
                self.obey()

    def forget_calls(self) -> None:
        """Drop the calls that run from the books, after an interrupt has left them half done."""
        for watch in self.watched():
            watch.forget()
            watch.settle()

    def carry(self) -> None:
        """Do what the I/O worker has to do, in this thread, unless the runtime has ended."""
        if not self._closed:  # else it would be back after its goodbye
            self._io_worker.carry()

    def watched(self) -> list[FlagMonitor]:
        """Return the watches of every flag, as of now."""
        return list(self._watches.values())

    def refresh(self) -> None:
        """Read the store and act on it at once.

        Raises:
            StoreError: It cannot be read; the last known orders stay in force.
        """
        asked_at = self.clock.monotonic()
        self._take(self.store.read(), asked_at)

    def hear(self, state: ControlState | None) -> None:
        """Obey what a hint told at once; None lets the I/O worker read the store now."""
        if self._closed:
            return
        if state is None:
            self._io_worker.poll_now()
        else:
            with self._lock:  # or an older state that is just being taken would come after it
                names = self.orders.take_hinted(state, self.clock.monotonic())
                if names is not None:
                    self.obey(names)

    def _own_change(self, state: ControlState | None) -> None:
        """Act on a change that this process made, at once, in the thread that made it."""
        try:
            if not self._closed:
                now = self.clock.monotonic()
                self.refresh() if state is None else self._take(state, now)
        except StoreError:
            self.internal_errors.note("store")

    def _take(self, state: ControlState, asked_at: float) -> None:
        with self._lock:
            self.orders.take(state, asked_at)
            self.orders.seen(self.clock.monotonic())
            self.obey()

    def obey(self, names: Collection[str] = (ALL_FLAGS,)) -> None:
        """Let the flags of these names obey the orders in force; where one ended, recovery begins."""
        with self._lock:
            now, there = self.clock.monotonic(), self.store_now()
            whole = ALL_FLAGS in names
            watches = self.watched() if whole else list(filter(None, map(self._watches.get, names)))
            told = followed(self.orders, watches, self.tier, self._rng, now=now, store_now=there)
            for watch, transitions in told:
                self._told(watch, transitions)
            if self.member is not None and whole:
                for watch in watches:
                    self._told(watch, self.member.obey(watch, now))
            self.newsworthy = True
            if whole and self.orders.passed(there):
                self._io_worker.put("sweep", lambda: self.store.sweep(self.instance))
            self._stir()

    # ------------------------------------------------------------------ shown to observers

    def stats(self) -> Sequence[FlagStats]:
        """Return the figures of every flag, folded now."""
        with self._lock:
            if self._ticker is not None:
                self._ticker.notice_gap(self.clock.monotonic())
            if self.threads != "inline":
                for watch in self.watched():
                    self._told(watch, watch.fold(self.clock.monotonic()))
            now = self.clock.monotonic()
            return [stats_of(watch, now) for _, watch in sorted(self._watches.items())]

    def reports(self) -> dict[str, FlagReport]:
        """Return what this process says of every flag, as folded last."""
        with self._lock:
            now = self.clock.monotonic()
            return {name: report_of(watch, now) for name, watch in self._watches.items()}

    def state_age_s(self) -> float | None:
        """Return how old the known state of the store is, seconds; None while none is known."""
        return self.orders.age_s(self.clock.monotonic())

    def keep(self, capture: Capture) -> None:
        """Send an encoded result on its way into the memory tier, and to the fleet."""
        keep_for_all(self, self._io_worker, capture)

    # ------------------------------------------------------------------ life

    def reborn(self) -> None:
        """Begin anew in a forked child: own identity, locks, queues and threads; orders stay."""
        if self._before is not None:
            self._before.reborn()
        if self._own_rng:
            self._rng.seed()
        self.instance = uuid.uuid4().hex[:12]
        self.started_wall = self.clock.wall()
        self._lock, self._inline = threading.RLock(), InlineTicker(self)
        self._io_worker = IOWorker(self)
        self.tier.after_fork()
        self.fetcher = self.fetcher and fetcher_for(self, self.fetcher.wait_s)
        self._ticker = self._listener = None
        self._asleep = self.threads != "manual"
        self.heartbeat.undeclared = self.newsworthy = True
        parents = self._watches
        self._watches = {}
        for watch in parents.values():
            self.adopt(watch.flag).begin(watch.state, self.clock.monotonic())
        if self.member is not None:
            self.member.reborn()

    def close(self) -> None:
        """End the threads after a last round, within a second; harmless to repeat."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            started = self._ticker is not None or not self._asleep
            self.rest(asleep=False)
        atexit.unregister(self.close)
        if self._listener is not None:
            self._listener.stopping = True  # it may wait for the store; nothing waits for it
        if self._ticker is not None:
            self._ticker.stop()
        if self._io_worker.alive:
            self._io_worker.stop()
        elif started:
            self.heartbeat.goodbye()

    def __enter__(self) -> Self:
        self._before = current_runtime.enter(self)
        self._who_before, OUTSIDE.who = OUTSIDE.who, None  # tests that share a process are apart
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        current_runtime.leave(self, self._before)
        OUTSIDE.who = self._who_before
        self.close()

    def __repr__(self) -> str:
        return f"<runtime {self.instance} store={self.store.url} flags={len(self._watches)}>"
