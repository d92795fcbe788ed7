"""Memory per flag, a tick of many flags, the import, and what an idle process costs."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Callable
from typing import Any

from degrade import SLA, Runtime, default, degradable

FLAGS = 1_000
CALLS = 3
IDLE_S = 20.0

Row = dict[str, Any]


def _work(index: int) -> Callable[[int], int]:
    def work(x: int) -> int:
        return x

    work.__qualname__ = f"work_{index}"
    return work


def _functions(prefix: str, count: int) -> list[Callable[[int], int]]:
    sla = SLA(p99="250ms", errors="5%")
    return [
        degradable(f"{prefix}.{index}", sla=sla, fallback=default(0))(_work(index))
        for index in range(count)
    ]


def memory_per_flag() -> Row:
    """Measure what one more flag takes, its wrapper and its figures included, its function not."""
    with Runtime(threads="manual") as runtime:
        _functions("warm", 10)
        runtime.tick()
        tracemalloc.start()
        before = tracemalloc.get_traced_memory()[0]
        bare = [_work(index) for index in range(FLAGS)]
        own = (tracemalloc.get_traced_memory()[0] - before) / FLAGS
        del bare
        before = tracemalloc.get_traced_memory()[0]
        functions = _functions("memory", FLAGS)
        for function in functions:
            for _ in range(100):
                function(1)
        runtime.tick()
        per_flag = (tracemalloc.get_traced_memory()[0] - before) / FLAGS - own
        tracemalloc.stop()
    return _row("memory per flag", per_flag / 1000, "kB", 6.0)


def tick_of_many() -> list[Row]:
    """Measure a tick of many flags with a few calls each, and its longest slice."""
    with Runtime(threads="manual") as runtime:
        functions = _functions("tick", FLAGS)
        times: list[float] = []
        for _ in range(30):
            for function in functions:
                for _ in range(CALLS):
                    function(1)
            start = time.perf_counter()
            runtime.tick(yield_after_s=0.001)
            times.append(time.perf_counter() - start)
    return [
        _row(
            f"tick of {FLAGS:,} flags with {CALLS} calls each",
            statistics.median(times) * 1e3,
            "ms",
            10.0,
        )
    ]


_IMPORT = """
import time, pydantic
class Model(pydantic.BaseModel):
    x: int
start = time.perf_counter()
import degrade
print(time.perf_counter() - start)
"""


def import_time() -> Row:
    """Measure `import degrade` in an interpreter that has defined one pydantic model."""
    compiled = {**os.environ, "PYTHONDONTWRITEBYTECODE": ""}  # as an installed package is
    times = [
        float(
            subprocess.run(
                [sys.executable, "-c", _IMPORT], capture_output=True, check=True, env=compiled
            ).stdout
        )
        for _ in range(16)
    ]
    return _row("import degrade, beyond pydantic", statistics.median(times[1:]) * 1e3, "ms", 40.0)


_IDLE = """
import json, sys, time
import degrade
degrade.configure(store=sys.argv[1])
@degrade.degradable("idle", sla=degrade.SLA(errors="5%"))
def work():
    return 1
work()
time.sleep(3)
cpu, wall = time.process_time(), time.monotonic()
time.sleep(float(sys.argv[2]))
print(json.dumps((time.process_time() - cpu) / (time.monotonic() - wall)))
"""


def idle_cpu() -> list[Row]:
    """Measure the share of a core that a process takes which has nothing to do."""
    with tempfile.TemporaryDirectory() as folder:
        stores = {
            "memory": ("memory://", 0.0002),
            "SQLite": (f"sqlite:///{folder}/idle.db", 0.0015),
        }
        running = {
            name: subprocess.Popen(
                [sys.executable, "-c", _IDLE, url, str(IDLE_S)], stdout=subprocess.PIPE
            )
            for name, (url, _) in stores.items()
        }
        rows = []
        for name, process in running.items():
            out, _ = process.communicate()
            share = json.loads(out)
            budget = stores[name][1]
            rows.append(_row(f"idle CPU, {name} store", share * 100, "% of a core", budget * 100))
    return rows


def _row(name: str, value: float, unit: str, budget: float) -> Row:
    return {
        "name": name,
        "value": round(value, 4),
        "unit": unit,
        "budget": budget,
        "within": value <= budget * 1.1,
    }
