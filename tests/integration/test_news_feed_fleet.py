"""The news feed on a fleet: the whole of it at a faster pace, and that it cleans up after itself."""

from __future__ import annotations

import asyncio
import json
import signal
from pathlib import Path

import pytest
from rich.console import Console

from examples.news_feed.processes import Processes
from examples.news_feed.stories import bundled
from examples.news_feed.through_redis.checks import RATIOS
from examples.news_feed.through_redis.demo import FleetDemo
from examples.news_feed.through_redis.phases import Fault
from examples.news_feed.through_redis.script import Pace
from examples.news_feed.through_redis.server import RedisServer
from tests.integration.feed_visitor import run_with_visitor

pytestmark = [pytest.mark.real, pytest.mark.slow]

SHORT = Pace(
    warm_up_s=8.0, order_s=1.5, phase_s=1.5, cold_s=3.0,
    well=(Fault.KILLED, Fault.FROZEN), dead=(Fault.KILLED,),
)  # fmt: skip


@pytest.mark.timeout(240)
def test_the_fleet_follows_and_nothing_fails_while_redis_and_the_ranker_do_and_a_visitor_looks(
    tmp_path,
):
    demo = FleetDemo(Console(quiet=True), bundled(), tmp_path, pace=SHORT)
    seen = asyncio.run(run_with_visitor(demo))
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


async def lose_everything(place: Path) -> list[bool]:
    """Ask whether the server holds a flag: held, frozen, gone, and started again."""
    processes = Processes(place, {})
    redis = RedisServer(processes, place, "news")
    try:
        await redis.start()
        found = [await redis.held("feed")]
        await redis.cli("HSET", redis.holds_key, "feed", "degraded")
        found.append(await redis.held("feed"))
        found.append(await redis.held("feed", "other"))
        redis.freeze()
        found.append(await redis.held("feed"))
        redis.thaw()
        found.append(await redis.held("feed"))
        await redis.kill()
        found.append(await redis.held("feed"))
        await redis.start()
        found.append(await redis.held("feed"))
    finally:
        await processes.stop_all()
    return found


def test_the_server_is_frozen_thawed_killed_and_started_with_nothing_in_it(tmp_path):
    assert asyncio.run(lose_everything(tmp_path)) == [
        False, True, False, False, True, False, False,
    ]  # fmt: skip


async def orphan(place: Path) -> int:
    processes = Processes(place, {})
    redis = RedisServer(processes, place, "news")
    await redis.start()
    processes.signal("redis", signal.SIGSTOP)
    await processes.stop_all()
    return (await processes.run_program(["redis-cli", "-p", str(redis.port), "PING"]))[0]


def test_a_frozen_server_is_stopped_like_any_other_process(tmp_path):
    assert asyncio.run(orphan(tmp_path)) != 0
