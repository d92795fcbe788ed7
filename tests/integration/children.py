"""Small programs run in an interpreter of their own, with an end to their time."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PREAMBLE = """
import json, os, signal, sys, threading, time
signal.alarm(40)
import degrade
from degrade import (SLA, Flag, Recovery, Runtime, UnavailableError, default, degradable, omit,
                     request, served, simplified, snapshot)
from degrade.control import Control
from degrade.runtime import current

def tell(**what):
    os.write(1, (json.dumps(what) + "\\n").encode())  # whole, whoever else writes

def until(condition, patience_s=20.0):
    end = time.monotonic() + patience_s
    while not condition():
        if time.monotonic() > end:
            raise SystemExit("waited in vain")
        time.sleep(0.01)

def figures(name="feed"):
    return next(stats for stats in current().stats() if stats.name == name)

def classes(name="feed"):
    return {how.value: n for how, n in figures(name).calls.items() if n}
"""


@dataclass(frozen=True)
class Done:
    """How a program ended; `told` is what it said by `tell(...)`, one dictionary a line."""

    code: int
    told: list[dict[str, Any]]
    stderr: str
    ended_at: float

    @property
    def all(self) -> dict[str, Any]:
        """Everything told, the last word on each name."""
        return {name: value for line in self.told for name, value in line.items()}


def environment(home: Path, **more: str) -> dict[str, str]:
    """Return an environment without settings of ours, and with a home of its own."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("DEGRADE_")}
    return {**kept, "HOME": str(home), "DEGRADE_LOCAL": str(home), **more}


def run(program: str, home: Path, *args: str, **env: str) -> Done:
    """Run a program and wait for its end."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-W", "ignore:This process:DeprecationWarning", "-c",
         PREAMBLE + textwrap.dedent(program), *args],
        check=False, capture_output=True, text=True, cwd=home, timeout=50,
        env=environment(home, **env),
    )  # fmt: skip
    return Done(
        done.returncode,
        [json.loads(line) for line in done.stdout.splitlines()],
        done.stderr,
        time.monotonic(),
    )


def start(program: str, home: Path, *args: str, **env: str) -> subprocess.Popen[str]:
    """Start a program; the caller ends it."""
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", PREAMBLE + textwrap.dedent(program), *args],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=home,
        env=environment(home, **env),
    )  # fmt: skip
