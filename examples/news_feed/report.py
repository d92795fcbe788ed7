"""What remains of a run: a summary on the console, a JSON file, and a picture."""

from __future__ import annotations

import json
import platform
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from math import nan
from pathlib import Path
from typing import Final, NamedTuple

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table

import degrade
from examples.news_feed.answers import Kind, nearest_rank
from examples.news_feed.judging import Check, Run
from examples.news_feed.script import ANALYTICS, RANKING, Fault, Ranker
from examples.news_feed.watching import Second

_COLOURS: Final = {
    "full": "#3f7d58", "snapshot": "#d9a441", "default": "#b5651d", "failed": "#b3261e",
}  # fmt: skip
_KINDS: Final = {"outage": "#b3261e", "order": "#555555", "store": "#2b6cb0"}
_LIMIT_MS: Final = 250
_FAULTS: Final = "Redis frozen, or killed and wiped"
_SPANS: Final = (
    ("freeze", "thaw", "ranker frozen", "outage"), ("kill", "back", "ranker killed", "outage"),
    ("ranker_dead", "ranker_back", "ranker dead", "outage"), ("level", "level_end", "level 3", "order"),
    ("off", "off_end", "ranking off", "order"),
    ("hand", "ranker_dead", "analytics degraded by redis-cli, until ranking is released", "order"),
)  # fmt: skip


class Span(NamedTuple):
    """An `outage` of the ranker, an `order`, or a fault of the `store`; named `row` lines above."""

    name: str
    kind: str
    start: float
    end: float
    row: int = 0
    shaded: bool = True


def spans_of(run: Run) -> list[Span]:
    """Return the faults, the outages and the orders of a run."""
    faults = [phase for phase in run.phases if phase.fault is not Fault.CALM]
    spans = [Span("", "store", each.start, each.end) for each in faults]
    blocks = [[phase for phase in faults if phase.ranker is ranker] for ranker in Ranker]
    spans += [
        Span(_FAULTS, "store", block[0].start, block[-1].end, 1, shaded=False)
        for block in blocks
        if block
    ]
    for wipe in run.wipes:
        if not any(phase.start <= wipe.killed < phase.end for phase in faults):
            last = wipe.killed >= run.marks.get("recovery_wiped", wipe.empty)
            spans.append(Span("Redis wiped" if last else "", "store", wipe.killed, wipe.empty))
    return spans + [
        Span(name, kind, run.marks[start], run.marks[end], shaded=start != "hand")
        for start, end, name, kind in _SPANS
        if start in run.marks and end in run.marks
    ]


def late(run: Run) -> dict[str, float]:
    """Return how late the load itself sent its requests, seconds: p99 and at most.

    It is idle most of the time, so a machine with too little to give delays it. No check is relaxed
    for that; the figure tells such a run from one in which the feed is slow.
    """
    lags = [answer.sent - answer.due for answer in run.answers]
    return {"p99": nearest_rank(lags, 0.99) or 0.0, "most": nearest_rank(lags, 1.0) or 0.0}


