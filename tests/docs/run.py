"""Run the blocks of one page as a reader would, in an empty folder with an empty home.

The command `degrade` runs in the process of the tests, which spares its start, unless its output
goes into a pipe. A page that speaks of Redis finds one, empty, at the address that it shows; `redis-cli` talks to it
as in a terminal.
"""

from __future__ import annotations

import difflib
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Self

from tests.command_line import call
from tests.docs.pages import ROOT, Block
from tests.servers.binaries import find_redis
from tests.servers.redis_server import RedisServer

__all__ = ("Mismatch", "Reader", "commands", "python_script")

PATIENCE_S = 20.0
_READS_ONLY = re.compile(
    r"curl |degrade (--\w+ \S+ )*(status|why|events)|redis-cli (--raw )?(HGET|HKEYS|HVALS|XREV)"
)
_END = "\x1e"
_HOST = "web-1"
_CHANGING = re.compile(
    r"(?P<kept>(?<![\d.])\d+ of \d+(?![\d.]| calls)|epoch \d+|level \d+|\b\d+%(?! against)"
    r"|\d+ process)"
    r"|\b(?=\w*\d)(?:[0-9a-f]{12}|[0-9a-f]{32}|[0-9a-f]{64})\b"  # ids and digests
    r"|(?:\d\d:){2}\d\d"  # times of day
    r"|(?:\d+(?:\.\d+)?(?:ms|s|m|h))+\b"  # durations
    r"|\d+(?:\.\d+)?"
)


class Mismatch(AssertionError):
    """A page shows something else than what happens."""


def python_script(found: Sequence[Block]) -> str:
    """Return the Python blocks of a page as one script whose line numbers are those of the page."""
    lines: list[str] = []
    for block in found:
        lines += [""] * (block.line - 1 - len(lines))
        lines += block.text.splitlines()
        lines.append(f"print({_END!r}, end='', flush=True)")  # on the line of the closing fence
    return "\n".join(lines) + "\n"


def commands(block: Block) -> Iterator[tuple[str, str]]:
    """Return the commands of a console block, each with the output shown below it."""
    command, output = "", ""
    for line in block.text.splitlines():
        if line.startswith("$ "):
            if command:
                yield command, output
            command, output = line[2:], ""
        else:
            output += f"{line}\n"
    if command:
        yield command, output


