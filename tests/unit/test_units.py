from __future__ import annotations

import math
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from degrade.errors import ConfigError
from degrade.units import duration_text, ratio, ratio_text, seconds


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0, 0.0),
        (5, 5.0),
        (0.25, 0.25),
        (timedelta(minutes=2), 120.0),
        ("40us", 40e-6),
        ("250ms", 0.25),
        ("30s", 30.0),
        ("5m", 300.0),
        ("1.5h", 5_400.0),
        ("2d", 172_800.0),
        ("1w", 604_800.0),
        (".5s", 0.5),
        ("1h30m", 5_400.0),
        ("1h 30m 5s", 5_405.0),
        (" 5 m ", 300.0),
    ],
)
def test_a_duration_is_read_as_seconds(value: object, expected: float) -> None:
    result = seconds(value)
    assert type(result) is float
    assert result == pytest.approx(expected)


@pytest.mark.parametrize(
    "value",
    [
        *(-1, -0.001, math.nan, math.inf, -math.inf, 10**400, -(10**400), True, None, [], b"5s"),
        *(
            "",
            " ",
            "s",
            "5 parsecs",
            "-5s",
            "5s!",
            "5s later",
            "1e3s",
            "nan",
            "5sm",
            "9" * 400 + "w",
        ),
        timedelta(seconds=-1),
    ],
)
def test_what_is_no_duration_is_refused_with_its_name_and_value(value: object) -> None:
    with pytest.raises(ConfigError) as caught:
        seconds(value, what="SLA(over=)")
    assert caught.value.code == "bad-duration"
    assert str(caught.value) == (
        f"SLA(over=)={value!r} is not a duration; "
        'write seconds as a number, a timedelta, or text such as "250ms", "30s", "5m", "1h"'
    )


@pytest.mark.parametrize("text", ["30", " 30 ", "1.5", ".5"])
def test_a_number_without_a_unit_is_told_both_that_it_may_mean(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        seconds(text, what="for")
    bare = text.strip()
    assert caught.value.code == "bad-duration"
    assert str(caught.value) == (
        f"for={text!r} has no unit; write {bare}s for seconds, or {bare}m for minutes"
    )


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0, 0.0),
        (1, 1.0),
        (0.05, 0.05),
        ("5%", 0.05),
        ("99.9%", 0.999),
        (" 50 % ", 0.5),
        (".1%", 0.001),
        ("100%", 1.0),
    ],
)
def test_a_ratio_is_read_as_a_number_from_0_to_1(value: object, expected: float) -> None:
    result = ratio(value)
    assert type(result) is float
    assert result == pytest.approx(expected)


@pytest.mark.parametrize(
    "value",
    [
        5,
        -0.1,
        1.0001,
        math.nan,
        math.inf,
        10**400,
        True,
        None,
        "5",
        "0.05",
        "-5%",
        "101%",
        "%",
        "",
        "5%%",
        b"5%",
    ],
)
def test_what_is_no_ratio_is_refused_with_its_name_and_value(value: object) -> None:
    with pytest.raises(ConfigError) as caught:
        ratio(value, what="hold(dial=)")
    assert caught.value.code == "bad-ratio"
    assert str(caught.value) == (
        f'hold(dial=)={value!r} is not a ratio; write a number from 0 to 1, or text such as "5%"'
    )


def test_an_error_without_a_name_still_says_what_was_expected() -> None:
    with pytest.raises(ConfigError, match=r"^duration=-1 is not a duration"):
        seconds(-1)
    with pytest.raises(ConfigError, match=r"^ratio=-1 is not a ratio"):
        ratio(-1)


@pytest.mark.parametrize(
    ("value_s", "expected"),
    [
        (0, "0ms"),
        (0.0004, "0.4ms"),
        (0.0425, "42.5ms"),
        (0.0996, "100ms"),
        (0.25, "250ms"),
        (0.9994, "999ms"),
        (0.9996, "1s"),
        (1, "1s"),
        (1.25, "1.2s"),
        (10, "10s"),
        (30.04, "30s"),
        (59.94, "59.9s"),
        (59.96, "1m"),
        (60, "1m"),
        (61, "1m1s"),
        (300, "5m"),
        (3_599.6, "1h"),
        (3_605, "1h"),
        (3_660, "1h1m"),
        (90_061, "1d1h"),
        (86_460, "1d"),
        (-90, "-1m30s"),
        (3.1e10, "358796d7h"),
        (1e300, "more than a thousand years"),
        (float("inf"), "more than a thousand years"),
        (float("nan"), "more than a thousand years"),
    ],
)
def test_a_duration_is_written_in_its_two_largest_units(value_s: float, expected: str) -> None:
    assert duration_text(value_s) == expected


@given(st.floats(min_value=1e-6, max_value=1e8))
def test_what_is_written_reads_back_as_nearly_the_same(value_s: float) -> None:
    assert seconds(duration_text(value_s)) == pytest.approx(value_s, rel=0.051)


@pytest.mark.parametrize(
    ("value", "expected"),
    [(0, "0%"), (0.05, "5%"), (0.001, "0.1%"), (1 / 3, "33.33%"), (1, "100%")],
)
def test_a_ratio_is_written_as_a_percentage(value: float, expected: str) -> None:
    assert ratio_text(value) == expected


@given(st.floats(min_value=0, max_value=1))
def test_a_ratio_survives_being_written(value: float) -> None:
    written = ratio_text(value)
    if "e" not in written:
        assert ratio(written) == pytest.approx(value, rel=1e-3)
