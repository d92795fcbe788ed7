"""Await what a worker's thread will answer; loaded where an event loop of asyncio runs."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from degrade.runtime.fleet.snapshot_fetcher import PendingFetch

__all__ = ("answered",)


async def answered(question: PendingFetch, for_s: float) -> None:
    """Wait until a question is answered, at most for some seconds."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[None] = loop.create_future()

    def wake() -> None:
        if not future.done():
            future.set_result(None)

    def heard() -> None:
        with suppress(RuntimeError):  # the loop was closed meanwhile: nobody waits
            loop.call_soon_threadsafe(wake)

    if question.listen(heard):
        await asyncio.wait({future}, timeout=max(for_s, 0.0))