class Reader:
    """Somebody who follows a page, with a shell in an empty folder."""

    def __init__(self, folder: Path, page: str) -> None:
        self.folder = folder
        self.page = page
        self.port = _free_port()
        self._redis: RedisServer | None = None
        self._started: list[subprocess.Popen[str]] = []
        kept = {name: value for name, value in os.environ.items() if name[:8] != "DEGRADE_"}
        paths = [str(Path(sys.executable).parent), kept.get("PATH", os.defpath)]
        self.env = {
            **kept,
            "HOME": str(folder),
            "PATH": os.pathsep.join(paths),
            "PYTHONPATH": str(ROOT / "src"),
            "DEGRADE_ACTOR": "ana",
            "DEGRADE_LOCAL": str(folder / "local"),
            "COLUMNS": "96",
            "TZ": "UTC",
        }

    def follow(self, found: Sequence[Block]) -> None:
        """Write the files, run the Python blocks, then the commands.

        Raises:
            Mismatch: Something fails, or prints something else than the page shows.
        """
        if any(":6379" in block.text or "redis-cli" in block.text for block in found):
            self._start_redis()
        for block in found:
            if block.word == "file":
                (self.folder / block.value).write_text(self._local(block.text), encoding="utf-8")
        self._run_python([b for b in found if b.language == "python" and not b.word], found)
        for block in found:
            if block.language == "console" and block.word != "not run":
                self._run_console(block)

    def leave(self) -> None:
        """End what was started, and wait for it."""
        for process in self._started:
            os.killpg(process.pid, signal.SIGTERM)
        for process in self._started:
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        self._started.clear()
        if self._redis is not None:
            self._redis.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.leave()

    # ------------------------------------------------------------------ Python

    def _run_python(self, code: Sequence[Block], found: Sequence[Block]) -> None:
        if not code:
            return
        script = self.folder / "page.py"
        script.write_text(self._local(python_script(code)), encoding="utf-8")
        done = subprocess.run(
            [sys.executable, "-W", "error", str(script)],
            cwd=self.folder, env=self.env, capture_output=True, text=True, timeout=50, check=False,
        )  # fmt: skip
        if done.returncode:
            raise Mismatch(f"{self.page}: its Python fails\n{done.stdout}\n{done.stderr}")
        printed = dict(zip((block.line for block in code), done.stdout.split(_END), strict=False))
        before = 0
        for block in found:
            if block.word == "prints":
                self._compare(block.line, block.text, printed[before])
            elif block.language == "python" and not block.word:
                before = block.line

    # ------------------------------------------------------------------ commands

    def _run_console(self, block: Block) -> None:
        steps = list(commands(block))
        for number, (command, output) in enumerate(steps, 1):
            last = number == len(steps)
            code = int(block.value) if last and block.word == "exit" else 0
            self._run_command(block.line, self._local(command), output, code)

    def _run_command(self, line: int, command: str, output: str, code: int) -> None:
        words = shlex.split(command)
        if words[0] == "export":
            name, _, value = words[1].partition("=")
            self.env[name] = value
            return
        if command.endswith("&"):
            self._start(command.removesuffix("&"))
            return
        until = time.monotonic() + PATIENCE_S
        while (wrong := self._tried(line, command, output, code)) is not None:
            again = _READS_ONLY.match(command) or "no flag" in str(wrong)  # nothing was done
            if not again or time.monotonic() >= until:
                raise wrong
            time.sleep(0.1)

    def _tried(self, line: int, command: str, output: str, code: int) -> Mismatch | None:
        try:
            self._try_command(line, command, output, code)
        except Mismatch as wrong:
            return wrong
        return None

    def _try_command(self, line: int, command: str, output: str, code: int) -> None:
        if command.startswith("curl "):
            self._compare(line, output, _fetch(command.rpartition(" ")[2]))
            return
        done = self._done(command)
        if done.returncode != code:
            raise Mismatch(
                f"{self.page}:{line}: {command!r} ended with {done.returncode}, not {code}\n"
                f"{done.stdout}\n{done.stderr}"
            )
        self._compare(line, output, done.stdout + done.stderr)

    def _done(self, command: str) -> subprocess.CompletedProcess[str]:
        words = shlex.split(command)
        if words[0] == "degrade" and "|" not in words:
            return call(words[1:], self.env, self.folder)
        return subprocess.run(
            ["bash", "-c", command],
            cwd=self.folder, env=self.env, capture_output=True, text=True, timeout=50, check=False,
        )  # fmt: skip

    def _start(self, command: str) -> None:
        with (self.folder / "background.log").open("a", encoding="utf-8") as log:
            process = subprocess.Popen(
                ["bash", "-c", f"exec {command}"],
                cwd=self.folder,
                env=self.env,
                stdout=log,
                stderr=log,
                text=True,
                start_new_session=True,
            )
        self._started.append(process)

    def _local(self, text: str) -> str:
        """Return text of the page with the ports that are free here."""
        text = text.replace(":8000", f":{self.port}")
        return text if self._redis is None else text.replace(":6379", f":{self._redis.port}")

    def _start_redis(self) -> None:
        self._redis = RedisServer().start()
        programs = find_redis()
        home = self.folder / "bin"
        home.mkdir()
        script = home / "redis-cli"
        script.write_text(
            f'#!/bin/sh\nexec {shlex.quote(programs.cli)} --no-raw -p {self._redis.port} "$@"\n'
        )
        script.chmod(0o755)
        self.env = self.env | {
            "PATH": f"{home}{os.pathsep}{self.env['PATH']}",
            "LD_LIBRARY_PATH": programs.environment["LD_LIBRARY_PATH"],
        }

    def _compare(self, line: int, shown: str, happened: str) -> None:
        if not shown.strip():
            return
        expected, found = _loosely(shown), _loosely(happened)
        if expected != found:
            diff = "\n".join(difflib.ndiff(expected, found))
            raise Mismatch(f"{self.page}:{line} shows something else:\n{diff}\n\n{happened}")


def _loosely(text: str) -> list[str]:
    """Return the words, with whatever differs from run to run and host to host made equal.

    Shares, epochs, and how many instances are degraded stay. How a table wraps its columns
    depends on the width of times, so its words are sorted.
    """
    text = text.replace(socket.gethostname(), _HOST)
    text = re.sub(r"\S*/(?=[\w.]+\.(?:db|json)\b)", "", text)  # where the folder of the page is
    text = _CHANGING.sub(lambda found: found["kept"] or "#", text)
    words = re.sub(r"─+", "─", text).split()
    return sorted(words) if "─" in words else words


def _fetch(url: str) -> str:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:  # noqa: S310 - the page's own server
            return answer.read().decode()
    except OSError as error:
        raise Mismatch(f"{url}: {error}") from error


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
