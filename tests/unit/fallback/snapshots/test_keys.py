from __future__ import annotations

import logging
import threading
from collections import deque
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from enum import Enum, Flag, IntEnum, IntFlag, StrEnum
from functools import cached_property
from typing import Any, NamedTuple, Self
from unittest.mock import Mock
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from pydantic import BaseModel, ConfigDict, PrivateAttr

from degrade.errors import UsageError
from degrade.fallback.rung import Target
from degrade.fallback.snapshots.keys import KeyMaker
from degrade.fallback.snapshots.stable_text import UnstableError, stable_text, type_name


def feed(user_id: Any, limit: Any = 3, *, lang: Any = "en") -> list[str]:
    return []


def many(first: Any, /, *rest: Any, **options: Any) -> list[str]:
    return []


class Feed:
    def ranked(self, user_id: str, limit: int = 3) -> list[str]:
        return []


def keys(fn: Any = feed, key: Any = None, *, everyone: bool = False) -> KeyMaker:
    return KeyMaker(Target.of(fn, "feed"), key, everyone=everyone)


def looked_up(
    maker: KeyMaker, fn: Any, *args: Any, subject: str | None = None, **kwargs: Any
) -> Any:
    """What a generated wrapper would look up."""
    bound = Target.of(fn, "feed").signature.bind(*args, **kwargs)
    bound.apply_defaults()
    expression = maker.fast_expression(subject="_subject")
    assert expression is not None
    return eval(expression, {"_subject": subject}, dict(bound.arguments))  # noqa: S307 - our own expression


# ------------------------------------------------------------------------------ the basics


def test_keyword_order_and_spelled_out_defaults_do_not_matter():
    maker = keys()
    expected = maker.key(("u1",), {}, None)
    assert expected is not None
    assert maker.key((), {"lang": "en", "limit": 3, "user_id": "u1"}, None) == expected
    assert maker.key(("u1", 3), {"lang": "en"}, None) == expected
    assert maker.key(("u1", 4), {}, None) != expected


def test_the_key_of_scalars_is_what_the_wrapper_looks_up():
    maker = keys()
    for args, kwargs in ((("u1",), {}), ((1, None), {"lang": b"en"}), ((True, 1.5), {})):
        assert maker.key(args, kwargs, "ana") == looked_up(
            maker, feed, *args, subject="ana", **kwargs
        )


def test_the_key_of_star_arguments_is_what_the_wrapper_looks_up():
    maker = keys(many)
    for args in ((1,), (1, "a"), (1, True, None)):
        key = maker.key(args, {}, "ana")
        assert key == looked_up(maker, many, *args, subject="ana")
    assert looked_up(maker, many, 1, option=2) is None
    assert isinstance(maker.key((1,), {"option": 2}, None), str)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ((1,), (True,)),
        ((1,), (1.0,)),
        (("1",), (1,)),
        (("a",), (b"a",)),
        ((0.0,), (-0.0,)),
        ((Decimal("1.0"),), (Decimal("1.00"),)),
        ((None,), ("None",)),
        (((1,),), ((True,),)),
        (([1],), ((1,),)),
        (({"a": 1},), ({"a": True},)),
        (({1},), (frozenset({1}),)),
        ((["a", "b"],), (["a, b"],)),
        ((["a', 'b"],), (["a", "b"],)),
        (("a", "b"), ("a', limit='b",)),
        ((datetime(2024, 10, 27, 2, 30, fold=0),), (datetime(2024, 10, 27, 2, 30, fold=1),)),  # noqa: DTZ001 - naive ones are what folds
        (
            (datetime(2024, 1, 1, 12, tzinfo=UTC),),
            (datetime(2024, 1, 1, 13, tzinfo=timezone(timedelta(hours=1))),),
        ),
        (
            (datetime(2024, 1, 1, tzinfo=ZoneInfo("Europe/Berlin")),),
            (datetime(2024, 1, 1, tzinfo=ZoneInfo("Europe/Paris")),),
        ),
    ],
)  # fmt: skip
def test_calls_that_differ_in_type_or_value_have_different_keys(one: Any, other: Any):
    maker = keys()
    first, second = maker.key(one, {}, None), maker.key(other, {}, None)
    assert first is not None
    assert second is not None
    assert maker.text(first) != maker.text(second)
    book = {first: "one"}
    assert second not in book
    if isinstance(second, tuple) or not any(map(_unhashable, other)):
        assert looked_up(maker, feed, *other) not in book, "a wrapper would be served another's"


def _unhashable(value: object) -> bool:
    return isinstance(value, (list, dict, set))


