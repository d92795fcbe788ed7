"""One simulation: a fleet that a seed makes, its days with faults, and its end without.

begin ──> minutes of calls, orders and faults ──heal──> two polls ──> everybody agrees
"""

from __future__ import annotations

import contextlib
import logging
import random
from collections.abc import Iterator
from functools import partial

from degrade import SLA, Recovery
from degrade.runtime import flags, slot
from degrade.runtime.flags import Flag
from tests.simulation.calls import Health
from tests.simulation.faults import Faults
from tests.simulation.network import Network
from tests.simulation.operators import Operators
from tests.simulation.process import Process, Traffic
from tests.simulation.server import SimServer
from tests.simulation.truth import POLL_S, Truth
from tests.simulation.world import BEGIN_S, SimClock, Violation, World

__all__ = ("Fleet", "apart", "play")

_SLAS = (
    SLA(p99="250ms", errors="5%", over="30s"),
    SLA(errors="10%", over="10s"),
    SLA(p95="100ms", over="15s"),
)
_RECOVERIES = (
    Recovery(cooldown="1s", step_time="1s", steps=(0.05, 0.5, 1.0), step_calls=3, flaps_per_hour=2),
    Recovery(cooldown="2s", step_time="0.5s", step_calls=2, max_cooldown="10s"),
    Recovery(),
)
_SIZES = (3, 3, 3, 4, 4, 5, 6, 8)
_LARGE = (12, 20, 50)
_LENGTHS_S = (15.0, 15.0, 15.0, 15.0, 60.0)
_LARGE_S = 10.0


