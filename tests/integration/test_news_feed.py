"""The demo as processes: its load, a visitor, the fleet, and how it cleans up after itself."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from rich.console import Console

from examples.news_feed.answers import Kind, read, reader_id
from examples.news_feed.checks import RATIOS
from examples.news_feed.demo import Demo
from examples.news_feed.load import Load
from examples.news_feed.processes import PYTHON, Processes, ScriptError, free_ports, healthy, until
from examples.news_feed.redis_server import RedisServer
from examples.news_feed.script import Fault, FleetPace, Pace
from examples.news_feed.stories import bundled

pytestmark = [pytest.mark.real, pytest.mark.slow]

ROOT = Path(__file__).resolve().parents[2]
SHORT = Pace(warm_up_s=7.0, outage_s=5.0, between_s=0.0, calm_s=0.5, steady_s=1.0, complete=False)
"""Too little for the orders and for a recovery, but all that a visitor can be seen in."""
SHORT_FLEET = FleetPace(
    warm_up_s=8.0, order_s=1.5, phase_s=1.5, cold_s=3.0,
    well=(Fault.KILLED, Fault.FROZEN), dead=(Fault.KILLED,),
)  # fmt: skip
Pages = Counter[tuple[str, int]]


async def visited(demo: Demo) -> tuple[Pages, dict[str, str]]:
    """Run a demo under the eyes of a visitor; return what the visitor saw, and each kind of page."""
    running = asyncio.create_task(demo.run())
    assert await until(lambda: bool(demo.address) or running.done(), 60.0)
    seen, pages = Pages(), dict[str, str]()

    async def look() -> None:
        number = 0
        while True:
            number += 1
            reader = f"?user={reader_id(number % 600)}"
            for path in (
                "",
                "feed",
                reader,
                f"feed{reader}",
                "favicon.ico",
                "degrade/health",
                "metrics",
            ):
                with contextlib.suppress(aiohttp.ClientError, TimeoutError):  # the demo has ended
                    async with session.get(path) as answer:
                        seen[path.partition("?")[0], answer.status] += 1
                        if path == reader and answer.status == 200:
                            rung = answer.headers.get("Degraded", "").partition("rung=")[2]
                            text = " ".join((await answer.text()).split())
                            pages[rung.partition(";")[0].partition(",")[0]] = text
                    async with session.head(path):
                        pass
            with contextlib.suppress(aiohttp.ClientError, TimeoutError):  # as when a tab is closed
                async with session.get("feed", timeout=aiohttp.ClientTimeout(total=0.002)):
                    pass
            await asyncio.sleep(0.05)

    async with aiohttp.ClientSession(demo.address) as session:
        looking = asyncio.create_task(look())
        try:
            await running
        finally:
            looking.cancel()
            await asyncio.wait([looking])
    return seen, pages


@pytest.mark.timeout(120)
def test_a_visitor_is_counted_as_one_and_changes_no_verdict(tmp_path):
    demo = Demo(Console(quiet=True), bundled(), tmp_path, SHORT)
    seen, pages = asyncio.run(visited(demo))
    verdicts = {check.name: check for check in demo.checks}
    for name in (
        "no request failed", "every snapshot is a last good answer to the same reader",
        "headers agree with bodies on every answer", "the counters of both processes add up to the answers",
    ):  # fmt: skip
        assert verdicts[name].ok, verdicts[name]
    visits = Counter(visit.kind for visit in read(tmp_path / "visits.jsonl"))
    assert min(visits[kind] for kind in (Kind.FULL, Kind.SNAPSHOT, Kind.DEFAULT)) > 0
    assert visits.total() > seen["", 200] + seen["feed", 200], "and those who turned away"
    assert seen["favicon.ico", 404]
    assert seen["", 503], "visitors are turned away while counters are read"
    assert "We chose them for you" in pages["snapshot"]
    assert "everyone sees the same page" in pages["default"]
    assert 'class="notice"' not in pages[""]


@pytest.mark.timeout(240)
def test_the_fleet_follows_and_nothing_fails_while_redis_and_the_ranker_do_and_a_visitor_looks(
    tmp_path,
):
    demo = Demo(Console(quiet=True), bundled(), tmp_path, SHORT_FLEET)
    seen, _ = asyncio.run(visited(demo))
    failed = {check.name: check.figure for check in demo.checks if not check.ok}
    assert set(failed) <= set(RATIOS), failed  # a few seconds are too few for a ratio
    record = json.loads((tmp_path / "run.json").read_text())
    assert [phase["fault"] for phase in record["phases"]] == [
        "calm", "killed", "calm", "frozen", "calm", "calm", "killed", "calm",
    ]  # fmt: skip
    assert len(record["wipes"]) == 4
    assert record["visits"] > seen["", 200] + seen["feed", 200] > 0
    assert "4 of 4" in record["said"]
    ages = [second["state_age"] for second in record["seconds"] if second["state_age"] is not None]
    assert max(ages) > 1.5, "no process noticed that Redis was away"
    assert (tmp_path / "run.png").read_bytes().startswith(b"\x89PNG")


async def under_load(path: Path) -> None:
    """Load a server that holds back all answers for a second, then goes on."""
    flowing = asyncio.Event()

    async def feed(request: web.Request) -> web.Response:
        await flowing.wait()
        stories = [{"id": "a", "published": 1.0, "score": 0.0}]
        body = {"user": request.query["user"], "nonce": None, "receipt": None, "stories": stories}
        return web.json_response(body)

    application = web.Application()
    application.router.add_get("/feed", feed)
    runner = web.AppRunner(application)
    await runner.setup()
    (port,) = free_ports(1)
    await web.TCPSite(runner, "127.0.0.1", port).start()
    stop = asyncio.Event()
    with path.open("w") as out:
        running = asyncio.create_task(Load([port], rate=200, newest_ids=["a"], out=out).run(stop))
        await asyncio.sleep(1.0)
        flowing.set()
        await asyncio.sleep(0.5)
        stop.set()
        await running
    await runner.cleanup()


def test_a_stall_is_felt_by_every_request_that_was_due_in_it(tmp_path):
    asyncio.run(under_load(tmp_path / "answers"))
    answers = list(read(tmp_path / "answers"))
    assert {answer.kind for answer in answers} == {Kind.DEFAULT}
    waited = [answer.latency_s for answer in answers if answer.latency_s > 0.25]
    assert len(waited) > 100  # about 150 were due in the first three quarters of the stall
    assert max(waited) > 0.9
    assert sum(answer.sent - answer.due < 0.25 for answer in answers) > 0.8 * len(answers)


async def lose_everything(place: Path) -> list[bool]:
    """Ask whether a server holds a flag: before and after it does, frozen, thawed, gone, new."""
    processes = Processes(place, {})
    redis = RedisServer(processes, place, "news")
    try:
        await redis.start()
        found = [await redis.held("feed")]
        await redis.cli("HSET", redis.holds_key, "feed", "degraded")
        found += [await redis.held("feed"), await redis.held("feed", "other")]
        redis.freeze()
        found.append(await redis.held("feed"))
        redis.thaw()
        found.append(await redis.held("feed"))
        await redis.kill()
        found.append(await redis.held("feed"))
        await redis.start()
        found.append(await redis.held("feed"))
        redis.freeze()
    finally:
        await processes.stop_all()
    with pytest.raises(ScriptError):
        await redis.cli("PING")
    return found


def test_redis_is_frozen_thawed_killed_started_empty_and_stopped_frozen(tmp_path):
    found = asyncio.run(lose_everything(tmp_path))
    assert found == [False, True, False, False, True, False, False]


async def crash(logs: Path) -> list[str]:
    processes = Processes(logs, {})
    await processes.start("doomed", *PYTHON, "this.module.does.not.exist")
    with pytest.raises(ScriptError, match="see its log"):
        await healthy(free_ports(1)[0], "/")
    return processes.ended()


def test_a_process_that_ends_by_itself_is_noticed(tmp_path):
    assert asyncio.run(crash(tmp_path)) == ["doomed"]
    assert "this.module" in (tmp_path / "doomed.log").read_text()


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """The whole demo, as far as the first requests."""
    running = subprocess.Popen(
        [*PYTHON, "examples.news_feed", "--out", str(tmp_path / "out")], cwd=ROOT, text=True,
        env={**os.environ, "TMPDIR": str(tmp_path), "PYTHONUNBUFFERED": "1"}, stdout=subprocess.PIPE,
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
        with contextlib.suppress(OSError):  # it has ended in the meantime
            if f"{place}/news-feed-".encode() in each.read_bytes():
                found.append(int(each.parent.name))
    return found


@pytest.mark.timeout(120)
@pytest.mark.parametrize("what", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_demo_that_is_ended_leaves_nothing_behind(demo, tmp_path, what):
    found = children(tmp_path)
    assert len(found) == 4
    os.kill(found[0], signal.SIGSTOP)
    demo.send_signal(what)
    assert demo.wait(40) == (130 if what != signal.SIGKILL else -what)
    assert asyncio.run(until(lambda: not children(tmp_path), 20.0))
    assert what == signal.SIGKILL or not list(tmp_path.glob("news-feed-*"))


def test_a_feed_that_cannot_be_read_ends_the_demo_with_words(tmp_path):
    done = subprocess.run(
        [*PYTHON, "examples.news_feed", "--feed", str(tmp_path / "nowhere.xml")],
        cwd=ROOT, capture_output=True, text=True, timeout=50, check=False,
    )  # fmt: skip
    assert (done.returncode, "nowhere.xml" in done.stdout) == (2, True)