@pytest.mark.parametrize(
    ("one", "other"), [([{"b": 1, "a": 2}], [{"a": 2, "b": 1}]), ([{3, 1, 2}], [{1, 2, 3}])]
)
def test_the_order_of_what_has_none_does_not_matter(one: Any, other: Any):
    maker = keys()
    assert maker.key(tuple(one), {}, None) == maker.key(tuple(other), {}, None) is not None


def test_a_huge_number_has_a_key():
    maker = keys()
    assert maker.text(maker.key((10**9000,), {}, None) or "") != maker.text(
        maker.key((10**9000 + 1,), {}, None) or ""
    )


def test_a_long_text_is_shortened_to_a_digest_that_still_tells_calls_apart():
    maker = keys()
    one, other = (maker.text(maker.key(("u" * 5_000 + end,), {}, None) or "") for end in "ab")
    assert one != other
    assert len(one) < 100


# ----------------------------------------------------------------------------- the subject


def test_two_subjects_never_share_a_key_unless_told_so():
    apart, shared = keys(), keys(everyone=True)
    subjects = (None, "ana", "ben", "None", "")
    for args in (("u1",), ([1],)):
        assert len({apart.text(apart.key(args, {}, who) or "") for who in subjects}) == 5
        assert len({apart.key(args, {}, who) for who in subjects}) == 5
        assert len({shared.key(args, {}, who) for who in subjects}) == 1


def test_a_subject_cannot_be_forged_by_an_argument():
    maker = keys(key=("lang",))
    real = maker.key(("u1",), {"lang": "en"}, "ana")
    forged = maker.key(("u1",), {"lang": "en'; subject='ana"}, None)
    assert maker.text(real or "") != maker.text(forged or "")


def test_a_subject_that_is_no_text_is_never_mistaken_for_one():
    maker = keys()
    assert maker.key(("u",), {}, 1) != maker.key(("u",), {}, True)  # type: ignore[arg-type]
    assert isinstance(maker.key(("u",), {}, 1), str)  # type: ignore[arg-type]


# -------------------------------------------------------------------------------- key=


def test_named_parameters_alone_make_the_key():
    maker = keys(key=("limit", "user_id"))
    assert maker.key(("u1",), {"lang": "de"}, None) == maker.key(("u1",), {"lang": "en"}, None)
    assert maker.key(("u1",), {}, None) != maker.key(("u2",), {}, None)
    assert maker.key(("u1", 3), {}, None) == looked_up(maker, feed, "u1")


def test_a_function_makes_the_key():
    maker = keys(key=lambda user_id, limit=3, *, lang="en": [user_id, lang])
    assert maker.key(("u1", 1), {}, None) == maker.key(("u1", 2), {}, None) is not None
    assert maker.key(("u1",), {}, None) != maker.key(("u1",), {"lang": "de"}, None)
    assert maker.key(("u1",), {}, "ana") != maker.key(("u1",), {}, None)
    assert maker.fast_expression() is None


def test_a_key_function_that_raises_gives_no_key():
    maker = keys(key=lambda user_id, limit=3, *, lang="en": {}[user_id])
    assert maker.key(("u1",), {}, None) is None


@pytest.mark.parametrize(
    ("fn", "key", "code", "hint"),
    [
        (feed, ("user",), "snapshot-key", "did you mean 'user_id'"),
        (feed, ("zzz",), "snapshot-key", "it has user_id, limit, lang"),
        (feed, lambda: 1, "snapshot-key", "cannot be called"),
        (Feed.ranked, None, "snapshot-method-key", r"key=\('user_id',\)"),
    ],
)
def test_a_key_that_cannot_work_is_refused(fn: Any, key: Any, code: str, hint: str):
    with pytest.raises(UsageError, match=hint) as caught:
        keys(fn, key)
    assert caught.value.code == code


def test_a_method_with_a_named_key_is_keyed_without_its_instance():
    maker = keys(Feed.ranked, ("user_id",))
    assert maker.key((Feed(), "u1"), {}, None) == maker.key((Feed(), "u1"), {}, None) is not None


def test_no_arguments_and_everyone_is_one_key():
    def front() -> list[str]:
        return []

    maker = keys(front, everyone=True)
    assert maker.key((), {}, "ana") == () == looked_up(maker, front)
    assert keys(front).key((), {}, "ana") == ("ana",)


# ------------------------------------------------------------- what has a stable key, what not


class Colour(Enum):
    RED = 1


class Size(IntEnum):
    BIG = 1


class Sort(StrEnum):
    NEW = "new"


class Right(Flag):
    READ = 1
    WRITE = 2


