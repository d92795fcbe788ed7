"""Which rungs are walked in which mode."""

from __future__ import annotations

import pytest

from degrade.core.enums import Mode, RungKind
from degrade.core.ladder import STATIC, choose

SIMPLIFIED, SNAPSHOT = RungKind.SIMPLIFIED, RungKind.SNAPSHOT
DEFAULT, OMIT = RungKind.DEFAULT, RungKind.OMIT


@pytest.mark.parametrize("mode", [Mode.NORMAL, Mode.DEGRADED])
def test_normal_and_degraded_walk_every_rung_in_order(mode: Mode):
    assert choose((SIMPLIFIED, SNAPSHOT, DEFAULT), mode) == (0, 1, 2)
    assert choose((), mode) == ()


@pytest.mark.parametrize(
    ("kinds", "walked"),
    [
        ((), ()),
        ((DEFAULT,), (0,)),
        ((OMIT,), (0,)),
        ((SNAPSHOT, DEFAULT), (1,)),
        ((SIMPLIFIED, SNAPSHOT, OMIT), (2,)),
        ((SNAPSHOT,), ()),
        ((SIMPLIFIED,), ()),
        ((DEFAULT, SNAPSHOT), ()),  # only the last one counts
        ((DEFAULT, OMIT), (1,)),
    ],
)
def test_off_walks_the_last_rung_alone_and_only_if_it_is_static(
    kinds: tuple[RungKind, ...], walked: tuple[int, ...]
):
    assert choose(kinds, Mode.OFF) == walked


def test_nothing_that_was_ever_computed_is_static():
    assert {DEFAULT, OMIT} == STATIC
