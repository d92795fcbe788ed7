"""Run every benchmark: `python -m benchmarks`; writes `result.json` and the page in `docs`.

What a call costs is measured in several fresh processes, one after the other, since where memory
happens to lie differs from process to process by more than the contenders do; every figure is the
median over them.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import subprocess
import sys
from typing import Any

from benchmarks import calls, contenders, copies, footprint, report

PROCESSES = 5

Tables = dict[str, list[calls.Row]]


def measure_calls() -> Tables:
    """Measure calls in this process: title to rows."""
    contenders.prepare()
    tables: Tables = {}
    for threads in (1, 2, 8):
        title = f"A healthy call, {threads} thread{'s' if threads > 1 else ''}"
        tables[title] = calls.measure(contenders.healthy(), threads=threads)
    asyncio.run(contenders.prepare_async())
    tables["A healthy coroutine"] = calls.measure_async(contenders.healthy_async())
    tables["While degraded"] = calls.measure(contenders.answering())
    return tables


def in_processes() -> Tables:
    """Measure calls in fresh processes and return the median of each figure."""
    runs: list[Tables] = [
        json.loads(
            subprocess.run(
                [sys.executable, "-m", "benchmarks", "--calls"], stdout=subprocess.PIPE, check=True
            ).stdout
        )
        for _ in range(PROCESSES)
    ]
    return {
        title: [
            calls.judged(
                {**row, **_medians([run[title][at] for run in runs])},
            )
            for at, row in enumerate(rows)
        ]
        for title, rows in runs[0].items()
    }


def _medians(rows: list[calls.Row]) -> calls.Row:
    return {
        figure: round(statistics.median(row[figure] for row in rows), 2)
        for figure in ("ns", "overhead_ns", "in_y")
    }


def main() -> int:
    """Measure, print and write; returns 1 when a budget is missed by more than 10 %."""
    if sys.argv[1:] == ["--calls"]:
        json.dump(measure_calls(), sys.stdout)
        return 0
    tables = in_processes()
    copied = copies.measure()
    ticks = footprint.tick_of_many()  # first: a tick visits every flag that was ever declared
    figures = [
        footprint.memory_per_flag(),
        *ticks,
        footprint.import_time(),
        *footprint.idle_cpu(),
    ]
    result: dict[str, Any] = {
        "machine": report.machine(),
        "calls": tables,
        "copies": copied,
        "footprint": figures,
    }
    report.write(result)
    print(report.markdown(result))
    missed = [
        row["name"]
        for rows in (*tables.values(), figures)
        for row in rows
        if row["within"] is False
    ]
    if missed:
        print(f"missed: {', '.join(missed)}", file=sys.stderr)
    return 1 if missed else 0


if __name__ == "__main__":
    raise SystemExit(main())
