"""The ticker: drains, judges and moves machines; no I/O.

Four times a second while calls come, sooner when very many do, once a second when idle. It
yields to other threads at least every millisecond. After a gap of more than two seconds (the
process was paused) the calls that were under way meanwhile are not judged; those that ended
before are.

    busy ──no calls──> idle ──three rounds──> dozing ──one more──> asleep
      ^                                          │                    │
      └───── a call, an order, a machine that moves, calls found ─────┘

Dozing shuts every gate, which lets the next call rouse the ticker; that call does not wait, and
what it leaves is judged a quarter of a second later. One more round takes what calls left that
had found their gate open just before. Asleep it still looks every five seconds, and when an
order ends. A pause of the process is no matter then, as no call overlaps it.
"""

from __future__ import annotations

import logging
import math
import time
from typing import TYPE_CHECKING, Final

from degrade.runtime.background.worker import Worker

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
_TELL_EVERY_S: Final = 60.0
"""How often a pause is logged: a serverless process is paused after each request."""
SLICE_S: Final = 0.001
LOOK_TICKS: Final = 5
IDLE_ROUNDS: Final = 3
"""Rounds without a call before the gates are shut."""
NAP_S: Final = 5.0
"""The longest sleep: so late may be what a call leaves whose thread was held up for seconds between
its gate and its record, and so late is it noticed that the I/O worker died."""


class Ticker(Worker):
    """The thread that ticks a runtime."""

    def __init__(self, runtime: Runtime) -> None:
        super().__init__("degrade-ticker")
        self._runtime = runtime
        self._monotonic = runtime.clock.monotonic
        self._last = self._monotonic()
        self._ticks = 0
        self._idle = 0
        self._pauses = 0
        self._told_at = -math.inf

    def call_up(self) -> None:
        """Let the next round be now; for those who find the gates shut.

        Cost:
            No lock, no waiting: the caller goes on while the ticker wakes up.
        """
        if math.isinf(self._last):  # asleep; a pause of the process counts again from here
            self._last = self._monotonic()
        self.bell.ring()

    def notice_gap(self, now: float) -> None:
        """Notice a pause of the process; to be called before the first fold after it.

        The ticker should have come `IDLE_S` after its last round at the latest, and comes as soon
        as the process goes on: the pause covers what lies between, so its middle is in the pause.
        """
        if now - self._last <= GAP_S:
            return
        middle = (self._last + IDLE_S + now) / 2
        self._last = now
        for watch in self._runtime.watched():
            watch.skip_pause(middle)
        self._pauses += 1
        if now - self._told_at >= _TELL_EVERY_S:
            self._told_at = now
            log.warning(
                "the process was paused (%d times so far); the calls that were under way are not "
                "judged",
                self._pauses,
            )

    def round(self, *, called: bool) -> float:
        """Do what is to be done now; return how long to wait for the next round, seconds.

        Args:
            called: Somebody called, rather than that the time was up.
        """
        runtime = self._runtime
        if called:
            runtime.rest(asleep=False)
        self.notice_gap(self._monotonic())
        self._ticks += 1
        if self._ticks % LOOK_TICKS == 0 or self._idle > IDLE_ROUNDS:
            runtime.revive()
        calls = runtime.tick(yield_after_s=SLICE_S)
        last, self._last = self._last, self._monotonic()
        if calls or called:
            self._idle = 0
            if not called:
                runtime.rest(asleep=False)
            wait_s = (self._last - last) * BATCH_CALLS / max(1, calls)
            return BUSY_S if called else min(BUSY_S, max(FLOOD_S, wait_s))
        self._idle += 1
        if self._idle < IDLE_ROUNDS:
            return IDLE_S
        if not runtime.rest(asleep=True):
            self._idle = 0
            return IDLE_S
        if self._idle == IDLE_ROUNDS:
            return IDLE_S
        self._last = math.inf
        return max(BUSY_S, min(NAP_S, runtime.orders.next_end_s(runtime.store_now())))

    def _run(self) -> None:
        self._last = self._monotonic()
        wait_s = BUSY_S
        while True:
            called = self.bell.wait(wait_s)
            if self.stopping:
                return
            try:
                wait_s = self.round(called=called)
            except Exception:  # noqa: BLE001 - the ticker must not die; what broke is counted and told
                self._runtime.internal_errors.note("tick")
                wait_s = IDLE_S


def yield_to_others() -> None:
    """Let other threads run."""
    time.sleep(0)
