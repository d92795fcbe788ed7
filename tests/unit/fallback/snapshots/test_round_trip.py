from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass
from decimal import Decimal
from enum import IntEnum
from typing import Any, NamedTuple

import pytest

from degrade.fallback.snapshots.round_trip import alike


class Size(IntEnum):
    BIG = 1


class Point(NamedTuple):
    x: int
    y: int


class Score(float):
    pass


@dataclass
class Story:
    tags: Any


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({1}, {Decimal(1)}),
        ({1}, {True}),
        ({1: "a"}, {True: "a"}),
        (1.0, 1),
        ({1.0: "a"}, {1: "a"}),
        ([1], [True]),
        (True, 1),
        (Size.BIG, 1),
        (Point(1, 2), (1, 2)),
        (Point(1, 2), [1, 2]),
        ([1], [1, 2]),
        ([1], {1}),
        ({"a": 1}, ["a"]),
        ("ab", ["a", "b"]),
        (Story([1]), Story([True])),
        (float("nan"), 1.0),
        ([1, "a", 2], [1, "a", 3]),
        ([[1], [2, 3]], [[1, 2], [3]]),
        ([{"a": 1}, {"b": 2}], [{"a": 1}, {"c": 2}]),
        ([{"a": 1}, {"b": 2}], [{"a": 1, "b": 2}, {}]),
        ([Story(1), Story("a")], [Story(1), Story("b")]),
        ([Story(1), None], [None, Story(1)]),
        ([{1: 1}], [{True: 1}]),
        ([{1, 2}], [{1, 2, 3}]),
        (1, None),
    ],
)
def test_what_only_equals_does_not_stand_for_it(one: object, other: object):
    assert not alike(one, other, exact=False)
    assert not alike(one, other, exact=True)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ([1, "a"], [1, "a"]),
        (Counter("a"), {"a": 1}),
        ({"a": {1, 2}}, {"a": {2, 1}}),
        (Score(0.5), 0.5),
        ({Score(0.5): [Score(1)]}, {0.5: [1.0]}),
        (float("nan"), float("nan")),
        ([1, float("nan")], [1, float("nan")]),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
        ([[1], [], [2, 3]], [[1], [], [2, 3]]),
        ([Story(1), None, Story("a"), 2], [Story(1), None, Story("a"), 2]),
        ([{}, [], (), set()], [{}, [], (), set()]),
        (Story((1,)), Story((1,))),
    ],
)
def test_the_same_of_a_type_or_of_its_subclass_stands_for_it(one: object, other: object):
    assert alike(one, other, exact=False)
    assert alike(one, other, exact=True)


@pytest.mark.parametrize(
    ("one", "other"),
    [((1,), [1]), (deque([1]), [1]), ({1}, frozenset({1})), (Story((1,)), Story([1]))],
)
def test_another_kind_of_container_stands_for_it_only_when_the_annotation_decides(
    one: object, other: object
):
    assert alike(one, other, exact=False)
    assert not alike(one, other, exact=True)


def test_a_deque_with_another_bound_is_another():
    assert alike(deque([1, 2]), deque([1, 2]), exact=True)
    assert alike(deque([1], maxlen=3), deque([1], maxlen=3), exact=True)
    assert not alike(deque([1], maxlen=3), deque([1]), exact=True)
