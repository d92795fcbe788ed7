"""The parts of the demo that are processes: its load, and how it cleans up after itself."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from rich.console import Console

from examples.news_feed.answers import read
from examples.news_feed.classify import Classifier, Kind, Says, read_headers
from examples.news_feed.demo import Demo
from examples.news_feed.load import Load
from examples.news_feed.processes import Processes, free_ports
from examples.news_feed.script import Pace, healthy, until
from examples.news_feed.stories import bundled, newest, save
from tests.integration.feed_visitor import run_with_visitor

pytestmark = [pytest.mark.real, pytest.mark.slow]

ROOT = Path(__file__).resolve().parents[2]


async def under_load(path: Path, *, stall_s: float) -> None:
    """Load a server that holds back all answers for a while, then goes on."""
    flowing = asyncio.Event()
    flowing.set()

    async def feed(request: web.Request) -> web.Response:
        await flowing.wait()
        return web.json_response(
            {
                "user": request.query["user"], "nonce": None, "receipt": None,
                "stories": [{"id": "a", "published": 1.0, "score": 0.0}],
            }
        )  # fmt: skip

    application = web.Application()
    application.router.add_get("/feed", feed)
    runner = web.AppRunner(application)
    await runner.setup()
    (port,) = free_ports(1)
    await web.TCPSite(runner, "127.0.0.1", port).start()
    stop = asyncio.Event()
    with path.open("w") as out:
        load = Load([port], rate=200, newest_ids=["a"], out=out)
        running = asyncio.create_task(load.run(stop))
        await asyncio.sleep(0.5)
        flowing.clear()
        await asyncio.sleep(stall_s)
        flowing.set()
        await asyncio.sleep(0.5)
        stop.set()
        await running
    await runner.cleanup()


def test_a_stall_is_felt_by_every_request_that_was_due_in_it(tmp_path):
    path = tmp_path / "answers.jsonl"
    asyncio.run(under_load(path, stall_s=1.0))
    answers = list(read(path))
    assert {answer.kind for answer in answers} == {Kind.DEFAULT}
    waited = [answer for answer in answers if answer.latency_s > 0.25]
    assert len(waited) > 100  # about 150 were due in the first three quarters of the stall
    assert max(answer.latency_s for answer in waited) > 0.9
    prompt = sum(answer.sent - answer.due < 0.25 for answer in answers)
    assert prompt > 0.8 * len(answers), "a load that waits for answers would hold back a third"


def test_the_load_tells_each_second_on_its_output(tmp_path, capsys):
    asyncio.run(under_load(tmp_path / "answers.jsonl", stall_s=2.5))
    told = capsys.readouterr().out.splitlines()
    assert told
    assert '"requests": ' in told[0]


async def freeze_and_stop(logs: Path) -> int:
    processes = Processes(logs, {})
    (port,) = free_ports(1)
    process = await processes.start("server", "http.server", str(port), "--bind", "127.0.0.1")
    await healthy(port, "/")
    processes.signal("server", signal.SIGSTOP)
    await processes.stop_all()
    return process.pid


def test_a_frozen_process_is_stopped_like_any_other(tmp_path):
    pid = asyncio.run(freeze_and_stop(tmp_path))
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


async def outage(place: Path) -> list[tuple[Kind, Says, str]]:
    """Ask for a feed and a page: while the ranker is there, when it is gone, as somebody else."""
    stories = bundled()
    save(stories, place / "stories.jsonl")
    classifier = Classifier([story.id for story in newest(stories)])
    ranker, feed = free_ports(2)
    processes = Processes(place, {})
    common = ("--stories", str(place / "stories.jsonl"))
    await processes.start("ranker", "examples.news_feed.ranker", "--port", str(ranker), *common)
    await processes.start(
        "feed", "examples.news_feed.feed", "--port", str(feed),
        "--ranker", f"http://127.0.0.1:{ranker}", *common,
    )  # fmt: skip
    async with aiohttp.ClientSession(f"http://127.0.0.1:{feed}") as session:

        async def ask(reader: str) -> tuple[Kind, Says, str]:
            async with session.get("/feed", params={"user": reader}) as answer:
                looks = classifier.classify(answer.status, await answer.read(), reader)
                says = read_headers(answer.headers, "feed.ranking")
            async with session.get("/", params={"user": reader}) as page:
                return looks.kind, says, await page.text()

        try:
            await healthy(ranker, "/health")
            await healthy(feed, "/degrade/health")
            full = await ask("reader-0001")
            await processes.kill("ranker")
            end = time.monotonic() + 10
            snapshot = await ask("reader-0001")  # it is stored behind the answer, so perhaps
            while snapshot[0] is not Kind.SNAPSHOT and time.monotonic() < end:  # not yet
                snapshot = await ask("reader-0001")
            default = await ask("reader-0002")
        finally:
            await processes.stop_all()
    return [full, snapshot, default]


def test_the_feed_answers_in_an_outage_and_says_how(tmp_path):
    full, snapshot, default = asyncio.run(outage(tmp_path))
    assert full[0] is Kind.FULL
    assert full[1] == Says(rung=None, age_s=None, aged=False, unaged=True)
    assert 'class="notice"' not in full[2]
    assert snapshot[0] is Kind.SNAPSHOT
    assert snapshot[1].rung == "snapshot"
    assert snapshot[1].aged
    assert "We chose them for you just now" in " ".join(snapshot[2].split())
    assert default[0] is Kind.DEFAULT
    assert default[1] == Says(rung="default", age_s=None, aged=False, unaged=True)
    assert "everyone sees the same page" in " ".join(default[2].split())


async def crash(logs: Path) -> list[str]:
    processes = Processes(logs, {})
    await processes.start("doomed", "this.module.does.not.exist")
    assert await until(lambda: bool(processes.ended()), 20.0)
    return processes.ended()


def test_a_process_that_ends_by_itself_is_noticed(tmp_path):
    assert asyncio.run(crash(tmp_path)) == ["doomed"]
    assert "this.module" in (tmp_path / "doomed.log").read_text()


SHORT = Pace(
    warm_up_s=7.0, outage_s=5.0, between_s=0.0, calm_s=0.5, steady_s=1.0, faults=("kill",),
    orders=False,
)  # fmt: skip
"""Too little for the orders and for a recovery, but all that a visitor can be seen in."""


@pytest.mark.timeout(120)
def test_a_visitor_is_counted_as_one_and_changes_no_verdict(tmp_path):
    demo = Demo(Console(quiet=True), bundled(), tmp_path, pace=SHORT)
    seen = asyncio.run(run_with_visitor(demo))
    verdicts = {check.name: (check.ok, check.figure) for check in demo.checks}
    for name in (
        "no request failed",
        "every snapshot is a last good answer to the same reader",
        "headers agree with bodies on every answer",
        "the counters of both processes add up to the answers",
    ):
        assert verdicts[name][0], verdicts[name]
    visits = Counter(visit.kind for visit in read(tmp_path / "visits.jsonl"))
    assert min(visits[kind] for kind in (Kind.FULL, Kind.SNAPSHOT, Kind.DEFAULT)) > 0
    assert visits.total() > seen["", 200] + seen["feed", 200], "and those who turned away"
    assert seen["favicon.ico", 404]
    assert seen["", 503], "visitors are turned away while counters are read"


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """The whole demo, as far as the first requests."""
    environment = {**os.environ, "TMPDIR": str(tmp_path), "PYTHONUNBUFFERED": "1"}
    running = subprocess.Popen(
        [sys.executable, "-m", "examples.news_feed", "--out", str(tmp_path / "out")],
        cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert running.stdout is not None
    for line in running.stdout:
        if "readers arrive" in line:
            break
    try:
        yield running
    finally:
        running.kill()
        running.communicate()


def children(place: Path) -> list[int]:
    """Return the processes that have the folder of the demo on their command line."""
    found = []
    for each in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = each.read_bytes()
        except OSError:
            continue  # it has ended in the meantime
        if f"{place}/news-feed-".encode() in command:
            found.append(int(each.parent.name))
    return found


def eventually(condition: Callable[[], bool], limit_s: float = 20.0) -> bool:
    return asyncio.run(until(condition, limit_s))


@pytest.mark.timeout(120)
@pytest.mark.parametrize("what", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_demo_leaves_nothing_behind(demo, tmp_path, what):
    assert len(children(tmp_path)) == 4
    demo.send_signal(what)
    assert demo.wait(40) == 130
    assert children(tmp_path) == []
    assert list(tmp_path.glob("news-feed-*")) == []


@pytest.mark.timeout(120)
def test_even_a_killed_demo_leaves_no_process_behind(demo, tmp_path):
    found = children(tmp_path)
    assert len(found) == 4
    os.kill(found[0], signal.SIGSTOP)
    demo.kill()
    assert eventually(lambda: not children(tmp_path))


def test_a_feed_that_cannot_be_read_ends_the_demo_with_words(tmp_path):
    started = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "examples.news_feed", "--feed", str(tmp_path / "nowhere.xml")],
        cwd=ROOT, capture_output=True, text=True, timeout=50, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert "nowhere.xml" in done.stdout
    assert time.monotonic() - started < 40
