"""What remains of a run: a summary on the console, a JSON file, and a picture."""

from __future__ import annotations

import json
import platform
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

import degrade
from examples.news_feed.classify import Kind
from examples.news_feed.judging import Check, Run
from examples.news_feed.picture import Span, draw
from examples.news_feed.seconds import Second
from examples.news_feed.stats import nearest_rank

__all__ = ("conclude", "late", "summarise", "write")


def late(run: Run) -> dict[str, float]:
    """Return how late the load itself sent its requests, seconds: p99 and at most.

    It is idle most of the time, so what delays it is a machine with too little to give. No check
    is relaxed for that; the figure is there to tell such a run from one in which the feed is slow.
    """
    lags = [answer.sent - answer.due for answer in run.answers]
    return {"p99": nearest_rank(lags, 0.99) or 0.0, "most": nearest_rank(lags, 1.0) or 0.0}


def summarise(console: Console, checks: Sequence[Check]) -> None:
    """Print every check with its figure."""
    table = Table(box=None, pad_edge=False, header_style="dim", title_justify="left")
    table.add_column("")
    table.add_column("what must hold")
    table.add_column("what was seen")
    for check in checks:
        mark = "[green]ok[/]" if check.ok else "[bold red]FAILED[/]"
        table.add_row(mark, check.name, check.figure)
    console.print()
    console.print(table, soft_wrap=True)
    console.print()


def write(
    folder: Path,
    run: Run,
    seconds: Sequence[Second],
    checks: Sequence[Check],
    *,
    spans: Sequence[Span],
    title: str,
    more: Mapping[str, Any] | None = None,
) -> None:
    """Write `run.json`, with `more` of what a scenario has to tell, and `run.png`."""
    draw(seconds, spans, run.started, folder / "run.png", title=title)
    record = _record(run, seconds, checks) | dict(more or {})
    text = json.dumps(record, indent=1)
    (folder / "run.json").write_text(text + "\n", encoding="utf-8")


def conclude(console: Console, folder: Path, run: Run, checks: Sequence[Check]) -> bool:
    """Print the checks and the verdict; return whether every check holds."""
    summarise(console, checks)
    lag = late(run)
    console.print(
        f"the load sent its requests at most {lag['most'] * 1e3:.0f} ms late "
        f"(p99 {lag['p99'] * 1e3:.0f} ms)",
        highlight=False,
    )
    passed = all(check.ok for check in checks)
    verdict = "[bold green]every check holds[/]" if passed else "[bold red]a check failed[/]"
    console.print(f"{verdict}: {folder}/run.json, {folder}/run.png")
    return passed


def _record(run: Run, seconds: Sequence[Second], checks: Sequence[Check]) -> dict[str, Any]:
    kinds = Counter(answer.kind for answer in run.answers)
    return {
        "passed": all(check.ok for check in checks),
        "versions": {"degrade": degrade.__version__, "python": platform.python_version()},
        "machine": platform.platform(),
        "started": run.started,
        "ended": run.ended,
        "marks": dict(run.marks),
        "load_late_s": late(run),
        "answers": {kind.value: kinds[kind] for kind in Kind},
        "visits": len(run.visits),
        "checks": [asdict(check) for check in checks],
        "counters": {f"{flag} {kind}": count for (flag, kind), count in run.counters.items()},
        "events": [event.model_dump(mode="json") for event in run.events],
        "seconds": [asdict(second) for second in seconds],
    }
