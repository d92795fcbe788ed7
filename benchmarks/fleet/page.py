"""The result as a page of the documentation: tables, and what they mean for the size of a fleet."""

from __future__ import annotations

from typing import Any

from benchmarks.report import ROOT, missed_note
from degrade.runtime.background.io_worker import BUSY_REPORT_S, FLEET_POLL_S

PAGE = ROOT / "docs" / "explanation" / "fleet-size.md"
RESULT = ROOT / "benchmarks" / "fleet" / "result.json"

SPARE = 0.5
"""Share of the server's one core that the library may take; the rest is for bursts."""

Row = dict[str, Any]


def markdown(result: dict[str, Any]) -> str:
    """Return the page of a result."""
    about = result["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in about["packages"].items())
    lines = [
        "# How large a fleet one Redis carries",
        "",
        (
            "Measured by `make bench-fleet`, which writes this page, against a redis-server of its own on "
            "the loopback. Budgets count as met within 10 %."
        ),
        "",
        (
            f"{about['date']}, CPython {about['python']} on {about['system']}, {about['cores']} cores "
            f"(load {about['load']} when it ended), redis-server {result['redis']}, {versions}."
        ),
        "",
        "## From a toggle to every process",
        "",
        (
            "From sending the change to Redis until `flag.degraded` has changed in another process, "
            "beside the same change of another namespace, written in between, whose hint reaches as many "
            "processes that only read a socket. The last column is a mere PUBLISH to the same processes. "
            "Every toggle was seen by every process unless the table says otherwise. "
            "Budget: the p99 at most twice that of the bare subscriber."
        ),
        "",
        *toggle_table(result["toggles"]),
        "",
        *missed_note(_ratio(row) > 2.2 for row in result["toggles"]),
        "A process that missed a hint reads the change with its next poll, at most 1.2 s later.",
        "",
        "## What a process asks of Redis",
        "",
        "| process | round trips/s | bytes/s to Redis | bytes/s from Redis | of its own core |",
        "|---|---:|---:|---:|---:|",
        *(_traffic_line(row) for row in result["traffic"]),
        "",
        "Calls ask nothing of Redis. Budgets: 2 round trips a second a process; 0.1 % of a core when idle.",
        "",
        "## What single acts cost",
        "",
        "| act | took | client CPU | server CPU | bytes |",
        "|---|---:|---:|---:|---:|",
        *(_size_line(row) for row in result["size"]),
        "",
        *_conclusions(result),
        "",
    ]
    return "\n".join(lines)


def toggle_table(rows: list[Row]) -> list[str]:
    """Return the table of the toggles."""
    return [
        "| fleet | toggles | p50 | p99 | bare p50 | bare p99 | p99 ratio | | PUBLISH p50, p99 |",
        "|---|---:|---:|---:|---:|---:|---:|---|---|",
        *map(_toggle_line, rows),
    ]


def judged_toggles(rows: list[Row]) -> list[str]:
    """Return which toggles missed their budget by more than 10 %, or were not seen."""
    return [
        f"toggle at {row['name']}: {_ratio(row):.2f} times a bare subscriber, "
        f"{row['toggle']['seen']:.2%} seen"
        for row in rows
        if not _met(row)
    ]


def judged(result: dict[str, Any]) -> list[str]:
    """Return what missed its budget by more than 10 %."""
    missed = judged_toggles(result["toggles"])
    missed += [
        f"{row['name']}: {row['round_trips']:.1f} round trips a second"
        for row in result["traffic"]
        if row["round_trips"] > 2.2
    ]
    idle = result["traffic"][0]["process_share"]
    if idle > 0.0011:
        missed.append(f"idle CPU: {idle:.3%} of a core")
    return missed


def _ratio(row: Row) -> float:
    return float(row["toggle"]["p99_ms"] / row["bare"]["p99_ms"])


def _met(row: Row) -> bool:
    return _ratio(row) <= 2.2 and row["toggle"]["seen"] == 1


def _toggle_line(row: Row) -> str:
    ours, bare, publish = row["toggle"], row["bare"], row["publish"]
    seen = "" if ours["seen"] == 1 else f", {ours['seen']:.2%} seen"
    return (
        f"| {row['name']}{seen} | {row['toggles']:,} | {ours['p50_ms']:.2f} ms | "
        f"{ours['p99_ms']:.2f} ms | {bare['p50_ms']:.2f} ms | {bare['p99_ms']:.2f} ms | "
        f"{_ratio(row):.2f} | {'met' if _met(row) else '**missed**'} | "
        f"{publish['p50_ms']:.2f} ms, {publish['p99_ms']:.2f} ms |"
    )


def _traffic_line(row: Row) -> str:
    return (
        f"| {row['name']} | {row['round_trips']:.1f} | {row['in_bytes']:,.0f} | "
        f"{row['out_bytes']:,.0f} | {row['process_share']:.3%} |"
    )


def _size_line(row: Row) -> str:
    return (
        f"| {row['name']} | {row['ms']:.2f} ms | {row['client_cpu_ms']:.2f} ms | "
        f"{row['server_cpu_ms']:.3f} ms | {row['bytes']:,.0f} |"
    )


def _conclusions(result: dict[str, Any]) -> list[str]:
    acts = {row["name"]: row for row in result["size"]}
    held = next(row for name, row in acts.items() if name.startswith("a poll, 1,000"))
    put = next(row for name, row in acts.items() if name.startswith("writing 100"))
    idle_poll = acts["a poll, nothing held"]
    beats = next(row for name, row in acts.items() if name.startswith("reading the heartbeats"))
    beat_row = acts["a heartbeat with 20 flags"]
    beat = beat_row["server_cpu_ms"] / 1e3 / BUSY_REPORT_S
    traffic = idle_poll["bytes"] / FLEET_POLL_S + beat_row["bytes"] / BUSY_REPORT_S
    share = idle_poll["server_cpu_ms"] / 1e3 / FLEET_POLL_S + beat
    processes = int(SPARE / share / 100) * 100
    with_holds = int(SPARE / (held["server_cpu_ms"] / 1e3 / FLEET_POLL_S + beat) / 10) * 10
    snapshots = int(SPARE / (put["server_cpu_ms"] / 100 / 1e3) / 1_000) * 1_000
    poll_kb = held["bytes"] / 1e3
    return [
        "## How far one server carries",
        "",
        (
            "A redis-server has one core for commands. Half of it kept free for bursts, the figures "
            "above give, one at a time:"
        ),
        "",
        (
            f"- **Processes.** A poll each second, and a heartbeat of 20 flags each five, take {share:.4%} of "
            f"the server's core, so about {processes:,} processes fit, with {2 * processes:,} connections (`maxclients` is "
            "10,000 unless raised) "
            f"and {processes * traffic / 1e6:.1f} MB a second."
        ),
        (
            f"- **Flags.** Declared flags cost heartbeats alone. Only flags that are *held* are read at each "
            f"poll: nothing held, a poll moves {idle_poll['bytes']:,.0f} bytes; with 1,000 flags held by name "
            f"{poll_kb:,.0f} kB. The server's core would last for {with_holds:,} processes then, but they "
            f"would move {with_holds * poll_kb / 1e3:,.0f} MB a second: the network decides. "
            "To hold everything, hold `*` or order a level: one record."
        ),
        (
            "- **Toggles.** Each is one script, and one message to every process. What limits them is how "
            "fast processes follow: see the first table."
        ),
        (
            f"- **Snapshots.** {snapshots:,} a second of 4 kB can be written, "
            f"{snapshots * 4 / 1e3:,.0f} MB a second: the network is full before the server is. They are "
            "written at most once a key in `refresh`, and read by degraded calls that miss memory, once."
        ),
        (
            "- **Looking.** `degrade status`, `why` and `--wait` read all heartbeats: "
            f"{beats['bytes'] / 1e6:.1f} MB for 200 processes of 20 flags, in {beats['ms']:.0f} ms. Of 1,000 "
            "flags each it would be fifty times that, which is read in pieces and takes seconds: divide such a "
            "namespace."
        ),
        "",
        "## Beyond",
        "",
        (
            "- **One namespace a service.** Namespaces share nothing; put them on servers of their own as they "
            "grow. An operator's `*` then holds one service."
        ),
        (
            "- **Cluster** spreads the snapshots over all primaries. The control keys of a namespace stay in one "
            "slot, on one primary, since one script changes them together: it carries what one server carries, "
            "for each namespace."
        ),
        (
            "- **Relays.** Where one namespace has more processes than that, one process a host could follow "
            "Redis and write a SQLite store (`sqlite:///`) that the others of the host share. There is no such "
            "relay ready-made: it is a program of yours, over `Store`."
        ),
    ]
