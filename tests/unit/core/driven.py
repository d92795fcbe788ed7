"""A machine with its clock, for tests that drive it event by event."""

from __future__ import annotations

from degrade.core.enums import Phase
from degrade.core.policy import Recovery
from degrade.core.state_machine import (
    Breach,
    Calls,
    ClearWindow,
    Effect,
    Event,
    FleetBreach,
    FleetRecovering,
    HoldEnded,
    MachineState,
    Tick,
    Transition,
    initial,
    step,
)


class Driven:
    """A machine and its clock; `draw` is 0, so that cooldowns have no jitter."""

    def __init__(self, policy: Recovery | None = None, now: float = 100.0) -> None:
        self.policy = policy or Recovery()
        self.now = now
        self.state: MachineState = initial(self.policy, now)
        self.effects: tuple[Effect, ...] = ()

    def feed(self, event: Event) -> MachineState:
        self.state, self.effects = step(self.state, event, self.policy)
        return self.state

    def breach(self, *, after: float = 0.0, cause: str = "p99", draw: float = 0.0) -> MachineState:
        self.now += after
        return self.feed(Breach(now=self.now, cause=cause, draw=draw))

    def tick(
        self, *, after: float = 0.0, draw: float = 0.0, may_probe: bool = True
    ) -> MachineState:
        self.now += after
        return self.feed(Tick(now=self.now, draw=draw, may_probe=may_probe))

    def calls(self, good: int = 0, bad: int = 0, epoch: int | None = None) -> MachineState:
        admitted = self.state.epoch if epoch is None else epoch
        return self.feed(Calls(now=self.now, epoch=admitted, good=good, bad=bad))

    def ended(self, share: float, *, delay_s: float = 0.0, cause: str = "level") -> MachineState:
        return self.feed(HoldEnded(now=self.now, running_share=share, delay_s=delay_s, cause=cause))

    def fleet_breach(self, *, after: float = 0.0, draw: float = 0.0) -> MachineState:
        self.now += after
        return self.feed(FleetBreach(now=self.now, cause="errors", draw=draw))

    def fleet_recovering(self, delay_s: float, *, after: float = 0.0) -> MachineState:
        self.now += after
        return self.feed(FleetRecovering(now=self.now, delay_s=delay_s))

    def recover_to(self, share: float) -> MachineState:
        """Wait for the cooldown, then keep steps until one runs `share`."""
        if self.state.phase is Phase.DEGRADED:
            self.tick(after=self.state.until - self.now)
        while self.state.share < share:
            self.keep_step()
        assert self.state.share == share
        return self.state

    def keep_step(self) -> MachineState:
        self.calls(good=self.policy.step_calls)
        return self.tick(after=self.policy.step_time)

    def to_steady(self) -> MachineState:
        self.recover_to(1.0)
        return self.keep_step()

    @property
    def moved(self) -> Transition:
        transition, clear = self.effects
        assert isinstance(transition, Transition)
        assert clear == ClearWindow()
        return transition