class Fleet(Traffic):
    """The processes, their store and their dependencies.

    Args:
        seed: Decides everything.
        remembers: How many lines of its diary are kept.
    """

    def __init__(self, seed: int, *, remembers: int = 400) -> None:
        self.world = World(seed, remembers=remembers)
        rng = self._rng = random.Random(self.world.rng.random())
        large = rng.random() < 0.03
        self._size = rng.choice(_LARGE) if large else rng.choice(_SIZES)
        self.length_s = _LARGE_S if large else rng.choice(_LENGTHS_S)
        self.network = Network(self.world, SimServer(lambda: BEGIN_S + self.world.now))
        self._flags = [
            {
                "name": f"flag.{number}",
                "sla": rng.choice(_SLAS),
                "level": rng.choice((None, 1, 2, 3)),
                "recovery": rng.choice(_RECOVERIES),
            }
            for number in range(rng.randint(1, 3))
        ]
        names = [str(spec["name"]) for spec in self._flags]
        self._ladders = frozenset(name for name in names if rng.random() < 0.8)
        self.truth = Truth(self.world, self.network, names)
        self._all: list[Process] = []
        self._started = 0
        self._rates = {name: rng.choice((0.5, 4.0, 12.0)) for name in names}
        self._health: dict[str, Health] = {}
        self._sick: dict[str, frozenset[str]] = {}
        self._ever_sick: dict[str, set[str]] = {name: set() for name in names}
        self.operators = Operators(
            self.world, self.network, self.truth, names, lambda: self.processes
        )
        if rng.random() < 0.4:
            self.world.overtaking = rng.choice((0.02, 0.1, 0.3))
            self.world.overtakers = [self._overtake, self._overtake, self.operators.act]
        for _ in range(self._size):
            self.world.after(rng.uniform(0.0, 3.0), self.start)

    @property
    def processes(self) -> list[Process]:
        """Those that are alive."""
        return [process for process in self._all if process.alive]

    # ------------------------------------------------------------------ what calls meet

    def rate(self, process: str, flag: str) -> float:
        return self._rates[flag]

    def health(self, process: str, flag: str) -> Health:
        health = self._health.get(flag)
        if health is None or process not in self._sick[flag]:
            return WELL
        return health

    def sicken(self) -> None:
        """Let a dependency fail, be slow or hang, for one process, some, or all; for a while."""
        rng = self._rng
        flag = rng.choice(list(self._rates))
        names = [process.name for process in self.processes]
        few = rng.choice((1, 1, rng.randint(1, len(names)), len(names)))
        self._health[flag] = rng.choice(
            (Health(failing=1.0), Health(failing=0.4), Health(slow=0.8), Health(hung=0.5))
        )
        self._sick[flag] = frozenset(rng.sample(names, k=few))
        self._ever_sick[flag] |= self._sick[flag]
        self.world.note("dependency", "{} {} for {}", flag, self._health[flag], few)
        self.world.after(rng.uniform(2.0, 15.0), partial(self._health.pop, flag, None))

    # ------------------------------------------------------------------ processes

    def start(self) -> None:
        """Start one more process."""
        rng = self._rng
        self._started += 1
        clock = SimClock(
            self.world, skew_s=rng.uniform(-180, 180), rate=rng.uniform(-2e-4, 2e-4),
            started_s=rng.uniform(0.0, 1e6),
        )  # fmt: skip
        name = f"process-{self._started}"
        process = Process(
            self.world, self.network, name, clock=clock,
            flags=[Flag(**spec, _place=("sim", "sim", "sim")) for spec in self._flags],
            ladders=self._ladders, traffic=self,
        )  # fmt: skip
        for flag, one in process.recovering.items():
            ever = self._ever_sick[flag]
            one.innocent = lambda ever=ever: name not in ever
            one.alone = lambda ever=ever: len(ever) <= 1
        self._all.append(process)
        self.world.note(name, "starts")

    def _overtake(self) -> bool:
        """Let one idle process do its round now."""
        idle = [process for process in self.processes if not process.busy]
        if idle:
            self._rng.choice(idle).carry()
        return bool(idle)

    def _look(self) -> None:
        """Judge everybody, and come again."""
        self._all = self.processes
        for process in self.processes:
            if not process.busy:
                self.truth.check(process)
        self.world.after(0.25, self._look)

    # ------------------------------------------------------------------ the play

    def play(self) -> None:
        """Let it all happen.

        Raises:
            Violation: An invariant does not hold.
        """
        world, rng = self.world, self._rng
        world.after(0.3, self._look)
        world.run_until(4.0)
        faults = Faults(self)
        self._often(faults.strike, rng.choice((1.5, 5.0)))
        self._often(self.operators.act, rng.choice((0.5, 3.0)))
        self._often(self.sicken, rng.choice((3.0, 10.0)))
        world.run_until(4.0 + self.length_s)
        self._ended = True
        faults.heal()
        world.overtaking = 0.0
        free = max((process.free_at for process in self.processes), default=world.now)
        world.run_until(max(world.now, free) + 2 * POLL_S + 0.3)
        self.truth.check_fleet(self.processes)
        if world.broken is not None:
            raise Violation(world.broken)

    _ended = False

    def _often(self, do: object, every_s: float) -> None:
        """Do something again and again, at random, until the end."""

        def again() -> None:
            if self._ended:
                return
            if self.processes:
                do()  # type: ignore[operator]
            self.world.after(self._rng.expovariate(1 / every_s), again)

        self.world.after(self._rng.expovariate(1 / every_s), again)


WELL = Health(failing=0.001)


@contextlib.contextmanager
def apart() -> Iterator[None]:
    """Keep what a simulation declares and logs away from the rest of the process."""
    runtime, declared = slot.swap(None), dict(flags._registry.flags)
    disabled = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(disabled)
        flags._registry.flags.clear()
        flags._registry.flags.update(declared)
        slot.swap(runtime)


def play(seed: int) -> Fleet:
    """Play one seed.

    Raises:
        Violation: An invariant does not hold.
    """
    with apart():
        fleet = Fleet(seed)
        try:
            fleet.play()
        except Violation as error:
            raise Violation(
                f"seed {seed} fails {error}\n\n{fleet.world.pages()}\n\n"
                f"replay it: python -m tests.simulation {seed}"
            ) from None
    return fleet
