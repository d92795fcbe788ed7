"""Counters over the newest seconds, by example."""

from __future__ import annotations

import inspect
import tracemalloc

import pytest

from degrade.core.window import Window


@pytest.fixture
def window() -> Window:
    """Five buckets of a second, two counters."""
    return Window(5.0, width=2, buckets=5)


def test_a_new_window_is_empty_at_any_time(window):
    assert window.totals(-1e9) == (0, 0)
    assert window.totals(1e9) == (0, 0)
    assert window.suffixes(1e9) == [(0, 0)] * 5


def test_counts_are_summed_per_counter(window):
    window.add(10.0, (3, 1))
    window.add(10.2, (2, 0))
    window.add(12.0, (1, 1))
    assert window.totals(12.0) == (6, 2)


def test_a_bucket_stays_until_the_window_has_moved_on_by_its_whole_length(window):
    window.add(12.9, (1, 0))
    window.add(13.0, (0, 1))
    assert window.totals(16.999) == (1, 1)
    assert window.totals(17.0) == (0, 1)
    assert window.totals(17.999) == (0, 1)
    assert window.totals(18.0) == (0, 0)


def test_suffixes_alone_see_a_bucket_leave(window):
    window.add(13.0, (1, 0))
    assert window.suffixes(17.999)[4] == (1, 0)
    assert window.suffixes(18.0) == [(0, 0)] * 5


def test_a_bucket_counts_as_far_as_four_bytes_go(window):
    window.add(13.0, (4_294_967_295, 0))
    assert window.totals(13.0) == (4_294_967_295, 0)
    assert window.suffixes(13.0)[0] == (4_294_967_295, 0)


def test_by_default_a_window_has_thirty_buckets():
    window = Window(30.0, width=1)
    assert window.bucket_s == 1.0
    window.add(0.0, (7,))
    assert window.totals(29.9) == (7,)
    assert window.totals(30.0) == (0,)
    assert len(window.suffixes(30.0)) == 30


def test_a_gap_longer_than_the_window_empties_it(window):
    for second in range(5):
        window.add(float(second), (1, 1))
    assert window.totals(9.0) == (0, 0)
    window.add(1_000_000.0, (1, 0))
    assert window.totals(1_000_000.0) == (1, 0)


def test_a_gap_within_the_window_empties_only_what_it_passed(window):
    for second in range(5):
        window.add(float(second), (10**second, 0))
    assert window.totals(6.0) == (11_100, 0)
    assert window.totals(8.0) == (10_000, 0)


def test_a_late_count_goes_into_the_bucket_of_its_time(window):
    window.add(14.0, (1, 0))
    window.add(11.0, (5, 5))
    assert window.suffixes(14.0) == [(1, 0), (1, 0), (1, 0), (6, 5), (6, 5)]
    assert window.totals(15.5) == (6, 5)
    assert window.totals(16.0) == (1, 0)


def test_a_count_on_the_edge_of_the_newest_bucket_belongs_to_it(window):
    window.add(14.5, (1, 0))
    window.add(14.0, (2, 0))
    assert window.suffixes(14.5)[0] == (3, 0)


def test_a_count_older_than_the_window_is_ignored(window):
    window.add(14.0, (1, 0))
    window.add(9.999, (5, 5))
    window.add(-3.0, (5, 5))
    assert window.totals(14.0) == (1, 0)
    window.add(10.0, (2, 2))
    assert window.totals(14.0) == (3, 2)


@pytest.mark.parametrize("look", ["totals", "suffixes", "add"])
def test_the_newest_time_ever_seen_rules(window, look):
    window.add(10.0, (1, 1))
    if look == "add":
        window.add(15.0, (0, 0))
    else:
        getattr(window, look)(15.0)
    assert window.totals(10.0) == (0, 0)
    assert window.suffixes(10.0) == [(0, 0)] * 5
    window.add(10.0, (1, 1))
    assert window.totals(12.0) == (0, 0)


def test_a_count_at_a_rounded_edge_lies_in_the_bucket_that_the_division_tells():
    window = Window(5.0, width=1)
    edge = 5 * window.bucket_s
    assert edge // window.bucket_s == 4, "rounded down, or this shows nothing"
    window.totals(edge + 0.01)
    window.add(edge, (1,))
    assert window.suffixes(edge + 0.01, 2) == [(0,), (1,)]


def test_clearing_forgets_counts_but_not_the_time(window):
    window.add(20.0, (1, 1))
    window.clear()
    assert window.totals(20.0) == (0, 0)
    window.add(15.0, (1, 1))
    assert window.totals(20.0) == (0, 0)
    window.add(16.0, (2, 3))
    assert window.totals(20.0) == (2, 3)
    assert window.totals(21.0) == (0, 0)


def test_a_cleared_bucket_takes_nothing_out_of_the_sums_when_it_leaves(window):
    window.add(20.0, (1, 1))
    window.clear()
    window.add(21.0, (1, 1))
    assert window.totals(25.5) == (1, 1)


def held_by_windows() -> int:
    """Return the bytes that the lines of the window's module hold, whatever other threads do."""
    here = tracemalloc.Filter(inclusive=True, filename_pattern=inspect.getfile(Window))
    traces = tracemalloc.take_snapshot().filter_traces([here])
    return sum(trace.size for trace in traces.traces)


def test_memory_is_the_same_after_a_minute_and_after_an_hour_of_calls():
    def calls(first: int, last: int) -> int:
        for call in range(first, last):
            window.add(call / 10, (1, 0, 1, 1))
            window.totals(call / 10)
        return held_by_windows()

    tracemalloc.start()
    try:
        window = Window(30.0, width=4)
        after_a_minute = calls(0, 600)
        after_an_hour = calls(600, 36_000)
    finally:
        tracemalloc.stop()
    assert after_an_hour - after_a_minute < 256
