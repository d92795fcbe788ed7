"""T21 recovery_herd: a fleet comes back to a dependency that cannot bear its callers all at once."""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.faults.application import Worker
from tests.faults.herd import RECENT_S
from tests.servers.waiting import until

pytestmark = [pytest.mark.real, pytest.mark.timeout(120)]

CAPACITY = 150.0
LOAD = 0.9
PROCESSES, THREADS = 4, 16
CALLERS = PROCESSES * THREADS
PERIOD_S = CALLERS / (CAPACITY * LOAD)
PATIENCE_S = 0.22
"""Of one try; two of them are over before the next call."""
SLOWED = 0.2
QUICK = {"cooldown": "1s", "step_time": "1s", "step_calls": 3}
OFFERED = CAPACITY * LOAD
LATE_S, OVERSHOOT, FLIPS = 60.0, 1.2, 3
AFTERWARDS = 100
"""Calls of each process after the recovery: three seconds."""


class Crowd:
    """A dependency and the processes that call it, with the library or without."""

    def __init__(self, home: Path, store: str | None) -> None:
        self.namespace = f"t{uuid.uuid4().hex[:10]}"
        kept = {name: value for name, value in os.environ.items() if "DEGRADE_" not in name}
        env = {**kept, "HOME": str(home), "DEGRADE_LOCAL": str(home), "XDG_STATE_HOME": str(home)}
        self.workers: list[Worker] = []

        def start(**options: Any) -> Worker:
            worker = Worker({"store": store, **options}, env, home, program="tests.faults.herd")
            self.workers.append(worker)
            return worker

        try:
            self.dependency = start(role="dependency", capacity=CAPACITY)
            port = self.dependency.ready()["port"]
            self.callers = [
                start(
                    role="callers", port=port, namespace=self.namespace, recovery=QUICK,
                    threads=THREADS, first=THREADS * number, of=CALLERS, period_s=PERIOD_S,
                    patience_s=PATIENCE_S,
                )
                for number in range(PROCESSES)
            ]  # fmt: skip
            for worker in self.callers:
                worker.ready()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        for worker in self.workers:
            worker.kill()

    def begin(self) -> None:
        for worker in self.callers:
            worker.send("begin")
        for worker in self.callers:
            worker.answer()

    def serve(self, share: float) -> float:
        at: float = self.dependency.ask("serve", share=share)["at"]
        return at

    def states(self) -> list[dict[str, Any]]:
        return [worker.state() for worker in self.callers]

    def goodput(self) -> float:
        """Return recent full answers, to what was asked for."""
        return sum(state["full"] for state in self.states()) / (OFFERED * RECENT_S)

    def well(self) -> bool:
        """Return whether every process is steady, and nearly every call answered in full."""
        return {state["phase"] for state in self.states()} == {"steady"} and self.goodput() >= 0.9

    def all_told(self) -> bool:
        """Return whether every process degrades, and knows of the others and their verdict."""
        return all(
            state["phase"] != "steady" and state["verdict"] and state["live"] == PROCESSES
            for state in self.states()
        )

    def fewest_calls(self) -> int:
        return min(state["calls"] for state in self.states())

    def served(self, since: float, lasted_s: float) -> list[float]:
        """Return full answers in spans of two seconds up to the end, to what was asked for."""
        spans = [0] * int(lasted_s / RECENT_S)
        begin = since + lasted_s - len(spans) * RECENT_S
        for worker in self.callers:
            for ended, answer in worker.ask("report")["calls"]:
                span = int((ended - begin) // RECENT_S)
                if answer == "full" and 0 <= span < len(spans):
                    spans[span] += 1
        return [count / (OFFERED * RECENT_S) for count in spans]

    def most_load_since(self, at: float) -> float:
        """Return the most requests that arrived within any second, to the capacity."""
        found = self.dependency.ask("report")["arrivals"]
        arrivals = [arrived for arrived in found if arrived >= at]
        most = first = 0
        for last, arrived in enumerate(arrivals):
            while arrived - arrivals[first] >= 1.0:
                first += 1
            most = max(most, last - first + 1)
        return most / CAPACITY


@pytest.fixture
def crowd(tmp_path: Path) -> Iterator[Callable[[str | None], Crowd]]:
    """Start a crowd by calling it; it ends with the test."""
    with ExitStack() as stack:

        def start(store: str | None) -> Crowd:
            made = Crowd(tmp_path, store)
            stack.callback(made.close)
            return made

        yield start


@pytest.mark.slow
def test_a_fleet_comes_back_without_breaking_its_dependency_again(crowd, redis_server, figures):
    figures.about(
        "T21 recovery_herd",
        f"{CALLERS} callers in {PROCESSES} processes, at {LOAD:.0%} of what their dependency can "
        f"bear, which falls to {SLOWED:.0%} until hardly anybody is served, and rises again",
    )
    ours, alone = both = crowd(redis_server.url), crowd(None)
    for one in both:
        one.begin()
    until(ours.well, within_s=LATE_S, every_s=0.1, what="calm")
    control = f"degrade:{{{ours.namespace}}}:control"
    redis_server.cli("HSET", control, "not_before", "0")  # the store is older than it looks
    flips_before = [state["flips"] for state in ours.states()]

    for one in both:
        one.serve(SLOWED)
    until(
        lambda: ours.all_told() and max(one.goodput() for one in both) < 0.3,
        every_s=0.1, what="the dependency to break, and the fleet to say so",
    )  # fmt: skip
    removed = min(one.serve(1.0) for one in both)
    until(ours.well, within_s=LATE_S, every_s=0.1, what="the fleet to come back")
    back_s = time.monotonic() - removed
    enough = ours.fewest_calls() + AFTERWARDS
    until(lambda: ours.fewest_calls() >= enough, what="more calls, to see that it stays so")

    lasted_s = time.monotonic() - removed
    load, load_alone = ours.most_load_since(removed), alone.most_load_since(removed)
    served, served_alone = (one.served(removed, lasted_s) for one in both)
    flips = max(
        state["flips"] - before for state, before in zip(ours.states(), flips_before, strict=True)
    )
    figures.note("steady, and 90 % served again after", back_s, f"{LATE_S:g} s", unit="s")
    figures.note("most load in a second since, to the capacity", load, f"{OVERSHOOT}")
    figures.note("the same without the library", load_alone)
    figures.note("served in the last two seconds", f"{served[-1]:.0%}")
    figures.note("the most served in two seconds without the library", f"{max(served_alone):.0%}")
    figures.note("times that a process left steady", flips, f"{FLIPS}")
    assert back_s <= LATE_S
    assert served[-1] >= 0.9, served
    assert load <= OVERSHOOT
    assert flips <= FLIPS
    assert max(served_alone) < 0.5, "the dependency does not collapse: nothing was shown"
    assert load_alone > OVERSHOOT, "the dependency does not collapse: nothing was shown"
