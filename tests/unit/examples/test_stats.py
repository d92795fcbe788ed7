from __future__ import annotations

import pytest

from examples.news_feed.stats import nearest_rank


@pytest.mark.parametrize(
    ("values", "share", "expected"),
    [
        ([5.0], 0.99, 5.0),
        ([3.0, 1.0, 2.0], 0.5, 2.0),
        (list(range(1, 101)), 0.99, 99),
        (list(range(1, 102)), 0.99, 100),
        (list(range(1, 101)), 1.0, 100),
        (list(range(1, 101)), 0.0, 1),
    ],
)
def test_the_nearest_rank_is_a_measured_value(values, share, expected):
    assert nearest_rank(values, share) == expected


def test_nothing_has_no_quantile():
    assert nearest_rank([], 0.5) is None