class Fuzzy(Enum):
    A = "a"

    def __eq__(self, other: object) -> bool:
        return True

    def __hash__(self) -> int:
        return hash("A")


@dataclass(frozen=True)
class Query:
    text: str
    tags: tuple[str, ...] = ()

    @cached_property
    def words(self) -> list[str]:
        return self.text.split()


@dataclass
class Loose:
    text: str


@dataclass(slots=True)
class Slotted:
    text: str


class Base:
    __slots__ = ("hidden",)


@dataclass
class Hiding(Base):
    text: str


@dataclass
class Listing(list):  # type: ignore[type-arg]
    text: str


@dataclass
class Day(date):
    text: str

    def __new__(cls, day: int, text: str = "") -> Self:
        return date.__new__(cls, 2024, 1, day)

    def __init__(self, day: int, text: str = "") -> None:
        self.text = text


@dataclass
class Queue(deque):  # type: ignore[type-arg]
    text: str


@dataclass
class Fault(Exception):
    text: str


@dataclass
class Local(threading.local):
    text: str


class Hidden(BaseModel):
    __slots__ = ("hidden",)

    text: str = ""


class Roomy(NamedTuple("Roomy", [("x", int)])):  # noqa: SLOT002 - it has attributes
    pass


def _assigned(made: Any, **attributes: Any) -> Any:
    vars(made).update(attributes)
    return made


class Point(NamedTuple):
    x: int
    y: int


class Search(BaseModel):
    model_config = ConfigDict(extra="allow")

    text: str = ""
    private: Any = None
    extra: Any = None
    _private: Any = PrivateAttr(default=None)


def search(private: Any = None, **fields: Any) -> Search:
    made = Search(**fields)
    made._private = private
    return made


@dataclass
class Named:
    """Fields may have any name, those of our own parts as well."""

    private: Any = None
    extra: Any = None
    fields_set: Any = None


@dataclass(frozen=True)
class Stated(Query):
    """A field takes the name of what a `cached_property` made before."""

    words: Any = None  # type: ignore[assignment]


class Same(str, Enum):  # noqa: UP042 - the old spelling, which `StrEnum` would refuse
    """Members that are equal as texts."""

    ONE = "1"
    TWO = "2"

    def __new__(cls, value: str) -> Self:
        made = str.__new__(cls, "a")
        made._value_ = value
        return made


class Growing(str, Enum):  # noqa: UP042 - as above
    """Members that are not in it are made when they are asked for."""

    KNOWN = "known"

    @classmethod
    def _missing_(cls, value: object) -> Self:
        made = str.__new__(cls, "unknown")
        made._name_, made._value_ = "UNKNOWN", value
        return made


Odd = Enum("Odd", {"A": 1, "A', tests.unit.fallback.test_keys.Odd.'B": 2, "B": 3})


class Access(IntFlag):
    READ = 1
    WRITE = 2


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (Search(private=True), Search(private=False)),
        (Search(extra=1), Search(extra=2)),
        (Search(text="a"), Search(text="a", more=1)),
        (Search(more={"private": 1}), Search(more={"private": 2})),
        (search(1), search(2)),
        (search(private=1), Search(private=1)),
        (Search(), Search(text="")),
        (Search(**{"a=1, b": 1}), Search(a=1, b=1)),
        (Search(**{"a': 1, 'b": 1}), Search(a=1, b=1)),
        (Named(private=1), Named(extra=1)),
        (Named(fields_set=1), Named(fields_set=True)),
        (Named(private=Search(private=1)), Named(private=Search(private=2))),
        (Stated("a", words="b"), Stated("a", words="c")),
        (Slotted("a"), Slotted("b")),
        (Same.ONE, Same.TWO),
        ([Odd.A, Odd.B], [list(Odd)[1]]),
        (Access.READ | Access.WRITE, 3),
        (Access.READ | Access.WRITE, Access.READ),
        (Access(8), Access(16)),
        ({"a": "b"}, {"a': 'b": 1}),
        (0.0, -0.0),
        ((1, 2), Point(1, 2)),
    ],
)
def test_no_name_or_text_hides_a_difference(one: Any, other: Any):
    maker = keys()
    first, second = maker.key((one,), {}, None), maker.key((other,), {}, None)
    assert first is not None
    assert second is not None
    assert maker.text(first) != maker.text(second)
    assert first != second


def test_members_that_equal_others_are_never_looked_up_by_value():
    maker = keys()
    assert isinstance(maker.key((Same.ONE,), {}, None), str)
    assert isinstance(maker.key((Growing.KNOWN,), {}, None), str)
    assert isinstance(maker.key((Sort.NEW,), {}, None), tuple)
    assert isinstance(maker.key((Access.READ,), {}, None), tuple)
    assert maker.key((Growing("a"),), {}, None) is None


