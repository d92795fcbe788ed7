"""What happens in the demo, in order, and when it happened."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Final, Literal

import aiohttp

from examples.news_feed.fleet import FlagState, Fleet
from examples.news_feed.judging import ANALYTICS, RANKING
from examples.news_feed.processes import Processes

__all__ = ("FULL", "MARKS", "Pace", "Script", "ScriptError", "healthy", "until")

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

_START_S: Final = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How long the parts of the script take, seconds, and which parts there are.

    Between the faults there are over 1,000 good calls a process, which is what takes a cooldown
    that the first one has raised back to where it was.
    """

    warm_up_s: float = 24.0
    outage_s: float = 14.0
    order_s: float = 6.0
    calm_s: float = 3.0
    between_s: float = 14.0
    steady_s: float = 62.0
    faults: tuple[Literal["freeze", "kill"], ...] = ("freeze", "kill")
    orders: bool = True


FULL: Final = Pace()


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
        pace: Pace = FULL,
    ) -> None:
        self.marks: dict[str, float] = {}
        self._processes = processes
        self._fleet = fleet
        self._ranker_port = ranker_port
        self._start_ranker = start_ranker
        self._pace = pace

    async def run(self) -> None:
        """Do everything once; returns when all is steady again, or has failed to be in time."""
        self._mark("healthy")
        await asyncio.sleep(self._pace.warm_up_s)
        for fault in self._pace.faults:
            await (self._freeze() if fault == "freeze" else self._kill())
        if self._pace.orders:
            await self._order_level()
            await self._order_off()
        self._mark("done")

    async def _freeze(self) -> None:
        self._mark("freeze")
        self._processes.signal("ranker", signal.SIGSTOP)
        await asyncio.sleep(self._pace.outage_s)
        self._processes.signal("ranker", signal.SIGCONT)
        self._mark("thaw")
        await self._steady()
        await asyncio.sleep(self._pace.between_s)

    async def _kill(self) -> None:
        self._mark("kill")
        await self._processes.kill("ranker")
        await asyncio.sleep(self._pace.outage_s)
        await self._start_ranker()
        await healthy(self._ranker_port, "/health")
        self._mark("back")
        await self._steady()

    async def _order_level(self) -> None:
        reason = "practice for the big match"
        await self._order("level", "level", "3", "--for", "5m", "--reason", reason)
        await self._flags(lambda flags: flags[ANALYTICS].dial == 1, _START_S)
        await asyncio.sleep(self._pace.order_s)
        await self._order("level_end", "level", "release", "--reason", "practice is over")
        await self._steady()

    async def _order_off(self) -> None:
        reason = "the model recommends last year's news"
        await self._order("off", "hold", RANKING, "off", "--until-released", "--reason", reason)
        await asyncio.sleep(self._pace.order_s)
        await self._order("off_end", "release", RANKING, "--reason", "the model was rolled back")
        await self._steady()

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
        await self._flags(
            lambda flags: all(state.normal for state in flags.values()), self._pace.steady_s
        )
        await asyncio.sleep(self._pace.calm_s)

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
