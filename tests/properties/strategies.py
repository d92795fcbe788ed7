"""What the properties draw from; one section a part of the library."""

from __future__ import annotations

from dataclasses import make_dataclass, replace
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID

from hypothesis import strategies as st

from degrade.core.enums import HoldMode, Phase
from degrade.core.policy import Recovery
from degrade.core.records import Hold, LevelOrder
from degrade.core.resolve import Lease
from degrade.core.state_machine import MachineState, initial

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


# ------------------------------------------------------------------- keys and snapshots

# Few values, many of them equal to each other by ==, so that clashes are drawn often.
look_alikes = st.sampled_from(
    [
        0, 1, True, False, 0.0, -0.0, 1.0, 1j, None, "", "0", "1", "a", "a', 'b", "None", b"", b"1",
        Decimal(1), Decimal("1.0"), Decimal("-0"), date(2024, 1, 1), datetime(2024, 1, 1),  # noqa: DTZ001 - naive ones are arguments, too
        datetime(2024, 1, 1, tzinfo=UTC), datetime(2024, 1, 1, 1, tzinfo=timezone(timedelta(hours=1))),
        timedelta(1), timedelta(hours=24), UUID(int=1), Phase.STEADY, "steady", HoldMode.DEGRADED,
        Phase.DEGRADED, range(2), float("inf"),
    ]
)  # fmt: skip
hashables = st.recursive(
    look_alikes,
    lambda inner: st.lists(inner, max_size=2).map(tuple) | st.frozensets(inner, max_size=2),
    max_leaves=3,
)
arguments = st.recursive(
    hashables,
    lambda inner: st.one_of(
        st.lists(inner, max_size=2),
        st.lists(inner, max_size=2).map(tuple),
        st.dictionaries(hashables, inner, max_size=2),
        st.sets(hashables, max_size=2),
    ),
    max_leaves=4,
)
subjects = st.sampled_from([None, "", "ana", "ben", "None"])

_offsets = st.integers(-1_439, 1_439).map(lambda minutes: timezone(timedelta(minutes=minutes)))
_scalar_types: list[tuple[Any, st.SearchStrategy[Any]]] = [
    (int, st.integers()),
    (bool, st.booleans()),
    (str, st.text(max_size=20)),
    (bytes, st.binary(max_size=20)),
    (float, st.floats(allow_nan=False)),
    (Decimal, st.decimals(allow_nan=False, allow_infinity=False)),
    (date, st.dates()),
    (datetime, st.datetimes(timezones=st.none() | _offsets).map(lambda at: at.replace(fold=0))),
    (time, st.times().map(lambda at: at.replace(fold=0))),
    (timedelta, st.timedeltas()),
    (UUID, st.uuids()),
    (Phase, st.sampled_from(Phase)),
    (type(None), st.none()),
]


@st.composite
def typed_values(draw: st.DrawFn, depth: int = 2) -> tuple[Any, Any]:
    """A type as people annotate it, and a value of it."""
    kind = draw(st.integers(0, 8)) if depth else 0
    if kind <= 2:
        annotation, values = draw(st.sampled_from(_scalar_types))
        return annotation, draw(values)
    inner, value = draw(typed_values(depth - 1))
    if kind == 3:
        return list[inner], [value] * draw(st.integers(0, 3))
    if kind == 4:
        return tuple[inner, ...], (value,) * draw(st.integers(0, 3))
    if kind == 5:
        return dict[str, inner], dict.fromkeys(
            draw(st.lists(st.text(max_size=5), max_size=3)), value
        )
    if kind == 6:
        return inner | None, draw(st.sampled_from([value, None]))
    other, second = draw(typed_values(depth - 1))
    if kind == 7:
        return tuple[inner, other], (value, second)
    made = make_dataclass("Made", [("first", inner), ("second", list[other])])
    return made, made(value, [second])
