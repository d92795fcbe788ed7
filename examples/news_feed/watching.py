"""Watches while a script runs: joins what the load tells with what the processes report."""

from __future__ import annotations

import asyncio
import json
import time
from asyncio.subprocess import Process
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from examples.news_feed.fleet import FlagState
from examples.news_feed.processes import Processes
from examples.news_feed.script import ScriptError, until
from examples.news_feed.seconds import Second
from examples.news_feed.view import View

__all__ = ("Note", "Seen", "Watching")

_SHOWN_S: Final = 4.0
_SAMPLE_S: Final = 0.5
_SENT_S: Final = 20.0

Note = tuple[float, str]
"""When something was done, Unix seconds, and what."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """How the flags stand, and how old the orders are that the processes know."""

    flags: Mapping[str, FlagState] = field(default_factory=dict)
    state_age: float | None = None


class Watching:
    """Watches one run.

    Args:
        load: The process of the load, whose output is read.
        processes: None of them may end by itself.
        look: How the flags stand now.
        notes: What was done so far; it only grows.
        view: Where each second is shown.
    """

    def __init__(
        self,
        load: Process,
        processes: Processes,
        *,
        look: Callable[[], Awaitable[Seen]],
        notes: Callable[[], Sequence[Note]],
        view: View,
    ) -> None:
        self.seconds: list[Second] = []
        self._load = load
        self._processes = processes
        self._look = look
        self._notes = notes
        self._view = view
        self._seen: dict[int, Seen] = {}
        self._noted: set[Note] = set()
        self._ports: list[int] = []

    async def run(self, script: Coroutine[Any, Any, None]) -> None:
        """Run a script, and show every second until it is over."""
        running = asyncio.create_task(script)
        watching = [
            asyncio.create_task(each) for each in (self._sample(), self._show(), self._complete())
        ]
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

    async def send_to(self, ports: Sequence[int]) -> None:
        """Let the load send to these ports only; wait until no other one has a request under way.

        Raises:
            ScriptError: The load does not say so within 20 seconds.
        """
        if self._load.stdin is None:
            raise ScriptError("the load has no input to write to")
        self._load.stdin.write(f"{json.dumps(list(ports))}\n".encode())
        await self._load.stdin.drain()
        if not await until(lambda: self._ports == list(ports), _SENT_S):
            raise ScriptError(f"the load does not send to {ports} alone")

    async def _sample(self) -> None:
        while True:
            self._seen[int(time.time())] = await self._look()
            await asyncio.sleep(_SAMPLE_S)

    async def _show(self) -> None:
        if self._load.stdout is None:
            raise ScriptError("the load has no output to read")
        async for line in self._load.stdout:
            told = json.loads(line)
            if "ports" in told:
                self._ports = told["ports"]
                continue
            end = told["second"] + 1
            new = [note for note in self._notes() if note not in self._noted and note[0] < end]
            self._noted.update(new)
            seen = self._seen.pop(told["second"], Seen())
            words = tuple(text for _, text in new)
            second = Second.joined(told, seen.flags, words, seen.state_age)
            self.seconds.append(second)
            self._view.show(second)
        raise ScriptError("the load has ended; see its log")

    async def _complete(self) -> None:
        """Raise when a process ends that nobody has stopped."""
        while True:
            if ended := self._processes.ended():
                raise ScriptError(f"{', '.join(ended)} ended; see the log of each")
            await asyncio.sleep(_SAMPLE_S)

    def _shown(self, now: float) -> bool:
        return bool(self.seconds) and self.seconds[-1].at >= int(now) - 2
