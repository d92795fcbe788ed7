"""The processes of the demo: each in a group of its own, and none of them outlives it."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import os
import random
import signal
import socket
import sys
from asyncio.subprocess import DEVNULL, PIPE, STDOUT, Process
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

__all__ = ("ONE_THREAD", "Processes", "empty_logs", "free_ports")

ONE_THREAD: Final = dict.fromkeys(
    ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"
)
"""What keeps numpy from using more threads than the example has cores for."""

_STOP_S: Final = 5.0
_PORTS: Final = range(20_000, 30_000)
"""Below the ports that the kernel gives to clients: a client that keeps trying to reach a dead
server on one of those may be given that very port and connect to itself."""


class Processes:
    """Starts and ends processes by name; their error output goes to `logs/NAME.log`."""

    def __init__(self, logs: Path, environment: Mapping[str, str]) -> None:
        self._logs = logs
        self.environment = {**os.environ, **environment}
        self._running: dict[str, Process] = {}
        atexit.register(self._kill_all)

    async def start(
        self,
        name: str,
        *arguments: str,
        piped: bool = False,
        environment: Mapping[str, str] | None = None,
    ) -> Process:
        """Start `python -m` with the arguments.

        Args:
            name: What to call it.
            arguments: The module, and its own arguments.
            piped: Whether the caller reads its output, and may write to its input.
            environment: Further variables for this one.
        """
        with (self._logs / f"{name}.log").open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", *arguments,
                stdin=PIPE if piped else DEVNULL, stdout=PIPE if piped else log, stderr=log,
                env={**self.environment, **(environment or {})}, start_new_session=True,
            )  # fmt: skip
        self._running[name] = process
        return process

    def signal(self, name: str, what: signal.Signals) -> None:
        """Send a signal to a process and all that it started."""
        os.killpg(self._running[name].pid, what)

    def pid(self, name: str) -> int:
        """Return the process id."""
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
            await asyncio.wait_for(process.wait(), _STOP_S)
        except TimeoutError:
            _signal(process, signal.SIGKILL)
            await process.wait()

    async def stop_all(self) -> None:
        """Stop everything, in the reverse of the order in which it was started."""
        for name in reversed(list(self._running)):
            await self.stop(name)

    def _kill_all(self) -> None:
        """Kill what is left when the interpreter ends without `stop_all`."""
        for process in self._running.values():
            if process.returncode is None:
                _signal(process, signal.SIGKILL)

    async def run(self, *arguments: str) -> tuple[int, str]:
        """Run `python -m` with the arguments to its end; return its exit code and its output."""
        return await self.run_program([sys.executable, "-m", *arguments])

    async def run_program(
        self, command: Sequence[str], environment: Mapping[str, str] | None = None
    ) -> tuple[int, str]:
        """Run any command to its end; return its exit code and its output."""
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=DEVNULL, stdout=PIPE, stderr=STDOUT,
            env={**self.environment, **(environment or {})}, start_new_session=True,
        )  # fmt: skip
        try:
            output, _ = await process.communicate()
        except asyncio.CancelledError:
            _signal(process, signal.SIGKILL)
            raise
        return process.returncode or 0, output.decode(errors="replace")


def empty_logs(folder: Path) -> Path:
    """Return the folder for logs in the folder of a run, without those of the last one."""
    logs = folder / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    for old in logs.glob("*.log"):
        old.unlink()
    return logs


def _signal(process: Process, what: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):  # it may have ended in the meantime
        os.killpg(process.pid, what)


def free_ports(count: int) -> list[int]:
    """Return ports of loopback that nobody listens on."""
    found: list[int] = []
    for port in random.sample(_PORTS, len(_PORTS)):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        found.append(port)
        if len(found) == count:
            return found
    raise OSError(f"no {count} free ports between {_PORTS.start} and {_PORTS.stop}")