def write(
    folder: Path, run: Run, seconds: Sequence[Second], checks: Sequence[Check], *, title: str, busy: float | None
) -> None:  # fmt: skip
    """Write `run.json` and `run.png`."""
    _draw(seconds, spans_of(run), run.started, title).savefig(folder / "run.png", dpi=130)
    kinds = Counter(answer.kind for answer in run.answers)
    record = {
        "passed": all(check.ok for check in checks),
        "versions": {"degrade": degrade.__version__, "python": platform.python_version()},
        "machine": platform.platform(), "busy": busy, "load_late_s": late(run),
        "started": run.started, "ended": run.ended, "marks": dict(run.marks), "said": run.said,
        "phases": [asdict(phase) for phase in run.phases],
        "wipes": [asdict(wipe) for wipe in run.wipes],
        "answers": {kind.value: kinds[kind] for kind in Kind}, "visits": len(run.visits),
        "checks": [asdict(check) for check in checks],
        "counters": {f"{flag} {kind}": count for (flag, kind), count in run.counters.items()},
        "events": [event.model_dump(mode="json") for event in run.events],
        "seconds": [asdict(second) for second in seconds],
    }  # fmt: skip
    (folder / "run.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def conclude(
    console: Console, folder: Path, run: Run, checks: Sequence[Check], busy: float | None
) -> bool:
    """Print every check with its figure, and the verdict; return whether every check holds."""
    names = ("", "what must hold", "what was seen")
    table = Table(*names, box=None, pad_edge=False, header_style="dim")
    for check in checks:
        mark = "[green]ok[/]" if check.ok else "[bold red]FAILED[/]"
        table.add_row(mark, check.name, check.figure)
    console.print("", table, "", sep="\n", soft_wrap=True)
    lag = {name: f"{value * 1e3:.0f} ms" for name, value in late(run).items()}
    text = f"the load sent its requests at most {lag['most']} late (p99 {lag['p99']})"
    text += "" if busy is None else f"; the machine was {busy:.0%} busy"
    passed = all(check.ok for check in checks)
    verdict = "[bold green]every check holds[/]" if passed else "[bold red]a check failed[/]"
    text += f"\n{verdict}: {folder}/run.json, {folder}/run.png"
    console.print(text, highlight=False, soft_wrap=True)
    return passed


def _draw(seconds: Sequence[Second], spans: Sequence[Span], started: float, title: str) -> Figure:
    """Draw what readers got, how long it took, and where the dials stood."""
    mpl.rcParams.update({"font.size": 9, "axes.spines.top": False, "axes.spines.right": False})
    figure = Figure(figsize=(11, 7), layout="constrained")
    shares, latency, dial = figure.subplots(3, 1, sharex=True, height_ratios=(5, 3, 3))
    times = [second.at - started for second in seconds]
    counts = [
        [each.share(kind, *([Kind.WRONG] if kind is Kind.FAILED else [])) for each in seconds]
        for kind in map(Kind, _COLOURS)
    ]
    shares.stackplot(
        times, *counts, labels=list(_COLOURS), colors=list(_COLOURS.values()), linewidth=0, step="post"
    )  # fmt: skip
    for name, colour in (("p99", "#2b4c7e"), ("p50", "#8fa9cf")):
        values = [1e3 * (getattr(second, name) or 0.0) for second in seconds]
        latency.plot([at + 0.5 for at in times], values, color=colour, linewidth=1.3, label=name)
    latency.axhline(_LIMIT_MS, color="#b3261e", linestyle=":", linewidth=1, label="SLA p99")
    for flag, colour, style in ((RANKING, "#2b4c7e", "-"), (ANALYTICS, "#7b5ea7", "--")):
        dials = [second.flags[flag].dial if flag in second.flags else nan for second in seconds]
        dial.step(times, dials, style, where="post", color=colour, linewidth=1.4, label=flag)
    for axes, label, top in (
        (shares, "share of answers", 1.0), (latency, "milliseconds", 1.25 * _LIMIT_MS), (dial, "dial", 1.05),
    ):  # fmt: skip
        axes.set_ylim(-0.03 if axes is dial else 0, top)
        axes.set_ylabel(label)
        axes.legend(loc="lower left" if axes is shares else "upper left", ncols=4, framealpha=0.9)
        if axes is not latency:
            axes.yaxis.set_major_formatter("{x:.0%}")
        for span in spans:
            _shade(axes, span, started, named=axes is shares)
    if times:
        dial.set_xlim(times[0], times[-1] + 1)
    dial.set_xlabel("seconds since the start")
    figure.suptitle(title)
    return figure


def _shade(axes: Axes, span: Span, started: float, *, named: bool) -> None:
    colour, left, right = _KINDS[span.kind], span.start - started, span.end - started
    if span.shaded:
        axes.axvspan(left, right, color=colour, alpha=0.13, linewidth=0)
        axes.axvline(left, color=colour, linewidth=0.8)
        axes.axvline(right, color=colour, linewidth=0.8, linestyle=":")
    if named and span.name:
        height = 1.02 + 0.07 * span.row
        axes.text((left + right) / 2, height, span.name, ha="center", va="bottom", color=colour)
