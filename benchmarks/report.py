"""The result as a table for people and JSON for machines."""

from __future__ import annotations

import datetime as dt
import importlib.metadata
import json
import os
import platform
from collections.abc import Iterable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "explanation" / "benchmarks.md"
RESULT = ROOT / "benchmarks" / "result.json"

_PACKAGES = ("degrade", "circuitbreaker", "pybreaker", "pydantic", "cachetools")


def machine() -> dict[str, Any]:
    """Return what the figures were measured on."""
    return {
        "date": dt.datetime.now(tz=dt.UTC).date().isoformat(),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 1),
        "packages": {name: importlib.metadata.version(name) for name in _PACKAGES},
    }


def _verdict(row: dict[str, Any]) -> str:
    if row["within"] is None:
        return ""
    return "met" if row["within"] else "**missed**"


def missed_note(missed: Iterable[bool]) -> list[str]:
    """Return what to say below a table of which a row missed its budget, else nothing."""
    if not any(missed):
        return []
    return [
        "*Missed*: in this run it was over its budget by more than 10 %; nothing was left out.",
        "",
    ]


def _note_of(rows: list[dict[str, Any]]) -> list[str]:
    return missed_note(row["within"] is False for row in rows)


def _calls_table(rows: list[dict[str, Any]]) -> list[str]:
    lines = [
        "| contender | ns a call | overhead ns | in Y | budget | |",
        "|---|---:|---:|---:|---:|---|",
    ]
    for row in rows:
        budget = "" if row["budget"] is None else f"{row['budget']} Y"
        lines.append(
            f"| {row['name']} | {row['ns']:,.0f} | {row['overhead_ns']:,.0f} "
            f"| {row['in_y']:.2f} | {budget} | {_verdict(row)} |"
        )
    return lines


def markdown(result: dict[str, Any]) -> str:
    """Return the page of a result."""
    about = result["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in about["packages"].items())
    lines = [
        "# What it costs",
        "",
        (
            "Measured by `make bench`, which writes this page. "
            "Compare ratios within a table, not nanoseconds between machines: **Y** is a hand-written "
            "closure that reads the clock twice and appends to a deque, measured in the same run, its "
            "blocks interleaved with everybody's, and the median taken over several processes. "
            "Budgets count as met within 10 %. degrade runs with its public defaults, its threads "
            "running and draining."
        ),
        "",
        (
            f"{about['date']}, CPython {about['python']} on {about['system']}, {about['cores']} cores "
            f"(load {about['load']} when it ended), {versions}."
        ),
        "",
    ]
    for title, rows in result["calls"].items():
        lines += [f"## {title}", "", *_calls_table(rows), "", *_note_of(rows)]
    lines += [
        "## What a copy costs",
        "",
        (
            "A degraded call gives its caller an object that nobody else has, unless nobody can "
            "change it. Processor time from the call to its answer, without collecting garbage:"
        ),
        "",
        "| what is served | µs a call |",
        "|---|---:|",
        *(f"| {row['name']} | {row['us']:,.3g} |" for row in result["copies"]),
        "",
    ]
    lines += ["## Footprint", "", "| what | measured | budget | |", "|---|---:|---:|---|"]
    lines += [
        f"| {row['name']} | {row['value']:.3g} {row['unit']} | {row['budget']:g} {row['unit']} "
        f"| {_verdict(row)} |"
        for row in result["footprint"]
    ]
    return "\n".join([*lines, "", *_note_of(result["footprint"])])


def write(result: dict[str, Any]) -> None:
    """Write the page and the JSON."""
    PAGE.parent.mkdir(parents=True, exist_ok=True)
    PAGE.write_text(markdown(result), encoding="utf-8")
    RESULT.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
