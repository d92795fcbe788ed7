"""The runtime: every flag of this process under one store, one clock and two threads.

calls ──> watches <──tick── ticker                 no I/O
└──transitions, captures──> courier ──> store, memory tier
orders <──poll── courier
"""

from __future__ import annotations

import atexit
import logging
import os
import random
import socket
import threading
import uuid
from collections.abc import Sequence
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Literal, Self

from degrade.clock import Clock, SystemClock
from degrade.core.machine import Cleared, HoldEnded, Transition
from degrade.core.records import InstanceReport
from degrade.core.resolve import Resolved
from degrade.core.words import Mode
from degrade.errors import ConfigError, StoreError
from degrade.fallback.memory import Capture, MemoryTier
from degrade.ports import FlagStats, Store
from degrade.runtime import slot
from degrade.runtime.asker import asker_of, keep_for_all
from degrade.runtime.courier import Courier
from degrade.runtime.figures import draft_of, report_of, stats_of, version
from degrade.runtime.flags import Flag, declared
from degrade.runtime.orders import Orders
from degrade.runtime.ticker import Ticker, yield_to_others
from degrade.runtime.troubles import Troubles
from degrade.runtime.watch import Watch
from degrade.stores.memory import MemoryStore

if TYPE_CHECKING:
    from degrade.stores.local import LocalHolds

__all__ = ("Runtime", "Threads")

log = logging.getLogger("degrade.runtime")

Threads = Literal["background", "inline", "manual"]

