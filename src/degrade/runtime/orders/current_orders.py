"""What humans ordered, as this process knows it: the store's newest state and this host's file."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Literal

from degrade.core.enums import ALL_FLAGS, HoldMode
from degrade.core.records import ControlState, FleetVerdict, Hold, LevelOrder

if TYPE_CHECKING:
    from degrade.runtime.monitoring.flag_monitor import FlagMonitor
    from degrade.stores.local_holds import LocalHolds

__all__ = ("CurrentOrders", "Layer")

Layer = Literal["hold", "everyone", "level"]

_NO_HOLDS: Mapping[str, Hold] = {}


class CurrentOrders:
    """The orders in force; kept as they are for as long as the store cannot be read.

    Args:
        local: Holds of this host's file, which replace the store's for their flags.

    Attributes:
        from_file: The state is the last one saved on this host: the store was not read yet.
            Such a state is obeyed, and never written to a store.
    """

    def __init__(self, local: LocalHolds | None) -> None:
        self.from_file = False
        self._local = local
        self._local_holds: dict[str, Hold] = {}
        self._state: ControlState | None = None
        self._asked_at = float("-inf")
        self._ahead_s = 0.0
        self._seen: float | None = None
        self._next_end = float("inf")

    @property
    def epoch(self) -> int:
        """The store's epoch that is applied, 0 before the first read."""
        return 0 if self._state is None or self.from_file else self._state.epoch

    @property
    def known(self) -> bool:
        """Whether the store was ever read."""
        return self._state is not None and not self.from_file

    @property
    def live(self) -> ControlState | None:
        """The newest state that was read from the store."""
        return None if self.from_file else self._state

    def take(self, state: ControlState, asked_at: float) -> None:
        """Take a newer state of the store; one that another thread read earlier changes nothing.

        Args:
            state: What was read, or heard.
            asked_at: When the reading began, monotonic seconds. It tells which of two states is
                newer, since a store may go back.
        """
        known = self.live
        if known is not None:
            older = known.incarnation == state.incarnation and known.epoch > state.epoch
            if asked_at < self._asked_at or (asked_at == self._asked_at and older):
                return
        self._state, self._asked_at = state, asked_at
        self.from_file = False
        self._plan(float("-inf"))

    def take_hinted(self, state: ControlState, now: float) -> Collection[str] | None:
        """Take what a hint told; not if a read was faster: that knows who ordered it, and why.

        Returns:
            The flags for which it changes anything, `*` for all of them; None when it was not
            taken.

        Cost:
            Linear in the holds, whatever the number of flags.
        """
        self._seen = now
        known = None if self.from_file else self._state
        same = known is not None and known.incarnation == state.incarnation
        if known is not None and same and known.epoch >= state.epoch:
            return None
        if known is None or now < self._asked_at:
            self.take(state, now)
            return (ALL_FLAGS,)
        self._state, self._asked_at = state, now
        names = _differing(known, state)
        for name in names:
            hold = state.holds.get(name)
            if hold is not None and hold.until is not None:
                self._next_end = min(self._next_end, hold.until)
        return names

    def take_saved(self, state: ControlState, *, ahead_s: float, seen: float) -> None:
        """Begin with the last state saved on this host, unless the store was read already.

        Whether an end was reached is judged by this host's clock, as good as it is. But what
        an operator held `off` stays so until the store was asked: it may have been extended.

        Args:
            state: Its `now` is the store's time when it was saved.
            ahead_s: How far the store's time was ahead of this host's wall time then, seconds.
            seen: When the store was heard last, in this process's monotonic seconds.
        """
        if self._state is not None:
            return
        kept = {
            name: hold.model_copy(update={"until": None})
            for name, hold in state.holds.items()
            if hold.mode is HoldMode.OFF and not _over(hold, state.now)
        }
        self._state = state.model_copy(update={"holds": {**state.holds, **kept}})
        self.from_file = True
        self._ahead_s = ahead_s
        self._seen = seen
        self._plan(float("-inf"))

    def take_local(self) -> bool:
        """Read this host's file when it changed; return whether it did.

        Raises:
            StoreError: The file cannot be used; what it said before stays in force.
        """
        if self._local is None or not self._local.changed():
            return False
        self._local_holds = dict(self._local.read())
        self._plan(float("-inf"))
        return True

    def seen(self, now: float) -> None:
        """Note that the store answered at a monotonic time."""
        self._seen = now

    def age_s(self, now: float) -> float | None:
        """Return for how long the store has not answered, seconds; None if it never did."""
        return None if self._seen is None else max(0.0, now - self._seen)

    def saved_now(self, wall_s: float) -> float:
        """Return what the time of the store that was saved may be at a wall time of this host."""
        return wall_s + self._ahead_s

    def verdict(self, flag: str) -> FleetVerdict | None:
        """Return the fleet's standing verdict on a flag; what a file says is no verdict."""
        state = self.live
        return None if state is None else state.verdicts.get(flag)

    @property
    def verdicts(self) -> bool:
        """Whether any fleet verdict stands."""
        state = self.live
        return state is not None and bool(state.verdicts)

    def apply_to(self, watch: FlagMonitor) -> bool:
        """Give a flag the orders that concern it, ended ones included.

        Returns:
            Whether there is one, or was one until now.
        """
        before = watch.hold or watch.everyone or watch.level
        name, state, here = watch.flag.name, self._state, self._local_holds
        everywhere = _NO_HOLDS if state is None else state.holds
        watch.hold = here.get(name) or everywhere.get(name)
        watch.everyone = here.get(ALL_FLAGS) or everywhere.get(ALL_FLAGS)
        watch.held_here = name in here or ALL_FLAGS in here
        if state is not None:
            watch.level = state.level
            watch.off_ended = max(state.off_ended.get(name, 0), state.off_ended.get(ALL_FLAGS, 0))
        return (before or watch.hold or watch.everyone or watch.level) is not None

    def gone(self, watch: FlagMonitor, layer: str, store_now: float) -> bool:
        """Return whether the order of a layer is over for a flag, rather than replaced."""
        order: Hold | LevelOrder | None
        order = {"hold": watch.hold, "everyone": watch.everyone, "level": watch.level}[layer]
        return order is None or _over(order, store_now)

    def at_once(self, watch: FlagMonitor, layer: str) -> bool:
        """Return whether the order of a layer was released with the wish to skip recovery."""
        state = self._state
        if state is None:
            return False
        if layer == "level":
            release = state.level_released
        else:
            release = state.released.get(watch.flag.name if layer == "hold" else ALL_FLAGS)
        return release is not None and release.now

    def due(self, store_now: float) -> bool:
        """Return whether an order reached its end since the last plan."""
        return store_now >= self._next_end

    def next_end_s(self, store_now: float) -> float:
        """Return in how many seconds the next order reaches its end; infinite when none does."""
        return self._next_end - store_now

    def passed(self, store_now: float) -> bool:
        """Plan for the next end; return whether the store still holds orders that are over."""
        self._plan(store_now)
        state = self.live
        if state is None:
            return False
        orders: list[Hold | LevelOrder] = list(state.holds.values())
        if state.level is not None:
            orders.append(state.level)
        return any(_over(order, store_now) for order in orders)

    def _plan(self, after: float) -> None:
        ends = [hold.until for hold in self._local_holds.values()]
        if self._state is not None:
            ends += [hold.until for hold in self._state.holds.values()]
            if self._state.level is not None:
                ends.append(self._state.level.until)
        self._next_end = min(
            (until for until in ends if until is not None and until > after), default=float("inf")
        )


def _over(order: Hold | LevelOrder, store_now: float) -> bool:
    return order.until is not None and order.until <= store_now


def _differing(before: ControlState, after: ControlState) -> set[str]:
    """Return the flags for which two states differ, `*` where that may be all of them.

    Orders that both took from one reading are the same objects, so that nothing need be compared.
    """
    if _differ(before.level, after.level) or _differ(before.verdicts, after.verdicts):
        return {ALL_FLAGS}
    old, new = before.holds, after.holds
    names = set(old.keys() - new.keys())
    for name, hold in new.items():
        if old.get(name) is not hold:
            names.add(name)
    if before.off_ended is not after.off_ended:
        names |= {name for name, _ in before.off_ended.items() ^ after.off_ended.items()}
    return names


def _differ(one: object, other: object) -> bool:
    return one is not other and one != other
