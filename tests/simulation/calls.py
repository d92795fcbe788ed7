"""The calls of one flag in one process, made as a guarded function makes them, thousands cheaply.

gate open ──> run            gate shut ──> watch.admit ──> run, probe with a permit, or serve
run  ──> started, and when it ends: ended, or marked with its outcome and then the ladder
serve ──> answered from the ladder, or failed where there is none
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from heapq import heappop, heappush

from degrade.core.enums import CallClass, Mode, Outcome, RungKind
from degrade.core.probe_permits import Permit
from degrade.runtime.monitoring.call_recorder import EndedCall
from degrade.runtime.monitoring.flag_monitor import SERVE, FlagMonitor
from tests.simulation.world import World

__all__ = ("Calls", "Health")

QUICK_S = 0.02
SLOW_S = 0.6
HUNG_S = 14.0
_INDEX = {how: index for index, how in enumerate(CallClass)}
_FULL, _DEGRADED, _FAILED = (
    _INDEX[how] for how in (CallClass.FULL, CallClass.DEGRADED, CallClass.FAILED)
)


@dataclass(frozen=True, slots=True)
class Health:
    """What becomes of the runs of a function: the shares that fail, are slow, or hang."""

    failing: float = 0.0
    slow: float = 0.0
    hung: float = 0.0

    @property
    def well(self) -> bool:
        return self.failing + self.slow + self.hung < 0.01


class Calls:
    """Makes calls, ends them, and knows what must be counted.

    Args:
        world: For its diary and violations.
        watch: Of the flag.
        who: Of which process, for the diary.
        rng: What becomes of each call.
        ladder: Whether there is a rung that can always serve.

    Attributes:
        ended: Calls that ended, by class in the order of `CallClass`.
        peak: The most calls in flight while steady, as the watch may have seen them.
    """

    def __init__(
        self, world: World, watch: FlagMonitor, *, who: str, rng: random.Random, ladder: bool
    ) -> None:
        self._world = world
        self._watch = watch
        self._who = who
        self._rng = rng
        self._ladder = ladder
        self._running: list[tuple[float, int, float, Outcome, int, Permit | None]] = []
        self._made = 0
        self._in_flight = 0
        self._probes: list[tuple[Permit, int]] = []
        self._busy_s = 0.0
        self._looked = watch.clock()
        self.ended = [0] * len(CallClass)
        self.peak = 1.0

    def make(self, count: int, health: Health) -> None:
        """Begin calls at this moment."""
        watch, rng = self._watch, self._rng
        now = watch.clock()
        if health.well and not watch.gate.shut:
            self._run(now, now + QUICK_S, Outcome.SUCCESS, count)
            return
        for _ in range(count):
            permit: Permit | None = None
            if watch.gate.shut:
                try:
                    route = watch.admit()
                except Exception as error:  # noqa: BLE001 - whatever it is, it reached a call
                    self._world.violated(f"{self._who}: a call met {error!r}")
                    return
                if route is SERVE:
                    self._serve()
                    continue
                if watch.resolved.mode is Mode.OFF:
                    self._world.violated(f"{self._who}: {watch.flag.name} ran while it is off")
                if isinstance(route, Permit):
                    permit = route
                    self._probe(permit, now)
            draw = rng.random()
            if draw < health.failing:
                end, outcome = now + QUICK_S, Outcome.FAILURE
            elif draw < health.failing + health.slow:
                end, outcome = now + SLOW_S, Outcome.SUCCESS
            elif draw < health.failing + health.slow + health.hung:
                end, outcome = now + HUNG_S, Outcome.TIMEOUT
            elif draw > 0.995:
                end = now + QUICK_S
                outcome = rng.choice((Outcome.IGNORED, Outcome.ABANDONED))
            else:
                end, outcome = now + QUICK_S, Outcome.SUCCESS
            self._run(now, end, outcome, 1, permit)

    def finish(self) -> None:
        """End the calls whose time has come."""
        watch, running = self._watch, self._running
        now = watch.clock()
        while running and running[0][0] <= now:
            end, _, start, outcome, count, permit = heappop(running)
            self._in_flight -= count
            if outcome is Outcome.SUCCESS:
                watch.recorder.ended.extend((start, end) * count)
                self.ended[_FULL] += count
                self._busy_s += (end - start) * count
            else:
                watch.recorder.marked.append(EndedCall(start, end, outcome))
                self._failed(outcome)
            if permit is not None and outcome is not Outcome.ABANDONED:
                watch.permits.give_back(permit)  # an interrupted one is left to its lease
                self._probes = [probe for probe in self._probes if probe[0] is not permit]

    def look(self) -> None:
        """Note how many calls run, as the tick that follows will see it."""
        now = self._watch.clock()
        elapsed_s, busy_s = now - self._looked, self._busy_s
        self._looked, self._busy_s = now, 0.0
        busy = busy_s / elapsed_s if elapsed_s > 0 else 0.0
        self.peak = max(self.peak, float(self._in_flight), busy)

    def check(self) -> None:
        """Compare with what was counted; to be called right after a tick."""
        counted = list(self._watch.counters.by_class().values())
        if counted != self.ended:
            names = [how.value for how in CallClass]
            self._world.violated(
                f"{self._who}: {self._watch.flag.name} counts {counted} calls of {names}, "
                f"but {self.ended} ended"
            )

    # ------------------------------------------------------------------ helpers

    def _run(
        self, start: float, end: float, outcome: Outcome, count: int, permit: Permit | None = None
    ) -> None:
        self._watch.recorder.started.extend([start] * count)
        self._made += 1
        self._in_flight += count
        heappush(self._running, (end, self._made, start, outcome, count, permit))

    def _serve(self) -> None:
        if self._ladder:
            self._watch.answered(RungKind.DEFAULT, None)
            self.ended[_DEGRADED] += 1
        else:
            self._watch.ended(CallClass.FAILED)
            self.ended[_FAILED] += 1

    def _failed(self, outcome: Outcome) -> None:
        if outcome is Outcome.IGNORED:
            how = CallClass.IGNORED
        elif outcome is Outcome.ABANDONED:
            how = CallClass.ABANDONED
        else:
            self._serve()  # the ladder answers a failed call
            return
        self._watch.ended(how)
        self.ended[_INDEX[how]] += 1

    def _probe(self, permit: Permit, now: float) -> None:
        """Check that a probe which begins is within the allowance of its step."""
        state = self._watch.state
        self._probes = [
            probe for probe in self._probes if probe[1] == state.epoch and probe[0].until > now
        ]
        self._probes.append((permit, state.epoch))
        allowed = max(1, int(state.share * -(-self.peak // 1) + 1e-9))
        if len(self._probes) > allowed:
            self._world.violated(
                f"{self._who}: {len(self._probes)} probes of {self._watch.flag.name} at once, "
                f"allowed are {allowed}: {state.share:.0%} of {self.peak:.1f}"
            )
