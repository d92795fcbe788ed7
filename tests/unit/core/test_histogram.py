"""Durations in a histogram, by example."""

from __future__ import annotations

import math
import sys
import threading

import pytest

from degrade.core.histogram import LogHistogram
from degrade.errors import ConfigError


def filled(*values_s: float) -> LogHistogram:
    histogram = LogHistogram()
    histogram.record_many(values_s)
    return histogram


def about(value_s: float) -> object:
    return pytest.approx(value_s, rel=0.03)


def test_without_a_value_there_is_no_quantile():
    histogram = LogHistogram()
    assert histogram.quantile(0.0) is None
    assert histogram.quantile(1.0) is None
    assert (histogram.count, histogram.total_s) == (0, 0.0)


def test_a_quantile_is_the_shortest_time_that_such_a_share_did_not_exceed():
    histogram = filled(0.040, 0.041, 0.900, 7.0)
    assert histogram.quantile(0.0) == about(0.040)
    assert histogram.quantile(0.5) == about(0.041)
    assert histogram.quantile(0.51) == about(0.900)
    assert histogram.quantile(0.75) == about(0.900)
    assert histogram.quantile(1.0) == about(7.0)


def test_a_share_that_floats_cannot_hold_exactly_still_picks_its_rank():
    histogram = LogHistogram()
    histogram.record(1.0, n=7)
    histogram.record(2.0, n=93)
    assert histogram.quantile(0.07) == about(1.0)


@pytest.mark.parametrize("q", [-0.001, 1.001, math.nan, 99])
def test_a_share_outside_zero_to_one_is_refused(q):
    with pytest.raises(ConfigError, match=r"^quantile\(q=.*0 and 1.*0\.99$") as caught:
        filled(1.0).quantile(q)
    assert caught.value.code == "bad-ratio"
    assert repr(q) in str(caught.value)


def test_count_and_total_are_exact():
    histogram = LogHistogram()
    histogram.record(0.25)
    histogram.record(0.5, n=3)
    histogram.record_many([1.0, 2.0])
    assert (histogram.count, histogram.total_s) == (6, 4.75)


def test_many_calls_of_one_time_weigh_as_many():
    histogram = filled(1.0)
    histogram.record(5.0, n=99)
    assert histogram.quantile(0.01) == about(1.0)
    assert histogram.quantile(0.011) == about(5.0)


@pytest.mark.parametrize("value_s", [-1.0, 0.0, 1e-9, 1e-6])
def test_what_is_shorter_than_a_microsecond_counts_as_one(value_s):
    histogram = filled(value_s, 1.5e-6)
    assert histogram.quantile(0.5) == about(1e-6)
    assert histogram.quantile(1.0) == about(1.5e-6)
    assert histogram.total_s == value_s + 1.5e-6


@pytest.mark.parametrize("value_s", [86_399.0, 86_400.0, 1e9, math.inf])
def test_what_is_longer_than_a_day_counts_as_a_day(value_s):
    histogram = filled(80_000.0, value_s)
    assert histogram.quantile(0.5) == about(80_000.0)
    assert histogram.quantile(1.0) == about(86_400.0)


def test_clearing_forgets_everything():
    histogram = filled(1.0, 2.0)
    histogram.clear()
    assert (histogram.count, histogram.total_s, histogram.quantile(0.5)) == (0, 0.0, None)
    histogram.record(3.0)
    assert histogram.quantile(0.0) == about(3.0)


def test_merging_counts_what_the_other_counted_and_leaves_it_alone():
    histogram, other = filled(0.1, 0.1), filled(9.0, 0.001)
    histogram.merge(other)
    assert (histogram.count, histogram.total_s) == (4, pytest.approx(9.201))
    assert histogram.quantile(0.25) == about(0.001)
    assert histogram.quantile(0.75) == about(0.1)
    assert histogram.quantile(1.0) == about(9.0)
    assert (other.count, other.total_s) == (2, 9.001)
    assert other.quantile(0.0) == about(0.001)


