"""A redis-server of the example's own: on loopback, with nothing on disk."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from examples.news_feed.processes import PYTHON, Processes, ScriptError, free_ports

_UNPACKED: Final = Path(__file__).resolve().parents[2] / ".make" / "redis" / "usr"
_NAME: Final = "redis"


def find_redis(path: str | None = None, unpacked: Path = _UNPACKED) -> tuple[Path, list[str]]:
    """Return the folder of redis-server and redis-cli, and what to say before either of them.

    They are looked for in PATH, or `path`, then where the set-up unpacks them when it cannot
    install them; ScriptError says what to do where they are in neither place.
    """
    server = shutil.which("redis-server", path=path)
    if server is not None and (Path(server).parent / "redis-cli").exists():
        return Path(server).parent, []
    if (unpacked / "bin" / "redis-server").exists():
        folders = [str(folder) for folder in sorted(unpacked.glob("lib/*")) if folder.is_dir()]
        folders += filter(None, [os.environ.get("LD_LIBRARY_PATH")])
        return unpacked / "bin", ["env", f"LD_LIBRARY_PATH={':'.join(folders)}"]
    raise ScriptError("redis-server and redis-cli are missing; run: .ci/bootstrap demo-fleet")


class RedisServer:
    """One server; it keeps nothing, so that it is empty after every start."""

    def __init__(self, processes: Processes, folder: Path, namespace: str) -> None:
        self._processes = processes
        self._folder = folder
        self._programs, self._before = find_redis()
        (self.port,) = free_ports(1)
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self.holds_key = f"degrade:{{{namespace}}}:holds"

    async def start(self) -> None:
        """Start it with nothing in it, and wait until it answers, at most 10 seconds."""
        await self._processes.start(
            _NAME, *PYTHON, "examples.news_feed.bound",
            *self._before, str(self._programs / "redis-server"), "--bind", "127.0.0.1",
            "--port", str(self.port), "--dir", str(self._folder), "--save", "",
        )  # fmt: skip
        end = time.monotonic() + 10.0
        while not await self.held():
            if time.monotonic() > end or self._processes.ended():
                raise ScriptError("redis-server did not start; see its log")
            await asyncio.sleep(0.02)

    def freeze(self) -> None:
        """Stop it in its tracks (SIGSTOP): connections stay, answers do not come."""
        self._processes.signal(_NAME, signal.SIGSTOP)

    def thaw(self) -> None:
        self._processes.signal(_NAME, signal.SIGCONT)

    async def kill(self) -> None:
        await self._processes.kill(_NAME)

    async def cli(self, *words: str) -> str:
        """Say a command through redis-cli, as an operator who has nothing else."""
        program = str(self._programs / "redis-cli")
        return await self._processes.run(*self._before, program, "-e", "-p", str(self.port), *words)

    async def held(self, *flags: str) -> bool:
        """Return whether the server answers soon, and has a hold on each of these flags."""
        with suppress(RedisError, OSError, TimeoutError):
            async with asyncio.timeout(0.5), Redis(
                port=self.port, retry=Retry(NoBackoff(), 0)
            ) as asking:  # fmt: skip
                found = await asking.hmget(self.holds_key, flags) if flags else []
                return bool(await asking.ping()) and None not in found
        return False
