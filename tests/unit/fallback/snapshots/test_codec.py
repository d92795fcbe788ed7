from __future__ import annotations

import json
import math
import pickle
import tracemalloc
import zlib
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import (
    AsyncIterator,
    Callable,
    Generator,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)  # fmt: skip
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum, StrEnum
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Generic, Literal, NamedTuple, Optional, TypeVar
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PlainSerializer,
    PrivateAttr,
    SecretStr,
    WithJsonSchema,
    computed_field,
    field_validator,
)
from typing_extensions import TypedDict  # pydantic reads that of typing from Python 3.12 on

from degrade.errors import CodecError, UsageError
from degrade.fallback.rung import Target
from degrade.fallback.snapshots.codec import MAX_BODY, Codec

T = TypeVar("T")
KEY = "user_id='u1'; subject='ana'"


class Colour(Enum):
    RED = "red"


class Word(StrEnum):
    RED = "red"


@dataclass
class Story:
    id: int
    title: str
    at: datetime
    tags: set[str] = field(default_factory=set)
    parent: Optional[Story] = None  # noqa: UP045 - the old spelling is read, too


@dataclass
class Better(Story):
    rank: int = 0


@dataclass(frozen=True, slots=True)
class Pair(Generic[T]):
    one: T
    other: T


class Point(NamedTuple):
    x: int
    y: int = 0


class Row(TypedDict, total=False):
    id: int
    price: Decimal


class Article(BaseModel):
    model_config = ConfigDict(extra="forbid")

    title: str = Field(alias="headline")
    stamp: bytes = b""

    @computed_field  # type: ignore[prop-decorator] # pydantic's own spelling
    @property
    def size(self) -> int:
        return len(self.title)


class Page(BaseModel, Generic[T]):
    items: list[T]
    next: str | None = None


class Cat(BaseModel):
    kind: Literal["cat"] = "cat"


class Dog(BaseModel):
    kind: Literal["dog"] = "dog"


class Hidden(BaseModel):
    shown: int
    hidden: int = Field(default=0, exclude=True)


class Tender(BaseModel):
    name: str

    @field_validator("name")
    @classmethod
    def _checked(cls, name: str) -> str:
        if name == "forbidden now":
            raise RuntimeError("a validator may raise anything")
        return name


def codec(returns: Any, name: str = "feed", **scope: Any) -> Codec:
    def feed(user_id: str) -> None: ...

    feed.__annotations__["return"] = returns
    return Codec(Target.of(feed, name, scope=scope))


def sealed(returns: Any, value: object, key: str = KEY) -> bytes:
    return codec(returns).encode(value, key=key, created=1_700_000_000.0, epoch=7)


def brought_back(returns: Any, value: object) -> Any:
    made = codec(returns)
    blob = made.encode(value, key=KEY, created=1_700_000_000.0, epoch=7)
    found = made.decode(blob, key=KEY)
    assert (found.created, found.epoch) == (1_700_000_000.0, 7)
    return found.value


NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("returns", "value"),
    [
        (None, None),
        (int, 2**200),
        (float, 0.1),
        (float, math.inf),
        (str, "naïve \x00 \u2028 😀"),
        (bytes, bytes(range(256))),
        (list[bytes], [b"\xff", b""]),
        (datetime, NOON),
        (datetime, datetime(2024, 5, 1, 12, microsecond=1)),  # noqa: DTZ001 - naive ones, too
        (datetime, NOON.astimezone(timezone(timedelta(hours=-3, minutes=-30)))),
        (date, date(1, 1, 1)),
        (time, time(23, 59, 59, 999_999)),
        (timedelta, timedelta(days=-3, microseconds=7)),
        (Decimal, Decimal("1.2300")),
        (UUID, UUID(int=5)),
        (Path, Path("/tmp/x")),  # noqa: S108 - only a name
        (Colour, Colour.RED),
        (Literal["a", "b"], "b"),
        (tuple[int, ...], (1, 2)),
        (tuple[int, str], (1, "a")),
        (set[int], {1, 2}),
        (frozenset[str], frozenset({"a"})),
        (deque[int], deque([1, 2])),
        (dict[int, Decimal], {1: Decimal("0.10")}),
        (dict[date, list[int]], {date(2024, 1, 1): [1]}),
        (Sequence[int], [1, 2]),
        (Mapping[str, int], {"a": 1}),
        (int | str, "5"),
        (int | str, 5),
        (int | None, None),
        (Optional[list[int]], [1]),  # noqa: UP045 - the old spelling is read, too
        (Cat | Dog, Dog()),
        (list[Annotated[Cat | Dog, Field(discriminator="kind")]], [Cat(), Dog()]),
        (Story, Story(1, "a", NOON, {"x"}, Story(2, "b", NOON))),
        (list["Story"], [Story(1, "a", NOON)]),
        (Point, Point(1, 2)),
        (Row, {"id": 1, "price": Decimal("9.90")}),
        (list[Row], [{"id": 1}, {}]),
        (Article, Article(headline="a")),
        (list[Article], [Article(headline="a", stamp=b"x")]),
        (Page[Story], Page[Story](items=[Story(1, "a", NOON)])),
        (Pair[Decimal], Pair(Decimal("1.0"), Decimal("2.00"))),
        (Any, {"a": [1, "b", None, True, 1.5]}),
        (list, [1, "a"]),
        (dict, {"a": [1]}),
        (object, "a"),
    ],
)  # fmt: skip
def test_a_value_comes_back_as_it_was(returns: Any, value: object):
    found = brought_back(returns, value)
    assert found == value
    assert type(found) is type(value)
    assert repr(found) == repr(value) or "TzInfo" in repr(found) or isinstance(value, datetime)


def test_nan_comes_back_as_nan():
    assert math.isnan(brought_back(list[float], [math.nan])[0])


def test_containers_come_back_as_the_annotation_says():
    assert brought_back(dict[str, int], Counter("aab")) == {"a": 2, "b": 1}
    assert brought_back(dict[str, int], defaultdict(int, a=1)) == {"a": 1}
    assert brought_back(dict[str, int], OrderedDict(a=1)) == {"a": 1}
    assert brought_back(Sequence[int], (1, 2)) == [1, 2]


def test_a_number_of_a_subclass_comes_back_as_the_number():
    class Score(float):
        pass

    found = brought_back(list[float], [Score(0.5)])
    assert found == [0.5]
    assert type(found[0]) is float


def test_an_int_comes_back_as_the_float_that_was_promised():
    found = brought_back(dict[str, float], {"ana": 1, "ben": 0.5})
    assert found == {"ana": 1.0, "ben": 0.5}
    assert type(found["ana"]) is float
    assert [type(one) for one in brought_back(list[int | float], [1, 1.0])] == [int, float]


def test_a_zone_comes_back_as_its_offset():
    berlin = datetime(2024, 5, 1, 12, tzinfo=ZoneInfo("Europe/Berlin"))
    found = brought_back(datetime, berlin)
    assert found == berlin
    assert found.utcoffset() == berlin.utcoffset()


def test_a_large_value_is_compressed_and_a_small_one_is_not():
    large, small = ["the same story"] * 1_000, ["a"]
    assert len(sealed(list[str], large)) < 1_000
    assert b'["a"]' in sealed(list[str], small)
    assert brought_back(list[str], large) == large


@pytest.mark.parametrize(
    ("returns", "value"),
    [
        (int, "a"),
        (Story, {"id": 1}),
        (list[int], None),
        (str | datetime, NOON),
        (str | Decimal, Decimal("1.0")),
        (str | Colour, Colour.RED),
        (Any, NOON),
        (Any, Story(1, "a", NOON)),
        (list, [(1, NOON)]),
        (Any, object()),
        (Story, Better(1, "a", NOON, rank=3)),
        (Hidden, Hidden(shown=1, hidden=2)),
        (tuple[int, ...], Point(1, 2)),
        (list[int], [True, 1]),
        (list[int] | tuple[int, ...], (1, 2)),
        (list[int] | tuple[int, ...], ()),
        (set[int] | frozenset[int], frozenset({1})),
        (dict[str, Any], {"a": (1, 2)}),
        (dict[int | Decimal, int], {Decimal(1): 1}),
        (T, NOON),
    ],
)
def test_a_value_that_would_come_back_as_something_else_is_not_stored(returns: Any, value: object):
    with pytest.raises(CodecError):
        sealed(returns, value)


