"""What a large fleet costs: many flags that are held, many instances, and snapshots."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import redis

from degrade.core.enums import HoldMode, Mode, Phase
from degrade.core.records import FlagInfo, FlagReport, Hold, InstanceReport
from degrade.ports import Blob, Change
from degrade.settings import open_store

FLAGS = 1_000
INSTANCES = 200
TIMES = 100

Row = dict[str, Any]


def measure(port: int) -> list[Row]:
    """Measure, with a namespace of many flags and instances."""
    store = open_store(f"redis://127.0.0.1:{port}/0", namespace="size")
    hold = Hold(mode=HoldMode.DEGRADED, dial=0.5, actor="bench", reason="a drill", at=0.0)
    names = [f"service.feature.{index}" for index in range(FLAGS)]
    store.read()
    store.declare([FlagInfo(name=name, level=2, owner="team") for name in names])
    store.change(
        Change(type="hold", actor="bench", reason="a drill", instance="bench",
               holds=dict.fromkeys(names, hold))
    )  # fmt: skip
    rows = []
    with redis.Redis(port=port, protocol=2) as client:
        few = open_store(f"redis://127.0.0.1:{port}/0", namespace="few")
        few.read()
        store.read()
        rows.append(_timed("a poll, nothing held", client, few.changed))
        rows.append(_timed(f"a poll, {FLAGS:,} flags held", client, store.changed))
        rows.append(_timed(f"a read, {FLAGS:,} flags held", client, store.read, times=20))
        beats = [_report(f"i{number:03}", names[:20]) for number in range(INSTANCES)]
        rows.append(_timed("a heartbeat with 20 flags", client, lambda: store.report(beats[0])))
        big = _report("i000", names)
        rows.append(
            _timed(f"a heartbeat with {FLAGS:,} flags", client, lambda: store.report(big), times=20)
        )
        for beat in beats:
            store.report(beat)
        rows.append(
            _timed(
                f"reading the heartbeats of {INSTANCES} instances",
                client,
                store.instances,
                times=20,
            )
        )
        if store.blobs is not None:
            blobs = store.blobs
            many = [
                Blob(flag="feed", key=f"user-{number}", body=b"x" * 4_000, keep_s=3_600.0)
                for number in range(100)
            ]
            rows.append(
                _timed("writing 100 snapshots of 4 kB", client, lambda: blobs.put(many), times=50)
            )
            rows.append(
                _timed(
                    "reading a snapshot of 4 kB",
                    client,
                    lambda: blobs.get("feed", "user-7", within_s=1.0),
                )
            )
    few.close()
    store.close()
    return rows


def _report(name: str, flags: list[str]) -> InstanceReport:
    flag = FlagReport(
        phase=Phase.STEADY, mode=Mode.NORMAL, dial=0.0, since=0.0, reason="steady",
        verdict=("errors: 0 of 1,200 calls failed, allowed 5%",), rungs=("snapshot", "default"),
        calls={"full": 120_000, "degraded": 12}, p50_s=0.012, p99_s=0.08,
    )  # fmt: skip
    return InstanceReport(
        id=name, host="host-17", pid=4_711, version="1", started=0.0, at=0.0, epoch=1,
        flags=dict.fromkeys(flags, flag),
    )  # fmt: skip


def _timed(name: str, client: redis.Redis, act: Callable[[], object], *, times: int = TIMES) -> Row:
    act()
    before = client.info("everything")
    took, cpu = [], time.process_time()
    for _ in range(times):
        start = time.perf_counter()
        act()
        took.append(time.perf_counter() - start)
    cpu = time.process_time() - cpu
    after = client.info("everything")

    def grown(*fields: str) -> float:
        return sum(after[field] - before[field] for field in fields) / times

    return {
        "name": name,
        "ms": statistics.median(took) * 1e3,
        "client_cpu_ms": cpu / times * 1e3,
        "server_cpu_ms": grown("used_cpu_sys", "used_cpu_user") * 1e3,
        "bytes": grown("total_net_input_bytes", "total_net_output_bytes"),
    }
