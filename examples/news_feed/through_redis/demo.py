"""The fleet as a whole: starts Redis and the processes, watches the script, and judges."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Final

from rich.console import Console

from degrade.core.records import Event
from degrade.ports import Store
from degrade.settings import open_store
from examples.news_feed.answers import read, read_after
from examples.news_feed.counting import settled
from examples.news_feed.fleet import Fleet
from examples.news_feed.judging import Check
from examples.news_feed.picture import Span
from examples.news_feed.processes import ONE_THREAD, Processes, empty_logs, free_ports
from examples.news_feed.report import conclude, write
from examples.news_feed.script import healthy
from examples.news_feed.seconds import Second
from examples.news_feed.stories import Story, save
from examples.news_feed.through_redis.busy import Busy
from examples.news_feed.through_redis.checks import FleetRun, judge
from examples.news_feed.through_redis.health import Health
from examples.news_feed.through_redis.phases import Fault, Ranker
from examples.news_feed.through_redis.script import FULL, FleetScript, Pace
from examples.news_feed.through_redis.server import RedisServer
from examples.news_feed.view import View
from examples.news_feed.watching import Note, Watching

__all__ = ("FleetDemo",)

_RATE: Final = 120.0
_NAMES: Final = ("feed-1", "feed-2", "feed-3", "feed-4")
_NAMESPACE: Final = "news"
_FAULTS: Final = "Redis frozen, or killed and wiped"
_WIPED: Final = "Redis wiped"
_BY_HAND: Final = "analytics degraded by redis-cli, until ranking is released"
_TITLE: Final = "Four processes of a news feed while Redis is frozen and wiped, and the ranker dies"


class FleetDemo:
    """One run; results go to `folder`."""

    def __init__(
        self,
        console: Console,
        stories: Sequence[Story],
        folder: Path,
        *,
        pace: Pace = FULL,
    ) -> None:
        self._console = console
        self._stories = stories
        self._folder = folder
        self._pace = pace
        self._seconds: list[Second] = []
        self._busy: float | None = None
        self.checks: list[Check] = []
        self.address = ""

    async def run(self) -> bool:
        """Run everything and return whether every check holds."""
        logs = empty_logs(self._folder)
        with tempfile.TemporaryDirectory(prefix="news-feed-") as place:
            processes = Processes(logs, {**ONE_THREAD, "DEGRADE_LOCAL": f"{place}/local"})
            redis = RedisServer(processes, Path(place), _NAMESPACE)
            processes.environment |= {
                "DEGRADE_STORE": redis.url, "DEGRADE_NAMESPACE": _NAMESPACE,
            }  # fmt: skip
            try:
                run = await self._record(processes, Path(place), redis)
            finally:
                await processes.stop_all()
        self.checks = judge(run)
        more = {
            "phases": [asdict(phase) for phase in run.phases],
            "wipes": [asdict(wipe) for wipe in run.wipes],
            "said": run.said,
            "busy": self._busy,
        }
        write(
            self._folder, run, self._seconds, self.checks,
            spans=spans_of(run), title=_TITLE, more=more,
        )  # fmt: skip
        passed = conclude(self._console, self._folder, run, self.checks)
        if self._busy is not None:
            self._console.print(f"the machine was {self._busy:.0%} busy", highlight=False)
        return passed

    async def _record(self, processes: Processes, place: Path, redis: RedisServer) -> FleetRun:
        """Start everything, run the script under load, and return what was recorded."""
        started = time.time()
        stories = place / "stories.jsonl"
        save(self._stories, stories)
        visited = self._folder / "visits.jsonl"
        visited.write_text("", encoding="utf-8")
        ranker, *ports = free_ports(1 + len(_NAMES))
        feeds = dict(zip(_NAMES, ports, strict=True))

        async def start_ranker() -> None:
            await processes.start(
                "ranker", "examples.news_feed.ranker",
                "--port", str(ranker), "--stories", str(stories),
            )  # fmt: skip
            await healthy(ranker, "/health")

        async def start_feed(name: str) -> None:
            await processes.start(
                name, "examples.news_feed.feed", "--port", str(feeds[name]),
                "--ranker", f"http://127.0.0.1:{ranker}", "--stories", str(stories),
                "--visits", str(visited),
            )  # fmt: skip
            await healthy(feeds[name], "/degrade/health")

        await redis.start()
        await asyncio.gather(start_ranker(), *(start_feed(name) for name in feeds))
        answers = self._folder / "answers.jsonl"
        load = await processes.start(
            "load", "examples.news_feed.load", "--rate", str(_RATE), "--stories", str(stories),
            "--out", str(answers), *(word for port in ports for word in ("--port", str(port))),
            piped=True,
        )  # fmt: skip
        pids = {processes.pid(name): port for name, port in feeds.items()}
        store = open_store(redis.url, namespace=_NAMESPACE)
        fleet = LoggedFleet(store, list(pids))
        health = Health(ports)
        notes: list[Note] = []
        self.address = f"http://127.0.0.1:{ports[0]}/"
        heading = f"read it while it happens: {self.address}"
        with View(self._console, started=started, heading=heading, last="state") as view:
            watching = Watching(load, processes, look=health.look, notes=lambda: notes, view=view)
            self._seconds = watching.seconds
            script = FleetScript(
                processes, redis, fleet, health, feeds=feeds, notes=notes,
                start_ranker=start_ranker, start_feed=start_feed, send_to=watching.send_to,
                pace=self._pace,
            )  # fmt: skip
            busy = Busy()
            try:
                await watching.run(script.run())
            finally:
                await health.close()
            self._busy = busy.share()
        ended = time.time()
        await processes.stop("load")
        lived = [port for port in ports if port != script.cold_port]
        counters = await settled(lived)
        visits = list(read(visited))
        instances = await asyncio.to_thread(fleet.instances)
        events = await asyncio.to_thread(fleet.events)
        store.close()
        return FleetRun(
            started=started, ended=ended, answers=read_after(answers, visits), events=events,
            processes={
                instance: pids[pid] for instance, pid in instances.items() if pids[pid] in lived
            },
            marks=script.marks, counters=counters, visits=visits, ports=tuple(ports),
            cold_port=script.cold_port, phases=script.phases, wipes=script.wipes, said=script.said,
        )  # fmt: skip


class LoggedFleet(Fleet):
    """Remembers the events that it has read, as a store that is wiped does not."""

    def __init__(self, store: Store, pids: Sequence[int]) -> None:
        super().__init__(store, pids)
        self._read: dict[tuple[float, str], Event] = {}

    def events(self) -> list[Event]:
        """Return all events read so far, oldest first."""
        self._read.update({(event.at, event.id): event for event in super().events()})
        return [self._read[key] for key in sorted(self._read)]


def spans_of(run: FleetRun) -> list[Span]:
    """Return the faults, the outage and the orders of a run."""
    marks = run.marks
    faults = [phase for phase in run.phases if phase.fault is not Fault.CALM]
    spans = [Span(name="", kind="store", start=each.start, end=each.end) for each in faults]
    for ranker in Ranker:
        if block := [phase for phase in faults if phase.ranker is ranker]:
            start, end = block[0].start, block[-1].end
            spans.append(
                Span(name=_FAULTS, kind="store", start=start, end=end, row=1, shaded=False)
            )
    for wipe in run.wipes:
        if not any(phase.start <= wipe.killed < phase.end for phase in faults):
            name = _WIPED if wipe.killed >= marks.get("recovery_wiped", wipe.empty) else ""
            spans.append(Span(name=name, kind="store", start=wipe.killed, end=wipe.empty))
    named = (
        ("ranker_dead", "ranker_back", "ranker dead", "outage"),
        ("off", "off_end", "ranking off", "order"),
        ("hand", "ranker_dead", _BY_HAND, "order"),
    )
    spans += [
        Span(name=name, kind=kind, start=marks[start], end=marks[end], shaded=start != "hand")
        for start, end, name, kind in named
        if start in marks and end in marks
    ]
    return spans
