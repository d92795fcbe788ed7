"""The types that units promise; read by mypy and pyright, never run."""

from __future__ import annotations

from datetime import timedelta
from typing import assert_type

from degrade.units import Duration, duration_text, ratio, ratio_text, seconds

assert_type(seconds("250ms"), float)
assert_type(seconds(timedelta(minutes=5)), float)
assert_type(seconds(5), float)
assert_type(ratio("5%"), float)
assert_type(duration_text(0.25), str)
assert_type(ratio_text(0.05), str)

every_kind: list[Duration] = [1, 0.5, "1h30m", timedelta(seconds=1)]
