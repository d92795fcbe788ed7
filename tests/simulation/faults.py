"""What can go wrong around the processes, each for a while, at random.

weather    requests, replies and messages get lost, late or doubled
cut        one process, or several, cannot reach the server
frozen     the server takes requests and does them later
down       the server refuses
wipe       it loses everything        evict   it loses one key
back       an older copy takes its place
split      an older copy takes its place for some; the others come later
crash      a process is gone, and another comes         end   in order
pause      a process stands still
step       a wall clock jumps
"""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from tests.simulation.network import FAIR, Weather
from tests.simulation.process import NAMESPACE
from tests.simulation.server import Copy, SimServer
from tests.simulation.world import BEGIN_S

if TYPE_CHECKING:
    from tests.simulation.fleet import Fleet

__all__ = ("Faults",)

_KEYS = ("holds", "control", "flags", "votes", "instances", "active", "deadlines", "events")


class Faults:
    """Lets things go wrong in a fleet.

    Args:
        fleet: Which one.
        kinds: What may happen in it; by default a choice that the seed makes.
    """

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._world = fleet.world
        self._rng = random.Random(fleet.world.rng.random())
        self._copy: Copy = fleet.network.primary.copy()
        self._losses: dict[str, Callable[[], None]] = {
            "wipe": self._wipe, "evict": self._evict, "back": self._back, "split": self._split,
        }  # fmt: skip
        self._troubles: dict[str, Callable[[], None]] = {
            "weather": self._weather, "cut": self._cut, "frozen": self._frozen,
            "down": self._down, "crash": self._crash, "end": self._end, "pause": self._pause,
            "step": self._step,
        }  # fmt: skip
        everything = {**self._losses, **self._troubles}
        chosen = self._rng.sample(sorted(everything), k=self._rng.randint(1, 5))
        self.kinds = {kind: everything[kind] for kind in chosen}

    def strike(self) -> None:
        """Let one thing happen; every few times remember a copy for later."""
        if self._rng.random() < 0.5:
            self._copy = self._fleet.network.primary.copy()
        kind = self._rng.choice(list(self.kinds))
        if self._fleet.processes:
            self._world.note("fault", kind)
            self.kinds[kind]()

    def heal(self) -> None:
        """End everything that lasts."""
        network = self._fleet.network
        network.set_weather(FAIR)
        network.set_down(down=False)
        network.set_frozen(frozen=False)
        for client in list(network.paths):
            network.cut(client, cut=False)
        network.lead_all(network.primary)
        for process in self._fleet.processes:
            process.paused_until = min(process.paused_until, self._world.now)
        self._world.note("fault", "everything heals")

    # ------------------------------------------------------------------ on the way

    def _weather(self) -> None:
        rng = self._rng
        bad = rng.choice((0.05, 0.2, 0.5))
        self._fleet.network.set_weather(
            Weather(
                lost=rng.choice((0.0, bad)), mute=rng.choice((0.0, bad)),
                late=rng.choice((0.0, bad)), twice=rng.choice((0.0, bad)),
                hint_lost=rng.choice((0.0, 0.5, 1.0)), hint_twice=rng.choice((0.0, 0.5)),
                hint_s=rng.choice((0.02, 0.5, 4.0)),
            )
        )  # fmt: skip
        self._world.after(rng.uniform(1.0, 12.0), partial(self._fleet.network.set_weather, FAIR))

    def _cut(self) -> None:
        rng, network = self._rng, self._fleet.network
        clients = [process.name for process in self._fleet.processes]
        for client in rng.sample(clients, k=rng.randint(1, len(clients))):
            network.cut(client, cut=True)
            self._world.after(rng.uniform(0.5, 15.0), partial(self._mend, client))

    def _mend(self, client: str) -> None:
        if client in self._fleet.network.paths:
            self._fleet.network.cut(client, cut=False)

    def _frozen(self) -> None:
        network = self._fleet.network
        network.set_frozen(frozen=True)
        self._world.after(self._rng.uniform(0.2, 6.0), partial(network.set_frozen, frozen=False))

    def _down(self) -> None:
        network = self._fleet.network
        network.set_down(down=True)
        self._world.after(self._rng.uniform(0.5, 40.0), partial(network.set_down, down=False))

    # ------------------------------------------------------------------ on the server

    def _wipe(self) -> None:
        self._fleet.network.primary.wipe()
        self._lost()

    def _evict(self) -> None:
        key = f"degrade:{{{NAMESPACE}}}:{self._rng.choice(_KEYS)}"
        self._fleet.network.primary.evict(key)
        self._lost()

    def _back(self) -> None:
        self._fleet.network.primary.promote(self._copy)
        self._lost()

    def _split(self) -> None:
        fleet, rng = self._fleet, self._rng
        network = fleet.network
        replica = SimServer(lambda: BEGIN_S + self._world.now)
        replica.promote(self._copy)
        network.primary = replica
        for process in fleet.processes:
            delay_s = rng.choice((0.0, rng.uniform(0.5, 10.0)))
            self._world.after(delay_s, partial(self._follow, process.name))
        self._lost()

    def _follow(self, client: str) -> None:
        network = self._fleet.network
        if client in network.paths:
            network.lead(client, network.primary)
            self._fleet.truth.lost()

    def _lost(self) -> None:
        for path in self._fleet.network.paths.values():
            path.troubled = self._world.now
        self._fleet.truth.lost()

    # ------------------------------------------------------------------ on processes

    def _crash(self) -> None:
        victim = self._rng.choice(self._fleet.processes)
        victim.crash()
        self._world.after(self._rng.uniform(0.1, 6.0), self._fleet.start)

    def _end(self) -> None:
        victim = self._rng.choice(self._fleet.processes)
        victim.end()
        self._world.after(self._rng.uniform(0.1, 6.0), self._fleet.start)

    def _pause(self) -> None:
        victim = self._rng.choice(self._fleet.processes)
        victim.paused_until = self._world.now + self._rng.uniform(0.5, 12.0)

    def _step(self) -> None:
        self._rng.choice(self._fleet.processes).clock.step(self._rng.uniform(-120, 120))
