"""What a process tells a store of itself: that it is there, which flags it has, that it ends.

All of it may block, so the I/O worker does it.
"""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

from degrade.core.records import InstanceReport
from degrade.runtime.background.warm_up import version

if TYPE_CHECKING:
    from degrade.runtime.monitoring.flag_monitor import FlagMonitor
    from degrade.runtime.runtime import Runtime

__all__ = ("Heartbeat",)


class Heartbeat:
    """The heartbeat of one runtime.

    Args:
        runtime: Whose.

    Attributes:
        undeclared: There are flags that the store was not told of.
    """

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._told: str | None = None
        self._idle: list[FlagMonitor] = []
        """The flags of which the store was told last that nobody calls them."""
        self.undeclared = True

    def called(self, now: float) -> bool:
        """Note that calls came; return whether that makes a heartbeat urgent.

        In a fleet it does where the last one said that nobody calls the flag: the others must not
        count the votes on it as if this process had no say.
        """
        runtime = self._runtime
        runtime.busy = True
        if runtime.newsworthy or runtime.member is None:
            return False
        runtime.newsworthy = any(watch.active(now) for watch in self._idle)
        return runtime.newsworthy

    def report(self) -> None:
        """Write what this process sees, and declare flags that are new to the store.

        A store that lost everything began another life, in which no flag is declared, so that no
        operator could hold one, and no snapshot is there.
        """
        runtime = self._runtime
        live = runtime.orders.live
        life = None if live is None else live.incarnation
        if life != self._told:
            if self._told is not None and runtime.fetcher is not None:
                runtime.fetcher.tier.lost()
            self._told, self.undeclared = life, True
        runtime.newsworthy = runtime.busy = False
        undeclared, self.undeclared = self.undeclared, False
        try:
            watches = runtime.watched()
            declare = [watch.flag.info() for watch in watches] if undeclared else []
            if declare:
                runtime.store.declare(declare)
            report = InstanceReport(
                id=runtime.instance,
                host=socket.gethostname(),
                pid=os.getpid(),
                version=version(),
                started=runtime.started_wall,
                at=runtime.clock.wall(),
                epoch=runtime.orders.epoch,
                flags=runtime.reports(),
            )
            if runtime.member is None:
                runtime.store.report(report)
            else:
                runtime.member.beat(report)
                flags = report.flags
                self._idle = [watch for watch in watches if not flags[watch.flag.name].active]
        except Exception:  # noqa: BLE001 - stores of others fail in ways of their own; declared later
            self.undeclared = self.undeclared or undeclared
            runtime.internal_errors.note("store")

    def goodbye(self) -> None:
        """Tell a shared store that this process ends."""
        runtime = self._runtime
        if runtime.store.shared:
            try:
                runtime.store.goodbye(runtime.instance)
            except Exception:  # noqa: BLE001 - as in `report`, and the process is ending
                runtime.internal_errors.note("store", tell=False)
