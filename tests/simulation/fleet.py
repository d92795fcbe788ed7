"""One simulation: a fleet that a seed makes, its days with faults, and its end without.

begin ──> minutes of calls, orders and faults ──heal──> two polls ──> everybody agrees
      ──orders end, a last outage──> every flag that is called comes back to STEADY

In some fleets there are processes that never call a flag which they declare, or do so now and then.
"""

from __future__ import annotations

import contextlib
import logging
import math
import random
from collections.abc import Iterator
from functools import partial

from degrade import SLA, Recovery
from degrade.core.enums import Phase
from degrade.runtime import current_runtime
from degrade.runtime.calls.flag import Flag
from degrade.runtime.calls.registry import Place, registry
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
_IDLE_SHARES = (0.0, 0.0, 0.3, 0.6)
_NOW_AND_THEN_S = (5.0, 20.0, 45.0, 90.0)
_BACK_S = 240.0
"""So long after everything healed every flag is steady again, seconds, and for each process of the
fleet a little longer: with few calls a step takes as many seconds a probe as there are processes."""
_BACK_EACH_S = 30.0
_SOON_S = 60.0
"""A cooldown that is longer, of a flap budget that is spent, is not waited for."""


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
        self._idling = random.Random(f"idle {seed}")  # apart, so that all else stays as it was
        self._idle_share = self._idling.choice(_IDLE_SHARES)
        self._idle: dict[tuple[str, str], float] = {}
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
        turn_s = self._idle.get((process, flag), math.inf)
        idle = turn_s == 0.0 or (not self._mended and self.world.now // turn_s % 2 == 1)
        return 0.0 if idle else self._rates[flag]

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
            flags=[Flag(**spec, _place=Place("sim", "sim", "sim")) for spec in self._flags],
            ladders=self._ladders, traffic=self,
        )  # fmt: skip
        for flag, one in process.recovering.items():
            ever = self._ever_sick[flag]
            one.innocent = lambda ever=ever: name not in ever
            one.alone = lambda ever=ever: len(ever) <= 1
        for flag in self._rates:
            if self._idling.random() < self._idle_share:
                self._idle[name, flag] = self._idling.choice((0.0, 0.0, *_NOW_AND_THEN_S))
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
        if self._idle:
            self._come_back()
        if world.broken is not None:
            raise Violation(world.broken)

    _ended = False
    _mended = False

    def _come_back(self) -> None:
        """Let all calls of a flag fail, then none, and wait until what is called is steady."""
        world, rng = self.world, self._idling
        self.operators.end_all()
        world.run_until(world.now + 2 * POLL_S)
        flag = rng.choice(list(self._rates))
        self._health[flag] = Health(failing=1.0)
        self._sick[flag] = frozenset(process.name for process in self.processes)
        self._ever_sick[flag] |= self._sick[flag]
        world.note("dependency", "{} fails everywhere", flag)
        world.run_until(world.now + rng.uniform(5.0, 20.0))
        self._mended = True
        self._health.clear()
        world.note("dependency", "all is well")
        spent = {
            flag
            for process in self.processes
            for flag, watch in process.watches.items()
            if watch.state.until - watch.clock() > _SOON_S
        }
        end = self.world.now + _BACK_S + _BACK_EACH_S * len(self.processes)
        while (late := self._late(spent)) and self.world.broken is None:
            if self.world.now > end:
                self.world.violated(f"after all, these do not come back: {', '.join(late)}")
            self.world.run_until(self.world.now + 5.0)

    def _late(self, spent: set[str]) -> list[str]:
        """Return what is not steady yet, though it is called and no human has a say in it."""
        return [
            f"{flag} in {process.name}, {watch.state.phase.value} at {watch.state.share:.0%}"
            for process in self.processes
            for flag, watch in process.watches.items()
            if flag not in spent
            and self.rate(process.name, flag)
            and (watch.hold, watch.everyone, watch.level) == (None, None, None)
            and watch.state.phase is not Phase.STEADY
            and watch.state.until - watch.clock() <= _SOON_S
        ]

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
    runtime, declared = current_runtime.swap(None), dict(registry.flags)
    disabled = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(disabled)
        registry.flags.clear()
        registry.flags.update(declared)
        current_runtime.swap(runtime)


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
