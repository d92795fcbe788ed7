"""What happens in the demo, in order, and when it happened."""

from __future__ import annotations

import asyncio
import signal
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import chain
from typing import TYPE_CHECKING, Final

from degrade.core.enums import Phase as FlagPhase
from examples.news_feed.fleet import UNKNOWN, FlagState
from examples.news_feed.processes import PYTHON, until
from examples.news_feed.redis_server import RedisServer

if TYPE_CHECKING:
    from examples.news_feed.demo import Demo

RANKING: Final = "feed.ranking"
ANALYTICS: Final = "feed.analytics"
_WRONG: Final = "the model recommends last year's news"
_SETTLE_S: Final = 0.8
"""The time after a fault that still counts as part of it."""
_RESTORED_S: Final = 10.0
_STEADY_S: Final = 62.0

Fault = StrEnum("Fault", ["CALM", "FROZEN", "KILLED"])
Ranker = StrEnum("Ranker", ["WELL", "DEAD"])


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """A part of a run with a fault of Redis or without, the ranker well or dead; Unix seconds."""

    fault: Fault
    ranker: Ranker
    start: float
    end: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Wipe:
    """When a redis-server was killed, an empty one answered, and had the holds again, if in 10 s."""

    killed: float
    empty: float
    restored: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How long the parts of the script take, seconds, and whether there are all.

    Between the faults there are over 1,000 good calls a process, which is what takes a cooldown
    that the first one has raised back to where it was.
    """

    warm_up_s: float = 24.0
    outage_s: float = 14.0
    between_s: float = 14.0
    order_s: float = 6.0
    calm_s: float = 3.0
    steady_s: float = _STEADY_S
    complete: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetPace(Pace):
    """How long the parts of the script of the fleet take, seconds, and which faults there are.

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


class Script:
    """Freezes and kills the ranker, and orders; what happened is told while it runs."""

    last = "oldest"
    """The last column of the view."""

    def __init__(self, stage: Demo, pace: Pace) -> None:
        self.marks: dict[str, float] = {}
        self.notes: list[tuple[float, str]] = []
        self.phases: list[Phase] = []
        self.wipes: list[Wipe] = []
        self.said = ""
        self.stage = stage
        self.pace = pace

    async def run(self) -> None:
        """Do everything once; returns when all is steady again, or has failed to be in time."""
        self.mark("healthy", "readers arrive, the ranker is well")
        await asyncio.sleep(self.pace.warm_up_s)
        if self.pace.complete:
            self.mark("freeze", "the ranker is frozen (SIGSTOP)")
            self.stage.processes.signal("ranker", signal.SIGSTOP)
            await asyncio.sleep(self.pace.outage_s)
            self.stage.processes.signal("ranker", signal.SIGCONT)
            self.mark("thaw", "the ranker goes on (SIGCONT)")
            await self._steady()
            await asyncio.sleep(self.pace.between_s)
        await self.kill_ranker("kill")
        await asyncio.sleep(self.pace.outage_s)
        await self.stage.start_ranker()
        self.mark("back", "a new ranker is healthy")
        await self._steady()
        if self.pace.complete:
            await self._orders()
        self.mark("done", "everything is steady again")

    async def _orders(self) -> None:
        practice = ("level", "3", "--for", "5m", "--reason", "practice for the big match")
        await self.order("level", "an operator orders level 3", *practice)
        await until(lambda: self.flags()[ANALYTICS].dial == 1, 20.0)
        await asyncio.sleep(self.pace.order_s)
        over = ("level", "release", "--reason", "practice is over")
        await self.order("level_end", "the operator releases the level", *over)
        await self._steady()
        off = ("hold", RANKING, "off", "--until-released", "--reason", _WRONG)
        await self.order("off", "an operator turns feed.ranking off", *off)
        await asyncio.sleep(self.pace.order_s)
        await self.release("the operator releases feed.ranking")
        await self._steady()

    async def _steady(self) -> None:
        """Wait until everything is normal; the checks judge from the log how long it took."""
        await asyncio.sleep(1.5)  # the processes are asked twice a second, so not what was before
        await until(self.is_steady, self.pace.steady_s)
        await asyncio.sleep(self.pace.calm_s)

    def mark(self, name: str, note: str = "") -> None:
        self.marks[name] = time.time()
        if note:
            self.note(note)

    def note(self, text: str) -> None:
        self.notes.append((time.time(), text))

    async def kill_ranker(self, mark: str) -> None:
        self.mark(mark, "the ranker is killed (SIGKILL)")
        await self.stage.processes.kill("ranker")

    async def order(self, mark: str, note: str, *words: str) -> str:
        """Run the command line in a process of its own, as an operator does."""
        output = await self.stage.processes.run(*PYTHON, "degrade.cli", *words)
        self.marks[mark] = await asyncio.to_thread(self.stage.fleet.last_order)
        self.notes.append((self.marks[mark], note))
        return output

    async def release(self, note: str) -> None:
        reason = "the model was rolled back"
        await self.order("off_end", note, "release", RANKING, "--reason", reason)

    def flags(self) -> defaultdict[str, FlagState]:
        """Return how the flags stand; one of which nothing is known is degraded."""
        return defaultdict(lambda: UNKNOWN, self.stage.fleet.seen.flags)

    def is_steady(self) -> bool:
        flags = self.flags()
        return flags[RANKING].normal and flags[ANALYTICS].normal


