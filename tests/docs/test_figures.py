"""The pages of the benchmarks are what their generators make of the stored results."""

from __future__ import annotations

import json
import re

import pytest

from benchmarks import report
from benchmarks.fleet import page
from degrade.runtime.background.io_worker import BUSY_REPORT_S, FLEET_POLL_S

NOTE = "*Missed*: in this run it was over its budget by more than 10 %; nothing was left out."


@pytest.mark.parametrize("of", [report, page], ids=["calls", "fleet"])
def test_a_page_of_figures_is_that_of_its_stored_result(of):
    assert of.PAGE.read_text() == of.markdown(json.loads(of.RESULT.read_text()))


def test_what_the_network_carries_is_the_polls_and_the_heartbeats_of_all_processes():
    result = json.loads(page.RESULT.read_text())
    acts = {row["name"]: row["bytes"] for row in result["size"]}
    found = re.search(
        r"so about ([\d,]+) processes .* and ([\d.]+) MB a second", page.markdown(result)
    )
    assert found is not None
    processes = int(found[1].replace(",", ""))
    polls = processes * acts["a poll, nothing held"] / FLEET_POLL_S
    beats = processes * acts["a heartbeat with 20 flags"] / BUSY_REPORT_S
    assert float(found[2]) == pytest.approx((polls + beats) / 1e6, abs=0.06)


def test_below_a_table_in_which_a_budget_was_missed_stands_what_that_means():
    result = json.loads(report.RESULT.read_text())
    rows = [row for rows in (*result["calls"].values(), result["footprint"]) for row in rows]
    for row in rows:
        row["within"] = None if row["within"] is None else True
    assert NOTE not in report.markdown(result)
    result["footprint"][-1]["within"] = False
    assert report.markdown(result).endswith(f"**missed** |\n\n{NOTE}\n")
    next(iter(result["calls"].values()))[0]["within"] = False
    assert report.markdown(result).count(f"|\n\n{NOTE}\n") == 2


def test_a_toggle_that_was_too_late_is_explained_below_its_table():
    result = json.loads(page.RESULT.read_text())
    for row in result["toggles"]:
        row["toggle"]["p99_ms"] = row["bare"]["p99_ms"]
    assert NOTE not in page.markdown(result)
    row["toggle"]["p99_ms"] *= 3
    assert f"|\n\n{NOTE}\n\n" in page.markdown(result)
