"""The picture of a run: what readers got, how long it took, and where the dials stood."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from examples.news_feed.judging import ANALYTICS, RANKING
from examples.news_feed.seconds import Second

__all__ = ("Span", "draw")

_COLOURS: Final = {
    "full": "#3f7d58", "snapshot": "#d9a441", "default": "#b5651d", "failed": "#b3261e",
}  # fmt: skip
_KINDS: Final = {"outage": "#b3261e", "order": "#555555", "store": "#2b6cb0"}
_LIMIT_MS: Final = 250


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """A time in which something was not as usual; Unix seconds.

    Attributes:
        name: What is written above it; nothing when empty.
        kind: An `outage` of the ranker, an operator's `order`, or a fault of the `store`.
        start, end: When.
        row: How far above the picture the name stands, lines.
        shaded: Whether it is shaded, too.
    """

    name: str
    kind: str
    start: float
    end: float
    row: int = 0
    shaded: bool = True


def draw(
    seconds: Sequence[Second], spans: Sequence[Span], started: float, path: Path, *, title: str
) -> None:
    """Write the picture as PNG."""
    mpl.rcParams.update({"font.size": 9, "axes.spines.top": False, "axes.spines.right": False})
    figure = Figure(figsize=(11, 7), layout="constrained")
    shares, latency, dial = figure.subplots(3, 1, sharex=True, height_ratios=(5, 3, 3))
    times = [second.at - started for second in seconds]
    _shares(shares, times, seconds)
    _latency(latency, times, seconds)
    _dial(dial, times, seconds)
    for axes in (shares, latency, dial):
        _spans(axes, spans, started, named=axes is shares)
    if times:
        dial.set_xlim(times[0], times[-1] + 1)
    dial.set_xlabel("seconds since the start")
    figure.suptitle(title)
    figure.savefig(path, dpi=130)


def _shares(axes: Axes, times: list[float], seconds: Sequence[Second]) -> None:
    counts = {
        "full": [second.share(second.full) for second in seconds],
        "snapshot": [second.share(second.snapshot) for second in seconds],
        "default": [second.share(second.default) for second in seconds],
        "failed": [second.share(second.bad) for second in seconds],
    }
    colours = [_COLOURS[name] for name in counts]
    axes.stackplot(
        times, *counts.values(), labels=list(counts), colors=colours, linewidth=0, step="post"
    )
    axes.set_ylim(0, 1)
    axes.set_ylabel("share of answers")
    axes.yaxis.set_major_formatter("{x:.0%}")
    axes.legend(loc="lower left", ncols=4, framealpha=0.9)


def _latency(axes: Axes, times: list[float], seconds: Sequence[Second]) -> None:
    for name, colour in (("p99", "#2b4c7e"), ("p50", "#8fa9cf")):
        values = [1e3 * (getattr(second, name) or 0.0) for second in seconds]
        axes.plot([at + 0.5 for at in times], values, color=colour, linewidth=1.3, label=name)
    axes.axhline(_LIMIT_MS, color="#b3261e", linestyle=":", linewidth=1, label="SLA p99")
    axes.set_ylim(0, 1.25 * _LIMIT_MS)
    axes.set_ylabel("milliseconds")
    axes.legend(loc="upper left", ncols=3, framealpha=0.9)


def _dial(axes: Axes, times: list[float], seconds: Sequence[Second]) -> None:
    for flag, colour, style in ((RANKING, "#2b4c7e", "-"), (ANALYTICS, "#7b5ea7", "--")):
        known = [(at, second.flags[flag].dial) for at, second in zip(times, seconds, strict=True)
                 if flag in second.flags]  # fmt: skip
        axes.step(
            [at for at, _ in known], [value for _, value in known],
            where="post", color=colour, linestyle=style, linewidth=1.4, label=flag,
        )  # fmt: skip
    axes.set_ylim(-0.03, 1.05)
    axes.set_ylabel("dial")
    axes.yaxis.set_major_formatter("{x:.0%}")
    axes.legend(loc="upper left", framealpha=0.9)


def _spans(axes: Axes, spans: Sequence[Span], started: float, *, named: bool) -> None:
    """Shade each span in the colour of its kind, with its name on top."""
    for span in spans:
        colour = _KINDS[span.kind]
        left, right = span.start - started, span.end - started
        if span.shaded:
            axes.axvspan(left, right, color=colour, alpha=0.13, linewidth=0)
            axes.axvline(left, color=colour, linewidth=0.8)
            axes.axvline(right, color=colour, linewidth=0.8, linestyle=":")
        if named and span.name:
            where = ((left + right) / 2, 1.02 + 0.07 * span.row)
            axes.annotate(
                span.name, where, ha="center", va="bottom", color=colour, annotation_clip=False
            )
