"""The law of looking: whatever a function returned, its caller gets, unchanged and whole."""

from __future__ import annotations

import io
import logging
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, PrivateAttr

from degrade import Runtime, default, degradable, snapshot
from degrade.clock import ManualClock
from degrade.fallback.data import find_consumable
from tests.properties.strategies import arguments

ITEMS = [1, "a", None]


@dataclass
class Story:
    title: Any
    tags: Any = None


class Article(BaseModel):
    title: Any
    more: Any = None
    _notes: Any = PrivateAttr(default=None)


class Point(NamedTuple):
    x: Any
    y: Any


class Cursor:
    """What a database gives: each row can be fetched once."""

    def __init__(self) -> None:
        self.rows = iter(ITEMS)

    def __iter__(self) -> Iterator[Any]:
        return self.rows


class Lazy(Sequence[Any]):
    """It remembers that it was looked at."""

    def __init__(self) -> None:
        self.touched = False

    def __getitem__(self, index: Any) -> Any:
        self.touched = True
        return ITEMS[index]

    def __len__(self) -> int:
        self.touched = True
        return len(ITEMS)


def _article(title: Any) -> Article:
    return Article.model_construct(title=title)


def _noted(notes: Any) -> Article:
    made = Article(title="a")
    made._notes = notes
    return made


LEAVES: list[Callable[[], Any]] = [
    lambda: iter(ITEMS),
    lambda: (item for item in ITEMS),
    lambda: map(dict(zip(ITEMS, ITEMS, strict=True)).get, ITEMS),
    lambda: filter(lambda _: True, ITEMS),
    lambda: (pair[0] for pair in zip(ITEMS, ITEMS, strict=True)),
    lambda: dict.fromkeys(ITEMS).keys(),
    Cursor,
    Lazy,
]
HOLDERS: list[Callable[[Any], Any]] = [
    lambda item: [1, item],
    lambda item: {"a": 1, "b": item},
    lambda item: (item, 1),
    lambda item: deque([item]),
    Story,
    lambda item: Story("a", item),
    lambda item: Point(1, item),
    _article,
    _noted,
]
ANNOTATIONS = [
    Any,
    Sequence[Any],
    list[Any],
    Mapping[str, Any],
    dict[str, Any],
    Story,
    Article,
    object,
]


@st.composite
def lazy_values(draw: st.DrawFn) -> tuple[Any, list[Any]]:
    """A nested value with something lazy in it, and all the lazy things in it."""
    lazy = [draw(st.sampled_from(LEAVES))() for _ in range(draw(st.integers(1, 2)))]
    found: Any = lazy[0]
    for _ in range(draw(st.integers(0, 4))):
        found = draw(st.sampled_from(HOLDERS))(found)
    if len(lazy) == 2:
        found = [found, draw(arguments), lazy[1]]
    return found, lazy


@given(lazy_values(), st.sampled_from(ANNOTATIONS), st.booleans(), st.integers(1, 2))
def test_a_lazy_result_reaches_its_caller_untouched(
    drawn: tuple[Any, list[Any]], returns: Any, copies: bool, times: int
):
    value, lazy = drawn

    def feed(user_id: str) -> Any:
        return value

    feed.__annotations__["return"] = returns
    clock = ManualClock()
    logging.disable()
    try:
        with Runtime(clock=clock, threads="manual") as runtime:
            guarded = degradable(
                "lazy.feed", fallback=[snapshot(max_age="1h", copy=copies), default(0)]
            )(feed)
            for _ in range(times):
                assert guarded("u1") is value
                clock.advance(60)
                runtime.tick()
    finally:
        logging.disable(logging.NOTSET)
    for item in lazy:
        assert not getattr(item, "touched", False)
        assert list(item) == ITEMS


@given(lazy_values())
def test_whatever_is_lazy_is_found(drawn: tuple[Any, list[Any]]):
    assert find_consumable(drawn[0]) is not None


@given(arguments)
def test_plain_values_are_data(value: Any):
    assert find_consumable(value) is None
    assert find_consumable(value, kept=True) is None


@given(st.integers(0, 5), st.binary(max_size=20))
def test_a_file_is_where_it_was(position: int, content: bytes):
    file = io.BytesIO(content)
    file.seek(position)
    assert find_consumable({"file": file}) == "_io.BytesIO"
    assert file.tell() == position
