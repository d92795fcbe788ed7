"""One process of the fleet: a real runtime over the real store, driven by the scheduler.

What the background threads do is done by entries of the scheduler, at the times that the threads
themselves would choose:

    ticker    4 times a second while calls come, once when idle
    courier   when it wants to, or when its bell rings; not while a request waits for its timeout
    listener  whenever the network brings a message
"""

from __future__ import annotations

import random
import sys
from collections.abc import Mapping, Sequence

from degrade.core.enums import Phase
from degrade.core.state_machine import Transition
from degrade.errors import StoreError
from degrade.runtime.background.ticker import BUSY_S, GAP_S, IDLE_S
from degrade.runtime.calls.flag import Flag
from degrade.runtime.monitoring.flag_monitor import FlagMonitor
from degrade.runtime.runtime import Runtime
from degrade.stores.redis.store import RedisStore
from tests.simulation.calls import Calls, Health
from tests.simulation.network import Network, SimLink
from tests.simulation.recovering import Recovering
from tests.simulation.world import SimClock, World

__all__ = ("NAMESPACE", "Process", "Traffic")

NAMESPACE = "sim"
_AT_ONCE_S = 0.001
_LOOK_S = 0.1
"""How often a paused process looks whether it may go on, seconds."""


class Traffic:
    """What the world sends to a process: how many calls, and what becomes of them."""

    def rate(self, process: str, flag: str) -> float:
        """Return the calls a second."""
        raise NotImplementedError

    def health(self, process: str, flag: str) -> Health:
        """Return how the function behind a flag is doing."""
        raise NotImplementedError


class _Bell:
    """Rings the I/O worker of a process."""

    def __init__(self, process: Process) -> None:
        self._process = process

    def ring(self) -> None:
        self._process.carry_at(self._process.world.now + _AT_ONCE_S)


