"""A histogram answers as the sorted list of all values would, within three percent."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from degrade.core.histogram import LogHistogram

# Most calls take milliseconds, a few are at an edge, and some take anything.
durations_s = st.one_of(
    st.floats(min_value=1e-3, max_value=2.0),
    st.floats(min_value=1e-6, max_value=86_400.0),
    st.integers(min_value=-19, max_value=16).map(lambda power: 2.0**power),
    st.integers(min_value=0, max_value=437).map(lambda i: min(1e-6 * 2 ** (i / 12), 86_400.0)),
)
samples = st.lists(durations_s, min_size=1, max_size=60)
shares = st.floats(min_value=0, max_value=1)


def exact(values: list[float], share: float) -> float:
    """The shortest value that at least `share` of the values do not exceed."""
    return min(
        value for value in values if sum(other <= value for other in values) / len(values) >= share
    )


@given(samples, shares)
def test_any_quantile_is_within_three_percent_of_the_exact_one(values, share):
    histogram = LogHistogram()
    histogram.record_many(values)
    truth = exact(values, share)
    assert abs(histogram.quantile(share) - truth) <= 0.03 * truth


@given(samples, shares, shares)
def test_a_higher_share_never_has_a_lower_quantile(values, one, other):
    histogram = LogHistogram()
    histogram.record_many(values)
    assert histogram.quantile(min(one, other)) <= histogram.quantile(max(one, other))


@given(st.lists(durations_s, max_size=60), st.lists(durations_s, max_size=60), shares)
def test_merging_is_recording_the_values_of_both(ours, theirs, share):
    merged, other, both = LogHistogram(), LogHistogram(), LogHistogram()
    merged.record_many(ours)
    other.record_many(theirs)
    merged.merge(other)
    both.record_many(ours + theirs)
    assert merged.quantile(share) == both.quantile(share)
    assert merged.count == both.count == len(ours) + len(theirs)
    assert math.isclose(merged.total_s, both.total_s)


@given(st.dictionaries(durations_s, st.integers(min_value=1, max_value=50), max_size=8), shares)
def test_recording_a_number_of_calls_is_recording_each(times, share):
    at_once, one_by_one = LogHistogram(), LogHistogram()
    for value_s, n in times.items():
        at_once.record(value_s, n)
        one_by_one.record_many([value_s] * n)
    assert at_once.quantile(share) == one_by_one.quantile(share)
    assert at_once.count == one_by_one.count


@given(st.lists(durations_s, max_size=60), st.lists(durations_s, max_size=60), shares)
def test_what_came_since_a_copy_is_what_was_recorded_after_it(earlier, later, share):
    histogram, expected = LogHistogram(), LogHistogram()
    histogram.record_many(earlier)
    before = histogram.copy()
    histogram.record_many(later)
    expected.record_many(later)
    newer = histogram.since(before)
    assert newer.quantile(share) == expected.quantile(share)
    assert newer.count == len(later)
    assert math.isclose(newer.total_s, sum(later), rel_tol=1e-6, abs_tol=1e-6)


@given(samples, st.lists(durations_s, max_size=10))
def test_calls_within_a_limit_are_counted_to_the_width_of_a_bucket(values, limits_s):
    histogram = LogHistogram()
    histogram.record_many(values)
    for limit_s, counted in zip(limits_s, histogram.at_most(limits_s), strict=True):
        least = sum(value <= limit_s for value in values)
        most = sum(value <= limit_s * 1.06 for value in values)
        assert least <= counted <= most
