"""The demo as a whole: starts the processes, watches while the script runs, and judges."""

from __future__ import annotations

import asyncio
import json
import tempfile
import time
from asyncio.subprocess import Process
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from rich.console import Console

from degrade.settings import open_store
from examples.news_feed.answers import read, read_after
from examples.news_feed.checks import CHECKS, FLEET_CHECKS
from examples.news_feed.fleet import Fleet
from examples.news_feed.judging import Check, Run, judged
from examples.news_feed.processes import PYTHON, Processes, ScriptError, free_ports, healthy
from examples.news_feed.redis_server import RedisServer
from examples.news_feed.report import conclude, write
from examples.news_feed.script import FleetPace, FleetScript, Pace, Script
from examples.news_feed.stories import Story, save
from examples.news_feed.watching import Second, Watching

_NAMESPACE: Final = "news"
_SENT_S: Final = 20.0
_TITLE: Final = "A news feed while its ranker is frozen, killed and brought back"
_FLEET_TITLE: Final = (
    "Four processes of a news feed while Redis is frozen and wiped, and the ranker dies"
)
_ONE_THREAD: Final = dict.fromkeys(
    ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"
)
"""What keeps numpy from using more threads than the example has cores for."""
_IDLE: Final = (3, 4)
"""Where the kernel's count has the time in which nothing ran, and that spent waiting for disks."""


class Demo:
    """One run, at a pace: that of two processes on SQLite, or that of the fleet on Redis.

    Results go to `folder`; `address` is where the page can be read once there are feeds.
    """

    def __init__(
        self, console: Console, stories: Sequence[Story], folder: Path, pace: Pace | FleetPace
    ) -> None:
        self.checks: list[Check] = []
        self.address = ""
        self._console = console
        self._stories = stories
        self._folder = folder
        self._pace = pace
        fleet = isinstance(pace, FleetPace)
        self._checks, self._title = (FLEET_CHECKS, _FLEET_TITLE) if fleet else (CHECKS, _TITLE)
        self._rate = 120.0 if fleet else 170.0
        self._ranker, *ports = free_ports(5 if fleet else 3)
        self.feeds = {f"feed-{number}": port for number, port in enumerate(ports, 1)}

    async def run(self) -> bool:
        """Run everything and return whether every check holds."""
        with tempfile.TemporaryDirectory(prefix="news-feed-") as place:
            self._place = Path(place)
            local = {"DEGRADE_LOCAL": f"{place}/local", "DEGRADE_NAMESPACE": _NAMESPACE}
            self.processes = Processes(self._folder / "logs", _ONE_THREAD | local)
            try:
                run, seconds, used = await self._record()
            finally:
                await self.processes.stop_all()
        self.checks = judged(run, self._checks)
        write(self._folder, run, seconds, self.checks, title=self._title, busy=used)
        return conclude(self._console, self._folder, run, self.checks, used)

    async def _record(self) -> tuple[Run, list[Second], float | None]:
        """Start everything, run the script under load, and return what was recorded."""
        started = time.time()
        save(self._stories, self._place / "stories.jsonl")
        answers, visited = self._folder / "answers.jsonl", self._folder / "visits.jsonl"
        for path in (answers, visited):
            path.write_text("", encoding="utf-8")
        store_url = f"sqlite:///{self._place}/degrade.db"
        script = Script(self, self._pace)
        if isinstance(self._pace, FleetPace):
            redis = RedisServer(self.processes, self._place, _NAMESPACE)
            store_url = redis.url
            script = FleetScript(self, self._pace, redis)
            await redis.start()
        self.processes.environment["DEGRADE_STORE"] = store_url
        await asyncio.gather(self.start_ranker(), *map(self.start_feed, self.feeds))
        ports = list(self.feeds.values())
        self._load = await self._start(
            "load", str(self._rate), str(answers), *map(str, ports), piped=True
        )
        pids = {self.processes.pid(name): port for name, port in self.feeds.items()}
        self.fleet = Fleet(open_store(store_url, namespace=_NAMESPACE), pids)
        self.address = f"http://127.0.0.1:{ports[0]}/"
        self._console.print(f"read it while it happens: {self.address}", highlight=False)
        watching = Watching(
            self._console, answers, self.processes, self.fleet, script, started=started
        )
        before = busy_times()
        try:
            await watching.run(script.run())
            used = busy(before, busy_times())
            ended = time.time()
            await self.processes.stop("load")
            cold = ports[-1] if isinstance(script, FleetScript) else None
            lived = [port for port in ports if port != cold]
            counters = await self.fleet.settled(lived)
            visits = list(read(visited))
            instances = await asyncio.to_thread(self.fleet.instances)
            run = Run(
                started=started, ended=ended, answers=read_after(answers, visits), visits=visits,
                events=await asyncio.to_thread(self.fleet.events), ports=ports, cold_port=cold,
                processes={name: port for name, port in instances.items() if port in lived},
                marks=script.marks, counters=counters, phases=script.phases, wipes=script.wipes,
                said=script.said,
            )  # fmt: skip
        finally:
            await self.fleet.close()
        return run, watching.seconds, used

    async def _start(self, name: str, *words: str, piped: bool = False) -> Process:
        module = f"examples.news_feed.{name.partition('-')[0]}"
        stories = str(self._place / "stories.jsonl")
        return await self.processes.start(name, *PYTHON, module, stories, *words, piped=piped)

    async def start_ranker(self) -> None:
        """Start a ranker, and wait until it is well."""
        await self._start("ranker", str(self._ranker))
        await healthy(self._ranker, "/health")

    async def start_feed(self, name: str) -> None:
        """Start the feed process of this name, and wait until it is well."""
        visits, port = self._folder / "visits.jsonl", self.feeds[name]
        await self._start(name, str(port), f"http://127.0.0.1:{self._ranker}", str(visits))
        await healthy(port, "/degrade/health")

    async def send_to(self, ports: Sequence[int]) -> None:
        """Let the load send to these ports only; wait until no other one has a request under way."""
        line = json.dumps(ports).encode() + b"\n"
        if self._load.stdin is None or self._load.stdout is None:
            raise ScriptError("the load has no input to write to")
        self._load.stdin.write(line)
        try:
            said = await asyncio.wait_for(self._load.stdout.readline(), _SENT_S)
        except TimeoutError:
            said = b""
        if said != line:
            raise ScriptError(f"the load does not send to {ports} alone; see its log")


def busy_times(stat: Path = Path("/proc/stat")) -> list[int]:
    """Return what the kernel counts of all cores since it began; elsewhere than on Linux nothing."""
    try:
        first = stat.read_text(encoding="ascii").splitlines()[0]
    except (OSError, IndexError):
        return []
    return [int(word) for word in first.split()[1:9]]  # guests are counted in others, too


def busy(before: Sequence[int], after: Sequence[int]) -> float | None:
    """Return the share of the cores that was in use between two counts, 0 to 1."""
    spent = [now - then for now, then in zip(after, before, strict=True)]
    return 1 - sum(spent[place] for place in _IDLE) / sum(spent) if sum(spent) else None
