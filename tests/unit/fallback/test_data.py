from __future__ import annotations

import io
import re
import threading
from collections import ChainMap, Counter, OrderedDict, UserDict, UserList, defaultdict, deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum, Flag, StrEnum
from fractions import Fraction
from functools import cached_property
from ipaddress import ip_address, ip_network
from pathlib import Path
from types import MappingProxyType, SimpleNamespace
from typing import Any, NamedTuple
from uuid import UUID
from zoneinfo import ZoneInfo

import django.utils.functional
import pytest
import werkzeug.utils
from markupsafe import Markup
from pydantic import AnyUrl, BaseModel, ConfigDict, HttpUrl, PrivateAttr, RootModel, SecretStr
from pydantic import dataclasses as pydantic_dataclasses
from pydantic_core import ArgsKwargs

from degrade.fallback.data import find_consumable, is_immutable, shape_of


class Colour(StrEnum):
    RED = "red"


class Right(Flag):
    READ = 1


class Point(NamedTuple):
    x: Any
    items: Any = None
    """A field may have the name of a method of containers."""


@dataclass
class Story:
    title: Any
    tags: Any = field(default_factory=list)

    @cached_property
    def words(self) -> Iterator[str]:
        return iter(self.title.split())


@dataclass(slots=True)
class Slotted:
    title: Any


@dataclass(frozen=True)
class Frozen:
    title: Any


@dataclass(frozen=True, slots=True)
class FrozenSlotted:
    title: Any


@dataclass(frozen=True)
class Remembering:
    title: str

    @cached_property
    def words(self) -> list[str]:
        return self.title.split()


class Loosened(Frozen):
    """No dataclass itself, so it takes attributes that are no fields."""


class Article(BaseModel):
    model_config = ConfigDict(extra="allow", arbitrary_types_allowed=True)

    title: Any = None
    _notes: Any = PrivateAttr(default=None)


class FrozenArticle(BaseModel):
    model_config = ConfigDict(frozen=True)

    title: Any


class InheritedArticle(FrozenArticle):
    """Frozen as its base is."""


class OpenArticle(FrozenArticle):
    model_config = ConfigDict(extra="allow")


class LenientArticle(FrozenArticle):
    def __setattr__(self, name: str, value: Any) -> None:
        self.__dict__[name] = value


@dataclass(frozen=True)
class Numbers(list):  # type: ignore[type-arg]
    """A list for all its frozen fields."""


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


class FrozenPrivate(FrozenArticle):
    _notes: Any = PrivateAttr(default=None)


@pydantic_dataclasses.dataclass
class Checked:
    title: Any


class Words(list):  # type: ignore[type-arg]
    pass


class Price(Decimal):
    pass


class LateList(list):  # type: ignore[type-arg]
    def __iter__(self) -> Any:
        raise AssertionError("looked at")


class LateDict(dict):  # type: ignore[type-arg]
    def items(self) -> Any:
        raise AssertionError("looked at")


class LateText(str):
    __slots__ = ()

    def __iter__(self) -> Any:
        raise AssertionError("looked at")


class LateMapping(Mapping[str, int]):
    def __getitem__(self, key: str) -> int:
        raise AssertionError("looked at")

    def __iter__(self) -> Any:
        raise AssertionError("looked at")

    def __len__(self) -> int:
        raise AssertionError("looked at")


class LateSequence(Sequence[int]):
    def __getitem__(self, index: Any) -> Any:
        raise AssertionError("looked at")

    def __len__(self) -> int:
        raise AssertionError("looked at")


class Proxy:
    """What it stands for is made when the first attribute is read, the class among them."""

    @property
    def __class__(self) -> type:
        raise AssertionError("looked at")

    def __getattr__(self, name: str) -> Any:
        raise AssertionError("looked at")


class Response:
    """A streamed response: a method reads it."""

    def read(self) -> bytes:
        raise AssertionError("looked at")


class Awaitable:
    def __await__(self) -> Any:
        raise AssertionError("looked at")


@dataclass
class Rows:
    """An iterator that is written as a dataclass."""

    left: int

    def __next__(self) -> int:
        raise AssertionError("looked at")


Mapped = dataclass(
    type(
        "Mapped",
        (),
        {
            "__annotations__": {"title": Any},
            "title": property(lambda _: pytest.fail("looked at"), lambda *_: None),
        },
    )
)


def article(**attributes: Any) -> Article:
    found = Article(**{k: v for k, v in attributes.items() if k != "_notes"})
    found._notes = attributes.get("_notes")
    return found


DATA = [
    None, ..., True, 1, 1.5, 1j, "a", b"a", bytearray(b"a"), range(3), Decimal("1.0"), Fraction(1, 3),
    date(2024, 1, 1), datetime(2024, 1, 1, tzinfo=UTC), time(1), timedelta(1), UUID(int=1), Path("a"),
    ZoneInfo("UTC"), ip_address("::1"), ip_network("10.0.0.0/8"), re.compile("a"), Colour.RED,
    Right.READ, Price(1), Words([1]), Point(1, [2]), [1, [2, (3, {4: {5}})]], frozenset({1}),
    deque([1]), Counter("a"), defaultdict(list, a=[1]), OrderedDict(a=1), Story("a", ["b"]),
    Slotted([1]), Frozen({1}), Article(title="a", more=[1]), article(title=1, _notes=[2]),
    FrozenArticle(title=(1,)), RootModel[list[int]]([1]), Checked([1]), AnyUrl("http://a"),
    SecretStr("a"), object(), {Frozen(1): 2},
]  # fmt: skip