class FleetScript(Script):
    """The script of the fleet, in which Redis has faults, too."""

    last = "state"
    pace: FleetPace

    def __init__(self, stage: Demo, pace: FleetPace, redis: RedisServer) -> None:
        super().__init__(stage, pace)
        self._redis = redis
        self._held = [ANALYTICS]

    async def run(self) -> None:
        self.mark("healthy", "readers arrive, everything is well")
        await asyncio.sleep(self.pace.warm_up_s)
        self.mark("hand", f"redis-cli HSET {self._redis.holds_key} {ANALYTICS} degraded")
        await self._redis.cli("HSET", self._redis.holds_key, ANALYTICS, "degraded")
        await asyncio.sleep(self.pace.order_s)
        self.mark("hand_seen")
        await self._turns(Ranker.WELL, self.pace.well)
        await self.kill_ranker("ranker_dead")
        await asyncio.sleep(self.pace.order_s)
        await self._restart_cold()
        await self._turns(Ranker.DEAD, self.pace.dead)
        await self.stage.start_ranker()
        self.mark("ranker_back", "a new ranker is healthy")
        await self._off()
        await self._normal_again()
        self.mark("done", "everything is steady again")

    async def _turns(self, ranker: Ranker, faults: Sequence[Fault]) -> None:
        """Let Redis be well and at fault by turns, well at the beginning and at the end."""
        for fault in (*chain.from_iterable((Fault.CALM, fault) for fault in faults), Fault.CALM):
            start = time.time()
            match fault:
                case Fault.CALM:
                    await asyncio.sleep(self.pace.phase_s + _SETTLE_S)
                case Fault.FROZEN:
                    await self._freeze(self.pace.phase_s)
                case Fault.KILLED:
                    await self._wipe(self.pace.phase_s)
            self.phases.append(Phase(fault=fault, ranker=ranker, start=start, end=time.time()))

    async def _freeze(self, for_s: float) -> None:
        self.note("Redis is frozen (SIGSTOP)")
        self._redis.freeze()
        await asyncio.sleep(for_s)
        self._redis.thaw()
        self.note("Redis goes on (SIGCONT)")
        await asyncio.sleep(_SETTLE_S)

    async def _wipe(self, for_s: float) -> None:
        """Kill Redis, and start it again with nothing in it; wait until the holds are back."""
        await asyncio.to_thread(self.stage.fleet.events)  # what was logged so far is lost with it
        self.note("Redis is killed (SIGKILL)")
        killed = time.time()
        await self._redis.kill()
        await asyncio.sleep(for_s)
        await self._redis.start()
        self.note("Redis is started again, empty")
        empty, restored = time.time(), None
        while restored is None and time.time() < empty + _RESTORED_S:
            if await self._redis.held(*self._held):
                restored = time.time()
            await asyncio.sleep(0.02)
        self.wipes.append(Wipe(killed=killed, empty=empty, restored=restored))
        await asyncio.sleep(_SETTLE_S)

    async def _restart_cold(self) -> None:
        """End one feed process as a crash does, and start it with no snapshot in its memory."""
        *_, (cold, cold_port) = self.stage.feeds.items()
        await self.stage.send_to([port for port in self.stage.feeds.values() if port != cold_port])
        self.mark("cold_down", f"{cold} is out of the rotation, and killed (SIGKILL)")
        await self.stage.processes.kill(cold)
        await self.stage.start_feed(cold)
        self.mark("cold_up", f"a new {cold} is in the rotation, its memory empty")
        await self.stage.send_to(list(self.stage.feeds.values()))
        await asyncio.sleep(self.pace.cold_s)
        self.mark("cold_seen")

    async def _off(self) -> None:
        """Turn the ranking off, and let Redis be wiped and frozen under it."""
        note = f"degrade hold {RANKING} off --for 5m --wait 99%"
        words = ("--for", "5m", "--reason", _WRONG, "--wait", "99%")
        self.said = await self.order("off", note, "hold", RANKING, "off", *words)
        self._held.append(RANKING)
        self.mark("off_known", "the command has returned: every process has applied it")
        await asyncio.sleep(self.pace.order_s)
        self.mark("off_seen")
        await self._wipe(self.pace.order_s)
        await self._freeze(self.pace.order_s)
        await asyncio.sleep(self.pace.order_s)

    async def _normal_again(self) -> None:
        """Release both holds, each in the way in which it was ordered; Redis is wiped meanwhile."""
        await self.release(f"degrade release {RANKING}")
        self.mark("hand_end", f"redis-cli HDEL {self._redis.holds_key} {ANALYTICS}")
        await self._redis.cli("HDEL", self._redis.holds_key, ANALYTICS)
        self._held = []
        await asyncio.sleep(self.pace.order_s)  # what is known of the flags is half a second old
        if await until(self._is_on_its_way, _STEADY_S):
            self.mark("recovery_wiped")
            await self._wipe(self.pace.order_s)
        if await until(self.is_steady, _STEADY_S):
            self.mark("steady")
            await asyncio.sleep(self.pace.order_s)

    def _is_on_its_way(self) -> bool:
        """Whether the ranking recovers: nobody is degraded any more, and some calls are served."""
        ranking = self.flags()[RANKING]
        return ranking.phase is FlagPhase.RECOVERING and ranking.dial <= 0.95
