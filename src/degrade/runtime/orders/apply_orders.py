"""How flags follow orders, and come back when one ends: one at once, the others in a minute."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Final

from degrade.core.enums import Mode
from degrade.core.state_machine import Cleared, HoldEnded

if TYPE_CHECKING:
    from degrade.core.resolve import Resolved
    from degrade.core.state_machine import Transition
    from degrade.fallback.snapshots.memory_tier import MemoryTier
    from degrade.runtime.monitoring.flag_monitor import FlagMonitor
    from degrade.runtime.orders.current_orders import CurrentOrders

__all__ = ("Ended", "followed", "obeyed", "recoveries")

SPREAD_S: Final = 60.0
_OFF: Final = Mode.OFF
_ORDERED: Final = frozenset({"hold", "everyone", "level"})

Ended = tuple["FlagMonitor", "Resolved", bool]
"""A flag whose order ended, what it obeyed before, and whether it is to skip its recovery."""


def followed(
    orders: CurrentOrders,
    watches: Iterable[FlagMonitor],
    tier: MemoryTier,
    rng: random.Random,
    *,
    now: float,
    store_now: float,
) -> list[tuple[FlagMonitor, tuple[Transition, ...]]]:
    """Let flags follow their orders, and begin to recover where one ended.

    When this returns calls go by it; nothing that can wait was done before.

    Args:
        orders, watches, tier, now, store_now: See `obeyed`.
        rng: For when recoveries begin.

    Returns:
        The transitions that this led to, to be told.
    """
    concerned, ended = obeyed(orders, watches, tier, now=now, store_now=store_now)
    moved: list[tuple[FlagMonitor, tuple[Transition, ...]]] = []
    stirred = False
    for watch, event in recoveries(ended, now, rng) if ended else ():
        transitions = watch.move([event], now)
        moved.append((watch, transitions))
        stirred = stirred or bool(transitions)  # what they are to obey changed with it
    for watch, resolved in concerned:
        watch.settle(None if stirred else resolved)
    return moved


def obeyed(
    orders: CurrentOrders,
    watches: Iterable[FlagMonitor],
    tier: MemoryTier,
    *,
    now: float,
    store_now: float,
) -> tuple[list[tuple[FlagMonitor, Resolved]], list[Ended]]:
    """Give every flag its orders.

    Args:
        orders: The orders in force.
        watches: The flags.
        tier: Where the snapshots are voided that an `off` made wrong.
        now: Monotonic seconds.
        store_now: Store time, Unix seconds.

    Returns:
        The flags that an order concerns, or concerned, for the caller to settle, with what they
        are to obey; and those of them for which one ended.
    """
    concerned: list[tuple[FlagMonitor, Resolved]] = []
    ended: list[Ended] = []
    for watch in watches:
        before, here, off_ended = watch.resolved, watch.held_here, watch.off_ended
        if not (orders.apply_to(watch) or watch.off_ended > off_ended):
            continue
        after = watch.peek()
        concerned.append((watch, after))
        turned = (before.mode is _OFF) != (after.mode is _OFF)
        if turned or watch.off_ended > off_ended:
            ago_s = 0.0 if turned else max(store_now - watch.off_ended, 0.0)
            tier.void(watch.flag.name, now - ago_s)
        gone = before.layer in _ORDERED and orders.gone(watch, before.layer, store_now)
        at_once = gone and not here and orders.at_once(watch, before.layer)
        if at_once or (gone and after.dial < before.dial):
            ended.append((watch, before, at_once))
    return concerned, ended


def recoveries(
    ended: list[Ended], now: float, rng: random.Random
) -> Iterator[tuple[FlagMonitor, Cleared | HoldEnded]]:
    """Give each flag the event that begins its recovery, the least important flags first.

    Args:
        ended: The flags.
        now: Monotonic seconds.
        rng: For when the others begin.
    """
    if len(ended) > 1:
        ended = sorted(ended, key=lambda entry: (-(entry[0].flag.level or 0), entry[0].flag.name))
    for index, (watch, before, at_once) in enumerate(ended):
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
