"""The laws of objects with state: what differs has another key, and what is kept comes back whole."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import Enum, Flag, IntFlag, StrEnum
from functools import cached_property
from typing import Any, NamedTuple, Self

from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field, PrivateAttr

from degrade.errors import CodecError
from degrade.fallback.rung import Target
from degrade.fallback.snapshots.codec import Codec
from degrade.fallback.snapshots.keys import KeyMaker
from tests.properties.strategies import look_alikes

# Values of few classes with names that invite confusion, made and changed in every way there is.


class Colour(Enum):
    RED = "red"
    A = "a"


class Word(StrEnum):
    A = "a"


class Same(str, Enum):  # noqa: UP042 - the old spelling, which a `StrEnum` would refuse
    """Members that are equal as texts."""

    ONE = "1"
    TWO = "2"

    def __new__(cls, value: str) -> Self:
        made = str.__new__(cls, "a")
        made._value_ = value
        return made


Odd = Enum("Odd", {"A": 1, "A', tests.properties.test_fallback_state.Odd.'A": 2})


class Right(Flag):
    READ = 1
    WRITE = 2


class Access(IntFlag):
    READ = 1
    WRITE = 2


class Search(BaseModel):
    model_config = ConfigDict(extra="allow")

    text: Any = None
    private: Any = None
    extra: Any = None
    _private: Any = PrivateAttr(default=None)
    _fields: Any = PrivateAttr(default=None)


class Narrow(Search):
    fields_set: Any = None

    @cached_property
    def words(self) -> list[str]:
        return [str(self.text)]


class Closed(BaseModel):
    text: Any = None
    items: list[Any] = Field(default_factory=list)


class Plain(BaseModel):
    title: str = ""
    items: list[int] = []
    lead: str | None = None


@dataclass
class Query:
    text: Any = None
    private: Any = field(default=None, compare=False)
    extra: Any = field(default=None, repr=False)

    @cached_property
    def words(self) -> list[str]:
        return [str(self.text)]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Query)

    __hash__ = None  # type: ignore[assignment] # as Python does it


@dataclass
class Stated(Query):
    """A field takes the name of what was derived before."""

    words: Any = None  # type: ignore[assignment]


@dataclass(slots=True)
class Slotted:
    text: Any = None
    private: Any = None


class Base:
    __slots__ = ("hidden",)


@dataclass
class Hiding(Base):
    text: Any = None


@dataclass
class Day(date):
    """It inherits a state that is no field."""

    text: Any = None

    def __new__(cls, day: int, text: Any = None) -> Self:
        return date.__new__(cls, 2024, 1, day)

    def __init__(self, day: int, text: Any = None) -> None:
        self.text = text


class Point(NamedTuple):
    text: Any
    private: Any = None


class Roomy(Point):
    pass


class Words(list[Any]):
    pass


KINDS: list[Any] = [
    Search, Narrow, Closed, Query, Stated, Slotted, Hiding, Point, Roomy, Words,
]  # fmt: skip
NAMES = [
    "text",
    "private",
    "extra",
    "items",
    "fields_set",
    "_private",
    "_fields",
    "hidden",
    "words",
    "a', 'b",
]
leaves = st.one_of(
    look_alikes,
    st.sampled_from(
        [
            Colour.RED, Colour.A, Word.A, Same.ONE, Same.TWO, *Odd, Right.READ, Right.READ | Right.WRITE,
            Access.READ, Access.READ | Access.WRITE, Access(8), float("nan"),
            datetime(2024, 10, 27, 2, 30, fold=1), datetime(2024, 10, 27, 2, 30),  # noqa: DTZ001 - naive ones are what folds
        ]
    ),
)  # fmt: skip


@st.composite
def objects(draw: st.DrawFn, inner: st.SearchStrategy[Any]) -> Any:
    """An object of some class, with some of its attributes given, and some set later."""
    kind = draw(st.sampled_from(KINDS))
    given = draw(st.dictionaries(st.sampled_from(NAMES[:5]), inner, max_size=2))
    if kind is Point or kind is Roomy:
        made = kind(draw(inner), draw(inner))
    elif kind is Words:
        made = Words(draw(st.lists(inner, max_size=2)))
    elif issubclass(kind, BaseModel):
        if kind is Closed:
            given = {name: [item] if name == "items" else item for name, item in given.items()}
        made = kind(**given)
    else:
        made = kind(
            **{name: item for name, item in given.items() if name in kind.__dataclass_fields__}
        )
    for name, item in draw(st.dictionaries(st.sampled_from(NAMES), inner, max_size=1)).items():
        try:
            object.__setattr__(made, name, item)
        except (AttributeError, ValueError):
            continue
    return made


values = st.recursive(
    leaves | st.builds(Day, st.integers(1, 2), leaves),
    lambda inner: st.one_of(
        objects(inner),
        st.lists(inner, max_size=2),
        st.lists(inner, max_size=2).map(tuple),
        st.dictionaries(st.sampled_from(["a", "b", 1, True]), inner, max_size=2),
        st.frozensets(leaves, max_size=2),
    ),
    max_leaves=4,
)


def state(value: Any) -> dict[str, Any]:
    """Return everything that an object has beside its content, found by asking for it."""
    found = dict(getattr(value, "__dict__", {}))
    if type(value) is not Stated:
        found.pop("words", None)  # derived
    for name in ("text", "private", "hidden", "__pydantic_private__", "__pydantic_extra__"):
        if name not in found and not isinstance(value, (date, tuple)):
            found[name] = getattr(value, name, "nothing at all")
    return found


def same(one: Any, other: Any) -> bool:
    """Whether no function could tell two values apart, said without the code that it judges.

    A list of a class of its own may come back as a list.
    """
    if type(one) is Words and type(other) is list and not vars(one):
        one = list(one)
    if type(one) is not type(other):
        return False
    if isinstance(one, Enum):
        return one is other
    if isinstance(one, float):
        return repr(one) == repr(other)
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other)) and _same_state(one, other)
    if isinstance(one, dict):
        return len(one) == len(other) and all(
            any(same(a, b) and same(one[a], other[b]) for b in other) for a in one
        )
    if isinstance(one, (set, frozenset)):
        return len(one) == len(other) and all(any(same(a, b) for b in other) for a in one)
    if isinstance(one, datetime):
        return (
            one.replace(tzinfo=None) == other.replace(tzinfo=None)
            and one.utcoffset() == other.utcoffset()
            and (one.fold == other.fold or one.tzinfo is not None)
        )
    if isinstance(one, (BaseModel, date)) or is_dataclass(one):
        day = (one.isoformat(), other.isoformat()) if isinstance(one, date) else ("", "")
        return day[0] == day[1] and _same_state(one, other)
    return bool(one == other) and repr(one) == repr(other)


def _same_state(one: Any, other: Any) -> bool:
    if type(one) in {list, tuple}:
        return True
    first, second = state(one), state(other)
    return first.keys() == second.keys() and all(same(first[n], second[n]) for n in first)


def same_fields_set(one: Any, other: Any) -> bool:
    """Whether `model_dump(exclude_unset=True)` tells the same of both, at all depths."""
    if isinstance(one, BaseModel) and one.model_fields_set != other.model_fields_set:
        return False
    parts: Any = [one, other]
    if isinstance(one, Mapping):
        parts = [list(one.values()), [other[key] for key in one]]
    elif isinstance(one, BaseModel) or (is_dataclass(one) and not isinstance(one, type)):
        names = (
            [*type(one).model_fields]
            if isinstance(one, BaseModel)
            else [f.name for f in fields(one)]
        )
        parts = [[getattr(side, name) for name in names] for side in parts]
    elif isinstance(one, str) or not isinstance(one, Sequence):
        return True
    return all(map(same_fields_set, *parts))


def feed(argument: Any) -> None: ...


KEYS = KeyMaker(Target.of(feed, "feed"), None, everyone=True)


@given(values, values)
def test_two_values_that_differ_never_share_a_key(one: Any, other: Any):
    first, second = KEYS.key((one,), {}, None), KEYS.key((other,), {}, None)
    if first is None or second is None:
        return
    if first == second or KEYS.text(first) == KEYS.text(second):
        assert same(one, other)
        assert same_fields_set(one, other)


@given(values)
def test_what_a_function_changes_in_its_argument_changes_the_key(value: Any):
    first = KEYS.key(([value],), {}, None)
    if not isinstance(value, BaseModel) or first is None:
        return
    value._private = object()
    assert KEYS.key(([value],), {}, None) is None
    value._private = "changed"
    assert KEYS.key(([value],), {}, None) != first


def codec(returns: Any) -> Codec:
    def feed() -> None: ...

    feed.__annotations__["return"] = returns
    return Codec(Target.of(feed, "feed"))


CODECS = {kind: codec(kind) for kind in KINDS if kind is not Words}
LISTS = {kind: codec(list[kind]) for kind in CODECS}
TYPED = [codec(Any), codec(list[Any]), codec(dict[str, Any]), codec(Search | Closed | Query)]


@given(values, st.sampled_from(["itself", "list", "any"]), st.sampled_from(TYPED))
def test_a_snapshot_is_the_same_or_it_is_not_kept(value: Any, how: str, loose: Codec):
    made = {"itself": CODECS, "list": LISTS}.get(how, {}).get(type(value), loose)
    given = [value] if how == "list" and made is not loose else value
    try:
        blob = made.encode(given, key="k", created=1.0, epoch=0)
    except CodecError:
        return
    found = made.decode(blob, key="k").value
    assert same(given, found)


@given(
    st.lists(
        st.fixed_dictionaries(
            {}, optional={"title": st.just("a"), "items": st.just([1]), "lead": st.just(None)}
        )
    )
)
def test_a_model_that_is_kept_knows_which_of_its_fields_were_set(given: list[dict[str, Any]]):
    value = [Plain(**fields) for fields in given]
    made = codec(list[Plain])
    found = made.decode(made.encode(value, key="k", created=1.0, epoch=0), key="k").value
    assert found == value
    assert all(map(same_fields_set, found, value))


def test_the_values_of_this_page_are_told_apart_at_all():
    assert same(Search(text=1), Search(text=1))
    assert not same(Search(text=1), Search(text=True))
    assert not same(Search(), Narrow())
    assert not same(Day(1), Day(2))
    assert not same(0.0, -0.0)
    assert same(math.nan, math.nan)
    assert not same(Decimal("1.0"), Decimal("1.00"))
    assert same(datetime(2024, 1, 1, tzinfo=UTC), datetime(2024, 1, 1, tzinfo=UTC))
