"""A redis-server of the example's own: on loopback, with nothing on disk."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

from examples.news_feed.processes import Processes, free_ports
from examples.news_feed.script import ScriptError

__all__ = ("RedisServer", "find_redis")

_UNPACKED: Final = Path(__file__).resolve().parents[3] / ".make" / "redis" / "usr"
_START_S: Final = 10.0
_ANSWER_S: Final = 0.5
_NAME: Final = "redis"


def find_redis(path: str | None = None, unpacked: Path = _UNPACKED) -> tuple[Path, dict[str, str]]:
    """Return the folder of redis-server and redis-cli, and the variables that they need.

    Args:
        path: Where to look; PATH unless given.
        unpacked: Where the set-up unpacks them when it cannot install them.

    Raises:
        ScriptError: They are in neither place; it says what to do.
    """
    server = shutil.which("redis-server", path=path)
    if server is not None and (Path(server).parent / "redis-cli").exists():
        return Path(server).parent, {}
    if (unpacked / "bin" / "redis-server").exists():
        folders = [str(folder) for folder in sorted(unpacked.glob("lib/*")) if folder.is_dir()]
        folders += filter(None, [os.environ.get("LD_LIBRARY_PATH")])
        return unpacked / "bin", {"LD_LIBRARY_PATH": ":".join(folders)}
    raise ScriptError("redis-server and redis-cli are missing; run: .ci/bootstrap demo-fleet")


class RedisServer:
    """One server; it keeps nothing, so that it is empty after every start."""

    def __init__(self, processes: Processes, folder: Path, namespace: str) -> None:
        self._processes = processes
        self._folder = folder
        self._programs, self._environment = find_redis()
        (self.port,) = free_ports(1)
        self.holds_key = f"degrade:{{{namespace}}}:holds"

    @property
    def url(self) -> str:
        """What `DEGRADE_STORE` names."""
        return f"redis://127.0.0.1:{self.port}/0"

    async def start(self) -> None:
        """Start it with nothing in it, and wait until it answers.

        Raises:
            ScriptError: It does not within 10 seconds.
        """
        options: Mapping[str, str] = {
            "bind": "127.0.0.1", "port": str(self.port), "dir": str(self._folder), "save": "",
        }  # fmt: skip
        await self._processes.start(
            _NAME, "examples.news_feed.bound", str(self._programs / "redis-server"),
            *(word for name, value in options.items() for word in (f"--{name}", value)),
            environment=self._environment,
        )  # fmt: skip
        end = time.monotonic() + _START_S
        while not await self._answers():
            if time.monotonic() > end or self._processes.ended():
                raise ScriptError("redis-server did not start; see its log")
            await asyncio.sleep(0.02)

    def freeze(self) -> None:
        """Stop it in its tracks (SIGSTOP): connections stay, answers do not come."""
        self._processes.signal(_NAME, signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on (SIGCONT)."""
        self._processes.signal(_NAME, signal.SIGCONT)

    async def kill(self) -> None:
        """End it at once (SIGKILL)."""
        await self._processes.kill(_NAME)

    async def cli(self, *words: str) -> str:
        """Say a command through redis-cli, as an operator who has nothing else.

        Raises:
            ScriptError: It fails.
        """
        command = [str(self._programs / "redis-cli"), "-e", "-p", str(self.port), *words]
        code, output = await self._processes.run_program(command, self._environment)
        if code != 0:
            raise ScriptError(f"redis-cli {' '.join(words)} ended with {code}:\n{output}")
        return output.strip()

    async def held(self, *flags: str) -> bool:
        """Return whether the server has a hold on each of these flags."""
        words = (f"*{2 + len(flags)}", "$5", "HMGET", *(_bulk(self.holds_key, *flags)))
        answer = await self._ask("\r\n".join(words).encode() + b"\r\n", lines=1 + 2 * len(flags))
        return bool(answer) and b"$-1" not in answer

    async def _answers(self) -> bool:
        return await self._ask(b"PING\r\n", lines=1) == [b"+PONG"]

    async def _ask(self, request: bytes, *, lines: int) -> list[bytes]:
        """Return the first lines of the answer to a request; none if there is no answer soon."""
        found: list[bytes] = []
        with suppress(OSError, TimeoutError):
            async with asyncio.timeout(_ANSWER_S):
                reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
                try:
                    writer.write(request)
                    while len(found) < lines and (line := await reader.readline()):
                        found.append(line.rstrip())
                        if line.startswith(b"$-1"):
                            break
                finally:
                    writer.close()
        return found


def _bulk(*words: str) -> list[str]:
    return [part for word in words for part in (f"${len(word)}", word)]
