"""What one process of a fleet asks of Redis in a second, and what it costs itself."""

from __future__ import annotations

import time
from typing import Any

import redis

from benchmarks.fleet.server import children

NAMESPACE = "traffic"

Row = dict[str, Any]


def measure(port: int, *, seconds: float) -> list[Row]:
    """Measure an idle and a busy process, and one with many flags, alone on the server.

    What the server does for itself, without any process, is measured first and taken off.
    """
    url = f"redis://127.0.0.1:{port}/0"
    base = {"kind": "app", "url": url, "namespace": NAMESPACE}
    cases = [
        ("idle, 1 flag", base),
        ("busy, 1 flag at 100 calls a second", {**base, "calls": 100}),
        ("busy, 1,000 flags declared", {**base, "calls": 100, "flags": 1_000}),
    ]
    rows = []
    with redis.Redis(port=port, protocol=2) as client:
        own = _rates(client, seconds / 2)
        for name, asked in cases:
            with children([asked]) as (child,):
                time.sleep(8.0)  # declared, and asleep where idle
                started = child.ask("usage")
                rates = _rates(client, seconds)
                ended = child.ask("usage")
            row = {figure: max(0.0, rate - own[figure]) for figure, rate in rates.items()}
            share = (ended[1] - started[1]) / (ended[0] - started[0])
            rows.append({"name": name, **row, "process_share": share})
    return rows


def _rates(client: redis.Redis, seconds: float) -> dict[str, float]:
    """Return what the server did a second."""
    before, began = _figures(client), time.monotonic()
    time.sleep(seconds)
    after, took = _figures(client), time.monotonic() - began
    return {name: (after[name] - before[name]) / took for name in after}


def _figures(client: redis.Redis) -> dict[str, float]:
    info: dict[str, Any] = client.info("everything")  # type: ignore[assignment]
    ends = ("exec", "evalsha", "eval", "ping", "hset", "set")  # each ends one round trip of ours
    calls = (info.get(f"cmdstat_{command}", {}).get("calls", 0) for command in ends)
    inner = info.get("cmdstat_evalsha", {}).get("calls", 0)  # a heartbeat's own HSET
    return {
        "round_trips": sum(calls) - inner,
        "in_bytes": info["total_net_input_bytes"],
        "out_bytes": info["total_net_output_bytes"],
    }