def test_a_histogram_merged_into_an_empty_one_is_a_copy():
    histogram = LogHistogram()
    histogram.merge(filled(0.1, 4.0))
    histogram.record(0.1)
    assert histogram.quantile(0.6) == about(0.1)
    assert histogram.quantile(0.7) == about(4.0)


def test_a_copy_goes_on_alone():
    histogram = filled(1.0, 2.0)
    twin = histogram.copy()
    histogram.record(9.0)
    twin.record_many([0.5, 0.5])
    assert (histogram.count, histogram.total_s, histogram.quantile(0.0)) == (3, 12.0, about(1.0))
    assert (twin.count, twin.total_s, twin.quantile(1.0)) == (4, 4.0, about(2.0))


def test_what_came_since_a_copy_is_what_was_recorded_after_it():
    histogram = filled(1.0, 2.0, 2.0)
    before = histogram.copy()
    histogram.record_many([2.0, 60.0])
    newer = histogram.since(before)
    assert (newer.count, newer.total_s) == (2, 62.0)
    assert newer.quantile(0.5) == about(2.0)
    assert newer.quantile(0.51) == about(60.0)
    assert (histogram.count, before.count) == (5, 3)


def test_nothing_came_since_a_copy_after_which_nothing_was_recorded():
    histogram = filled(1.0)
    newer = histogram.since(histogram.copy())
    assert (newer.count, newer.total_s, newer.quantile(1.0)) == (0, 0.0, None)


def test_calls_are_counted_up_to_each_limit():
    histogram = filled(1e-7, 0.001, 0.040, 0.040, 3.0, 1e6)
    limits_s = [1e-7, 0.0009, 0.0011, 0.05, 2.0, 3.5, 80_000.0, 86_400.0, math.inf]
    assert histogram.at_most(limits_s) == [1, 1, 2, 4, 4, 5, 5, 6, 6]


def test_a_limit_is_within_itself():
    assert filled(0.25).at_most([0.25]) == [1]


def test_without_a_call_none_is_within_a_limit():
    assert LogHistogram().at_most([0.0, 0.1, math.inf]) == [0, 0, 0]
    assert filled(1.0).at_most([]) == []


@pytest.mark.parametrize("later", [1, 2**32])
def test_more_calls_of_one_time_than_fit_into_four_bytes_are_all_counted(later):
    most = 2**32 - 1
    histogram = LogHistogram()
    histogram.record(1.0, n=most)
    histogram.record(1.0, n=later)
    histogram.record(2.0, n=most + later)
    histogram.record(4.0)
    assert histogram.count == 2 * (most + later) + 1
    assert histogram.quantile(0.49) == about(1.0)
    assert histogram.quantile(0.51) == about(2.0)
    assert histogram.quantile(1.0) == about(4.0)


def test_memory_stays_small_for_any_number_of_values_up_to_a_day():
    histogram = LogHistogram()
    for step in range(20_000):
        histogram.record(1e-6 * 1.002**step)
    assert histogram.count == 20_000
    parts = (histogram, *(getattr(histogram, name) for name in histogram.__slots__))
    assert sum(map(sys.getsizeof, parts)) < 2_300


def test_it_shows_what_it_holds():
    assert repr(filled(1.0, 1.0)).startswith("LogHistogram(count=2, p50=1.0")
    assert ", p99=1.0" in repr(filled(1.0, 1.0))
    assert repr(LogHistogram()) == "LogHistogram(count=0, p50=None, p99=None)"


def test_it_can_be_read_while_another_thread_records():
    histogram = LogHistogram()
    done = threading.Event()

    def record() -> None:
        for step in range(5_000):
            histogram.record(1e-6 * 1.004**step, n=2**31)
        done.set()

    thread = threading.Thread(target=record)
    thread.start()
    while not done.is_set():
        seen = histogram.quantile(1.0)
        assert seen is None or seen <= histogram.quantile(1.0)
    thread.join()
    assert histogram.count == 5_000 * 2**31