@pytest.mark.parametrize("value", DATA, ids=lambda value: type(value).__name__)
def test_data_is_found_to_hold_nothing_but_data(value: object):
    assert find_consumable(value) is None
    assert find_consumable(value, kept=True) is None
    assert find_consumable([{"a": (value,)}]) is None


def generator() -> Iterator[int]:
    yield 1


async def coroutine() -> None: ...
async def later() -> Any:
    yield 1


USED_UP = {
    "iterator": lambda: iter([1]),
    "map": lambda: map(int, []),
    "filter": lambda: filter(None, []),
    "zip": zip,
    "enumerate": lambda: enumerate([]),
    "reversed": lambda: reversed([]),
    "generator": generator,
    "asynchronous generator": later,
    "file": lambda: io.StringIO("a"),
    "awaitable": Awaitable,
    "streamed response": Response,
    "iterator that is a dataclass": lambda: Rows(1),
}
LATE = {
    "dictionary view": {1: 2}.values,
    "list that reads itself": LateList,
    "dictionary that reads itself": LateDict,
    "text that reads itself": LateText,
    "mapping": LateMapping,
    "sequence": LateSequence,
    "mapping proxy": lambda: MappingProxyType({}),
    "chain map": ChainMap,
    "user's dictionary": UserDict,
    "user's list": UserList,
    "proxy": Proxy,
    "field that is computed": lambda: object.__new__(Mapped),
    "memory": lambda: memoryview(b"a"),
}


@pytest.mark.parametrize("name", USED_UP)
def test_what_can_be_read_once_is_found_wherever_it_is(name: str):
    for hide in (
        lambda item: item,
        lambda item: [1, item],
        lambda item: {"a": item},
        lambda item: (1, (item,)),
        lambda item: deque([item]),
        lambda item: Point(1, item),
        Story,
        Slotted,
        Checked,
        lambda item: Article.model_construct(title=item),
        lambda item: article(_notes=item),
        lambda item: Article.model_construct(more=item),
        lambda item: {"a": item}.values(),
    ):
        value = hide(USED_UP[name]())
        assert find_consumable(value) is not None
        assert find_consumable(value, kept=True) is not None


@pytest.mark.parametrize("name", LATE)
def test_what_only_its_class_can_read_is_found_unless_the_object_itself_is_kept(name: str):
    for value in (LATE[name](), [LATE[name]()], Frozen(LATE[name]())):
        assert find_consumable(value) is not None
        assert find_consumable(value, kept=True) is None


def test_a_view_is_looked_into_when_the_object_itself_is_kept():
    assert find_consumable({1: iter([])}.items(), kept=True) == "builtins.list_iterator"


def test_what_a_cached_property_left_is_not_looked_at():
    story = Story("a b")
    assert list(story.words) == ["a", "b"]
    assert find_consumable(story) is None


def test_what_is_nested_too_deep_or_in_itself_is_not_data():
    endless: list[Any] = []
    endless += [endless, endless]
    assert "nested deeper" in str(find_consumable([1, [endless[:0]] and _nested(300)]))
    assert find_consumable(_nested(200)) is None
    assert find_consumable(endless) is not None


def _nested(depth: int) -> list[Any]:
    found: list[Any] = []
    for _ in range(depth):
        found = [found]
    return found


def test_a_class_is_described_without_calling_it():
    shape = shape_of(Proxy)
    assert shape.lazy
    assert not shape.record
    assert not shape.once


@pytest.mark.parametrize(
    "value",
    [
        None, 1, "a", b"a", date(2024, 1, 1), Path("a"), Colour.RED, Right.READ, (1, ("a",)),
        frozenset({(1,)}), Frozen("a"), FrozenSlotted((1,)), FrozenArticle(title=(Frozen(1),)),
        range(3), UUID(int=1), ip_address("::1"), (), InheritedArticle(title=1), Markup("a"),
        AnyUrl("https://a.example"), FrozenArticle(title=HttpUrl("https://a.example")),
    ],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_what_nobody_can_change_is_immutable(value: object):
    assert is_immutable(value)
    assert is_immutable((value, Frozen(value)))


@pytest.mark.parametrize(
    "value",
    [
        [], {}, set(), bytearray(), deque(), ([],), (1, {}), Frozen([]), Story("a"), Slotted(1),
        Loosened(1), Article(title=1), FrozenArticle(title=[1]), FrozenPrivate(title=1),
        Remembering("a"), Point(1, [2]), object(), SimpleNamespace(), Price(1), threading.Lock(),
        lambda: 1, iter(()), type("Roomy", (Point,), {})(1), Words(), MappingProxyType({}),
        OpenArticle(title=1), OpenArticle(title=1, more=1), LenientArticle(title=1), Numbers(),
        OfDjango(), OfWerkzeug(), ArgsKwargs((), {}),
    ],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_what_somebody_could_change_is_not_immutable(value: object):
    assert not is_immutable(value)
    assert not is_immutable((1, value))


def test_what_lies_beside_the_fields_counts_as_well():
    frozen = Frozen("a")
    assert is_immutable(frozen)
    frozen.__dict__["more"] = []
    assert not is_immutable(frozen)


def test_a_named_tuple_and_an_enum_of_plain_values_are_immutable():
    assert is_immutable(Point(1, "a"))
    assert is_immutable(Enum("Size", "BIG")["BIG"])


def test_an_endless_value_is_not_immutable():
    endless: list[Any] = []
    value = (endless,)
    endless.append(value)
    assert not is_immutable(value)
    deep: Any = ()
    for _ in range(300):
        deep = (deep,)
    assert not is_immutable(deep)
