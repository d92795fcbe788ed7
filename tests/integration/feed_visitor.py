"""A visitor of the news feed, who looks at it in every way that a browser does."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Coroutine
from typing import Any

import aiohttp

from examples.news_feed.demo import Demo
from examples.news_feed.readers import reader_id
from examples.news_feed.script import until
from examples.news_feed.through_redis.demo import FleetDemo

PATHS = ("", "feed", "favicon.ico", "degrade/health", "metrics")


async def run_with_visitor(demo: Demo | FleetDemo) -> Counter[tuple[str, int]]:
    """Run a demo under the eyes of a visitor; return how often each path got each status."""
    running = asyncio.create_task(demo.run())
    assert await until(lambda: bool(demo.address) or running.done(), 60.0)
    seen = Counter[tuple[str, int]]()
    async with aiohttp.ClientSession(demo.address) as session:
        looking = asyncio.create_task(_look(session, seen))
        try:
            await running
        finally:
            looking.cancel()
            await asyncio.wait([looking])
    return seen


async def _look(session: aiohttp.ClientSession, seen: Counter[tuple[str, int]]) -> None:
    number = 0
    while True:
        number += 1
        for path in (*PATHS, f"?user={reader_id(number)}", f"feed?user={reader_id(number)}"):
            await _unless_gone(_get(session, path, seen))
        await _unless_gone(_head(session))
        await _unless_gone(_turn_away(session))
        await asyncio.sleep(0.05)


async def _get(session: aiohttp.ClientSession, path: str, seen: Counter[tuple[str, int]]) -> None:
    async with session.get(path) as answer:
        await answer.read()
        seen[path.partition("?")[0], answer.status] += 1


async def _head(session: aiohttp.ClientSession) -> None:
    for path in ("", "feed"):
        async with session.head(path):
            pass


async def _turn_away(session: aiohttp.ClientSession) -> None:
    """Ask for a page and close the connection before it comes, as when a tab is closed."""
    async with session.get("feed", timeout=aiohttp.ClientTimeout(total=0.002)):
        pass


async def _unless_gone(asking: Coroutine[Any, Any, None]) -> None:
    with contextlib.suppress(aiohttp.ClientError, TimeoutError):  # it turned away, or is too late
        await asking
