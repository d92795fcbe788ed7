"""The demo as a whole: starts the processes, watches while the script runs, and judges."""

from __future__ import annotations

import asyncio
import json
import tempfile
import time
from asyncio.subprocess import Process
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import aiohttp
from prometheus_client.parser import text_string_to_metric_families
from rich.console import Console

from degrade.settings import open_store
from examples.news_feed.answers import read
from examples.news_feed.checks import Counters, Run, judge
from examples.news_feed.fleet import FlagState, Fleet
from examples.news_feed.processes import Processes, free_ports
from examples.news_feed.report import late, summarise, write
from examples.news_feed.script import MARKS, Script, ScriptError, healthy, until
from examples.news_feed.seconds import Second
from examples.news_feed.stories import Story, save
from examples.news_feed.view import View

__all__ = ("Demo",)

_RATE: Final = 170.0
_SCRAPE_S: Final = 1.2
_SCRAPES: Final = 6
_SHOWN_S: Final = 4.0
_FEEDS: Final = ("feed-1", "feed-2")
_ONE_THREAD: Final = dict.fromkeys(
    ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"
)


class Demo:
    """One run; results go to `folder`."""

    def __init__(self, console: Console, stories: Sequence[Story], folder: Path) -> None:
        self._console = console
        self._stories = stories
        self._folder = folder
        self._seconds: list[Second] = []
        self._states: dict[int, Mapping[str, FlagState]] = {}
        self._noted: set[str] = set()

    async def run(self) -> bool:
        """Run everything and return whether every check holds."""
        logs = self._folder / "logs"
        logs.mkdir(parents=True, exist_ok=True)
        for old in logs.glob("*.log"):
            old.unlink()
        with tempfile.TemporaryDirectory(prefix="news-feed-") as place:
            store = f"sqlite:///{place}/degrade.db"
            processes = Processes(
                logs, {**_ONE_THREAD, "DEGRADE_STORE": store, "DEGRADE_LOCAL": f"{place}/local"}
            )
            try:
                run = await self._record(processes, Path(place), store)
            finally:
                await processes.stop_all()
        checks = judge(run)
        write(self._folder, run, self._seconds, checks)
        summarise(self._console, checks)
        lag = late(run)
        self._console.print(
            f"the load sent its requests at most {lag['most'] * 1e3:.0f} ms late "
            f"(p99 {lag['p99'] * 1e3:.0f} ms)",
            highlight=False,
        )
        passed = all(check.ok for check in checks)
        verdict = "[bold green]every check holds[/]" if passed else "[bold red]a check failed[/]"
        self._console.print(f"{verdict}: {self._folder}/run.json, {self._folder}/run.png")
        return passed

    async def _record(self, processes: Processes, place: Path, store_url: str) -> Run:
        """Start everything, run the script under load, and return what was recorded."""
        started = time.time()
        stories = place / "stories.jsonl"
        save(self._stories, stories)
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
        script = Script(processes, fleet, ranker, start_ranker)
        heading = f"read it while it happens: http://127.0.0.1:{feeds[0]}/"
        with View(self._console, started=started, heading=heading) as view:
            await self._watched(script, fleet, load, view, processes)
        ended = time.time()
        await processes.stop("load")
        counters, pages = await _settled(feeds)
        ports = {instance: pids[pid] for instance, pid in fleet.instances().items()}
        events = fleet.events()
        store.close()
        return Run(
            started=started, ended=ended, answers=list(read(answers)), events=events,
            processes=ports, marks=script.marks, counters=counters, pages=pages,
        )  # fmt: skip

    async def _watched(
        self, script: Script, fleet: Fleet, load: Process, view: View, processes: Processes
    ) -> None:
        """Run the script, and show every second until it is over."""
        watching = [
            asyncio.create_task(self._sample(fleet)),
            asyncio.create_task(self._show(load, script, view)),
            asyncio.create_task(_complete(processes)),
        ]
        running = asyncio.create_task(script.run())
        try:
            await asyncio.wait([running, *watching], return_when=asyncio.FIRST_COMPLETED)
            for task in (*watching, running):
                if task.done():
                    task.result()
            await until(lambda: self._shown(time.time()), _SHOWN_S)
        finally:
            for task in (running, *watching):
                task.cancel()
            await asyncio.gather(running, *watching, return_exceptions=True)

    async def _sample(self, fleet: Fleet) -> None:
        while True:
            self._states[int(time.time())] = fleet.flags()
            await asyncio.sleep(0.5)

    async def _show(self, load: Process, script: Script, view: View) -> None:
        if load.stdout is None:
            raise ScriptError("the load has no output to read")
        async for line in load.stdout:
            told = json.loads(line)
            notes = [
                name
                for name, at in script.marks.items()
                if name not in self._noted and at < told["second"] + 1
            ]
            self._noted.update(notes)
            flags = self._states.pop(told["second"], {})
            second = Second.joined(told, flags, tuple(MARKS[name] for name in notes))
            self._seconds.append(second)
            view.show(second)
        raise ScriptError("the load has ended; see its log")

    def _shown(self, now: float) -> bool:
        return bool(self._seconds) and self._seconds[-1].at >= int(now) - 2


async def _complete(processes: Processes) -> None:
    """Raise when a process ends that nobody has stopped."""
    while True:
        if ended := processes.ended():
            raise ScriptError(f"{', '.join(ended)} ended; see the log of each")
        await asyncio.sleep(0.5)


async def _settled(ports: Sequence[int]) -> tuple[Counters, Counters]:
    """Return what the processes have counted, when two scrapes in a row agree."""
    async with aiohttp.ClientSession() as session:
        counted = await _counted(session, ports)
        for _ in range(_SCRAPES):
            await asyncio.sleep(_SCRAPE_S)  # what a scrape shows is up to a second old
            before, counted = counted, await _counted(session, ports)
            if counted == before:
                break
        return counted


async def _counted(
    session: aiohttp.ClientSession, ports: Sequence[int]
) -> tuple[Counter[tuple[str, str]], Counter[tuple[str, str]]]:
    """Return the calls and the pages that the processes have counted so far, added up."""
    calls: Counter[tuple[str, str]] = Counter()
    pages: Counter[tuple[str, str]] = Counter()
    for port in ports:
        async with session.get(f"http://127.0.0.1:{port}/metrics") as answer:
            calls.update(_calls(await answer.text()))
        async with session.get(f"http://127.0.0.1:{port}/pages") as answer:
            for flag, kinds in (await answer.json()).items():
                pages.update({(flag, kind): count for kind, count in kinds.items()})
    return calls, pages


def _calls(exposition: str) -> dict[tuple[str, str], int]:
    """Return `degrade_calls_total` of one process, by flag and class."""
    return {
        (sample.labels["flag"], sample.labels["class"]): int(sample.value)
        for family in text_string_to_metric_families(exposition)
        for sample in family.samples
        if sample.name == "degrade_calls_total"
    }
