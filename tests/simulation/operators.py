"""Humans: by the operator's verbs from a machine of their own or inside a process, and by hand.

A verb that returns has written what it says, so the desk of the server that it reached shows it.
What was given inside a process acts there at once.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from pathlib import Path

from degrade.control import Control
from degrade.core.enums import HoldMode, Mode
from degrade.errors import DegradeError, StoreError
from degrade.stores.local_holds import LocalHolds
from degrade.stores.redis.store import RedisStore
from degrade.stores.redis.transport.base import Command
from tests.simulation.network import Network
from tests.simulation.process import NAMESPACE, Process
from tests.simulation.truth import Truth
from tests.simulation.world import BEGIN_S, SimClock, World

__all__ = ("Operators",)

_HOLDS = f"degrade:{{{NAMESPACE}}}:holds"
_NOWHERE = Path("/nonexistent/degrade")
_MODES = ("degraded", "degraded", "degraded", "off", "normal", "observe")
_EFFECT = {"off": Mode.OFF, "normal": Mode.NORMAL, "degraded": Mode.DEGRADED}


class Operators:
    """Gives orders at random.

    Args:
        world: Its time.
        network: The way to the store.
        truth: What the desk says.
        flags: Flags that can be held.
        processes: Those that are alive, to give orders in.
    """

    def __init__(
        self,
        world: World,
        network: Network,
        truth: Truth,
        flags: Sequence[str],
        processes: Callable[[], Sequence[Process]],
    ) -> None:
        self._world, self._network, self._truth = world, network, truth
        self._flags = (*flags, "*")
        self._processes = processes
        self._rng = random.Random(world.rng.random())
        self._given = 0

    def act(self) -> None:
        """Do one thing."""
        draw = self._rng.random()
        if draw < 0.3:
            self._by_hand()
        elif draw < 0.55:
            self._inside()
        else:
            self._from_outside()

    # ------------------------------------------------------------------ by verbs

    def _from_outside(self) -> None:
        """Use the verbs on a machine of one's own."""
        self._given += 1
        name = f"operator-{self._given}"
        world = self._world
        clock = SimClock(
            world, skew_s=self._rng.uniform(-90, 90), rate=0.0, started_s=self._rng.uniform(0, 1e6)
        )
        link = self._network.link(name)
        store = RedisStore(link, namespace=NAMESPACE, clock=clock, rng=self._rng)
        store._ledger._pause = lambda attempt: world.overtake()  # type: ignore[method-assign]
        try:
            self._verb(store, name, clock, None)
        finally:
            self._network.lose(name)

    def end_all(self) -> None:
        """Release whatever is held or ordered, at once."""
        store = RedisStore(
            self._network.link("last"), namespace=NAMESPACE, rng=self._rng,
            clock=SimClock(self._world, skew_s=0.0, rate=0.0, started_s=0.0),
        )  # fmt: skip
        control = Control(store, actor="ana", namespace=NAMESPACE, clock=store._ledger._clock)
        state = store.read()
        for flag in state.holds:
            control.release(flag, reason="sim", now=True)
        if state.level is not None:
            control.release_level(reason="sim", now=True)
        self._network.lose("last")

    def _inside(self) -> None:
        """Use the verbs inside a process."""
        processes = [process for process in self._processes() if not process.busy]
        if not processes:
            return
        process = self._rng.choice(processes)
        process.busy = True
        try:
            self._verb(process.store, f"in {process.name}", process.clock, process)
        finally:
            process.busy = False

    def _verb(self, store: RedisStore, who: str, clock: SimClock, process: Process | None) -> None:
        control = Control(
            store, actor="ana", clock=clock, namespace=NAMESPACE,
            local=LocalHolds(NAMESPACE, directory=_NOWHERE, clock=clock),
        )  # fmt: skip
        rng = self._rng
        flag = rng.choice(self._flags)
        draw = rng.random()
        try:
            if draw < 0.5:
                mode = rng.choice(_MODES)
                dial = rng.choice((1.0, 1.0, 0.25)) if mode == "degraded" else 1.0
                for_ = rng.choice((None, None, 3.0, 8.0))
                self._world.note(who, "hold {} {} dial {} for {}", flag, mode, dial, for_)
                control.hold(flag, mode, for_=for_, reason="sim", dial=dial, force=True)
                self._held(who, flag, mode, process)
            elif draw < 0.8:
                at_once = rng.random() < 0.3
                self._world.note(who, "release {} now={}", flag, at_once)
                control.release(flag, reason="sim", now=at_once)
                self._released(who, flag)
            elif draw < 0.9:
                level = rng.randint(1, 3)
                self._world.note(who, "level {}", level)
                control.order_level(level, for_=rng.choice((None, 5.0)), reason="sim")
            elif draw < 0.96:
                self._world.note(who, "level released")
                control.release_level(reason="sim", now=rng.random() < 0.3)
            else:
                self._world.note(who, "extend {}", flag)
                control.extend(flag, for_=rng.choice((None, 20.0)))
        except StoreError as error:
            self._world.note(who, "failed: {}", error)
        except DegradeError as error:
            self._world.note(who, "refused: {}", error)

    def _held(self, who: str, flag: str, mode: str, process: Process | None) -> None:
        """Check that a hold stands, and acts where it was given; others may have been faster."""
        if self._world.overtaking:
            return
        found = self._truth.desk.get(flag)
        if self._sees_primary(who, process) and (found is None or found.mode != mode):
            self._world.violated(f"{who} held {flag} {mode}, but the desk says {found}")
        if process is not None and flag != "*":
            watch = process.watches[flag]
            if watch.hold is None or watch.hold.mode is not HoldMode(mode):
                self._world.violated(f"{who} held {flag} {mode}, but it obeys {watch.hold} there")
            expected = _EFFECT.get(mode)
            everyone = watch.everyone
            overruled = everyone is not None and everyone.mode in (HoldMode.OFF, HoldMode.NORMAL)
            if mode == "degraded" and overruled:
                expected = None
            if expected is not None and watch.resolved.mode is not expected:
                self._world.violated(f"{who} held {flag} {mode}, but it is {watch.resolved} there")

    def _released(self, who: str, flag: str) -> None:
        if self._world.overtaking or flag == "*" or not self._sees_primary(who, None):
            return
        if flag in self._truth.desk:
            self._world.violated(f"{who} released {flag}, but {self._truth.desk[flag]} stands")

    def _sees_primary(self, who: str, process: Process | None) -> bool:
        path = self._network.paths.get(who.removeprefix("in "))
        return path is not None and path.server is self._network.primary

    # ------------------------------------------------------------------ by hand

    def _by_hand(self) -> None:
        """Use redis-cli, on the machine of the server."""
        network, rng = self._network, self._rng
        if network.down or network.frozen:
            return
        flag = rng.choice(self._flags)
        draw = rng.random()
        command: Command
        if draw < 0.45:
            command = ("HSET", _HOLDS, flag, rng.choice(_MODES))
        elif draw < 0.6:
            written: dict[str, object] = {"mode": rng.choice(_MODES), "reason": "sim"}
            if written["mode"] == "degraded":
                written["dial"] = rng.choice((0.1, 0.5, 1.0))
            if rng.random() < 0.3:
                written["until"] = BEGIN_S + self._world.now + rng.uniform(2.0, 9.0)
            command = ("HSET", _HOLDS, flag, json.dumps(written))
        elif draw < 0.7:
            nonsense = rng.choice(("on", "{", '{"mode": "of"}', "", "degraded!"))
            command = ("HSET", _HOLDS, flag, nonsense)
        else:
            command = ("HDEL", _HOLDS, flag)
        self._world.note("redis-cli", "{}", command)
        network.primary.write([command])
        network.touched(network.primary, 0.0)
