"""Times as people read them, whatever a store holds."""

from __future__ import annotations

import math
import re

import pytest

from degrade.cli.terminal_text import ago, ahead, when

NOW = 1_790_000_000.0


@pytest.mark.parametrize("at", [1e18, 1e300, math.inf])
def test_a_time_that_no_calendar_has_is_far_in_the_future(at):
    assert when(at, NOW) == "far in the future"
    assert ahead(at, NOW) == "in more than a thousand years"


@pytest.mark.parametrize("at", [-1e18, -1e300, -math.inf])
def test_or_long_ago(at):
    assert when(at, NOW) == "long ago"
    assert ago(at, NOW) == "more than a thousand years ago"


def test_what_is_no_time_at_all_is_still_printed():
    assert when(math.nan, NOW) == "long ago"
    assert ago(math.nan, NOW)
    assert ahead(math.nan, NOW)


def test_near_times_are_told_to_the_second():
    assert re.fullmatch(r"\d\d:\d\d:\d\d", when(NOW + 60, NOW))
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", when(NOW + 86_400, NOW))
    assert (ahead(NOW + 1_799.6, NOW), ago(NOW - 0.4, NOW)) == ("in 30m", "0ms ago")
    assert ahead(NOW - 1, NOW) == "now"