def test_an_ambiguous_type_is_proven_for_every_value():
    made = codec(list[str | datetime])
    for _ in range(2):
        made.encode(["a"], key=KEY, created=1.0, epoch=0)
        with pytest.raises(CodecError, match="does not survive its annotation"):
            made.encode([NOON], key=KEY, created=1.0, epoch=0)


@dataclass
class Partly:
    id: int
    rank: int = field(default=0, compare=False, metadata={"exclude": True})
    kept: int = field(default=0, init=False, compare=False)


@dataclass
class ById:
    id: int
    title: Any = ""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ById) and other.id == self.id

    __hash__ = None  # type: ignore[assignment] # as Python does it


class Longer(Article):
    rank: int = 0


class Noted(BaseModel):
    title: str
    lead: str | None = None
    _readers: Any = PrivateAttr("all")


def noted(readers: Any) -> Noted:
    made = Noted(title="a")
    made._readers = readers
    return made


class Open(BaseModel):
    model_config = ConfigDict(extra="allow")

    title: str


def opened(**attributes: Any) -> Open:
    made = Open(title="a")
    made.__dict__.update(attributes)
    return made


@dataclass
class Free:
    title: str


def free(**attributes: Any) -> Free:
    made = Free("a")
    vars(made).update(attributes)
    return made


@dataclass
class Indexed:
    words: list[str]

    def __post_init__(self) -> None:
        self.index = {word: number for number, word in enumerate(self.words)}


def indexed(words: list[str], **index: int) -> Indexed:
    made = Indexed(words)
    made.index.update(index)
    return made


class Hiding:
    __slots__ = ("hidden",)


@dataclass
class Slotted(Hiding):
    title: str


def slotted(hidden: Any) -> Slotted:
    made = Slotted("a")
    made.hidden = hidden
    return made


class Roomy(NamedTuple("Roomy", [("x", int)])):  # noqa: SLOT002 - it has attributes
    pass


def roomy(**attributes: Any) -> Roomy:
    made = Roomy(1)
    vars(made).update(attributes)
    return made


class Words(list[str]):
    pass


def words(**attributes: Any) -> Words:
    made = Words("a")
    vars(made).update(attributes)
    return made


class Tally(dict[str, int]):
    pass


def tally(**attributes: Any) -> Tally:
    made = Tally(a=1)
    vars(made).update(attributes)
    return made


class Note(str):  # noqa: SLOT000 - it has attributes
    pass


def note(**attributes: Any) -> Note:
    made = Note("a")
    vars(made).update(attributes)
    return made


Rounded = Annotated[Decimal, PlainSerializer(float), WithJsonSchema({"type": "number"})]


class Secret(BaseModel):
    word: SecretStr


class Touchy(float):
    def __eq__(self, other: object) -> bool:
        raise RuntimeError("an __eq__ may raise anything")

    __hash__ = float.__hash__


def partly(kept: int) -> Partly:
    made = Partly(1)
    made.kept = kept
    return made


