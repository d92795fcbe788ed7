"""Applications as processes: servers on a socket of the test, and commands that end."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from degrade import UnknownFlagError
from degrade.control import Control
from degrade.core.enums import HoldMode
from degrade.settings import open_store
from tests.integration.children import environment
from tests.servers.ports import free_port
from tests.servers.process import ServerProcess
from tests.servers.waiting import until

__all__ = ("OLDER", "Service", "environment_of", "operating", "run", "serving")

ROOT = Path(__file__).resolve().parents[3]
OLDER = Path(sys.prefix) / "older"
"""Where the set-up puts releases that cannot stand beside newer ones of the environment."""

PATIENCE_S = 20.0


@dataclass(frozen=True, kw_only=True)
class Service:
    """A running application as its visitors and its operator see it."""

    url: str
    store: str
    process: ServerProcess = field(repr=False)

    def visitor(self) -> httpx.Client:
        """Return a client that has been here never before, with cookies of its own."""
        return httpx.Client(
            base_url=self.url,
            timeout=PATIENCE_S,
            trust_env=False,
            verify=False,  # noqa: S501 - it speaks HTTP, and reading certificates takes longer
        )

    def get(self, path: str, **options: Any) -> httpx.Response:
        """Return what a new visitor gets."""
        with self.visitor() as visitor:
            return visitor.get(path, **options)

    def post(self, path: str, **options: Any) -> httpx.Response:
        with self.visitor() as visitor:
            return visitor.post(path, **options)

    def logs(self) -> dict[str, str]:
        """Return what is shown with a failed test."""
        return {"the server": self.process.tail()}

    def figures(self, flag: str) -> dict[str, int]:
        """Return how the calls of a flag have ended so far."""
        found: dict[str, int] = self.get("/figures").json().get(flag, {})
        return found

    def await_figures(self, flag: str, **expected: int) -> None:
        """Wait until the calls of a flag are counted as expected."""
        until(
            lambda: self.figures(flag) == expected,
            what=f"{flag} with {expected}, not {self.figures(flag)}",
        )

    def await_degraded(self, path: str, *, instead: object) -> None:
        """Let a page fail, and wait until its ladder answers also a visit that would not fail."""

        def is_degraded() -> bool:
            for _ in range(3):
                assert self.get(path, params={"down": 1}).json() == instead
            return bool(self.get(path).json() == instead)

        until(is_degraded, what=f"{path} to be degraded")

    def hold(self, flag: str, mode: HoldMode) -> None:
        """Order a mode as an operator, and return when every process has applied it."""
        with operating(self.store, flag) as control:
            control.hold(flag, mode, for_="1h", reason="test", wait="100%")

    def release(self, flag: str) -> None:
        """End the hold of a flag at once, and return when every process has applied it."""
        with operating(self.store, flag) as control:
            control.release(flag, reason="test", now=True, wait="100%")


@contextlib.contextmanager
def operating(url: str, flag: str) -> Iterator[Control]:
    """Give an operator the control of a store, once a process has declared the flag there."""

    def is_declared() -> bool:
        with contextlib.suppress(UnknownFlagError):
            return bool(control.status(flag).flags)
        return False

    with contextlib.closing(open_store(url)) as store:
        control = Control(store, actor="ana")
        until(is_declared, what=f"a declaration of {flag}")
        yield control


@contextlib.contextmanager
def serving(home: Path, *command: str, path: Sequence[Path] = ()) -> Iterator[Service]:
    """Start a server by a command of Python.

    `{fd}` in it stands for a socket that listens: the first request waits in its queue until the
    server has started. `{port}` stands for a free port, for servers that know nothing else.
    """
    store = f"sqlite:///{home}/store.db"
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listener:
        inherits = any("{fd}" in word for word in command)
        port = listener.getsockname()[1] if inherits else free_port()
        words = [word.format(fd=listener.fileno(), port=port) for word in command]
        process = ServerProcess(
            [sys.executable, *words],
            log=home / "server.log",
            env=environment_of(home, path=path, DEGRADE_STORE=store),
            pass_fds=[listener.fileno()],
        )
    try:
        until(lambda: not process.running or _listens(port), what=f"{words} to listen")
        yield Service(url=f"http://127.0.0.1:{port}", store=store, process=process)
        assert process.running, process.tail()
    finally:
        process.stop()


def _listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


def run(home: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """Run a command of Python to its end."""
    return subprocess.run(
        [sys.executable, *command],
        check=False, capture_output=True, text=True, cwd=home, timeout=50,
        env=environment_of(home),
    )  # fmt: skip


def environment_of(home: Path, *, path: Sequence[Path] = (), **more: str) -> dict[str, str]:
    """Return the environment of a process that imports the applications."""
    return environment(home, PYTHONPATH=os.pathsep.join(map(str, [*path, ROOT])), **more)
