"""Run every benchmark: `python -m benchmarks`; writes `result.json` and the page in `docs`."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

from benchmarks import calls, contenders, footprint, report


def main() -> int:
    """Measure, print and write; returns 1 when a budget is missed by more than 10 %."""
    contenders.prepare()
    tables: dict[str, Any] = {}
    for threads in (1, 2, 8):
        title = f"A healthy call, {threads} thread{'s' if threads > 1 else ''}"
        tables[title] = calls.measure(contenders.healthy(), threads=threads)
    asyncio.run(contenders.prepare_async())
    tables["A healthy coroutine"] = calls.measure_async(contenders.healthy_async())
    tables["While degraded"] = calls.measure(contenders.answering())
    figures = [
        footprint.memory_per_flag(),
        *footprint.tick_of_many(),
        footprint.import_time(),
        *footprint.idle_cpu(),
    ]
    result = {"machine": report.machine(), "calls": tables, "footprint": figures}
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
