"""Durations and ratios as people write them; the only parser of both.

`"250ms"`, `"5m"`, `"1.5h"`, `timedelta` and plain seconds become float seconds;
`"5%"`, `"99.9%"` and plain 0 to 1 become a float ratio.
"""

from __future__ import annotations

import math
import re
import sys
from datetime import timedelta

from degrade.errors import ConfigError

__all__ = ("MOST_S", "Duration", "Ratio", "duration_text", "ratio", "ratio_text", "seconds")

Duration = float | str | timedelta
Ratio = float | str

MOST_S = 100 * 365.25 * 86_400.0
"""A hundred years: what ends later was not meant so."""

_UNITS_S = {
    "us": 1e-6,
    "ms": 1e-3,
    "s": 1.0,
    "m": 60.0,
    "h": 3_600.0,
    "d": 86_400.0,
    "w": 604_800.0,
}
_FAR_S = 1_000 * 365.25 * _UNITS_S["d"]
_DURATION = re.compile(r"\s*(\d+(?:\.\d+)?|\.\d+)\s*(us|ms|s|m|h|d|w)\s*")
_BARE = re.compile(r"\s*(\d+(?:\.\d+)?|\.\d+)\s*")
_PERCENT = re.compile(r"\s*(\d+(?:\.\d+)?|\.\d+)\s*%\s*")


def seconds(value: Duration, *, what: str = "duration") -> float:
    """Return a duration in seconds.

    Args:
        value: Seconds as a number, a `timedelta`, or text such as `"250ms"`, `"5m"`, `"1h30m"`.
        what: What the value is for, named in the error.

    Raises:
        ConfigError: `value` is negative, not finite or not a duration (code `bad-duration`).
    """
    if isinstance(value, timedelta):
        result = value.total_seconds()
    elif isinstance(value, str):
        result = _parsed_seconds(value)
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        result = float(value) if abs(value) <= sys.float_info.max else math.inf
    else:
        result = math.nan
    if isinstance(value, str) and _BARE.fullmatch(value):
        bare = value.strip()
        raise ConfigError(
            f"{what}={value!r} has no unit; write {bare}s for seconds, or {bare}m for minutes",
            code="bad-duration",
        )
    if not (math.isfinite(result) and result >= 0):
        raise ConfigError(
            f"{what}={value!r} is not a duration; "
            'write seconds as a number, a timedelta, or text such as "250ms", "30s", "5m", "1h"',
            code="bad-duration",
        )
    return result


def _parsed_seconds(text: str) -> float:
    total, at = 0.0, 0
    while at < len(text):
        match = _DURATION.match(text, at)
        if match is None:
            return math.nan
        total += float(match[1]) * _UNITS_S[match[2]]
        at = match.end()
    return total if text.strip() else math.nan


def ratio(value: Ratio, *, what: str = "ratio") -> float:
    """Return a ratio between 0 and 1.

    Args:
        value: A number from 0 to 1, or a percentage such as `"5%"`.
        what: What the value is for, named in the error.

    Raises:
        ConfigError: `value` is outside 0 to 1 or no ratio (code `bad-ratio`).
    """
    if isinstance(value, str):
        match = _PERCENT.fullmatch(value)
        result = float(match[1]) / 100 if match else math.nan
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        result = float(value) if 0 <= value <= 1 else math.nan
    else:
        result = math.nan
    if not 0 <= result <= 1:
        raise ConfigError(
            f'{what}={value!r} is not a ratio; write a number from 0 to 1, or text such as "5%"',
            code="bad-ratio",
        )
    return result


def duration_text(value_s: float) -> str:
    """Return a duration as people write it, in its largest two units: `"250ms"`, `"1h5m"`."""
    if value_s < 0:
        return "-" + duration_text(-value_s)
    if not value_s < _FAR_S:  # what others wrote may be anything, also infinite
        return "more than a thousand years"
    if value_s < 0.0995:
        return f"{value_s * 1e3:.3g}ms"
    if value_s < 0.9995:
        return f"{value_s * 1e3:.0f}ms"
    if value_s < 59.95:
        return f"{value_s:.1f}s".replace(".0s", "s")
    total_s = round(value_s)
    parts: list[str] = []
    for unit in ("d", "h", "m", "s"):
        count, total_s = divmod(total_s, int(_UNITS_S[unit]))
        if count or parts:
            parts.append(f"{count}{unit}" if count else "")
        if len(parts) == 2:  # two units are as much as a reader takes in
            break
    return "".join(parts)


def ratio_text(value: float) -> str:
    """Return a ratio as a percentage: `"5%"`, `"0.1%"`."""
    return f"{value * 100:.4g}%"
