"""What a call obeys: the orders of humans, the leases of signals and the machine, as one mode.

    layer       who                       says
    hold        a human, on this flag     off and normal are absolute; degraded: a dial
    everyone    a human, on every flag    the same, unless this flag has an absolute hold
    level       a human, on flags of at   dial 1
                least this level
    lease       a signal                  a dial, muted by observe
    machine     the automation            a dial, muted by observe

1. An `off` or `normal` hold decides alone; one on the flag comes before one on every flag.
2. Otherwise the greatest dial decides; between equal ones the layer higher in the table.
3. An `observe` hold, on the flag or on every flag, leaves out leases and machine, and tells
   what they would have done. It mutes no human: holds and levels stand.

Invariants:
- without an absolute hold, no layer can make fewer calls degraded than another one wants;
- what is past its end is as if it were not there;
- the mode is `normal` exactly when the dial is 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from degrade.core.enums import HoldMode, Mode, Phase
from degrade.core.records import Hold, LevelOrder
from degrade.core.state_machine import MachineState
from degrade.units import ratio_text

__all__ = ("Lease", "Resolved", "resolve")

# Members of an enumeration are looked up anew at each use, which takes longer than comparing them.
_HELD_OFF, _HELD_NORMAL, _HELD_DEGRADED = HoldMode.OFF, HoldMode.NORMAL, HoldMode.DEGRADED
_OFF, _NORMAL, _DEGRADED = Mode.OFF, Mode.NORMAL, Mode.DEGRADED
_STEADY = Phase.STEADY


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """A signal's wish that a share of calls be degraded, which ends by itself.

    Attributes:
        source: The signal.
        dial: Share of calls, 0 to 1.
        until: When it ends, Unix seconds; None while the signal renews it in silence.
        reason: Why, one line.
    """

    source: str
    dial: float
    until: float | None
    reason: str


class Resolved(NamedTuple):
    """What calls obey, and why.

    Attributes:
        mode: The mode.
        dial: Share of calls that are degraded, 0 to 1; 1 when the mode is `off`.
        layer: Which layer decided: `hold`, `everyone`, `level`, `lease` or `machine`.
        reason: Why, one line: `hold by ana: bad model`, `breach: p99 ...`, `steady`.
        automatic: The layer is a lease or the machine, no human's order.
        would: Mode and dial without an `observe` hold; the same as `mode` and `dial`
            when there is none.
    """

    mode: Mode
    dial: float
    layer: str
    reason: str
    automatic: bool
    would: tuple[Mode, float]

    @property
    def running_share(self) -> float:
        """Share of calls that run the function, 0 to 1."""
        return 1.0 - self.dial


class _Ending(Protocol):
    @property
    def until(self) -> float | None: ...


def resolve(
    *,
    hold: Hold | None,
    everyone: Hold | None,
    level: LevelOrder | None,
    flag_level: int | None,
    leases: Sequence[Lease] = (),
    machine: MachineState,
    now_wall: float,
) -> Resolved:
    """Return what calls of a flag obey.

    Args:
        hold: The hold on the flag itself.
        everyone: The hold on `*`, every flag.
        level: The ordered level.
        flag_level: The level of the flag; one without a level follows no ordered level.
        leases: What signals want.
        machine: The state of the flag's machine.
        now_wall: Store time, Unix seconds; what is past its end by it is left out.

    Guarantees:
        Depends on its arguments alone.

    Cost:
        Linear in the leases.
    """
    if hold is None and everyone is None and level is None and not leases:
        return _of_machine(machine)
    human: list[Resolved] = []
    observed: list[Resolved] = []
    for order, layer, on in ((hold, "hold", "hold"), (everyone, "everyone", "hold on *")):
        if order is None or _over(order, now_wall):
            continue
        mode, reason = order.mode, f"{on} by {order.actor}: {order.reason}"
        if mode is _HELD_OFF:
            return Resolved(_OFF, 1.0, layer, reason, automatic=False, would=(_OFF, 1.0))
        if mode is _HELD_NORMAL:
            return _wish(0.0, layer, reason)
        if mode is _HELD_DEGRADED:
            human.append(_wish(order.dial, layer, reason))
        else:
            observed.append(_wish(0.0, layer, reason))
    if level is not None and _reaches(level, flag_level) and not _over(level, now_wall):
        human.append(_wish(1.0, "level", f"level {level.level} by {level.actor}: {level.reason}"))
    if not observed:
        for wish in human:
            if wish.dial >= 1:  # no other is greater, and none of the lower layers comes before it
                return wish
    automation = [
        _wish(lease.dial, "lease", f"{lease.source}: {lease.reason}", automatic=True)
        for lease in leases
        if not _over(lease, now_wall)
    ]
    automation.append(_of_machine(machine))
    would = _greatest([*human, *automation])
    if not observed:
        return would
    return _greatest([*human, *observed])._replace(would=would.would)


def _reaches(order: LevelOrder, flag_level: int | None) -> bool:
    return flag_level is not None and flag_level >= order.level


def _over(order: _Ending, now_wall: float) -> bool:
    return order.until is not None and order.until <= now_wall


def _greatest(wishes: Sequence[Resolved]) -> Resolved:
    return max(wishes, key=lambda wish: wish.dial)  # the first of equal ones


def _of_machine(machine: MachineState) -> Resolved:
    reason = "steady" if machine.phase is _STEADY else _why_not_steady(machine)
    return _wish(1.0 - machine.share, "machine", reason, automatic=True)


def _why_not_steady(machine: MachineState) -> str:
    if machine.phase is Phase.DEGRADED:
        return machine.cause
    return f"recovering at {ratio_text(machine.share)}: {machine.cause}"


def _wish(dial: float, layer: str, reason: str, *, automatic: bool = False) -> Resolved:
    """Return what one layer asks for, as if it were the only one."""
    mode = _DEGRADED if dial > 0 else _NORMAL
    return Resolved(mode, dial, layer, reason, automatic, would=(mode, dial))
