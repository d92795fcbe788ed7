"""A redis-server of the benchmark's own, and the processes that use it."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import redis

from benchmarks.fleet.noted import Noted

ROOT = Path(__file__).resolve().parents[2]


def _binary() -> tuple[str, dict[str, str]]:
    """Return redis-server, installed or as `.ci/bootstrap` unpacked it, and its environment."""
    found = shutil.which("redis-server")
    if found:
        return found, {}
    private = ROOT / ".make" / "redis"
    libraries = ":".join(str(path) for path in private.glob("usr/lib/*") if path.is_dir())
    return str(private / "usr/bin/redis-server"), {"LD_LIBRARY_PATH": libraries}


@contextmanager
def server() -> Iterator[int]:
    """Start a server on a free port of the loopback, without persistence; give its port."""
    binary, environment = _binary()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    with tempfile.TemporaryDirectory() as folder:
        process = subprocess.Popen(
            [binary, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", folder],
            env=environment or None,
            stdout=subprocess.DEVNULL,
        )
        try:
            with redis.Redis(port=port, protocol=2) as client:
                for _ in range(200):
                    try:
                        client.ping()
                        break
                    except redis.ConnectionError:
                        time.sleep(0.02)
            yield port
        finally:
            process.terminate()
            process.wait()


class Child:
    """One process; see `benchmarks.fleet.child`."""

    def __init__(self, **asked: Any) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.fleet.child", json.dumps(asked)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )

    def ready(self) -> None:
        """Wait until it says so."""
        assert self.process.stdout is not None  # noqa: S101 - a pipe was asked for
        if self.process.stdout.readline() != "ready\n":
            raise RuntimeError("a process of the benchmark did not start")

    def ask(self, what: str = "seen") -> Any:
        """Return what it has seen, or its usage."""
        assert self.process.stdin is not None  # noqa: S101 - a pipe was asked for
        assert self.process.stdout is not None  # noqa: S101 - a pipe was asked for
        self.process.stdin.write(f"{what}\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def close(self) -> None:
        """End it."""
        self.process.kill()
        self.process.communicate()


@contextmanager
def children(asked: list[dict[str, Any]], noted: Noted | None = None) -> Iterator[list[Child]]:
    """Start processes, wait until all are ready, and end them.

    Args:
        asked: What each is to do.
        noted: Where they note what they have seen last, in this order.
    """
    with ExitStack() as stack:
        places = [
            {} if noted is None else {"noted": noted.place(index)} for index in range(len(asked))
        ]
        found = [Child(**one, **place) for one, place in zip(asked, places, strict=True)]
        for one in found:
            stack.callback(one.close)
        for one in found:
            one.ready()
        yield found
