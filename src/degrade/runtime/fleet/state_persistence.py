"""What outlives a process: its state goes to a file of this host, and the next one begins with it.

    I/O worker ──every few seconds, if something changed──> file
    file ──before the first poll──> orders, machines

Only a state that was read live is saved. The store's truth replaces what came from the file.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from degrade.core import state_machine
from degrade.core.enums import Phase
from degrade.stores.state_file import CONFIRM_S, STALE_S, Saved, SavedMachine, SavedState
from degrade.units import duration_text

if TYPE_CHECKING:
    from degrade.runtime.monitoring.flag_monitor import FlagMonitor
    from degrade.runtime.runtime import Runtime

__all__ = ("StatePersistence",)

log = logging.getLogger("degrade.runtime")

SAVE_S: Final = 3.0
"""How often it is looked whether something changed."""

_Mark = tuple[object, ...]
"""What differs once there is something new to save."""


class StatePersistence:
    """Reads and writes the file for one runtime; whatever fails is counted and told.

    Args:
        file: The file.
        runtime: Whose state.
        rng: For the jitter of cooldowns.
    """

    def __init__(self, file: SavedState, runtime: Runtime, rng: random.Random) -> None:
        self._file = file
        self._runtime = runtime
        self._rng = rng
        self._found: Saved | None = None
        self._mark: _Mark = ()
        self._heard_at = self._looked_at = float("-inf")

    def read(self) -> None:
        """Read the file for `recall`; may block, so the I/O worker does it."""
        try:
            self._file.tidy()
            self._found = self._file.read()
        except Exception:  # noqa: BLE001 - disks fail in many ways; a process begins without its file
            self._runtime.internal_errors.note("state_file")

    def recall(self, watches: Iterable[FlagMonitor]) -> bool:
        """Begin with what was read, unless the store was read since; return whether it is so."""
        found, orders = self._found, self._runtime.orders
        if found is None or orders.known or orders.from_file:
            return False
        clock = self._runtime.clock
        age_s = max(0.0, clock.wall() - found.at)
        orders.take_saved(
            found.state, ahead_s=found.state.now - found.at, seen=clock.monotonic() - age_s
        )
        resumed = [watch.flag.name for watch in watches if self.resume(watch)]
        log.info(
            "until the store is read, what was saved %s ago is in force: %d holds; degraded: %s",
            duration_text(age_s),
            len(found.state.holds),
            ", ".join(resumed) or "none",
        )
        return True

    def resume(self, watch: FlagMonitor) -> bool:
        """Let a flag that nobody has called yet begin where its last process was."""
        found, state = self._found, watch.state
        saved = None if found is None else found.machines.get(watch.flag.name)
        if saved is None or not self._runtime.orders.from_file or state.epoch:
            return False
        elapsed_s = max(0.0, self._runtime.clock.wall() - saved.at)
        if elapsed_s > STALE_S:
            return False
        degraded = saved.phase is Phase.DEGRADED
        now = self._runtime.clock.monotonic()
        state = state_machine.resumed(
            watch.flag.recovery,
            now,
            share=saved.share if degraded else 0.0,
            left_s=saved.left_s - elapsed_s if degraded else 0.0,
            cooldown_s=saved.cooldown_s,
            cause=saved.cause,
            draw=self._rng.random(),
        )
        watch.begin(state, now)
        return True

    def save(self, watches: Iterable[FlagMonitor], *, at_end: bool = False) -> None:
        """Write the file when it is time and something changed; may block, for the I/O worker.

        Args:
            watches: Every flag of this process.
            at_end: The process ends: it is time.
        """
        runtime = self._runtime
        now, state = runtime.clock.monotonic(), runtime.orders.live
        if state is None or (now - self._looked_at < SAVE_S and not at_end):
            return
        self._looked_at = now
        watches = list(watches)
        away = [watch for watch in watches if watch.state.phase is not Phase.STEADY]
        timeless = state.model_copy(update={"now": 0.0, "nonsense": {}})
        mark = (timeless, *((watch.flag.name, watch.state.epoch) for watch in away))
        silent_s = runtime.orders.age_s(now) or 0.0
        if mark == self._mark and now - silent_s - self._heard_at < CONFIRM_S:
            return
        wall_s = runtime.clock.wall()
        saved = Saved(
            at=wall_s - silent_s,
            state=timeless.model_copy(update={"now": runtime.store_now() - silent_s}),
            machines={watch.flag.name: _saved(watch, now, wall_s) for watch in away},
        )
        try:
            self._file.write(saved, watched={watch.flag.name for watch in watches})
        except Exception:  # noqa: BLE001 - disks fail in many ways, and the process goes on without it
            runtime.internal_errors.note("state_file")
        else:
            self._mark, self._heard_at = mark, now - silent_s


def _saved(watch: FlagMonitor, now: float, wall_s: float) -> SavedMachine:
    state = watch.state
    return SavedMachine(
        at=wall_s,
        phase=state.phase,
        share=state.share,
        left_s=max(0.0, state.until - now),
        cooldown_s=state.cooldown_s,
        cause=state.cause,
    )
