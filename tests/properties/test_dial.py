"""The dial's laws, over many subjects, hours and flags."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from degrade.core.dial import is_degraded
from tests.properties.strategies import NOW_WALL, shares

HOUR_S = 3_600.0
flags = st.text(min_size=1, max_size=20)
subjects = st.text(max_size=40)
times = st.floats(0.0, 4e9)


def degraded(dial: float, *, flag: str = "feed", at: float = NOW_WALL, n: int = 4_000) -> set[int]:
    return {user for user in range(n) if is_degraded(flag, f"user-{user}", dial, at, 0.0)}


def error_of(share: float, n: int) -> float:
    """Five standard deviations of a sampled share."""
    return 5 * math.sqrt(share * (1 - share) / n)


@pytest.mark.parametrize("dial", [0.001, 0.01, 0.25, 0.5, 0.75, 0.99])
@pytest.mark.parametrize("flag", ["feed", "search.suggest"])
def test_the_share_of_subjects_is_the_dial_within_sampling_error(flag: str, dial: float):
    share = len(degraded(dial, flag=flag)) / 4_000
    assert abs(share - dial) <= error_of(dial, 4_000)


@given(flags, subjects, times, shares, shares)
def test_raising_the_dial_only_adds_subjects(
    flag: str, subject: str, at: float, one: float, other: float
):
    low, high = sorted((one, other))
    assert is_degraded(flag, subject, low, at, 0.0) <= is_degraded(flag, subject, high, at, 0.0)


@given(flags, shares, shares, st.floats(0.0, 1.0, exclude_max=True))
def test_raising_the_dial_only_adds_draws(flag: str, one: float, other: float, draw: float):
    low, high = sorted((one, other))
    assert is_degraded(flag, None, low, 0.0, draw) <= is_degraded(flag, None, high, 0.0, draw)


@given(flags, subjects, times, shares)
def test_at_a_standing_dial_sides_change_at_most_once_an_hour(
    flag: str, subject: str, start: float, dial: float
):
    """Some instant of the hour is the only one at which anything may change."""
    minutes = [is_degraded(flag, subject, dial, start + 60 * at, 0.0) for at in range(60)]
    changes = sum(one != other for one, other in pairwise(minutes))
    assert changes <= 1


def test_the_instant_of_change_is_an_hour_after_the_last_one_for_each_subject():
    """Within a day a subject may change only at the same minute of each hour."""
    for user in range(40):
        sides = [
            is_degraded("feed", f"user-{user}", 0.5, NOW_WALL + 60 * at, 0.0) for at in range(1_440)
        ]
        changes = {at % 60 for at in range(1, 1_440) if sides[at] != sides[at - 1]}
        assert len(changes) == 1


def test_the_hours_of_subjects_begin_at_different_times():
    """At no ten minutes of an hour do many more change than their share of the hour."""
    changes = [0] * 6
    for at in range(6):
        early = degraded(0.5, at=NOW_WALL + 600 * at)
        late = degraded(0.5, at=NOW_WALL + 600 * (at + 1))
        changes[at] = len(early ^ late)
    expected = 4_000 * 0.5 / 6  # half of those whose hour begins in these minutes
    assert all(abs(count - expected) < 5 * math.sqrt(expected) for count in changes)


def test_the_next_hour_has_others():
    now, later = degraded(0.3), degraded(0.3, at=NOW_WALL + HOUR_S)
    both = len(now & later) / 4_000
    assert abs(both - 0.09) <= error_of(0.09, 4_000)


def test_flags_have_others():
    one, other = degraded(0.3), degraded(0.3, flag="search")
    both = len(one & other) / 4_000
    assert abs(both - 0.09) <= error_of(0.09, 4_000)


def test_where_the_hour_begins_does_not_tell_who_is_degraded():
    """Early and late beginners are degraded alike, or some would be spared for good."""

    def begins_early(user: int) -> bool:
        sides = [
            is_degraded("feed", f"user-{user}", 0.5, NOW_WALL + HOUR_S * hour + minute, 0.0)
            for minute in (0, 1_800)
            for hour in range(12)
        ]
        return sides[:12] != sides[12:]

    early = {user for user in range(4_000) if begins_early(user)}
    assert 1_800 < len(early) < 2_200
    share = len(degraded(0.5) & early) / len(early)
    assert abs(share - 0.5) <= error_of(0.5, len(early))
