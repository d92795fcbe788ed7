"""Every pair of layers, as a table, and how each answer explains itself."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from degrade.core.enums import HoldMode, Mode, Phase
from degrade.core.policy import Recovery
from degrade.core.records import Hold, LevelOrder
from degrade.core.resolve import Lease, Resolved, resolve
from degrade.core.state_machine import MachineState, initial

NOW = 1_700_000_000.0
STEADY = initial(Recovery(), 0.0)
DEGRADED = replace(STEADY, phase=Phase.DEGRADED, share=0.0, cause="breach: p99")
RECOVERING = replace(STEADY, phase=Phase.RECOVERING, share=0.25, cause="breach: p99")


def hold(mode: str, dial: float = 1.0, until: float | None = None) -> Hold:
    return Hold(
        mode=HoldMode(mode), dial=dial, actor="ana", reason="bad model", at=NOW - 60, until=until
    )


def level(ordered: int = 2, until: float | None = None) -> LevelOrder:
    return LevelOrder(level=ordered, actor="ben", reason="launch", at=NOW - 60, until=until)


def lease(dial: float = 0.4, until: float | None = None) -> Lease:
    return Lease(source="alertmanager", dial=dial, until=until, reason="disk is full")


def resolved(**layers: Any) -> Resolved:
    given: dict[str, Any] = {
        "hold": None, "everyone": None, "level": None, "flag_level": 2, "machine": STEADY,
        "now_wall": NOW,
    }  # fmt: skip
    return resolve(**(given | layers))


LAYERS: dict[str, dict[str, Any]] = {
    "-": {},
    "hold-normal": {"hold": hold("normal")},
    "hold-0.3": {"hold": hold("degraded", 0.3)},
    "hold-off": {"hold": hold("off")},
    "hold-observe": {"hold": hold("observe")},
    "all-normal": {"everyone": hold("normal")},
    "all-0.6": {"everyone": hold("degraded", 0.6)},
    "all-off": {"everyone": hold("off")},
    "all-observe": {"everyone": hold("observe")},
    "level": {"level": level()},
    "lease-0.4": {"leases": [lease()]},
    "machine-0.75": {"machine": RECOVERING},
}

# One layer, or a pair; then mode, dial and layer of the answer, and what observing hides.
TABLE = """
-             -             normal    0     machine
-             hold-normal   normal    0     hold
-             hold-0.3      degraded  0.3   hold
-             hold-off      off       1     hold
-             hold-observe  normal    0     hold
-             all-normal    normal    0     everyone
-             all-0.6       degraded  0.6   everyone
-             all-off       off       1     everyone
-             all-observe   normal    0     everyone
-             level         degraded  1     level
-             lease-0.4     degraded  0.4   lease
-             machine-0.75  degraded  0.75  machine

hold-normal   all-normal    normal    0     hold
hold-normal   all-0.6       normal    0     hold
hold-normal   all-off       normal    0     hold
hold-normal   all-observe   normal    0     hold
hold-normal   level         normal    0     hold
hold-normal   lease-0.4     normal    0     hold
hold-normal   machine-0.75  normal    0     hold

hold-0.3      all-normal    normal    0     everyone
hold-0.3      all-0.6       degraded  0.6   everyone
hold-0.3      all-off       off       1     everyone
hold-0.3      all-observe   degraded  0.3   hold
hold-0.3      level         degraded  1     level
hold-0.3      lease-0.4     degraded  0.4   lease
hold-0.3      machine-0.75  degraded  0.75  machine

hold-off      all-normal    off       1     hold
hold-off      all-0.6       off       1     hold
hold-off      all-off       off       1     hold
hold-off      all-observe   off       1     hold
hold-off      level         off       1     hold
hold-off      lease-0.4     off       1     hold
hold-off      machine-0.75  off       1     hold

hold-observe  all-normal    normal    0     everyone
hold-observe  all-0.6       degraded  0.6   everyone
hold-observe  all-off       off       1     everyone
hold-observe  all-observe   normal    0     hold
hold-observe  level         degraded  1     level
hold-observe  lease-0.4     normal    0     hold      degraded  0.4
hold-observe  machine-0.75  normal    0     hold      degraded  0.75

all-normal    level         normal    0     everyone
all-normal    lease-0.4     normal    0     everyone
all-normal    machine-0.75  normal    0     everyone

all-0.6       level         degraded  1     level
all-0.6       lease-0.4     degraded  0.6   everyone
all-0.6       machine-0.75  degraded  0.75  machine

all-off       level         off       1     everyone
all-off       lease-0.4     off       1     everyone
all-off       machine-0.75  off       1     everyone

all-observe   level         degraded  1     level
all-observe   lease-0.4     normal    0     everyone  degraded  0.4
all-observe   machine-0.75  normal    0     everyone  degraded  0.75

