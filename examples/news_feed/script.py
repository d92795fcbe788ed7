"""What happens in the demo, in order, and when it happened."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

import aiohttp

from examples.news_feed.fleet import FlagState, Fleet
from examples.news_feed.judging import ANALYTICS, RANKING
from examples.news_feed.processes import Processes

__all__ = ("MARKS", "Script", "ScriptError", "healthy", "until")

MARKS: Final[Mapping[str, str]] = {
    "healthy": "readers arrive, the ranker is well",
    "freeze": "the ranker is frozen (SIGSTOP)",
    "thaw": "the ranker goes on (SIGCONT)",
    "kill": "the ranker is killed (SIGKILL)",
    "back": "a new ranker is healthy",
    "level": "an operator orders level 3",
    "level_end": "the operator releases the level",
    "off": "an operator turns feed.ranking off",
    "off_end": "the operator releases feed.ranking",
    "done": "everything is steady again",
}
"""What is done in a run, in order, in words."""

_WARM_UP_S: Final = 24.0
_OUTAGE_S: Final = 14.0
_ORDER_S: Final = 6.0
_CALM_S: Final = 3.0
_BETWEEN_S: Final = 14.0
"""Healthy traffic between the faults: over 1,000 good calls a process, which is what takes a
cooldown that the first one has raised back to where it was."""
_STEADY_S: Final = 62.0
_START_S: Final = 20.0


class ScriptError(RuntimeError):
    """A step of the demo cannot be done at all."""


class Script:
    """Runs the steps; `marks` fills while it runs."""

    def __init__(
        self,
        processes: Processes,
        fleet: Fleet,
        ranker_port: int,
        start_ranker: Callable[[], Awaitable[object]],
    ) -> None:
        self.marks: dict[str, float] = {}
        self._processes = processes
        self._fleet = fleet
        self._ranker_port = ranker_port
        self._start_ranker = start_ranker

    async def run(self) -> None:
        """Do everything once; returns when all is steady again, or has failed to be in time."""
        self._mark("healthy")
        await asyncio.sleep(_WARM_UP_S)

        self._mark("freeze")
        self._processes.signal("ranker", signal.SIGSTOP)
        await asyncio.sleep(_OUTAGE_S)
        self._processes.signal("ranker", signal.SIGCONT)
        self._mark("thaw")
        await self._steady()
        await asyncio.sleep(_BETWEEN_S)

        self._mark("kill")
        await self._processes.kill("ranker")
        await asyncio.sleep(_OUTAGE_S)
        await self._start_ranker()
        await healthy(self._ranker_port, "/health")
        self._mark("back")
        await self._steady()

        reason = "practice for the big match"
        await self._order("level", "level", "3", "--for", "5m", "--reason", reason)
        await self._flags(lambda flags: flags[ANALYTICS].dial == 1, _START_S)
        await asyncio.sleep(_ORDER_S)
        await self._order("level_end", "level", "release", "--reason", "practice is over")
        await self._steady()

        reason = "the model recommends last year's news"
        await self._order("off", "hold", RANKING, "off", "--until-released", "--reason", reason)
        await asyncio.sleep(_ORDER_S)
        await self._order("off_end", "release", RANKING, "--reason", "the model was rolled back")
        await self._steady()
        self._mark("done")

    def _mark(self, name: str) -> None:
        self.marks[name] = time.time()

    async def _order(self, mark: str, *words: str) -> None:
        """Run the command line in a process of its own, as an operator does."""
        code, output = await self._processes.run("degrade.cli", *words)
        if code != 0:
            raise ScriptError(f"degrade {' '.join(words)} ended with {code}:\n{output}")
        self.marks[mark] = self._fleet.last_order()

    async def _steady(self) -> None:
        """Wait until everything is normal; the checks judge from the log how long it took."""
        await asyncio.sleep(1.5)  # the processes report once a second, so not what was before
        await self._flags(lambda flags: all(state.normal for state in flags.values()), _STEADY_S)
        await asyncio.sleep(_CALM_S)

    async def _flags(
        self, wanted: Callable[[Mapping[str, FlagState]], bool], limit_s: float
    ) -> None:
        def condition() -> bool:
            flags = self._fleet.flags()
            return {RANKING, ANALYTICS} <= flags.keys() and wanted(flags)

        await until(condition, limit_s)


async def until(condition: Callable[[], bool], limit_s: float) -> bool:
    """Wait until a condition holds, at most `limit_s` seconds; return whether it does."""
    end = time.monotonic() + limit_s
    while not condition():
        if time.monotonic() > end:
            return False
        await asyncio.sleep(0.1)
    return True


async def healthy(port: int, path: str) -> None:
    """Wait until a process answers.

    Raises:
        ScriptError: It does not within 20 seconds.
    """
    end = time.monotonic() + _START_S
    timeout = aiohttp.ClientTimeout(total=1.0)
    async with aiohttp.ClientSession(timeout=timeout) as session:
        while time.monotonic() < end:
            try:
                async with session.get(f"http://127.0.0.1:{port}{path}") as answer:
                    if answer.status == 200:
                        return
            except (aiohttp.ClientError, TimeoutError):
                pass  # not yet
            await asyncio.sleep(0.05)
    raise ScriptError(f"nothing answers on port {port}; see its log")
