"""What the faults measured: a file per test, folded into one page.

`python -m tests.faults.figures` prints the table and writes docs/reference/faults.md.
"""

from __future__ import annotations

import datetime as dt
import importlib.metadata
import json
import os
import platform
import subprocess
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tests.faults.promises import Kept
from tests.servers.binaries import find_redis

__all__ = ("Figures", "fold", "shown")

ROOT = Path(__file__).resolve().parents[2]
FOLDER = Path(os.environ.get("FIGURES_FOLDER", ROOT / ".make" / "faults"))
PAGE = ROOT / "docs" / "reference" / "faults.md"


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured value beside what was promised."""

    what: str
    measured: str
    promised: str = ""


@dataclass(slots=True)
class Figures:
    """What one test measured; written when the test has passed.

    Attributes:
        name: Number in the plan and name, such as `T01 redis_frozen`.
        fault: What was done.
    """

    name: str = ""
    fault: str = ""
    rows: list[Figure] = field(default_factory=list)

    def about(self, name: str, fault: str) -> None:
        self.name, self.fault = name, fault

    def note(self, what: str, measured: str | float, promised: str = "", *, unit: str = "") -> None:
        """Note a figure; a number of seconds (`unit="s"`) is shown as people read it."""
        self.rows.append(Figure(what, shown(measured, unit), promised))

    def keep(self, kept: Kept) -> None:
        """Note the figures of the standing promises."""
        self.note("p99 of calls, to what was expected", f"{kept.ratio:.2f}", "1.5")
        self.note("p99 of calls under the fault", kept.fault_s, unit="s")
        self.note("the same in calm phases", kept.calm_s, unit="s")
        if kept.degraded_s:
            self.note("that of degraded calls", kept.degraded_s, unit="s")
        self.note("worst call", kept.worst_s, "300 ms", unit="s")
        self.note("worst call without the library", kept.worst_without_s, unit="s")
        self.note(
            "processor time of a process, calm and under the fault",
            f"{kept.calm_cpu:.1%}, {kept.fault_cpu:.1%}",
        )
        self.note("connections a process", kept.sockets, "2")
        self.note("log lines in a minute", kept.lines, str(kept.lines_limit))
        self.note("calls under the fault", f"{kept.calls:,}")

    def write(self, folder: Path = FOLDER) -> None:
        if not self.name:
            return
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{self.name.replace(' ', '_')}.json"
        path.write_text(json.dumps(asdict(self), indent=1) + "\n")


def shown(value: str | float, unit: str) -> str:
    if isinstance(value, str):
        return value
    if unit == "s":
        for factor, name in ((1.0, "s"), (1e3, "ms"), (1e6, "us")):
            if abs(value) * factor >= 1 or name == "us":
                return f"{value * factor:.3g} {name}"
    return f"{value:.3g} {unit}".strip() if isinstance(value, float) else f"{value} {unit}".strip()


def fold(folder: Path = FOLDER) -> str:
    """Return the page of everything that was measured."""
    tests: list[dict[str, Any]] = [
        json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))
    ]
    lines = [
        "# What was measured under faults",
        "",
        (
            "`make faults` runs real redis-servers, makes them fail, and writes this page. An "
            "application of several processes calls guarded functions at a fixed rate all the "
            "while, beside the bare functions; a process without the library shows what the "
            "machine does by itself. A p99 is compared with the greater of two: that of calm phases, "
            "and that of the process without the library under the fault."
        ),
        "",
        "In every test: no exception of degrade's reached a caller, and none of its threads died.",
        "",
        about_the_machine(),
        "",
    ]
    for test in tests:
        lines += [f"## {test['name']}", "", f"{test['fault']}.", ""]
        lines += ["| figure | measured | promised, at most |", "|---|---:|---:|"]
        lines += [
            f"| {row['what']} | {row['measured']} | {row['promised']} |" for row in test["rows"]
        ]
        lines.append("")
    return "\n".join(lines)


def about_the_machine() -> str:
    server = subprocess.run(
        [find_redis().server, "--version"],
        capture_output=True, text=True, check=True, env=find_redis().environment,
    ).stdout.split()[2].removeprefix("v=")  # fmt: skip
    return (
        f"{dt.datetime.now(tz=dt.UTC).date()}, CPython {platform.python_version()} on "
        f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores (load "
        f"{os.getloadavg()[0]:.1f} when it ended), redis-server {server}, redis-py "
        f"{importlib.metadata.version('redis')}."
    )


def main() -> None:
    page = fold()
    PAGE.write_text(page)
    print(page)  # noqa: T201 - the table is what was asked for
    print(f"written to {PAGE.relative_to(ROOT)}")  # noqa: T201 - says where it is


if __name__ == "__main__":
    main()
