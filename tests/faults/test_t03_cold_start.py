"""T03 cold_start_dead: a process that starts while Redis is away starts as fast as ever, and obeys."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from socket import socket
from typing import Any

import pytest

from degrade.core.enums import HoldMode
from degrade.core.records import ControlState, Hold
from degrade.settings import open_store
from degrade.stores.state_file import Saved, SavedState
from tests.faults.figures import Figures, shown
from tests.integration.children import environment

LONGER_S = 0.05
"""What import and first call may take beyond what they take with `memory://`..."""
START_S = 0.2
"""... on a machine where those take this long; a slower or busier one may take as much longer."""
ROUNDS = 15
DISTURBED = 1.5
"""Beside a start with `memory://` that took so many times the fastest, the machine was busy."""
END_S = 1.0
SLACK_S = 0.7
"""What the end of an interpreter may take on a busy machine, beside what is ours."""

COLD = """
import time
begun = time.perf_counter()
import degrade

@degrade.degradable("feed", fallback=[degrade.default("stale")])
def feed() -> str:
    return "fresh"

first = feed()
took = time.perf_counter() - begun
import json
from degrade.runtime import current
print(json.dumps({"first": first, "took": took, "age": current().state_age_s(),
                  "over": time.monotonic()}), flush=True)
"""

SILENT_DNS = """
import os, socket, subprocess, sys
subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
with open("resolv.conf", "w") as file:
    file.write("nameserver 127.0.0.1")
subprocess.run(["mount", "--bind", "resolv.conf", os.path.realpath("/etc/resolv.conf")], check=True)
silent = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
silent.bind(("127.0.0.1", 53))
sys.exit(subprocess.run([sys.executable, "-c", sys.argv[1]]).returncode)
"""


@dataclass(frozen=True)
class Start:
    """How one process started and ended."""

    told: dict[str, Any]
    ended_s: float


def start(home: Path, url: str, *, before: tuple[str, ...] = ()) -> Start:
    """Start a process, and wait for its end."""
    command = [sys.executable, "-c", COLD]
    if before:
        command = [*before, textwrap.dedent(SILENT_DNS), COLD]
    done = subprocess.run(
        command, check=False, capture_output=True, text=True, cwd=home, timeout=50,
        env=environment(home, DEGRADE_STORE=url),
    )  # fmt: skip
    ended = time.monotonic()
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    told = json.loads(done.stdout)
    return Start(told, ended - told["over"])


def kept(home: Path, url: str) -> None:
    """Leave what a process left that ended a minute ago: `feed` is held off."""
    now = time.time()
    hold = Hold(mode=HoldMode.OFF, actor="ana", reason="bad model", at=now - 70, epoch=4)
    state = ControlState(incarnation="life", epoch=4, now=now - 60, holds={"feed": hold})
    file = SavedState("default", open_store(url).url, directory=home)
    file.write(Saved(at=now - 60, state=state), watched=())


@contextmanager
def nobody() -> Iterator[str]:
    """A port where connections are refused."""
    with socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"redis://127.0.0.1:{taken.getsockname()[1]}"


@contextmanager
def dropped() -> Iterator[str]:
    """A port whose packets are dropped: its queue of connections is full."""
    with ExitStack() as stack:
        full = stack.enter_context(socket())
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for _ in range(4):
            waiting = stack.enter_context(socket())
            waiting.setblocking(False)
            waiting.connect_ex(full.getsockname())
        yield f"redis://127.0.0.1:{full.getsockname()[1]}"


@dataclass(frozen=True)
class Measures:
    """What starts while the store was away came to.

    Attributes:
        longer_s: How much longer the fastest took than the fastest without a store.
        limit_s: What that may be.
        away: All of them.
        calm: Those beside which nothing else made the machine slow.
    """

    longer_s: float
    limit_s: float
    away: list[Start]
    calm: list[Start]


def measured(home: Path, url: str, **options: Any) -> Measures:
    """Start by turns without a store and while it is away.

    A busy machine makes single starts slow, so more are made until the figure is as promised.
    """
    kept(home, url)
    alone: list[Start] = []
    away: list[Start] = []
    longer_s, limit_s = float("inf"), LONGER_S
    for _ in range(ROUNDS):
        alone.append(start(home, "memory://", **options))
        away.append(start(home, url, **options))
        alone_s = min(one.told["took"] for one in alone)
        longer_s = min(one.told["took"] for one in away) - alone_s
        limit_s = LONGER_S * max(1.0, alone_s / START_S)
        if longer_s < limit_s and len(away) > 1:
            break
    calm = [
        start_away
        for start_alone, start_away in zip(alone, away, strict=True)
        if start_alone.told["took"] <= DISTURBED * alone_s
    ]
    return Measures(longer_s, limit_s, away, calm)


def judged(measures: Measures, figures: Figures, name: str, fault: str) -> None:
    longer_s, limit_s, away = measures.longer_s, measures.limit_s, measures.away
    assert longer_s < limit_s
    assert {one.told["first"] for one in measures.calm} == {"stale"}, (
        "the first call obeys the file"
    )
    obeyed = sum(one.told["first"] == "stale" for one in away)
    assert all(60 <= one.told["age"] < 180 for one in away)
    ended_s = min(one.ended_s for one in away)
    assert ended_s < END_S + SLACK_S
    figures.about(name, fault)
    figures.note("import and first call, beyond memory://", longer_s, shown(limit_s, "s"), unit="s")
    figures.note("first calls that obeyed the file", f"{obeyed} of {len(away)}")
    figures.note("end of the process", ended_s, "1 s", unit="s")


@pytest.mark.real
@pytest.mark.parametrize("away", [nobody, dropped], ids=["down", "dropped"])
def test_a_process_starts_as_fast_while_redis_is_away(away: Any, tmp_path: Path, figures: Figures):
    how = "Nobody listens" if away is nobody else "Packets are dropped"
    with away() as url:
        measures = measured(tmp_path, url)
    judged(measures, figures, f"T03 cold start {away.__name__}", f"{how} at the address")


@pytest.mark.faults
def test_a_process_starts_as_fast_while_names_are_not_resolved(tmp_path: Path, figures: Figures):
    before = ("unshare", "--map-root-user", "--mount", "--net", sys.executable, "-c")
    measures = measured(tmp_path, "redis://redis.example:6379", before=before)
    judged(measures, figures, "T03 cold start dns", "The name server does not answer")
