"""The listener: hears what changes in the fleet, so that nobody need wait for a poll.

It obeys a hint at once, in its own thread, and leaves whatever takes a read to the I/O worker.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from degrade.ports import Fleet
from degrade.runtime.background.worker import Worker

if TYPE_CHECKING:
    from degrade.runtime.runtime import Runtime

__all__ = ("Listener",)

_AGAIN_S = 1.0


class Listener(Worker):
    """The thread that listens to a fleet's hints."""

    def __init__(self, runtime: Runtime, fleet: Fleet) -> None:
        super().__init__("degrade-listener")
        self._runtime = runtime
        self._fleet = fleet

    def try_start(self) -> None:
        """Start the thread; where none can be started, polls have to do."""
        try:
            self.start()
        except RuntimeError:
            self._runtime.internal_errors.note("no_listener")

    def _run(self) -> None:
        while not self.stopping:
            try:
                self._fleet.listen(self._runtime.hear, lambda: self.stopping)
            except Exception:  # noqa: BLE001 - the listener must not die; what broke is counted and told
                self._runtime.internal_errors.note("hints")
                self.bell.wait(_AGAIN_S)
