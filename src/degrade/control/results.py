"""What the verbs did, each with the epoch, so that it can be found in the log and awaited."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from degrade.control.propagation import Propagation
from degrade.core.records import Hold, LevelOrder

__all__ = ("Held", "LevelOrdered", "LevelReleased", "Released")


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """A hold was written, or its end was moved.

    Attributes:
        flag: The flag, or `*`.
        hold: What stands now.
        replaced: What stood before, ended or not; None when there was nothing.
        epoch: The store's epoch after it; None for a local hold.
        event: Id of its event; None for a local hold.
        local: It holds on this host alone.
        where: The store, or the file of local holds.
        unchecked: The name could not be checked, as no declaration could be read.
        arrived: How far it has come, when that was waited for.
    """

    flag: str
    hold: Hold
    replaced: Hold | None
    epoch: int | None
    event: str | None
    local: bool
    where: str
    unchecked: bool = False
    arrived: Propagation | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Released:
    """Holds were removed; none, when `holds` is empty.

    Attributes:
        flag: What was asked for: a flag, or `*` for every hold.
        holds: Flag (or `*`) to the hold that was removed.
        epoch: The store's epoch after it; None when nothing was removed, or locally.
        now: Full traffic at once was asked for, without recovery steps.
        local: Local holds were removed, not the store's.
        where: The store, or the file of local holds.
        still: The local hold, the hold on every flag, or the level that goes on to concern the
            flag; one line. After a local release, the local hold on every flag.
        arrived: How far it has come, when that was waited for and something was removed.
    """

    flag: str
    holds: Mapping[str, Hold]
    epoch: int | None
    now: bool
    local: bool
    where: str
    still: str | None = None
    arrived: Propagation | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LevelOrdered:
    """A level was ordered.

    Attributes:
        order: What stands now.
        replaced: The order before, None without one.
        epoch: The store's epoch after it.
        event: Id of its event.
        flags: The declared flags that it degrades, by name.
        exempt: Those of them that a `normal` or `off` hold exempts, their own or one on every flag.
        arrived: How far it has come, when that was waited for.
    """

    order: LevelOrder
    replaced: LevelOrder | None
    epoch: int
    event: str
    flags: tuple[str, ...]
    exempt: tuple[str, ...]
    arrived: Propagation | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LevelReleased:
    """The ordered level was removed; `order` is None when there was none."""

    order: LevelOrder | None
    epoch: int | None
    now: bool
    arrived: Propagation | None = None
