"""What the feed processes say of themselves, read from the store they share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from degrade.core.records import Event, FlagReport
from degrade.core.words import Mode, Phase
from degrade.ports import Store

__all__ = ("FlagState", "Fleet", "combined")

_ORDER = (Phase.STEADY, Phase.RECOVERING, Phase.DEGRADED)
_EVENTS = 100_000
_ORDERS = ("hold", "released", "level", "level_released")


@dataclass(frozen=True, slots=True, kw_only=True)
class FlagState:
    """One flag over all processes: the worst phase and mode, the mean dial."""

    phase: Phase
    mode: Mode
    dial: float

    @property
    def normal(self) -> bool:
        """Whether every call of every process runs the function."""
        return self.phase is Phase.STEADY and self.mode is Mode.NORMAL and self.dial == 0


class Fleet:
    """Reads the reports of the processes with these process ids."""

    def __init__(self, store: Store, pids: Sequence[int]) -> None:
        self._store = store
        self._pids = pids

    def instances(self) -> dict[str, int]:
        """Return instance ids to process ids."""
        return {
            report.id: report.pid for report in self._store.instances() if report.pid in self._pids
        }

    def flags(self) -> dict[str, FlagState]:
        """Return the state of every flag that all of the processes report."""
        reports = [each.flags for each in self._store.instances() if each.pid in self._pids]
        if len(reports) < len(self._pids):
            return {}
        names = set.intersection(*(set(flags) for flags in reports))
        return {
            name: combined([_state(flags[name]) for flags in reports]) for name in sorted(names)
        }

    def last_order(self) -> float:
        """Return when the newest change of a human was committed, Unix seconds."""
        return max(event.at for event in self.events() if event.type in _ORDERS)

    def events(self) -> list[Event]:
        """Return the whole log, oldest first."""
        return self._store.events(limit=_EVENTS)


def combined(states: Sequence[FlagState]) -> FlagState:
    """Return one flag over all processes, from how it stands in each."""
    modes = [state.mode for state in states]
    return FlagState(
        phase=max((state.phase for state in states), key=_ORDER.index),
        mode=next((mode for mode in (Mode.OFF, Mode.DEGRADED) if mode in modes), Mode.NORMAL),
        dial=sum(state.dial for state in states) / len(states),
    )


def _state(report: FlagReport) -> FlagState:
    return FlagState(phase=report.phase, mode=report.mode, dial=report.dial)
