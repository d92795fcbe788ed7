"""Run the benchmark of a fleet; writes `result.json` and the page in `docs`."""

from __future__ import annotations

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
    quick = sys.argv[1:] == ["--quick"]
    result: dict[str, Any] = {}
    with server() as port, redis.Redis(port=port, protocol=2) as client:
        result["redis"] = client.info("server")["redis_version"]
        result["size"] = size.measure(port)
    with server() as port:
        result["traffic"] = traffic.measure(port, seconds=4.0 if quick else 30.0)
    rows = []
    for processes, burn in FLEETS:
        with server() as port:
            row = toggles.measure(port, processes, burn=burn, toggles=100 if quick else 2_000)
        rows.append(row)
        print(json.dumps(row), file=sys.stderr)
    result["toggles"] = rows
    about = report.machine()
    about["packages"] = {name: importlib.metadata.version(name) for name in ("degrade", "redis")}
    result["machine"] = about
    text = page.markdown(result)
    if not quick:
        page.RESULT.write_text(json.dumps(result, indent=1) + "\n")
        page.PAGE.write_text(text)
    print(text)
    missed = page.judged(result)
    if missed:
        print(f"missed: {'; '.join(missed)}", file=sys.stderr)
    return 1 if missed else 0


if __name__ == "__main__":
    raise SystemExit(main())
