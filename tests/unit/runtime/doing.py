"""What the tests of the runtime do again and again."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

from degrade import Runtime
from degrade.clock import ManualClock
from degrade.ports import FlagStats
from degrade.runtime.monitoring.flag_monitor import FlagMonitor


class Boom(Exception):
    """The failure of a guarded function."""


class Sick:
    """A function that fails while `ill`, and says how often it ran."""

    def __init__(self, value: Any = "fresh") -> None:
        self.ill = False
        self.value = value
        self.runs = 0

    def __call__(self) -> Any:
        self.runs += 1
        if self.ill:
            raise Boom("ill")
        return self.value


def call_quietly(fn: Callable[..., Any], *args: Any, times: int = 1) -> None:
    """Call a function, whatever it raises."""
    for _ in range(times):
        with suppress(Exception):
            fn(*args)


def pass_time(
    runtime: Runtime,
    clock: ManualClock,
    seconds: float,
    *,
    every_s: float = 0.25,
    meanwhile: Callable[[], object] = lambda: None,
) -> None:
    """Let time go by, with a tick (and what happens meanwhile) every quarter of a second."""
    for _ in range(round(seconds / every_s)):
        clock.advance(every_s)
        meanwhile()
        runtime.tick()


def stats_of(runtime: Runtime, name: str) -> FlagStats:
    """Return the figures of one flag."""
    (found,) = [stats for stats in runtime.stats() if stats.name == name]
    return found


def classes_of(runtime: Runtime, name: str) -> dict[str, int]:
    """Return how many calls had each class, without those that none had."""
    return {how.value: n for how, n in stats_of(runtime, name).calls.items() if n}


def outcomes_of(runtime: Runtime, name: str) -> dict[str, int]:
    """Return how many runs of the function had each outcome, without those that none had."""
    return {how.value: n for how, n in stats_of(runtime, name).primary.items() if n}


def watch_of(runtime: Runtime, name: str) -> FlagMonitor:
    """Return the watch of one flag."""
    return runtime._watches[name]
