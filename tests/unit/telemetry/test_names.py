"""The list of metrics, and the page that is printed from it."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path

from degrade import Runtime, default, degradable, simplified
from degrade.clock import ManualClock
from degrade.fallback.snapshots.snapshot_rung import SKIP_REASONS
from degrade.telemetry.names import DURATION_BUCKETS_S, LABELS, METRICS, table

PAGE = Path(__file__).parents[3] / "docs" / "reference" / "metrics.md"


def test_the_reference_page_holds_the_table_that_the_list_prints():
    printed = subprocess.run(
        [sys.executable, "-m", "degrade.telemetry.names"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    begin, end = "<!-- begin: python -m degrade.telemetry.names -->\n", "<!-- end -->"

    committed = PAGE.read_text().split(begin)[1].split(end)[0]

    assert committed.strip() == printed.stdout.strip() == table().strip()


def test_bounds_grow_and_the_last_one_takes_everything():
    assert list(DURATION_BUCKETS_S) == sorted(set(DURATION_BUCKETS_S))
    assert math.isinf(DURATION_BUCKETS_S[-1])
    assert all(isinstance(bound, float) for bound in DURATION_BUCKETS_S)


def test_names_follow_the_conventions_of_their_kind():
    names = [metric.name for metric in METRICS]
    assert len(names) == len(set(names))
    for metric in METRICS:
        assert metric.name.startswith("degrade_")
        assert metric.name.endswith("_total") is (metric.kind == "counter")
        assert metric.name.endswith("_info") is (metric.kind == "info")
        if metric.kind in ("histogram", "summary"):
            assert metric.name.endswith("_seconds")


def test_every_closed_label_is_used_and_every_other_label_is_known():
    used = {label for metric in METRICS for label in metric.labels}
    assert set(LABELS) <= used
    assert used - set(LABELS) == {"flag", "version"}


def test_the_reasons_are_those_for_which_a_snapshot_is_not_made():
    assert LABELS["reason"] == SKIP_REASONS


def test_a_rung_that_raises_is_counted_under_a_kind_that_is_listed():
    def broken(user: str) -> str:
        raise ConnectionError

    with Runtime(clock=ManualClock(), threads="manual") as runtime:
        flag = degradable("feed", fallback=[simplified(broken), default("plain")])(broken)
        assert flag("ana") == "plain"
        runtime.tick()
        (stats,) = [each for each in runtime.stats() if each.name == "feed"]
    assert stats.drops == {"rung_simplified": 1}
    assert set(stats.drops) <= set(LABELS["kind"])