@pytest.mark.parametrize(
    ("returns", "good", "bad"),
    [
        (list[Article], [], [Longer(headline="a", rank=3)]),
        (list[Article], [Article(headline="a")], [Longer(headline="a", rank=3)]),
        (list[Story], [Story(1, "a", NOON)], [Better(1, "a", NOON, rank=3)]),
        (dict[str, Story], {}, {"a": Better(1, "a", NOON, rank=3)}),
        (list[Hidden], [], [Hidden(shown=1, hidden=2)]),
        (list[Hidden], [Hidden(shown=1)], [Hidden(shown=1, hidden=2)]),
        (list[Secret], [], [Secret(word=SecretStr("hunter2"))]),
        (Noted, noted("all"), noted("subscribers")),
        (list[Noted], [noted("all")], [noted("all"), noted(["all"])]),
        (dict[str, Noted], {}, {"a": noted(None)}),
        (Open, Open(title="a", more=1), opened(less=1)),
        (Free, free(), free(more=1)),
        (list[Free], [free()], [free(), free(more=None)]),
        (Indexed, indexed(["a"]), indexed(["a"], b=1)),
        (Slotted, Slotted("a"), slotted(1)),
        (Roomy, roomy(), roomy(y=1)),
        (list[str], words(), words(more=1)),
        (Mapping[str, int], tally(), tally(more=1)),
        (dict[str, int], tally(), tally(more=1)),
        (str, "a", note(more=1)),
        (list[Rounded], [Decimal("1.5")], [Decimal("1.50")]),
        (list[datetime], [NOON], [datetime(2024, 10, 27, 2, 30, fold=1)]),  # noqa: DTZ001 - naive ones are what folds
        (list[time], [time(1)], [time(1, tzinfo=ZoneInfo("Europe/Berlin"))]),
        (list[Partly], [Partly(1)], [partly(2)]),
        (list[ById], [ById(1)], [ById(1, (1, 2))]),
        (list[float], [1.0], [2**53 + 1]),
        (list[float], [1.0], [0.5, True]),
        (list[float], [1.0], [Touchy(0.5)]),
        (list[int], [1], [True]),
        (list[str], ["red"], [Word.RED]),
        (tuple[int, int], (1, 2), Point(1, 2)),
        (dict[int, int], {1: 1}, {True: 1}),
        (list[int | float | bool], [1, 1.0, True], [Decimal(1)]),
        (Any, [1, 1.0, True], [(1,)]),
    ],
)
def test_every_value_is_proven_whatever_was_before(returns: Any, good: Any, bad: Any):
    made = codec(returns)
    for _ in range(2):
        made.dump(good)
        with pytest.raises(CodecError):
            made.dump(bad)
    made.dump(good)


@pytest.mark.parametrize("value", [[True, 1, 1.0], [1, True, 1.0], [1.0, 1, True], {"a": True}])
def test_equal_numbers_of_different_types_come_back_as_they_were(value: Any):
    for returns in (Any, list[int | float | bool] | dict[str, bool], list | dict):
        found = brought_back(returns, value)
        assert repr(found) == repr(value)


class Titled(BaseModel):
    title: str

    @cached_property
    def words(self) -> list[str]:
        return self.title.split()


def test_a_cached_property_is_no_part_of_a_result():
    value = Titled(title="a b")
    assert value.words
    assert brought_back(list[Titled], [value]) == [Titled(title="a b")]


def test_a_value_of_another_type_is_refused_also_after_the_type_was_proven():
    made = codec(list[int])
    for _ in range(2):
        made.encode([1], key=KEY, created=1.0, epoch=0)
        with pytest.raises(CodecError, match="cannot be encoded"):
            made.encode(["a"], key=KEY, created=1.0, epoch=0)


def test_what_a_message_says_holds_no_value():
    for returns, value in ((int, "hunter2"), (list[int], ["hunter2"]), (Any, {1: object()})):
        with pytest.raises(CodecError) as caught:
            sealed(returns, value)
        assert "hunter2" not in str(caught.value)


def test_a_value_over_the_limit_is_not_stored():
    with pytest.raises(CodecError, match="bytes of JSON"):
        sealed(str, "x" * MAX_BODY)


# --------------------------------------------------------------- refused when decorating


class Opaque:
    pass


class Loose(BaseModel):
    model_config = ConfigDict(arbitrary_types_allowed=True)

    inner: Opaque


@pytest.mark.parametrize(
    ("returns", "code"),
    [
        (Opaque, "snapshot-return-type"),
        (list[Opaque], "snapshot-return-type"),
        (Loose, "snapshot-return-type"),
        (Callable[[], int], "snapshot-return-type"),
        (type, "snapshot-return-type"),
        (Iterator[int], "snapshot-generator"),
        (Generator[int, None, None], "snapshot-generator"),
        (AsyncIterator[int], "snapshot-generator"),
        (Iterable[int], "snapshot-generator"),
        (list[Iterable[int]], "snapshot-generator"),
        (Iterator, "snapshot-generator"),
    ],
)
def test_a_type_that_cannot_be_stored_is_refused_when_decorating(returns: Any, code: str):
    with pytest.raises(UsageError, match="'feed'") as caught:
        codec(returns)
    assert caught.value.code == code


def test_a_function_without_a_return_annotation_is_refused():
    def feed(user_id: str): ...

    with pytest.raises(UsageError, match="copy=False") as caught:
        Codec(Target.of(feed, "feed"))
    assert caught.value.code == "snapshot-return-type"


