"""Run the benchmark of a fleet; writes `result.json` and the page in `docs`."""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import sys
from typing import Any

import redis

from benchmarks import report
from benchmarks.fleet import page, size, toggles, traffic
from benchmarks.fleet.server import server

FLEETS = ((1, False), (4, False), (16, False), (4, True))


def main() -> int:
    """Measure, print and write; returns 1 when a budget is missed by more than 10 %."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fleet")
    parser.add_argument("--quick", action="store_true", help="measure less, and write nothing")
    parser.add_argument(
        "--toggles", action="store_true", help="measure toggles alone, and write nothing"
    )
    asked = parser.parse_args()
    if asked.toggles:
        rows = _toggles(100 if asked.quick else toggles.TOGGLES)
        print("\n".join(page.toggle_table(rows)))
        return _told(page.judged_toggles(rows))
    result: dict[str, Any] = {}
    with server() as port, redis.Redis(port=port, protocol=2) as client:
        result["redis"] = client.info("server")["redis_version"]
        result["size"] = size.measure(port)
    with server() as port:
        result["traffic"] = traffic.measure(port, seconds=4.0 if asked.quick else 30.0)
    result["toggles"] = _toggles(100 if asked.quick else toggles.TOGGLES)
    about = report.machine()
    about["packages"] = {name: importlib.metadata.version(name) for name in ("degrade", "redis")}
    result["machine"] = about
    text = page.markdown(result)
    if not asked.quick:
        page.RESULT.write_text(json.dumps(result, indent=1) + "\n")
        page.PAGE.write_text(text)
    print(text)
    return _told(page.judged(result))


def _toggles(count: int) -> list[toggles.Row]:
    rows = []
    for processes, burn in FLEETS:
        with server() as port:
            row = toggles.measure(port, processes, burn=burn, toggles=count)
        rows.append(row)
        print(json.dumps(row), file=sys.stderr)
    return rows


def _told(missed: list[str]) -> int:
    if missed:
        print(f"missed: {'; '.join(missed)}", file=sys.stderr)
    return 1 if missed else 0


if __name__ == "__main__":
    raise SystemExit(main())
