"""Quantiles as they are defined for a finite list, so that a figure is always a measured value."""

from __future__ import annotations

import math
from collections.abc import Iterable

__all__ = ("nearest_rank",)


def nearest_rank(values: Iterable[float], share: float) -> float | None:
    """Return the smallest value that at least `share` of the values do not exceed; None of none."""
    ordered = sorted(values)
    if not ordered:
        return None
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]
