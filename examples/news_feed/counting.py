"""What feed processes have counted, read from what they expose."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from typing import Final

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

from examples.news_feed.judging import Counters

__all__ = ("settled",)

_SCRAPE_S: Final = 1.2
_SCRAPES: Final = 6


async def settled(ports: Sequence[int]) -> Counters:
    """Turn visitors away, and return the calls that processes have counted when two scrapes agree."""
    async with aiohttp.ClientSession() as session:
        for port in ports:
            async with session.post(f"http://127.0.0.1:{port}/close") as answer:
                answer.raise_for_status()
        counted = await _counted(session, ports)
        for _ in range(_SCRAPES):
            await asyncio.sleep(_SCRAPE_S)  # what a scrape shows is up to a second old
            before, counted = counted, await _counted(session, ports)
            if counted == before:
                break
        return counted


async def _counted(
    session: aiohttp.ClientSession, ports: Sequence[int]
) -> Counter[tuple[str, str]]:
    """Return the calls that the processes have counted so far, added up."""
    calls: Counter[tuple[str, str]] = Counter()
    for port in ports:
        async with session.get(f"http://127.0.0.1:{port}/metrics") as answer:
            calls.update(_calls(await answer.text()))
    return calls


def _calls(exposition: str) -> dict[tuple[str, str], int]:
    """Return `degrade_calls_total` of one process, by flag and class."""
    return {
        (sample.labels["flag"], sample.labels["class"]): int(sample.value)
        for family in text_string_to_metric_families(exposition)
        for sample in family.samples
        if sample.name == "degrade_calls_total"
    }
