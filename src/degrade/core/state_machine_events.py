"""What the machine of a flag is told, and what it answers: its events and its effects.

Times are monotonic seconds. What each event does is in the table of `degrade.core.state_machine`.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from degrade.core.enums import Phase

__all__ = (
    "Breach",
    "Calls",
    "ClearWindow",
    "Cleared",
    "Effect",
    "Event",
    "FleetBreach",
    "FleetRecovering",
    "HoldEnded",
    "Tick",
    "Transition",
)


class Breach(NamedTuple):
    """The verdict on the calls of this epoch is a breach.

    Attributes:
        now: Monotonic seconds.
        cause: What was breached, one line.
        draw: A random number from 0 to below 1, for the jitter.
    """

    now: float
    cause: str
    draw: float


class FleetBreach(NamedTuple):
    """A verdict of the fleet began; it is told once, whatever the calls of this instance say.

    Attributes:
        now: Monotonic seconds.
        cause: What the voters saw breached, one line.
        draw: A random number from 0 to below 1, for the jitter.
    """

    now: float
    cause: str
    draw: float


class FleetRecovering(NamedTuple):
    """The holder of the probe lease kept the first step, or the fleet's verdict is over.

    Attributes:
        now: Monotonic seconds.
        delay_s: Wait before the own first step, drawn at random, so that the instances of a
            fleet do not come back together.
    """

    now: float
    delay_s: float


class Calls(NamedTuple):
    """Calls ended that were admitted in `epoch`; good ones kept every limit."""

    now: float
    epoch: int
    good: int
    bad: int


class Tick(NamedTuple):
    """Time went by.

    Attributes:
        now: Monotonic seconds.
        draw: A random number from 0 to below 1, for the jitter.
        may_probe: Whether the first step of a fleet verdict may begin: the probe lease is held
            here, or nobody can be asked for it. Without effect after a verdict of its own.
    """

    now: float
    draw: float
    may_probe: bool = True


class HoldEnded(NamedTuple):
    """An `off` or `degraded` hold, a level or a lease ended.

    Attributes:
        now: Monotonic seconds.
        running_share: Share of calls that ran just before, 0 to 1.
        delay_s: Wait before the first step, so that many flags do not start together.
        cause: What ended, one line.
    """

    now: float
    running_share: float
    delay_s: float = 0.0
    cause: str = "an order ended"


class Cleared(NamedTuple):
    """A human asked for full traffic at once."""

    now: float
    cause: str = "released at once"


Event = Breach | FleetBreach | FleetRecovering | Calls | Tick | HoldEnded | Cleared


class Transition(NamedTuple):
    """Effect: tell that the machine moved.

    Attributes:
        at: Monotonic seconds.
        source, target: The phases; both RECOVERING from one step to the next.
        cause: What led to this transition, one line.
        epoch: The epoch that begins.
        share: Share of calls that run from now on.
        cooldown_s: Wait until the first step, jitter included; 0 unless `target` is DEGRADED.
        probe: How the first step of a fleet verdict ended here: `kept`, so that the fleet wants
            to be told, or `failed`, so that the lease wants to be given back; None in every
            other transition.
    """

    at: float
    source: Phase
    target: Phase
    cause: str
    epoch: int
    share: float
    cooldown_s: float
    probe: Literal["kept", "failed"] | None = None


class ClearWindow(NamedTuple):
    """Effect: empty the windows of the verdict; what they hold was admitted before."""


Effect = Transition | ClearWindow