def test_a_type_defined_further_down_is_found_at_first_use():
    made = codec("list[Later]")
    with pytest.raises(CodecError, match="no usable annotation"):
        made.encode([], key=KEY, created=1.0, epoch=0)
    globals()["Later"] = Story
    try:
        assert made.decode(made.encode([], key=KEY, created=1.0, epoch=0), key=KEY).value == []
    finally:
        del globals()["Later"]


def test_a_type_of_the_decorating_function_is_found_through_its_scope():
    @dataclass
    class Local:
        id: int

    made = codec("list[Local]", Local=Local)
    found = made.decode(made.encode([Local(1)], key=KEY, created=1.0, epoch=0), key=KEY)
    assert found.value == [Local(1)]
    assert not made._target.scope, "it would keep the locals of the decorating function alive"


# ------------------------------------------------------------------------- hostile bytes


def parts(blob: bytes) -> tuple[dict[str, Any], bytes]:
    head, _, body = blob.partition(b"\n")
    return json.loads(head), body


def forged(body: bytes | None = None, **changes: Any) -> bytes:
    header, old = parts(sealed(list[int], [1, 2, 3]))
    header.update(changes)
    return json.dumps(header).encode() + b"\n" + (old if body is None else body)


class Bomb:
    def __reduce__(self) -> tuple[Any, ...]:
        return (pytest.fail, ("a snapshot ran code",))


HOSTILE = {
    "empty": b"",
    "a new line": b"\n",
    "text": b"hello",
    "pickle": pickle.dumps(Bomb()),
    "pickle in the body": forged(pickle.dumps(Bomb())),
    "no header": b"[1]\n[[1]]",
    "a header of another kind": b"7\n[[1]]",
    "a deep header": b"[" * 8_000 + b"\n[[1]]",
    "a header without an end": b'{"v":1' + b" " * 100_000,
    "another version": forged(v=2),
    "another type": forged(schema="0" * 16),
    "another key": forged(key="user_id='u2'; subject='ana'"),
    "no key": forged(key=None),
    "no time": forged(created=None),
    "a time that is none": forged(created=float("nan")),
    "an epoch that is none": forged(epoch="1"),
    "deep JSON": forged(b"[" * 100_000 + b"]" * 100_000),
    "deep JSON, packed": forged(zlib.compress(b"[" * 1_000_000), packed=1),
    "a value of another type": forged(b'[["a"]]'),
    "two values": forged(b"[[1],[2]]"),
    "an endless number": forged(b"[[" + b"9" * 100_000 + b"]]"),
    "not packed": forged(packed=1),
    "a bomb": forged(zlib.compress(bytes(64 * 1024 * 1024), 9), packed=1),
    "a bomb of blanks": forged(zlib.compress(b" " * (64 * 1024 * 1024), 9), packed=1),
    "not UTF-8": forged(b'["\xff"]'),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_bytes_are_a_codec_error_in_bounded_memory(name: str):
    made = codec(list[int])
    tracemalloc.start()
    try:
        with pytest.raises(CodecError):
            made.decode(HOSTILE[name], key=KEY)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 4 * MAX_BODY


@pytest.mark.parametrize("value", [[1, 2, 3], ["story"] * 2_000], ids=["plain", "packed"])
def test_truncated_bytes_are_a_codec_error_at_every_length(value: list[Any]):
    made = codec(list[int | str])
    blob = made.encode(value, key=KEY, created=1.0, epoch=0)
    for length in range(len(blob)):
        with pytest.raises(CodecError):
            made.decode(blob[:length], key=KEY)


def test_a_validator_that_raises_anything_is_a_codec_error():
    made = codec(Tender)
    blob = made.encode(Tender(name="x"), key=KEY, created=1.0, epoch=0)
    with pytest.raises(CodecError):
        made.decode(blob.replace(b'"x"', b'"forbidden now"'), key=KEY)


def test_types_of_different_shape_have_different_schemas():
    made = codec(Story)
    made.encode(Story(1, "a", NOON), key=KEY, created=1.0, epoch=0)
    for other in (Better, list[Story], Article, int, Any):
        blob = codec(other)
        assert blob._schema != made._schema


def test_the_longest_key_fits_the_envelope():
    key = "😀" * 1_024
    made = codec(int)
    assert made.decode(made.encode(1, key=key, created=1.0, epoch=0), key=key).value == 1
