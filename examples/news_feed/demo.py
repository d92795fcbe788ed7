"""The demo as a whole: starts the processes, watches while the script runs, and judges."""

from __future__ import annotations

import tempfile
import time
from asyncio.subprocess import Process
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from rich.console import Console

from degrade.settings import open_store
from examples.news_feed.answers import read, read_after
from examples.news_feed.checks import FAULTS, judge
from examples.news_feed.counting import settled
from examples.news_feed.fleet import Fleet
from examples.news_feed.judging import Check, Run
from examples.news_feed.picture import Span
from examples.news_feed.processes import ONE_THREAD, Processes, empty_logs, free_ports
from examples.news_feed.report import conclude, write
from examples.news_feed.script import FULL, MARKS, Pace, Script, healthy
from examples.news_feed.seconds import Second
from examples.news_feed.stories import Story, save
from examples.news_feed.view import View
from examples.news_feed.watching import Seen, Watching

__all__ = ("Demo", "spans_of")

_RATE: Final = 170.0
_FEEDS: Final = ("feed-1", "feed-2")
_OUTAGES: Final = {"freeze": "ranker frozen", "kill": "ranker killed"}
_ORDERS: Final = (("level", "level_end", "level 3"), ("off", "off_end", "ranking off"))
_TITLE: Final = "A news feed while its ranker is frozen, killed and brought back"


class Demo:
    """One run; results go to `folder`."""

    def __init__(
        self, console: Console, stories: Sequence[Story], folder: Path, *, pace: Pace = FULL
    ) -> None:
        self._console = console
        self._stories = stories
        self._folder = folder
        self._pace = pace
        self._seconds: list[Second] = []
        self.checks: list[Check] = []
        self.address = ""

    async def run(self) -> bool:
        """Run everything and return whether every check holds."""
        logs = empty_logs(self._folder)
        with tempfile.TemporaryDirectory(prefix="news-feed-") as place:
            store = f"sqlite:///{place}/degrade.db"
            processes = Processes(
                logs, {**ONE_THREAD, "DEGRADE_STORE": store, "DEGRADE_LOCAL": f"{place}/local"}
            )
            try:
                run = await self._record(processes, Path(place), store)
            finally:
                await processes.stop_all()
        self.checks = judge(run)
        write(
            self._folder, run, self._seconds, self.checks, spans=spans_of(run.marks), title=_TITLE
        )
        return conclude(self._console, self._folder, run, self.checks)

    async def _record(self, processes: Processes, place: Path, store_url: str) -> Run:
        """Start everything, run the script under load, and return what was recorded."""
        started = time.time()
        stories = place / "stories.jsonl"
        save(self._stories, stories)
        visited = self._folder / "visits.jsonl"
        visited.write_text("", encoding="utf-8")
        ranker, *feeds = free_ports(1 + len(_FEEDS))

        async def start_ranker() -> Process:
            return await processes.start(
                "ranker", "examples.news_feed.ranker",
                "--port", str(ranker), "--stories", str(stories),
            )  # fmt: skip

        await start_ranker()
        for name, port in zip(_FEEDS, feeds, strict=True):
            await processes.start(
                name, "examples.news_feed.feed", "--port", str(port),
                "--ranker", f"http://127.0.0.1:{ranker}", "--stories", str(stories),
                "--visits", str(visited),
            )  # fmt: skip
        await healthy(ranker, "/health")
        for port in feeds:
            await healthy(port, "/degrade/health")
        answers = self._folder / "answers.jsonl"
        load = await processes.start(
            "load", "examples.news_feed.load", "--rate", str(_RATE), "--stories", str(stories),
            "--out", str(answers), *(word for port in feeds for word in ("--port", str(port))),
            piped=True,
        )  # fmt: skip
        pids = {processes.pid(name): port for name, port in zip(_FEEDS, feeds, strict=True)}
        store = open_store(store_url)
        fleet = Fleet(store, list(pids))
        script = Script(processes, fleet, ranker, start_ranker, self._pace)

        async def look() -> Seen:
            return Seen(flags=fleet.flags())

        self.address = f"http://127.0.0.1:{feeds[0]}/"
        heading = f"read it while it happens: {self.address}"
        with View(self._console, started=started, heading=heading) as view:
            watching = Watching(
                load, processes, look=look, view=view,
                notes=lambda: [(at, MARKS[name]) for name, at in script.marks.items()],
            )  # fmt: skip
            self._seconds = watching.seconds
            await watching.run(script.run())
        ended = time.time()
        await processes.stop("load")
        counters = await settled(feeds)
        visits = list(read(visited))
        ports = {instance: pids[pid] for instance, pid in fleet.instances().items()}
        events = fleet.events()
        store.close()
        return Run(
            started=started, ended=ended, answers=read_after(answers, visits), events=events,
            processes=ports, marks=script.marks, counters=counters, visits=visits,
        )  # fmt: skip


def spans_of(marks: Mapping[str, float]) -> list[Span]:
    """Return the outages and the orders that began and ended."""
    outages = [(start, end, _OUTAGES[start], "outage") for start, end in FAULTS]
    orders = [(start, end, name, "order") for start, end, name in _ORDERS]
    return [
        Span(name=name, kind=kind, start=marks[start], end=marks[end])
        for start, end, name, kind in (*outages, *orders)
        if start in marks and end in marks
    ]
