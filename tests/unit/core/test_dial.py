"""The dial at its ends, without a subject, and for subjects of any text."""

from __future__ import annotations

import pytest

from degrade.core.dial import is_degraded

NOON = 1_700_000_000.0


@pytest.mark.parametrize("subject", ["user-1", None])
@pytest.mark.parametrize(("dial", "degraded"), [(0.0, False), (1.0, True)])
def test_a_switch_treats_everybody_alike(subject: str | None, dial: float, degraded: bool):
    for draw in (0.0, 0.5, 0.999):
        assert is_degraded("feed", subject, dial, NOON, draw) is degraded


@pytest.mark.parametrize(("draw", "degraded"), [(0.0, True), (0.299, True), (0.3, False)])
def test_without_a_subject_the_call_is_drawn(draw: float, degraded: bool):
    assert is_degraded("feed", None, 0.3, NOON, draw) is degraded


def test_with_a_subject_the_draw_does_not_matter():
    for subject in ("a", "b", "c", "d"):
        sides = {is_degraded("feed", subject, 0.5, NOON, draw) for draw in (0.0, 0.5, 0.999)}
        assert len(sides) == 1


def test_the_empty_subject_is_a_subject():
    assert len({is_degraded("feed", "", 0.5, NOON, draw) for draw in (0.0, 0.999)}) == 1


@pytest.mark.parametrize("subject", ["", "\ud800", "\x00", "ü" * 300, "名"])
def test_any_text_is_a_subject(subject: str):
    assert is_degraded("feed", subject, 0.5, NOON, 0.0) in (True, False)


def test_flag_and_subject_are_not_run_together():
    """`ab` + `c` and `a` + `bc` are different subjects of different flags."""
    pairs = [("feed" + f"{n}"[:cut], f"{n}"[cut:]) for n in range(100, 300) for cut in (1, 2)]
    sides = [is_degraded(flag, subject, 0.5, NOON, 0.0) for flag, subject in pairs]
    assert sides[0::2] != sides[1::2]


def test_every_process_of_every_version_answers_alike():
    """Two releases in one fleet must agree: a change of these sides is a breaking change."""
    sides = "".join(
        "D" if is_degraded("feed.ranking", f"user-{n}", 0.4, NOON, 0.0) else "-" for n in range(40)
    )
    assert sides == "D-----DDD-DDD--D-DD--DDDD----DDD--DD----"
