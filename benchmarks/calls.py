"""Overhead of a call: contenders interleaved in blocks, each compared within the same run.

Blocks are short, so that a contender finds the caches as a request of a real service finds them,
filled by others, rather than warmed by a hundred thousand calls of itself.
"""

from __future__ import annotations

import asyncio
import statistics
import threading
import time
from collections.abc import Sequence
from typing import Any

from benchmarks.contenders import Contender
from degrade import request

BLOCK = 250
ROUNDS = 2_000

Row = dict[str, Any]


def measure(contenders: Sequence[Contender], *, threads: int = 1) -> list[Row]:
    """Measure functions.

    Args:
        contenders: The first is the bare function, the second the yardstick.
        threads: How many threads call at once; a block is shared out among them.

    Returns:
        One row a contender: nanoseconds a call, overhead over the bare call, and its ratio to
        the yardstick's overhead.
    """
    rounds = ROUNDS if threads == 1 else ROUNDS // 16
    times: list[list[float]] = [[] for _ in contenders]
    for _ in range(rounds):
        for contender, found in zip(contenders, times, strict=True):
            if contender.around:
                with request():
                    found.append(_block(contender, threads))
            else:
                found.append(_block(contender, threads))
    return _rows(contenders, times)


def measure_async(contenders: Sequence[Contender]) -> list[Row]:
    """Measure coroutine functions, awaited one after the other in one task."""

    async def run() -> list[list[float]]:
        times: list[list[float]] = [[] for _ in contenders]
        for _ in range(ROUNDS):
            for contender, found in zip(contenders, times, strict=True):
                call = contender.call
                start = time.perf_counter()
                for _ in range(BLOCK):
                    await call(1)
                found.append((time.perf_counter() - start) / BLOCK)
                await asyncio.sleep(0)
        return times

    return _rows(contenders, asyncio.run(run()))


def _block(contender: Contender, threads: int) -> float:
    call = contender.call
    if threads == 1:
        start = time.perf_counter()
        for _ in range(BLOCK):
            call(1)
        return (time.perf_counter() - start) / BLOCK
    barrier = threading.Barrier(threads + 1)
    share = BLOCK * 16 // threads

    def work() -> None:
        barrier.wait()
        for _ in range(share):
            call(1)

    workers = [threading.Thread(target=work) for _ in range(threads)]
    for worker in workers:
        worker.start()
    barrier.wait()
    start = time.perf_counter()
    for worker in workers:
        worker.join()
    return (time.perf_counter() - start) / (share * threads)


def judged(row: Row) -> Row:
    """Return a row with the verdict on its budget."""
    budget = row["budget"]
    return {**row, "within": None if budget is None else row["in_y"] <= budget * 1.1}


def _rows(contenders: Sequence[Contender], times: Sequence[Sequence[float]]) -> list[Row]:
    medians = [statistics.median(found) * 1e9 for found in times]
    bare, yardstick = medians[0], medians[1] - medians[0]
    return [
        judged(
            {
                "name": contender.name,
                "ns": round(median, 1),
                "overhead_ns": round(median - bare, 1),
                "in_y": round((median - bare) / yardstick, 2),
                "budget": contender.budget,
            }
        )
        for contender, median in zip(contenders, medians, strict=True)
    ]
