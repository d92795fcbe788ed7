"""Which values may be given to several callers."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import django.utils.functional
import pytest
import werkzeug.utils
from pydantic import BaseModel, ConfigDict, HttpUrl, PrivateAttr
from pydantic_core import ArgsKwargs

from degrade.fallback.immutable import is_immutable


class Frozen(BaseModel):
    model_config = ConfigDict(frozen=True)
    parts: Any = ()


class Child(Frozen):
    """Frozen as its base is."""


class Thawed(Frozen):
    model_config = ConfigDict(frozen=False)


class Remembering(Frozen):
    _seen: int = PrivateAttr(default=0)


class Extended(Frozen):
    model_config = ConfigDict(extra="allow")


class Lenient(Frozen):
    def __setattr__(self, name: str, value: Any) -> None:
        self.__dict__[name] = value


class Computing(Frozen):
    @cached_property
    def words(self) -> list[str]:
        return []


@dataclass(frozen=True)
class Point:
    parts: Any = ()


class Subclass(Point):
    """No dataclass itself, so attributes that are no fields can be set."""


@dataclass(frozen=True, slots=True)
class Slotted:
    parts: Any = ()
    private: Any = field(default=(), repr=False, compare=False)


@dataclass(frozen=True)
class OfDjango:
    @django.utils.functional.cached_property
    def words(self) -> list[str]:
        return []


@dataclass(frozen=True)
class OfWerkzeug:
    @werkzeug.utils.cached_property
    def words(self) -> list[str]:
        return []


@dataclass(frozen=True)
class Numbers(list[int]):
    """A list for all its frozen fields."""


@pytest.mark.parametrize(
    "value",
    [Frozen(), Child(parts=(1, Frozen())), Frozen(parts=HttpUrl("https://a.example")), Point(),
     Point((Point(Frozen()), "a")), Slotted(), Slotted(1, (2, frozenset({3})))],
    ids=repr,
)  # fmt: skip
def test_what_is_frozen_to_its_leaves_is_immutable(value: Any):
    assert is_immutable(value)


@pytest.mark.parametrize(
    "value",
    [Thawed(), Remembering(), Extended(), Extended(more=1), Lenient(), Computing(), Subclass(),
     OfDjango(), OfWerkzeug(), Numbers(), Frozen(parts=[]), Child(parts=(1, Point({}))), Point([]),
     Slotted(1, []), Slotted(parts=({},)), ([],), ((1, bytearray()),), Point(object()),
     threading.Lock(), ArgsKwargs((), {})],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_what_anybody_can_change_somewhere_is_not(value: Any):
    assert not is_immutable(value)


def test_what_lies_beside_the_fields_counts_as_well():
    point = Point()
    point.__dict__["more"] = []
    assert not is_immutable(point)


def test_a_value_that_holds_one_part_often_is_looked_into_once():
    value: Any = ()
    for _ in range(200):
        value = (value, value)
    assert is_immutable(value)
