from __future__ import annotations

import sys
import typing
from contextlib import nullcontext
from dataclasses import dataclass
from typing import (  # noqa: UP035 - the old spelling is read, too
    Annotated,
    Any,
    Generic,
    List,
    NotRequired,
    Optional,
    Required,
    TypedDict,
    TypeVar,
)

import pytest
import typing_extensions
from pydantic import BaseModel, ConfigDict, TypeAdapter

from degrade.errors import CodecError, UsageError
from degrade.fallback.rung import Target
from degrade.fallback.snapshots.codec import Codec
from degrade.fallback.snapshots.return_types import find_unfit, names_at, needs_proof

T = TypeVar("T")


class Base(TypedDict):
    id: int


class Story(Base, total=False):
    title: Required[str]
    lead: NotRequired[str]
    parent: Story
    tags: list[Base]


class Page(TypedDict, Generic[T]):
    items: list[T]


class New(typing_extensions.TypedDict):
    id: int


class Sealed(TypedDict):
    id: int


Sealed.__pydantic_config__ = ConfigDict(extra="forbid")  # type: ignore[attr-defined] # pydantic's own spelling

Words = TypedDict("Words", {"from": int, "not a name": NotRequired[str]})

STORY: Any = {"id": 1, "title": "a"}
PARENT: Any = {**STORY, "parent": {**STORY, "lead": "b", "tags": [{"id": 2}]}}


def codec(returns: Any, **scope: Any) -> Codec:
    def feed(user_id: str) -> None: ...

    feed.__annotations__["return"] = returns
    return Codec(Target.of(feed, "feed", scope=scope))


@pytest.mark.parametrize(
    ("returns", "value"),
    [
        (Base, {"id": 1}),
        (list[Story], [STORY, PARENT]),
        ("list[Story]", [PARENT]),
        (Story | None, PARENT),
        (Optional[Story], None),  # noqa: UP045 - the old spelling is read, too
        (List[Story], [STORY]),  # noqa: UP006 - as above
        (dict[str, tuple[Story, ...]], {"a": (STORY,)}),
        (Annotated[Story, "a note"], PARENT),
        (Page[Story], {"items": [PARENT]}),
        (list[Page[int]], [{"items": [1]}]),
        (Page[Page[Story]], {"items": [{"items": [STORY]}]}),
        (New | Story, PARENT),
        (Words, {"from": 1}),
        (list[Words], [{"from": 1, "not a name": "b"}]),
        (Sealed, {"id": 1}),
    ],
)
def test_a_typed_dictionary_comes_back_as_it_was(returns: Any, value: Any):
    made = codec(returns)
    found = made.decode(made.encode(value, key="k", created=1.0, epoch=0), key="k").value
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("returns", "value"),
    [
        (Base, {}),
        (Story, {"id": 1}),
        (Story, {"title": "a"}),
        (Story, {**STORY, "parent": {"id": 1}}),
        (Story, {**STORY, "more": 1}),
        (Words, {"not a name": "b"}),
        (Page[int], {"items": ["a"]}),
        (Sealed, {"id": "a"}),
    ],
)
def test_a_typed_dictionary_without_its_keys_is_not_stored(returns: Any, value: Any):
    with pytest.raises(CodecError):
        codec(returns).dump(value)


def test_a_typed_dictionary_of_a_function_is_found_through_its_scope():
    class Inner(TypedDict):
        id: int

    class Outer(TypedDict):
        inner: Inner

    made = codec("list[Outer]", Outer=Outer, Inner=Inner)
    assert made.dump([{"inner": {"id": 1}}]) == b'[[{"inner":{"id":1}}]]'


def test_a_typed_dictionary_of_the_application_is_not_changed():
    before = {name: dict(vars(kind)) for name, kind in (("Story", Story), ("Base", Base))}
    codec(list[Story]).dump([STORY])
    assert before == {name: dict(vars(kind)) for name, kind in (("Story", Story), ("Base", Base))}


def test_in_a_class_that_pydantic_reads_by_itself_it_is_refused_where_pydantic_cannot_read_it():
    @dataclass
    class Holder:
        story: Story

    reads = pytest.raises(UsageError, match=r"typing_extensions\.TypedDict")
    with nullcontext() if sys.version_info >= (3, 12) else reads:
        codec(Holder)


# ---------------------------------------------------------------------------- local names


def decorated() -> dict[str, Any]:
    mine = 1

    class Shop:
        inner = mine

        class Shelf:
            deepest = 2
            found = names_at(sys._getframe())
            later = 3

    assert Shop.inner == 1
    return dict(Shop.Shelf.found)


def test_a_class_body_sees_its_names_and_those_of_the_function_around_it():
    found = decorated()
    assert (found["deepest"], found["inner"], found["mine"]) == (2, 1, 1)
    assert found["later"] == 3, "what is defined further down is seen, too"


def test_a_function_sees_its_own_names_alone():
    hidden = 1

    def place() -> Any:
        seen = hidden
        return dict(names_at(sys._getframe())), seen

    found, _ = place()
    assert found == {"seen": 1, "hidden": 1}
    assert dict(names_at(None)) == {}


def test_a_module_needs_no_local_names():
    found: dict[str, Any] = {"names_at": names_at, "sys": sys}
    exec("found = names_at(sys._getframe())", found)  # noqa: S102 - the body of a module
    assert dict(found["found"]) == {}


# --------------------------------------------------------------------------- core schemas


@pytest.mark.parametrize("name", ["metadata", "serialization", "default", "type", "members"])
def test_a_field_that_is_named_like_a_part_of_a_schema_is_looked_into(name: str):
    class Page(BaseModel):
        __annotations__ = {name: typing.Iterable[int]}

    class Loose(BaseModel):
        __annotations__ = {name: list[int] | tuple[int, ...]}

    assert find_unfit(TypeAdapter(Page).core_schema) == "generator"
    assert needs_proof(TypeAdapter(Loose).core_schema)


def test_a_default_is_no_schema():
    class Page(BaseModel):
        page: dict[str, str] = {"type": "generator"}

    assert find_unfit(TypeAdapter(Page).core_schema) is None