_INLINE_EVERY_S = 0.25
_SPREAD_S = 60.0
_ORDERED = frozenset({"hold", "everyone", "level"})


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
        rng: random.Random | None = None,
    ) -> None:
        if threads not in ("background", "inline", "manual"):
            raise ConfigError(f"threads={threads!r}: give 'background', 'inline' or 'manual'")
        self.clock: Clock = SystemClock() if clock is None else clock
        self.store: Store = MemoryStore(clock=self.clock) if store is None else store
        self.threads: Threads = threads
        self.instance = uuid.uuid4().hex[:12]
        self.started_wall = self.clock.wall()
        self.orders = Orders(local)
        self.newsworthy = True
        self.troubles = Troubles(self.clock)
        self.tier = MemoryTier(snapshot_bytes, clock=self.clock)
        self._rng = random.Random() if rng is None else rng
        self._lock = threading.RLock()
        self._watches: dict[str, Watch] = {}
        self._courier = Courier(self)
        self._ticker: Ticker | None = None
        self._closed = False
        self.asker = asker_of(self, snapshot_wait_s)
        self._before: Runtime | None = None
        self._inline_at = 0.0
        self._undeclared = True
        self._asleep = threads == "background"
        self.store.subscribe(self._own_change)

    # ------------------------------------------------------------------ flags

    def adopt(self, flag: Flag) -> Watch:
        """Watch a flag from now on, and bind it to this runtime."""
        with self._lock:
            watch = self._watches.get(flag.name)
            if watch is None or watch.flag is not flag:
                clock = self.clock
                watch = Watch(
                    flag,
                    now=clock.monotonic(),
                    clock=clock.monotonic,
                    wall=clock.wall,
                    store_now=self.store_now,
                    rng=self._rng,
                )
                watch.inline = self.threads == "inline"
                self.orders.apply_to(watch)
                self._watches[flag.name] = watch
                self._undeclared = self.newsworthy = True
                watch.settle()
                watch.gate.shut = watch.gate.shut or self._asleep
            for rung, guard in enumerate(flag.guards):
                if guard.snapshot is not None:
                    guard.snapshot.attach(self.tier, rung)
            flag.bind(watch)
            return watch

    def store_now(self) -> float:
        """Return the store's time, Unix seconds, which ends orders."""
        return self.orders.store_now(self.clock.wall())

    def adopt_all(self) -> None:
        """Adopt every declared flag."""
        for flag in declared():
            self.adopt(flag)

    def let_go(self) -> None:
        """Unbind every flag; what is known of them stays, should this runtime come back."""
        with self._lock:
            for watch in self._watches.values():
                watch.flag.bind(None)

    def replace(self, old: Flag | None, new: Flag) -> None:
        """Adopt a flag that was declared just now, in the place of one that it replaces."""
        if old is not None:
            old.bind(None)
        self.adopt(new)

    # ------------------------------------------------------------------ threads

    def wake(self) -> None:
        """Start what works in the background, unless it runs; called by calls that find a shut gate.

        Where no thread can be started, the calls themselves do the work from then on.
        """
        if not self._asleep:
            return
        with self._lock:
            if not self._asleep or self._closed:
                return
            try:
                self._ticker = Ticker(self)
                self._ticker.start()
                if not self._courier.alive:
                    self._courier.start()
            except RuntimeError:
                self.troubles.note("no_thread")
                self.threads = "inline"
                for watch in self._watches.values():
                    watch.inline = True
            self._asleep = False
            atexit.register(self.close)
            for watch in self._watches.values():
                watch.settle()

    def revive(self) -> None:
        """Start a background thread again that died; each of the two looks after the other."""
        if self._asleep or self._closed or self.threads != "background":
            return
        for worker in (self._ticker, self._courier):
            if worker is not None and not worker.alive:
                self.troubles.note("thread")
                worker.start()

    def tick_inline(self) -> None:
        """Tick at the end of a call, at most four times a second, without threads."""
        now = self.clock.monotonic()
        if now - self._inline_at < _INLINE_EVERY_S or not self._lock.acquire(blocking=False):
            return
        try:
            self._inline_at = now
            self.tick()
            self._courier.carry()
        except Exception:  # noqa: BLE001 - the call that ticks must not notice
            self.troubles.note("tick")
        finally:
            self._lock.release()

    def tick(self, *, yield_after_s: float | None = None) -> int:
        """Fold every flag's calls, judge them, and move the machines.

        Args:
            yield_after_s: Let other threads run after that long, seconds.

        Returns:
            How many calls were folded.
        """
        calls = 0
        clock = self.clock.monotonic
        slice_end = clock() + (yield_after_s or 0.0)
        if self.orders.due(self.store_now()):
            self.obey()
        for watch in list(self._watches.values()):
            with self._lock:
                before = watch.folded
                transitions = watch.fold(clock())
                calls += watch.folded - before
                for transition in transitions:
                    self._tell(watch, transition)
            if yield_after_s is not None and clock() > slice_end:
                yield_to_others()
                slice_end = clock() + yield_after_s
        if calls:
            self.newsworthy = True
        if self.threads == "manual":
            self._courier.carry()
        return calls

    def skip_gap(self, now: float) -> None:
        """Judge no call that overlaps the pause of the process that ends now."""
        log.warning("the process was paused; calls that overlap the pause are not judged")
        for watch in list(self._watches.values()):
            watch.skip_gap(now)

    def _tell(self, watch: Watch, transition: Transition) -> None:
        log.warning(
            "%s: %s to %s, %s of calls run: %s",
            watch.flag.name,
            transition.source,
            transition.target,
            transition.share,
            transition.cause,
        )
        draft = draft_of(watch, transition, self.instance)
        self.newsworthy = True
        self._courier.put("append", lambda: self.store.append([draft]))

    # ------------------------------------------------------------------ orders

    def poll(self) -> None:
        """Read the store and this host's file when they have something new; for the courier."""
        try:
            if not self.orders.known or self.store.changed():
                self.refresh()
            else:
                self.orders.seen(self.clock.monotonic())
        except Exception:  # noqa: BLE001 - stores of others fail in ways of their own; the file counts
            self.troubles.note("store")
        try:
            if self.orders.take_local():
                self.obey()
        except StoreError:
            self.troubles.note("local")

    def refresh(self) -> None:
        """Read the store and act on it at once.

        Raises:
            StoreError: It cannot be read; the last known orders stay in force.
        """
        self.orders.take(self.store.read(), self.clock.wall())
        self.orders.seen(self.clock.monotonic())
        self.obey()

    def _own_change(self) -> None:
        """Act on a change that this process made, at once, in the thread that made it."""
        if self._closed:
            return
        try:
            self.refresh()
        except StoreError:
            self.troubles.note("store")

    def obey(self) -> None:
        """Let every flag obey the orders in force; where one ended, recovery begins."""
        with self._lock:
            now, store_now = self.clock.monotonic(), self.store_now()
            ended: list[tuple[Watch, Resolved, bool]] = []
            for watch in self._watches.values():
                before, here, off_ended = watch.resolved, watch.held_here, watch.off_ended
                self.orders.apply_to(watch)
                after = watch.peek()
                turned = (before.mode is Mode.OFF) != (after.mode is Mode.OFF)
                if turned or watch.off_ended > off_ended:
                    ago_s = 0.0 if turned else max(store_now - watch.off_ended, 0.0)
                    self.tier.void(watch.flag.name, now - ago_s)
                gone = before.layer in _ORDERED and self.orders.gone(watch, before.layer, store_now)
                at_once = gone and not here and self.orders.at_once(watch, before.layer)
                if at_once or (gone and after.dial < before.dial):
                    ended.append((watch, before, at_once))
                else:
                    watch.settle()
                    watch.gate.shut = watch.gate.shut or self._asleep
            self._recover(ended, now)
            self.newsworthy = True
            leftover = self.orders.passed(store_now)
        if leftover:
            self._courier.put("sweep", lambda: self.store.sweep(self.instance))

    def _recover(self, ended: list[tuple[Watch, Resolved, bool]], now: float) -> None:
        """Start recoveries: one flag now, the others spread over a minute, unless released at once."""
        ended.sort(key=lambda entry: (-(entry[0].flag.level or 0), entry[0].flag.name))
        for index, (watch, before, at_once) in enumerate(ended):
            cause = f"ended: {before.reason}"
            event: Cleared | HoldEnded
            if at_once:
                event = Cleared(now=now, cause=cause)
            else:
                delay_s = self._rng.uniform(1.0, _SPREAD_S) if index else 0.0
                event = HoldEnded(
                    now=now, running_share=before.running_share, delay_s=delay_s, cause=cause
                )
            for transition in watch.move([event], now):
                self._tell(watch, transition)
            watch.settle()
            watch.gate.shut = watch.gate.shut or self._asleep

    # ------------------------------------------------------------------ shown to observers

    def stats(self) -> Sequence[FlagStats]:
        """Return the figures of every flag, folded now."""
        with self._lock:
            if self._ticker is not None:
                self._ticker.notice_gap(self.clock.monotonic())
            if self.threads != "inline":
                for watch in list(self._watches.values()):
                    for transition in watch.fold(self.clock.monotonic()):
                        self._tell(watch, transition)
            now = self.clock.monotonic()
            return [stats_of(watch, now) for _, watch in sorted(self._watches.items())]

    def state_age_s(self) -> float | None:
        """Return how old the store's state is, seconds; None before the first read."""
        return self.orders.age_s(self.clock.monotonic())

    def report(self) -> None:
        """Write this process's heartbeat, and declare flags that are new; called by the courier."""
        self.newsworthy = False
        now = self.clock.monotonic()
        with self._lock:
            watches = list(self._watches.items())
            flags = {name: report_of(watch, now) for name, watch in watches}
            declare = [watch.flag.info() for _, watch in watches] if self._undeclared else []
            self._undeclared = False
        try:
            if declare:
                self.store.declare(declare)
            self.store.report(
                InstanceReport(
                    id=self.instance,
                    host=socket.gethostname(),
                    pid=os.getpid(),
                    version=version(),
                    started=self.started_wall,
                    at=self.clock.wall(),
                    epoch=self.orders.epoch,
                    flags=flags,
                )
            )
        except Exception:  # noqa: BLE001 - as in `poll`: what was not declared is declared later
            self._undeclared = self._undeclared or bool(declare)
            self.troubles.note("store")

    def keep(self, capture: Capture) -> None:
        """Send an encoded result on its way into the memory tier, and to the fleet."""
        work = partial(keep_for_all, self, capture, stamped=self.orders.known)
        self._courier.put("insert", work, dropped=partial(self.tier.drop, capture))

    # ------------------------------------------------------------------ life

    def reborn(self) -> None:
        """Begin anew in a forked child: own identity, locks, queues and threads; orders stay."""
        if self._before is not None:
            self._before.reborn()
        self.instance = uuid.uuid4().hex[:12]
        self.started_wall = self.clock.wall()
        self._lock = threading.RLock()
        self._courier = Courier(self)
        self.tier.after_fork()
        self.asker = self.asker and asker_of(self, self.asker.wait_s)
        self._ticker = None
        self._asleep = self.threads == "background"
        self._undeclared = self.newsworthy = True
        parents = self._watches
        self._watches = {}
        for watch in parents.values():
            state = watch.state
            child = self.adopt(watch.flag)
            child.state = state
            child.settle()
            child.gate.shut = child.gate.shut or self._asleep

    def close(self) -> None:
        """End the threads after a last round, within a second; harmless to repeat."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
        atexit.unregister(self.close)
        if self._ticker is not None:
            self._ticker.stop()
        if self._courier.alive:
            self._courier.stop()
        elif not self._asleep:
            self.goodbye()

    def goodbye(self) -> None:
        """Tell a shared store that this process ends; may block, so the courier does it."""
        if self.store.shared:
            try:
                self.store.goodbye(self.instance)
            except Exception:  # noqa: BLE001 - as in `poll`, and the process is ending
                self.troubles.note("store", tell=False)

    def __enter__(self) -> Self:
        self._before = slot.swap(self)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        slot.swap(self._before)
        self.close()

    def __repr__(self) -> str:
        return f"<runtime {self.instance} store={self.store.url} flags={len(self._watches)}>"
