"""A window is a plain list of everything that happened, cut at bucket edges."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from degrade.core.window import Window

WIDTH = 2

lengths = st.sampled_from([0.3, 1.0, 10.0, 30.0, 77.7, 3_600.0])
bucket_counts = st.integers(min_value=1, max_value=30)
counts = st.tuples(*[st.integers(min_value=0, max_value=1_000)] * WIDTH)


@dataclass
class EverythingThatHappened:
    """The model: forgets nothing, knows nothing of slots, and reckons without rounding."""

    bucket: Fraction
    buckets: int
    events: list[tuple[Fraction, tuple[int, ...]]] = field(default_factory=list)
    now: Fraction | None = None

    def see(self, at: float) -> Fraction:
        exact = Fraction(at)
        self.now = exact if self.now is None else max(self.now, exact)
        return exact

    def since(self, edge: Fraction) -> tuple[int, ...]:
        lately = [counts for at, counts in self.events if at >= edge]
        return tuple(map(sum, zip(*lately, strict=True))) or (0,) * WIDTH

    def newest(self, buckets: int) -> tuple[int, ...]:
        return self.since(self.bucket * (math.floor(self.now / self.bucket) - buckets + 1))


@st.composite
def schedules(draw):
    """Steps in time with what happens there: on edges, at once, after gaps and backwards."""
    over_s, buckets = draw(lengths), draw(bucket_counts)
    bucket_s = over_s / buckets
    step_s = st.one_of(
        st.just(0.0),
        st.sampled_from([-1.0, 0.5, 1.0, buckets - 1.0, float(buckets)]).map(
            lambda n: n * bucket_s
        ),
        st.floats(min_value=-1.5 * over_s, max_value=1.5 * over_s),
        st.floats(min_value=over_s, max_value=1_000 * over_s),
    )
    step = st.tuples(step_s, st.one_of(counts, counts, st.none(), st.just("clear")))
    start = draw(st.one_of(st.just(0.0), st.floats(min_value=-1e6, max_value=1e6)))
    return over_s, buckets, start, draw(st.lists(step, max_size=40))


@given(schedules())
def test_a_window_equals_a_list_cut_at_the_same_bucket_edges(schedule):
    over_s, buckets, at, steps = schedule
    window = Window(over_s, width=WIDTH, buckets=buckets)
    model = EverythingThatHappened(Fraction(window.bucket_s), buckets)
    for step_s, happened in steps:
        at += step_s
        exact = model.see(at)
        if happened == "clear":
            window.totals(at)
            window.clear()
            model.events.clear()
        elif happened is not None:
            window.add(at, happened)
            # What is too old when it arrives is gone for good; the model's cut says the same.
            model.events.append((exact, happened))
        assert window.totals(at) == model.newest(buckets)
        assert window.suffixes(at) == [model.newest(k) for k in range(1, buckets + 1)]


@given(schedules())
def test_a_window_lacks_at_most_a_bucket_of_the_exact_sliding_window(schedule):
    over_s, buckets, at, steps = schedule
    window = Window(over_s, width=WIDTH, buckets=buckets)
    model = EverythingThatHappened(Fraction(window.bucket_s), buckets)
    for step_s, happened in steps:
        at += step_s
        exact = model.see(at)
        if isinstance(happened, tuple):
            window.add(at, happened)
            model.events.append((exact, happened))
        sliding = model.now - model.bucket * buckets
        for least, found, most in zip(
            model.since(sliding + model.bucket),
            window.totals(at),
            model.since(sliding),
            strict=True,
        ):
            assert least <= found <= most


@given(schedules(), st.floats(min_value=0, max_value=100))
def test_looking_at_a_window_changes_nothing(schedule, later_s):
    over_s, buckets, at, steps = schedule
    watched = Window(over_s, width=WIDTH, buckets=buckets)
    unwatched = Window(over_s, width=WIDTH, buckets=buckets)
    newest = at
    for step_s, happened in steps:
        at += step_s
        newest = max(newest, at)
        if isinstance(happened, tuple):
            watched.add(at, happened)
            unwatched.add(at, happened)
            watched.totals(newest)
            watched.suffixes(newest)
    assert watched.totals(newest + later_s) == unwatched.totals(newest + later_s)
