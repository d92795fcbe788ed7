"""What the properties draw from; one section a part of the library."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import strategies as st

from degrade.core.machine import MachineState, initial
from degrade.core.policy import Recovery
from degrade.core.records import Hold, LevelOrder
from degrade.core.resolve import Lease
from degrade.core.words import HoldMode, Phase

# ------------------------------------------------------------- machine, dial, resolution

NOW_WALL = 1_700_000_000.0
shares = st.floats(0.0, 1.0)
draws = st.floats(0.0, 1.0, exclude_max=True)
untils = st.sampled_from([None, NOW_WALL - 1, NOW_WALL, NOW_WALL + 60])


@st.composite
def recoveries(draw: st.DrawFn) -> Recovery:
    """Any policy of recovery, the default one among them."""
    cooldown_s = draw(st.sampled_from([0.5, 5.0, 40.0]))
    below_one = [mille / 1_000 for mille in draw(st.sets(st.integers(1, 990), max_size=4))]
    return Recovery(
        cooldown=cooldown_s,
        max_cooldown=cooldown_s * draw(st.sampled_from([1, 4, 60])),
        steps=draw(st.sampled_from([(0.01, 0.05, 0.25, 0.5, 1.0), (*sorted(below_one), 1.0)])),
        step_time=draw(st.sampled_from([0.5, 5.0, 30.0])),
        step_calls=draw(st.integers(1, 20)),
        flaps_per_hour=draw(st.integers(1, 6)),
    )


@st.composite
def machine_states(draw: st.DrawFn) -> MachineState:
    """A state as the machine may be in at some time, of the default policy."""
    phase = draw(st.sampled_from(Phase))
    share = {
        Phase.STEADY: 1.0,
        Phase.DEGRADED: draw(st.one_of(st.just(0.0), shares)),
        Phase.RECOVERING: draw(st.one_of(st.sampled_from(Recovery().steps), st.floats(0.01, 1.0))),
    }[phase]
    cause = "" if phase is Phase.STEADY else "breach: p99"
    return replace(initial(Recovery(), 0.0), phase=phase, share=share, cause=cause)


@st.composite
def holds(draw: st.DrawFn) -> Hold:
    """A hold of any mode, past its end or not."""
    return Hold(
        mode=draw(st.sampled_from(HoldMode)), dial=draw(shares), actor="ana", reason="drill",
        at=NOW_WALL - 60, until=draw(untils),
    )  # fmt: skip


@st.composite
def levels(draw: st.DrawFn) -> LevelOrder:
    """An ordered level, past its end or not."""
    return LevelOrder(
        level=draw(st.integers(1, 3)), actor="ben", reason="launch", at=NOW_WALL - 60,
        until=draw(untils),
    )  # fmt: skip


@st.composite
def leases(draw: st.DrawFn) -> Lease:
    """A signal's lease, past its end or not."""
    return Lease(source="host", dial=draw(shares), until=draw(untils), reason="pressure")
