"""What must hold of one flag's machine in one process, judged by its transitions alone.

nobody leaves DEGRADED before its cooldown     but by an order's end, or the fleet's evidence
a failed step makes the next cooldown longer   1.5 times in the first step, else twice
past the flap budget an hour is waited for     after a breach: who ends an order says when
a fleet verdict needs two sick processes       one sick process degrades itself alone
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from degrade.core.enums import Phase
from degrade.core.state_machine import Transition
from degrade.runtime.monitoring.flag_monitor import FlagMonitor
from tests.simulation.world import World

if TYPE_CHECKING:
    from tests.simulation.process import Process

__all__ = ("Recovering",)

_HOUR_S = 3_600.0
_ROUNDING_S = 1e-6


class Recovering:
    """Follows one machine.

    Args:
        world: Where violations go.
        process: Whose it is.
        watch: Its flag.

    Attributes:
        innocent: Whether this process's calls never gave a reason to degrade; set from outside.
        alone: Whether at most one process of the fleet ever had a reason; set from outside.
    """

    def __init__(self, world: World, process: Process, watch: FlagMonitor) -> None:
        self._world = world
        self._process = process
        self._watch = watch
        self._policy = watch.flag.recovery
        self._least_s = self._policy.cooldown
        self._entered = 0.0
        self._owed_s = 0.0
        self._of_fleet = False
        self._share = 1.0
        self._flaps: list[float] = []
        self.innocent = lambda: True
        self.alone = lambda: True

    def moved(self, transition: Transition) -> None:
        """Check one transition."""
        source, target, at = transition.source, transition.target, transition.at
        breach = transition.cause.startswith(("breach", "fleet breach"))
        if source is Phase.DEGRADED and transition.cause == "cooldown over":
            self._left(at)
        if target is Phase.DEGRADED:
            if breach and source is Phase.STEADY:
                self._flaps.append(at)
            if source is Phase.RECOVERING and not transition.cause.startswith("ended"):
                self._failed(transition)
            self._entered = at
            self._owed_s = 0.0 if transition.cause.startswith("ended") else self._least_s
            self._of_fleet = False
            if breach and self.innocent() and self.alone():
                self._say(f"{transition.cause}, though none of its calls was bad")
        elif target is Phase.STEADY:
            self._least_s = self._policy.cooldown
        self._share = transition.share
        self.look()

    def look(self) -> None:
        """Note whether the machine is of the fleet; to be called whenever that may have changed."""
        if self._watch.state.fleet:
            self._of_fleet = True

    def _failed(self, transition: Transition) -> None:
        """Expect a longer cooldown after a failed step."""
        if transition.cause.startswith("fleet breach"):
            return
        longest_s = self._policy.max_cooldown
        if self._share <= self._policy.steps[0] + 1e-9:
            grown_s = min(self._least_s * 1.5, 30.0, longest_s)
        else:
            grown_s = min(self._least_s * 2.0, longest_s)
        self._least_s = max(self._least_s, grown_s)

    def _left(self, at: float) -> None:
        waited_s = at - self._entered
        recent = [flap for flap in self._flaps if flap > at - _HOUR_S]
        if self._owed_s and len(recent) > self._policy.flaps_per_hour:
            self._say(f"left degraded, though it flapped {len(recent)} times within an hour")
        if waited_s < self._owed_s - _ROUNDING_S and not self._of_fleet:
            self._say(f"left degraded after {waited_s:.3f} s of at least {self._owed_s:.3f} s")

    def _say(self, what: str) -> None:
        self._world.violated(f"{self._process.name}: {self._watch.flag.name} {what}")