class Filters(BaseModel):
    words: list[str] = []
    _secret: str = PrivateAttr(default="s")


@pytest.mark.parametrize(
    "value",
    [Colour.RED, Size.BIG, Sort.NEW, Right.READ | Right.WRITE, Query("a"), Loose("a"), Slotted("a"),
     Point(1, 2), Filters(words=["a"]), [Query("a"), {"k": (Loose("b"),)}], UUID(int=1), range(3),
     timedelta(1), 1j, ..., float("nan"), float("inf"), datetime(2024, 1, 1).time()],  # noqa: DTZ001
)  # fmt: skip
def test_what_is_nothing_but_its_fields_has_a_stable_key(value: object):
    maker = keys()
    key = maker.key((value,), {}, None)
    assert key is not None
    assert key == maker.key((value,), {}, None)
    assert maker.text(key) == maker.text(key)


def test_types_of_the_same_fields_have_different_keys():
    values = [
        Query("a"), Loose("a"), Slotted("a"), "a", ("a",), ["a"], {"text": "a"}, 1, True, Colour.RED,
        Size.BIG, 1.0, Sort.NEW, "new", Right.READ, Point(1, 2), (1, 2), Filters(words=["a"]),
    ]  # fmt: skip
    maker = keys()
    found = [maker.key((value,), {}, None) for value in values]
    assert None not in found
    assert len({maker.text(key or "") for key in found}) == len(values)
    assert len(set(found)) == len(values)


def test_a_cached_property_does_not_change_the_key():
    maker, query = keys(), Query("a b")
    before = maker.key((query,), {}, None)
    assert query.words == ["a", "b"]
    assert maker.key((query,), {}, None) == before is not None


def test_private_state_of_a_model_is_part_of_the_key():
    maker, one, other = keys(), Filters(), Filters()
    other._secret = "t"  # noqa: S105 - a private attribute, no password
    assert maker.key((one,), {}, None) != maker.key((other,), {}, None)


def test_an_enum_that_redefines_equality_is_never_looked_up_by_value():
    assert isinstance(keys().key((Fuzzy.A,), {}, None), str)


def _hiding() -> Hiding:
    found = Hiding("a")
    found.hidden = object()  # type: ignore[attr-defined]
    return found


def _extended() -> Loose:
    found = Loose("a")
    found.more = 1  # type: ignore[attr-defined]
    return found


def _endless() -> list[Any]:
    found: list[Any] = []
    found.append(found)
    return found


def _local() -> Any:
    @dataclass(frozen=True)
    class Local:
        text: str

    return Local("a")


@pytest.mark.parametrize(
    "value",
    [object(), lambda: 1, Feed(), Mock(spec=str), _hiding(), _extended(), _endless(), _local(),
     Listing("a"), Day(1), Queue("a"), Fault("a"), Local("a"), Hidden(), _assigned(Roomy(1), y=1),
     _assigned(Filters(), more=1), list(range(20_000)), [object()], {"k": object()}, Query(object()),  # type: ignore[arg-type]
     datetime(2024, 1, 1, tzinfo=ZoneInfo("UTC")).tzinfo, iter([1])],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_what_has_no_stable_key_gives_none_and_one_log_line(
    value: object, caplog: pytest.LogCaptureFixture
):
    maker = keys()
    with caplog.at_level(logging.WARNING, "degrade.fallback"):
        assert maker.key((value,), {}, None) is None
        assert maker.key((value,), {}, None) is None
    (record,) = caplog.records
    assert "user_id: " in record.getMessage()


def test_a_log_line_never_holds_the_value(caplog: pytest.LogCaptureFixture):
    class Secret:
        def __repr__(self) -> str:
            return "hunter2"

    assert keys().key((Secret(),), {"lang": "hunter2"}, "hunter2") is None
    assert "hunter2" not in caplog.text


def test_arguments_that_do_not_fit_give_no_key():
    assert keys().key((), {}, None) is None


def test_a_class_is_only_named_when_its_name_leads_back_to_it():
    assert type_name(Query) == f"{__name__}.Query"
    assert type_name(type(_local())) is None
    with pytest.raises(UnstableError, match="cannot be found by its name"):
        stable_text(_local())


def test_the_expression_uses_the_names_it_is_told():
    maker = keys(key=("user_id",))
    expression = maker.fast_expression({"user_id": "_1"}, subject="_2()", type_="_3")
    assert expression == "(_1, _3(_1), _2(),)"
