"""The processes of the demo: each in a group of its own, and none of them outlives it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import socket
import sys
import time
from asyncio.subprocess import DEVNULL, PIPE, STDOUT, Process
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import aiohttp

PYTHON: Final = (sys.executable, "-m")
_PORTS: Final = range(20_000, 30_000)
"""Below the ports that the kernel gives to clients: a client that keeps trying to reach a dead
server on one of those may be given that very port and connect to itself."""


class ScriptError(RuntimeError):
    """A step of the demo cannot be done at all."""


class Processes:
    """Starts and ends processes by name; their error output goes to `logs/NAME.log`."""

    def __init__(self, logs: Path, environment: Mapping[str, str]) -> None:
        logs.mkdir(parents=True, exist_ok=True)
        for old in logs.glob("*.log"):
            old.unlink()
        self._logs = logs
        self.environment = {**os.environ, **environment}
        self._running: dict[str, Process] = {}

    async def start(self, name: str, *command: str, piped: bool = False) -> Process:
        """Start a command; `piped` when the caller reads its output and writes to its input."""
        with (self._logs / f"{name}.log").open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                *command,
                stdin=PIPE if piped else DEVNULL, stdout=PIPE if piped else log, stderr=log,
                env=self.environment, start_new_session=True,
            )  # fmt: skip
        self._running[name] = process
        return process

    def signal(self, name: str, what: signal.Signals) -> None:
        os.killpg(self._running[name].pid, what)

    def pid(self, name: str) -> int:
        return self._running[name].pid

    def ended(self) -> list[str]:
        """Return the names of the processes that are no more, though nobody stopped them."""
        return [name for name, process in self._running.items() if process.returncode is not None]

    async def kill(self, name: str) -> None:
        """End a process as a crash does, without a chance to say anything."""
        self.signal(name, signal.SIGKILL)
        await self._running.pop(name).wait()

    async def stop(self, name: str) -> None:
        """Ask a process to end, and end it if it does not."""
        process = self._running.pop(name, None)
        if process is None or process.returncode is not None:
            return
        _signal(process, signal.SIGCONT)  # a frozen process hears nothing else
        _signal(process, signal.SIGTERM)
        try:
            await asyncio.wait_for(process.wait(), 5.0)
        except TimeoutError:
            _signal(process, signal.SIGKILL)
            await process.wait()

    async def stop_all(self) -> None:
        for name in reversed(list(self._running)):
            await self.stop(name)

    async def run(self, *command: str) -> str:
        """Run a command to its end and return its output; raises ScriptError where it fails."""
        process = await asyncio.create_subprocess_exec(
            *command, stdin=DEVNULL, stdout=PIPE, stderr=STDOUT, env=self.environment,
            start_new_session=True,
        )  # fmt: skip
        try:
            output, _ = await process.communicate()
        except asyncio.CancelledError:
            _signal(process, signal.SIGKILL)
            raise
        if process.returncode:
            said = output.decode(errors="replace")
            raise ScriptError(f"{' '.join(command)} ended with {process.returncode}:\n{said}")
        return output.decode(errors="replace").strip()


def _signal(process: Process, what: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):  # it may have ended in the meantime
        os.killpg(process.pid, what)


def free_ports(count: int) -> list[int]:
    """Return ports of loopback that nobody listens on."""
    found: list[int] = []
    for port in random.sample(_PORTS, len(_PORTS)):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
            found.append(port)
        if len(found) == count:
            return found
    raise OSError(f"no {count} free ports between {_PORTS.start} and {_PORTS.stop}")


async def until(condition: Callable[[], bool], limit_s: float) -> bool:
    """Wait until a condition holds, at most `limit_s` seconds; return whether it does."""
    end = time.monotonic() + limit_s
    while not condition():
        if time.monotonic() > end:
            return False
        await asyncio.sleep(0.1)
    return True


async def healthy(port: int, path: str) -> None:
    """Wait until a process answers; raises ScriptError where it does not within 20 seconds."""
    end = time.monotonic() + 20.0
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=1.0)) as session:
        while time.monotonic() < end:
            with contextlib.suppress(aiohttp.ClientError, TimeoutError):  # not yet
                async with session.get(f"http://127.0.0.1:{port}{path}") as answer:
                    if answer.status == 200:
                        return
            await asyncio.sleep(0.05)
    raise ScriptError(f"nothing answers on port {port}; see its log")
