"""The one list of metrics: names, kinds, labels, help, and the bounds of the histogram.

Exporters build their families from it, the runtime fills its bounds, and the table in
`docs/reference/metrics.md` is printed from it: `python -m degrade.telemetry.names`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from degrade.core.enums import CallClass, Mode, Outcome, Phase, RungKind, Sharing

__all__ = ("DURATION_BUCKETS_S", "LABELS", "METRICS", "Metric", "table")

DURATION_BUCKETS_S: tuple[float, ...] = (
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, math.inf,
)  # fmt: skip
"""Upper bounds in seconds, inclusive, growing, the last one infinite.

They reach from a cache hit to the ten seconds after which a call without a deadline counts as
failed, and hold the limits that people write into an SLA (50, 100, 250, 500 ms).
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """One family of series, as it stands in a scrape.

    Attributes:
        name: The full name, with the suffix that its kind asks for.
        kind: What a scrape declares it to be.
        labels: Names of its labels, in order.
        help: One sentence; also the text in a scrape.
    """

    name: str
    kind: Literal["counter", "gauge", "histogram", "summary", "info"]
    labels: tuple[str, ...]
    help: str


METRICS: tuple[Metric, ...] = (
    Metric(
        name="degrade_calls_total",
        kind="counter",
        labels=("flag", "class"),
        help="Answers that callers got; the classes add up to the calls that ended.",
    ),
    Metric(
        name="degrade_primary_total",
        kind="counter",
        labels=("flag", "outcome"),
        help="Runs of the guarded function itself, whatever the caller got.",
    ),
    Metric(
        name="degrade_rung_served_total",
        kind="counter",
        labels=("flag", "rung"),
        help="Answers that a rung of the ladder gave.",
    ),
    Metric(
        name="degrade_served_age_seconds",
        kind="summary",
        labels=("flag",),
        help="Ages of the snapshots served, when they were served.",
    ),
    Metric(
        name="degrade_oldest_age_seconds",
        kind="gauge",
        labels=("flag",),
        help="Age of the oldest snapshot served in the last minute; absent when there was none.",
    ),
    Metric(
        name="degrade_phase",
        kind="gauge",
        labels=("flag", "phase"),
        help="What the automation thinks of the flag: 1 for the current phase, 0 for the others.",
    ),
    Metric(
        name="degrade_mode",
        kind="gauge",
        labels=("flag", "mode"),
        help="What the calls obey: 1 for the current mode, 0 for the others.",
    ),
    Metric(
        name="degrade_dial",
        kind="gauge",
        labels=("flag",),
        help="Share of the calls that are degraded, 0 to 1.",
    ),
    Metric(
        name="degrade_transitions_total",
        kind="counter",
        labels=("flag", "from", "to"),
        help="Changes of the phase; a step of a recovery goes from recovering to recovering.",
    ),
    Metric(
        name="degrade_call_duration_seconds",
        kind="histogram",
        labels=("flag",),
        help="How long runs of the guarded function took.",
    ),
    Metric(
        name="degrade_dropped_total",
        kind="counter",
        labels=("flag", "kind"),
        help="Times that a rung of the ladder raised and the next one was asked, by kind.",
    ),
    Metric(
        name="degrade_captures_skipped_total",
        kind="counter",
        labels=("flag", "reason"),
        help="Snapshots that were due and not made, by reason.",
    ),
    Metric(
        name="degrade_shared_snapshots_total",
        kind="counter",
        labels=("flag", "result"),
        help="Snapshots sent to, and asked of, the tier that the fleet shares, by what came of it.",
    ),
    Metric(
        name="degrade_state_age_seconds",
        kind="gauge",
        labels=(),
        help="Time since the store was last read; absent before the first read.",
    ),
    Metric(
        name="degrade_info",
        kind="info",
        labels=("version",),
        help="The library in this process; always 1.",
    ),
)

LABELS: dict[str, tuple[str, ...]] = {
    "class": tuple(CallClass),
    "outcome": tuple(Outcome),
    "rung": tuple(RungKind),
    "phase": tuple(Phase),
    "mode": tuple(Mode),
    "from": tuple(Phase),
    "to": tuple(Phase),
    "kind": tuple(f"rung_{kind}" for kind in RungKind),
    "reason": ("budget", "pending", "backlog", "no-key", "outside", "encode", "refused", "void"),
    "result": tuple(Sharing),
}
"""Labels that can only take these values; `flag` is the name of a declared flag."""


def table() -> str:
    """Return the tables of the reference page, as Markdown."""
    lines = ["| metric | kind | labels | meaning |", "|---|---|---|---|"]
    for metric in METRICS:
        labels = ", ".join(f"`{label}`" for label in metric.labels) or "–"
        lines.append(f"| `{metric.name}` | {metric.kind} | {labels} | {metric.help} |")
    lines += ["", "| label | values |", "|---|---|"]
    for label, values in LABELS.items():
        lines.append(f"| `{label}` | {', '.join(f'`{value}`' for value in values)} |")
    bounds = ", ".join(f"{bound:g}" for bound in DURATION_BUCKETS_S[:-1])
    lines += ["", f"Upper bounds of the histogram, seconds: {bounds}, and no bound."]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(table(), end="")