class Process:
    """A process of the fleet, from its start to its crash or end.

    Args:
        world: Its time.
        network: Its way to the store.
        name: Unique for ever.
        clock: Of its host.
        flags: What it declares.
        ladders: Flags that have a rung which can always serve.
        traffic: Its calls.

    Attributes:
        alive: Neither crashed nor ended.
        busy: It is in the middle of something.
        free_at: Until then its courier waits for a timeout, true seconds.
        paused_until: Until then nothing of it runs.
    """

    def __init__(
        self,
        world: World,
        network: Network,
        name: str,
        *,
        clock: SimClock,
        flags: Sequence[Flag],
        ladders: frozenset[str],
        traffic: Traffic,
    ) -> None:
        self.world, self.network, self.name, self.clock = world, network, name, clock
        self.began = world.now
        self.alive = True
        self.busy = False
        self.free_at = self.paused_until = float("-inf")
        self._traffic = traffic
        self._rng = random.Random(world.rng.random())
        link: SimLink = network.link(name)
        self.link = link
        self.store = RedisStore(link, namespace=NAMESPACE, clock=clock, rng=self._rng)
        self.store._ledger._pause = lambda attempt: world.overtake()  # type: ignore[method-assign]
        self.runtime = Runtime(self.store, clock=clock, threads="manual", rng=self._rng)
        self.runtime.instance = name
        self.watches: Mapping[str, FlagMonitor] = {
            flag.name: self.runtime.adopt(flag) for flag in flags
        }
        self.calls = {
            flag: Calls(world, watch, who=name, rng=self._rng, ladder=flag in ladders)
            for flag, watch in self.watches.items()
        }
        self.recovering = {
            flag: Recovering(world, self, watch) for flag, watch in self.watches.items()
        }
        self._drive()

    # ------------------------------------------------------------------ driven by the scheduler

    def _drive(self) -> None:
        runtime, courier = self.runtime, self.runtime._io_worker
        self._carry_out = courier.carry
        courier.carry = lambda: None  # type: ignore[method-assign]  # `tick` leaves it to `_carry`
        courier.bell = _Bell(self)  # type: ignore[assignment]
        told = runtime._told

        def telling(watch: FlagMonitor, transitions: Sequence[Transition]) -> None:
            for transition in transitions:
                self.recovering[watch.flag.name].moved(transition)
                self.world.note(
                    self.name, "{}: {} to {} at {}: {}", watch.flag.name, transition.source.value,
                    transition.target.value, transition.share, transition.cause,
                )  # fmt: skip
            told(watch, transitions)

        runtime._told = telling  # type: ignore[method-assign]
        runtime.internal_errors.note = self._troubled  # type: ignore[method-assign]
        self._ticked = self.clock.monotonic()
        self._tick_wait_s = BUSY_S
        self._carry_due = self.world.now
        fleet = self.store.fleet
        fleet.listen(self._hear, lambda: not self.alive)
        rng = self.world.rng
        self.world.after(rng.uniform(0.0, BUSY_S), self._tick)
        self.world.after(rng.uniform(0.0, 0.2), self._carry)

    def _hear(self, state: object) -> None:
        if self.alive and not self._is_paused():
            self.runtime.hear(state)  # type: ignore[arg-type]

    def _tick(self) -> None:
        if not self.alive:
            return
        if self._is_paused():
            self.world.after(_LOOK_S, self._tick)
            return
        now = self.clock.monotonic()
        calls = self.calls.values()
        for each in calls:
            each.finish()
            each.look()
        for one in self.recovering.values():
            one.look()
        if now - self._ticked > GAP_S:
            for watch in self.watches.values():
                watch.skip_pause((self._ticked + IDLE_S + now) / 2)
        elapsed_s, self._ticked = now - self._ticked, now
        try:
            folded = self.runtime.tick()
        except Exception as error:  # noqa: BLE001 - whatever it is, the ticker must not meet it
            self.world.violated(f"{self.name}: a tick raised {error!r}")
            return
        for each in calls:
            each.check()
        self._make_calls(min(elapsed_s, BUSY_S))
        self.world.after(BUSY_S if folded else IDLE_S, self._tick)

    def _make_calls(self, elapsed_s: float) -> None:
        rng = self._rng
        for flag, calls in self.calls.items():
            expected = self._traffic.rate(self.name, flag) * elapsed_s
            count = int(expected + rng.random())
            if count:
                calls.make(count, self._traffic.health(self.name, flag))

    def carry_at(self, when: float) -> None:
        """Let the I/O worker come at a true time, or sooner."""
        if when < self._carry_due:
            self._carry_due = when
            self.world.at(when, self._carry)

    def _carry(self) -> None:
        world = self.world
        if not self.alive or world.now < self._carry_due:
            return
        if self._is_paused() or world.now < self.free_at or self.busy:
            wait_s = _LOOK_S if self._is_paused() else _AT_ONCE_S
            self._carry_due = max(self.free_at, world.now + wait_s)
            world.at(self._carry_due, self._carry)
            return
        self.carry()
        wait_s = max(0.02, self.runtime._io_worker._wait_s())
        self._carry_due = max(self.free_at, world.now + wait_s)
        world.at(self._carry_due, self._carry)

    def carry(self) -> None:
        """Do one round of the I/O worker, unless it is in the middle of one."""
        if self.busy or not self.alive:
            return
        self.busy = True
        try:
            self._carry_out()
        except Exception as error:  # noqa: BLE001 - whatever it is, the I/O worker must not meet it
            self.world.violated(f"{self.name}: a round raised {error!r}")
        finally:
            self.busy = False
            if self.alive:
                path = self.link.path
                self.free_at = self.world.now + path.spent_s
                path.spent_s = 0.0

    def _is_paused(self) -> bool:
        return self.world.now < self.paused_until

    def _troubled(self, what: str, *, tell: bool = True) -> None:
        error = sys.exception()
        if not isinstance(error, StoreError) or "unknown command" in str(error):
            self.world.violated(f"{self.name}: {what} met {error!r}")

    # ------------------------------------------------------------------ its life

    def crash(self) -> None:
        """End without a goodbye."""
        self.alive = False
        self.network.lose(self.name)

    def end(self) -> None:
        """End in order."""
        if not self.busy:
            self.busy = True
            self.runtime.close()
        self.crash()

    @property
    def phases(self) -> dict[str, Phase]:
        return {flag: watch.state.phase for flag, watch in self.watches.items()}
