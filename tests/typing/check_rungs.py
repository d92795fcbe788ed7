"""The types that rungs promise; read by mypy and pyright, never run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Never, TypeVar, assert_type

from degrade.fallback.ladder import default, omit, simplified, snapshot
from degrade.fallback.rung import Rung

F = TypeVar("F")


@dataclass
class Story:
    title: str


def newest_stories(user_id: str) -> list[Story]:
    raise NotImplementedError


async def cached_stories(user_id: str) -> list[Story]:
    raise NotImplementedError


def newest_first(stories: list[Story]) -> list[Story]:
    raise NotImplementedError


def served_by(fallback: Sequence[Rung[F] | Callable[..., F]]) -> F:
    raise NotImplementedError


assert_type(snapshot(max_age="1h"), Rung[Never])
assert_type(snapshot(max_age="1h", transform=newest_first), Rung[Never])
assert_type(snapshot(max_age=60, key=("user_id",), everyone=True), Rung[Never])
assert_type(snapshot(max_age="1h", key=lambda user_id: user_id), Rung[Never])
assert_type(simplified(newest_stories), Rung[list[Story]])
assert_type(simplified(cached_stories, limit=8), Rung[list[Story]])
assert_type(default(newest_stories), Rung[list[Story]])
assert_type(default(0), Rung[int])
assert_type(default("none"), Rung[str])
assert_type(default([Story("none")]), Rung[list[Story]])
assert_type(omit(), Rung[None])

empty: Rung[list[Any]] = default([])
wider: Rung[Sequence[Story]] = default(newest_stories)  # covariant
anything: Rung[object] = snapshot(max_age="1h")

assert_type(served_by([snapshot(max_age="1h"), default(newest_stories)]), list[Story])
assert_type(served_by([simplified(newest_stories), omit()]), list[Story] | None)
assert_type(served_by([newest_stories]), list[Story])
assert_type(served_by([omit()]), None)
ladder: Sequence[Rung[list[Story]]] = [snapshot(max_age="1h"), default(newest_stories)]
