"""The ticker: drains, judges and moves machines; no I/O.

Four times a second while calls come, sooner when very many do, once a second when idle. It
yields to other threads at least every millisecond. After a gap of more than two seconds (the
process was paused) the calls that overlap it are not judged.
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Final

from degrade.runtime.worker import Worker

if TYPE_CHECKING:
    from degrade.runtime.runtime import Runtime

__all__ = ("Ticker",)

log = logging.getLogger("degrade.runtime")

BUSY_S: Final = 0.25
IDLE_S: Final = 1.0
FLOOD_S: Final = 0.1
BATCH_CALLS: Final = 50_000
"""Calls above which the next tick comes sooner: what waits takes about 70 bytes a call."""
GAP_S: Final = 2.0
SLICE_S: Final = 0.001
LOOK_TICKS: Final = 5


class Ticker(Worker):
    """The thread that ticks a runtime."""

    def __init__(self, runtime: Runtime) -> None:
        super().__init__("degrade-ticker")
        self._runtime = runtime
        self._last = runtime.clock.monotonic()

    def notice_gap(self, now: float) -> None:
        """Notice a pause of the process; to be called by whoever folds first after it."""
        if now - self._last > GAP_S:
            self._last = now
            self._runtime.skip_gap(now)

    def _run(self) -> None:
        runtime = self._runtime
        monotonic = runtime.clock.monotonic
        self._last = monotonic()
        wait_s = BUSY_S
        ticks = 0
        while not (self.bell.wait(wait_s) and self.stopping):
            try:
                self.notice_gap(monotonic())
                ticks += 1
                if ticks % LOOK_TICKS == 0:
                    runtime.revive()
                calls = runtime.tick(yield_after_s=SLICE_S)
                elapsed_s, self._last = monotonic() - self._last, monotonic()
                if calls:
                    wait_s = min(BUSY_S, max(FLOOD_S, elapsed_s * BATCH_CALLS / calls))
                else:
                    wait_s = IDLE_S
            except Exception:  # noqa: BLE001 - the ticker must not die; what broke is counted and told
                runtime.troubles.note("tick")
                wait_s = IDLE_S


def yield_to_others() -> None:
    """Let other threads run."""
    time.sleep(0)
