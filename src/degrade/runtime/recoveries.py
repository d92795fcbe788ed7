"""How flags come back when an order ends: one at once, the others spread over a minute."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from degrade.core.machine import Cleared, HoldEnded

if TYPE_CHECKING:
    from degrade.core.resolve import Resolved
    from degrade.runtime.watch import Watch

__all__ = ("Ended", "recoveries")

SPREAD_S: Final = 60.0

Ended = tuple["Watch", "Resolved", bool]
"""A flag whose order ended, what it obeyed before, and whether it is to skip its recovery."""


def recoveries(
    ended: list[Ended], now: float, rng: random.Random
) -> Iterator[tuple[Watch, Cleared | HoldEnded]]:
    """Give each flag the event that begins its recovery, the least important flags first.

    Args:
        ended: The flags.
        now: Monotonic seconds.
        rng: For when the others begin.
    """
    ordered = sorted(ended, key=lambda entry: (-(entry[0].flag.level or 0), entry[0].flag.name))
    for index, (watch, before, at_once) in enumerate(ordered):
        cause = f"ended: {before.reason}"
        if at_once:
            yield watch, Cleared(now=now, cause=cause)
        else:
            delay_s = rng.uniform(1.0, SPREAD_S) if index else 0.0
            yield (
                watch,
                HoldEnded(
                    now=now, running_share=before.running_share, delay_s=delay_s, cause=cause
                ),
            )