level         lease-0.4     degraded  1     level
level         machine-0.75  degraded  1     level
lease-0.4     machine-0.75  degraded  0.75  machine
"""
ROWS = [line.split() for line in TABLE.splitlines() if line]


def test_the_table_has_every_pair_of_layers_once():
    kind = {name: name.split("-")[0] for name in LAYERS}
    names = list(LAYERS)
    pairs = {
        (one, other)
        for at, one in enumerate(names)
        for other in names[at + 1 :]
        if kind[one] != kind[other]
    }
    assert sorted([*pairs, ("-", "-")]) == sorted((row[0], row[1]) for row in ROWS)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row[0]} and {row[1]}")
def test_a_pair_of_layers(row: list[str]):
    one, other, mode, dial, layer, *hidden = row
    answer = resolved(**LAYERS[one], **LAYERS[other])
    assert (answer.mode, answer.dial, answer.layer) == (Mode(mode), float(dial), layer)
    would_mode, would_dial = hidden or (mode, dial)
    assert answer.would == (Mode(would_mode), float(would_dial))
    assert answer.automatic is (layer in ("lease", "machine"))
    assert answer.running_share == pytest.approx(1 - float(dial))


@pytest.mark.parametrize(
    ("layers", "reason"),
    [
        ({}, "steady"),
        ({"hold": hold("off")}, "hold by ana: bad model"),
        ({"hold": hold("normal")}, "hold by ana: bad model"),
        ({"hold": hold("degraded")}, "hold by ana: bad model"),
        ({"hold": hold("observe"), "machine": DEGRADED}, "hold by ana: bad model"),
        ({"everyone": hold("degraded")}, "hold on * by ana: bad model"),
        ({"level": level()}, "level 2 by ben: launch"),
        ({"leases": [lease()]}, "alertmanager: disk is full"),
        ({"machine": DEGRADED}, "breach: p99"),
        ({"machine": RECOVERING}, "recovering at 25%: breach: p99"),
    ],
)
def test_the_answer_says_who_decided_and_why(layers: dict[str, Any], reason: str):
    assert resolved(**layers).reason == reason


@pytest.mark.parametrize(
    ("ordered", "of_flag", "reached"),
    [
        (3, 3, True), (3, 2, False), (3, 1, False),
        (2, 3, True), (2, 2, True), (2, 1, False),
        (1, 3, True), (1, 2, True), (1, 1, True),
        (1, None, False),
    ],
)  # fmt: skip
def test_an_ordered_level_reaches_the_flags_that_harm_no_more(
    ordered: int, of_flag: int | None, reached: bool
):
    answer = resolved(level=level(ordered), flag_level=of_flag)
    assert answer.mode is (Mode.DEGRADED if reached else Mode.NORMAL)
    assert answer.dial == (1.0 if reached else 0.0)


@pytest.mark.parametrize("name", [name for name in LAYERS if name not in ("-", "machine-0.75")])
@pytest.mark.parametrize(
    ("until", "over"), [(NOW - 1, True), (NOW, True), (NOW + 1e-3, False), (None, False)]
)
def test_an_order_past_its_end_is_as_if_it_were_not_there(
    name: str, until: float | None, over: bool
):
    ending = {key: _ending(order, until) for key, order in LAYERS[name].items()}
    assert (resolved(**ending) == resolved()) is over


def _ending(order: Any, until: float | None) -> Any:
    if isinstance(order, list):
        return [replace(one, until=until) for one in order]
    return order.model_copy(update={"until": until})


def test_the_greatest_of_several_leases_decides():
    several = [lease(0.2), replace(lease(0.5), source="host"), lease(0.3)]
    answer = resolved(leases=several)
    assert (answer.dial, answer.reason) == (0.5, "host: disk is full")


def test_between_equal_dials_the_human_is_named():
    machine: MachineState = DEGRADED
    answer = resolved(level=level(), machine=machine, leases=[lease(1.0)])
    assert (answer.layer, answer.automatic) == ("level", False)
    answer = resolved(hold=hold("degraded"), everyone=hold("degraded"), level=level())
    assert answer.layer == "hold"


def test_a_hold_whose_dial_is_zero_degrades_nobody_by_itself():
    answer = resolved(hold=hold("degraded", 0.0))
    assert (answer.mode, answer.dial, answer.layer) == (Mode.NORMAL, 0.0, "hold")


def test_observing_hides_the_automation_and_keeps_the_human():
    answer = resolved(hold=hold("observe"), everyone=hold("degraded", 0.2), machine=DEGRADED)
    assert (answer.mode, answer.dial, answer.layer) == (Mode.DEGRADED, 0.2, "everyone")
    assert answer.would == (Mode.DEGRADED, 1.0)
    assert not answer.automatic
