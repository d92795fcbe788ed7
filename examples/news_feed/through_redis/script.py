"""What happens on the fleet, in order, and when it happened."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Final

from degrade.core.words import Phase as FlagPhase
from examples.news_feed.fleet import Fleet
from examples.news_feed.judging import ANALYTICS, RANKING
from examples.news_feed.processes import Processes
from examples.news_feed.script import ScriptError, until
from examples.news_feed.through_redis.health import Health
from examples.news_feed.through_redis.phases import Fault, Phase, Ranker
from examples.news_feed.through_redis.server import RedisServer
from examples.news_feed.watching import Note

__all__ = ("FULL", "FleetScript", "Pace", "Wipe")

_SETTLE_S: Final = 0.8
"""The time after a fault that still counts as part of it."""
_LOOK_S: Final = 0.02
_RESTORED_S: Final = 10.0
_STEADY_S: Final = 62.0
_ON_ITS_WAY: Final = 0.95
"""Of the dial, which stands at 1 at first and at 0 in the end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How long the parts of the script take, seconds, and which faults there are.

    A process that starts cold finds in Redis what was sent there since the last wipe, and every
    process sends a reader's stories once in 30 seconds. So the last faults before are no wipes.
    But one comes later: until then the process that was killed counts as one of the fleet that
    has not applied an order, as it should.
    """

    warm_up_s: float = 12.0
    order_s: float = 2.0
    phase_s: float = 2.2
    cold_s: float = 5.0
    well: tuple[Fault, ...] = (Fault.KILLED,) * 4 + (Fault.FROZEN,) * 4
    dead: tuple[Fault, ...] = (Fault.FROZEN, Fault.KILLED) * 3


FULL: Final = Pace()


@dataclass(frozen=True, slots=True, kw_only=True)
class Wipe:
    """A redis-server that lost everything; Unix seconds.

    Attributes:
        killed, empty: When it was killed, and when one with nothing in it answered.
        restored: When it had the holds again; None when it did not within ten seconds.
    """

    killed: float
    empty: float
    restored: float | None


class FleetScript:
    """Runs the steps; `marks`, `phases`, `wipes` and `notes` fill while it runs.

    Args:
        processes: Where they all run.
        redis: The server that they share.
        fleet: The log of events in it.
        health: How the flags stand.
        feeds: Names of the feed processes to ports.
        notes: Where to tell what is done.
        start_ranker: Starts a ranker, and waits until it is well.
        start_feed: Starts the feed process of this name, and waits until it is well.
        send_to: Lets the load send to these ports only, and waits until it does.
        pace: How long it all takes.
    """

    def __init__(
        self,
        processes: Processes,
        redis: RedisServer,
        fleet: Fleet,
        health: Health,
        *,
        feeds: dict[str, int],
        notes: list[Note],
        start_ranker: Callable[[], Awaitable[None]],
        start_feed: Callable[[str], Awaitable[None]],
        send_to: Callable[[Sequence[int]], Awaitable[None]],
        pace: Pace = FULL,
    ) -> None:
        self.marks: dict[str, float] = {}
        self.phases: list[Phase] = []
        self.wipes: list[Wipe] = []
        self.said = ""
        self.cold, self.cold_port = list(feeds.items())[-1]
        self._processes = processes
        self._redis = redis
        self._fleet = fleet
        self._health = health
        self._feeds = feeds
        self._notes = notes
        self._start_ranker = start_ranker
        self._start_feed = start_feed
        self._send_to = send_to
        self._pace = pace
        self._held = [ANALYTICS]

    async def run(self) -> None:
        """Do everything once; returns when all is steady again, or has failed to be in time."""
        self._mark("healthy", "readers arrive, everything is well")
        await asyncio.sleep(self._pace.warm_up_s)

        self._mark("hand", f"redis-cli HSET {self._redis.holds_key} {ANALYTICS} degraded")
        await self._redis.cli("HSET", self._redis.holds_key, ANALYTICS, "degraded")
        await asyncio.sleep(self._pace.order_s)
        self._mark("hand_seen")
        await self._turns(Ranker.WELL, self._pace.well)

        self._mark("ranker_dead", "the ranker is killed (SIGKILL)")
        await self._processes.kill("ranker")
        await asyncio.sleep(self._pace.order_s)
        await self._restart_cold()
        await self._turns(Ranker.DEAD, self._pace.dead)
        await self._start_ranker()
        self._mark("ranker_back", "a new ranker is healthy")

        await self._off()
        await self._normal_again()
        self._mark("done", "everything is steady again")

    # ------------------------------------------------------------------ steps

    async def _turns(self, ranker: Ranker, faults: Sequence[Fault]) -> None:
        """Let Redis be well and at fault by turns, well at the beginning and at the end."""
        turns = chain.from_iterable((Fault.CALM, fault) for fault in faults)
        for fault in (*turns, Fault.CALM):
            start = time.time()
            match fault:
                case Fault.CALM:
                    await asyncio.sleep(self._pace.phase_s + _SETTLE_S)
                case Fault.FROZEN:
                    await self._freeze(self._pace.phase_s)
                case Fault.KILLED:
                    await self._wipe(self._pace.phase_s)
            end = time.time()
            self.phases.append(Phase(fault=fault, ranker=ranker, start=start, end=end))

    async def _freeze(self, for_s: float) -> None:
        self._note("Redis is frozen (SIGSTOP)")
        self._redis.freeze()
        await asyncio.sleep(for_s)
        self._redis.thaw()
        self._note("Redis goes on (SIGCONT)")
        await asyncio.sleep(_SETTLE_S)

    async def _wipe(self, for_s: float) -> None:
        """Kill Redis, and start it again with nothing in it; wait until the holds are back."""
        await asyncio.to_thread(self._fleet.events)  # what was logged so far is lost with it
        self._note("Redis is killed (SIGKILL)")
        killed = time.time()
        await self._redis.kill()
        await asyncio.sleep(for_s)
        await self._redis.start()
        self._note("Redis is started again, empty")
        empty = time.monotonic()
        restored = None
        while time.monotonic() < empty + _RESTORED_S:
            if await self._redis.held(*self._held):
                restored = time.time()
                break
            await asyncio.sleep(_LOOK_S)
        at = time.time() - (time.monotonic() - empty)
        self.wipes.append(Wipe(killed=killed, empty=at, restored=restored))
        await asyncio.sleep(_SETTLE_S)

    async def _restart_cold(self) -> None:
        """End one feed process as a crash does, and start it with no snapshot in its memory."""
        await self._send_to([port for port in self._feeds.values() if port != self.cold_port])
        self._mark("cold_down", f"{self.cold} is out of the rotation, and killed (SIGKILL)")
        await self._processes.kill(self.cold)
        await self._start_feed(self.cold)
        self._mark("cold_up", f"a new {self.cold} is in the rotation, its memory empty")
        await self._send_to(list(self._feeds.values()))
        await asyncio.sleep(self._pace.cold_s)
        self._mark("cold_seen")

    async def _off(self) -> None:
        """Turn the ranking off, and let Redis be wiped and frozen under it."""
        self._note(f"degrade hold {RANKING} off --for 5m --wait 99%")
        self.said = await self._order(
            "off", "hold", RANKING, "off", "--for", "5m",
            "--reason", "the model recommends last year's news", "--wait", "99%",
        )  # fmt: skip
        self._held.append(RANKING)
        self._mark("off_known", "the command has returned: every process has applied it")
        await asyncio.sleep(self._pace.order_s)
        self._mark("off_seen")
        await self._wipe(self._pace.order_s)
        await self._freeze(self._pace.order_s)
        await asyncio.sleep(self._pace.order_s)

    async def _normal_again(self) -> None:
        """Release both holds, each in the way in which it was ordered; Redis is wiped meanwhile."""
        await self._order("off_end", "release", RANKING, "--reason", "the model was rolled back")
        self._note(f"degrade release {RANKING}")
        self._mark("hand_end", f"redis-cli HDEL {self._redis.holds_key} {ANALYTICS}")
        await self._redis.cli("HDEL", self._redis.holds_key, ANALYTICS)
        self._held = []
        await asyncio.sleep(self._pace.order_s)  # what is known of the flags is half a second old
        if await until(self._on_its_way, _STEADY_S):
            self._mark("recovery_wiped")
            await self._wipe(self._pace.order_s)
        if await until(self._steady, _STEADY_S):
            self._mark("steady")
            await asyncio.sleep(self._pace.order_s)

    # ------------------------------------------------------------------ private

    def _mark(self, name: str, note: str = "") -> None:
        self.marks[name] = time.time()
        if note:
            self._note(note)

    def _note(self, text: str) -> None:
        self._notes.append((time.time(), text))

    async def _order(self, mark: str, *words: str) -> str:
        """Run the command line in a process of its own, as an operator does."""
        code, output = await self._processes.run("degrade.cli", *words)
        if code != 0:
            raise ScriptError(f"degrade {' '.join(words)} ended with {code}:\n{output}")
        self.marks[mark] = await asyncio.to_thread(self._fleet.last_order)
        return output.strip()

    def _on_its_way(self) -> bool:
        """Whether the ranking recovers: nobody is degraded any more, and some calls are served."""
        ranking = self._health.seen.flags.get(RANKING)
        return (
            ranking is not None
            and ranking.phase is FlagPhase.RECOVERING
            and ranking.dial <= _ON_ITS_WAY
        )

    def _steady(self) -> bool:
        flags = self._health.seen.flags
        return {RANKING, ANALYTICS} <= flags.keys() and all(each.normal for each in flags.values())
