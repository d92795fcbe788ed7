"""This process as a member of its fleet: what it says to the others, and hears from them.

    store ──verdicts──> obey ──> machines            a verdict begins, recovers, is over
    machines ──votes──> beat ──> store               from a breach of own calls until STEADY
    machines ──want the first step, and have calls to try──> probes ──lease──> may_probe
    machines ──first step kept or failed──> ended ──> store

The lease of a first step is for those who have calls that may run. Who has none, because nobody calls
or a human stopped all calls, takes none, and does not renew the one it has, so that it ends.

A local breach acts at once, whatever the fleet says. While the store does not answer, everybody
recovers by itself: after `AWAY_S` nobody waits for a lease any more.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

from degrade.core.records import InstanceReport, Vote
from degrade.core.state_machine import (
    FleetBreach,
    FleetRecovering,
    Transition,
    has_probe,
    is_hopeful,
    wants_probe,
)
from degrade.ports import Fleet
from degrade.runtime.monitoring.flag_monitor import FlagMonitor

if TYPE_CHECKING:
    from degrade.runtime.calls.flag import Flag
    from degrade.runtime.runtime import Runtime

__all__ = ("AWAY_S", "Membership")

AWAY_S: Final = 30.0
"""After so long without the store nobody waits for a lease, seconds."""
_DECIDE_S = 0.9
_OTHERS_DECIDE_S = 5.0


@dataclass(frozen=True, slots=True)
class _Seen:
    """The verdict on a flag that its machine knows of; a flag declared anew has a new machine."""

    flag: Flag
    id: int
    recovering: bool


class Membership:
    """What one runtime says to its fleet.

    Args:
        runtime: Whose flags they are.
        fleet: What joins them.
        rng: Spreads what all would else do at the same moment.

    Attributes:
        fleet: What joins them.

    Guarantees:
        `obey` and `ended` do no I/O; what `ended` returns, `beat` and `round` are for the I/O worker,
        and raise `StoreError`.
    """

    def __init__(self, runtime: Runtime, fleet: Fleet, rng: random.Random) -> None:
        self._runtime = runtime
        self.fleet = fleet
        self._rng = rng
        self._seen: dict[str, _Seen] = {}
        self._tokens: dict[str, int] = {}
        self._decided = float("-inf")

    def obey(self, watch: FlagMonitor, now: float) -> tuple[Transition, ...]:
        """Let a flag's machine know of the fleet's verdict on it, once for each change of it."""
        name = watch.flag.name
        verdict, seen = self._runtime.orders.verdict(name), self._seen.get(name)
        if verdict is None:
            if seen is None:
                return ()
            del self._seen[name]
            return self._recover(watch, now)
        shown = _Seen(watch.flag, verdict.id, verdict.recovering)
        if shown == seen:
            return ()
        self._seen[name] = shown
        if verdict.recovering:  # also one that began and was tried while nothing could be read
            return self._recover(watch, now)
        watch.may_probe = False
        draw = self._rng.random()
        return watch.move([FleetBreach(now=now, cause=verdict.cause, draw=draw)], now)

    def reborn(self) -> None:
        """Leave the leases to the parent, in a forked child."""
        self._tokens = {}

    def jitter(self) -> float:
        """Return a factor that keeps the processes of a fleet out of step."""
        return self._rng.uniform(0.8, 1.2)

    def votes(self, watches: Iterable[FlagMonitor]) -> dict[str, Vote]:
        """Return the flags whose own calls were breached, and how."""
        now = self._runtime.clock.monotonic()
        return {
            watch.flag.name: Vote(
                cause="unknown" if watch.breach is None else watch.breach.cause,
                recovering=is_hopeful(watch.state, watch.flag.recovery, now),
            )
            for watch in watches
            if watch.state.voting
        }

    def beat(self, report: InstanceReport) -> None:
        """Write the heartbeat and the votes."""
        watches = self._runtime.watched()
        live = self.fleet.beat(report, self.votes(watches))
        for watch in watches:
            watch.live = live

    def round(self) -> None:
        """Count the votes, when it is time, and take the leases of first steps."""
        runtime = self._runtime
        watches, now = runtime.watched(), runtime.clock.monotonic()
        voting = any(watch.state.voting for watch in watches)
        every_s = _DECIDE_S if voting else _OTHERS_DECIDE_S * self.jitter()
        if (voting or runtime.orders.verdicts) and now - self._decided >= every_s:
            self._decided = now
            if self.fleet.decide(runtime.instance):
                runtime.refresh()
        self._probes(watches, now)

    def _probes(self, watches: Iterable[FlagMonitor], now: float) -> None:
        """Take, or keep, the leases of first steps; while the store is away, do without."""
        age_s = self._runtime.state_age_s()
        away = age_s is None or age_s > AWAY_S
        for watch in watches:
            state = watch.state
            if not state.fleet:
                continue
            if away:
                watch.may_probe = True
            elif watch.tries(now) and (wants_probe(state, now) or has_probe(state)):
                name = watch.flag.name
                token = self.fleet.take_probe(name, self._runtime.instance)
                watch.may_probe = token is not None
                if token is not None:
                    self._tokens[name] = token

    def ended(self, watch: FlagMonitor, transition: Transition) -> Callable[[], object] | None:
        """Return what is to be told of a transition: the first step was kept, or it failed."""
        if transition.probe is None:
            return None
        name, instance = watch.flag.name, self._runtime.instance
        token = self._tokens.pop(name, None)
        watch.may_probe = False
        if token is None:  # the store was away, so everybody recovers by itself
            return None
        if transition.probe == "kept":
            return partial(self.fleet.recovering, name, instance, token)
        return partial(
            self.fleet.give_probe, name, instance, token, retry_in_s=transition.cooldown_s
        )

    def _recover(self, watch: FlagMonitor, now: float) -> tuple[Transition, ...]:
        delay_s = self._rng.uniform(0.0, watch.flag.recovery.step_time)
        return watch.move([FleetRecovering(now=now, delay_s=delay_s)], now)
