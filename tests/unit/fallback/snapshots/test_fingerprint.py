from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import make_dataclass
from enum import Enum
from typing import Annotated, Any, Literal, NamedTuple

import pytest
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, create_model

from degrade.fallback.rung import Target
from degrade.fallback.snapshots.codec import Codec
from degrade.fallback.snapshots.fingerprint import fingerprint


def story(*, doc: str = "A story.", config: Any = None, name: str = "Story", **fields: Any) -> Any:
    made: Any = create_model(
        name, __doc__=doc, __config__=config, **(fields or {"title": (str, ...)})
    )
    return made


def of(returns: Any) -> str:
    one: Any = tuple[returns]
    return fingerprint(TypeAdapter(one), returns)


NOTES = {
    "a docstring": story(doc="A story of the feed."),
    "a title of the model": story(config=ConfigDict(title="A story")),
    "a description": story(title=(str, Field(description="the title"))),
    "a title": story(title=(str, Field(title="The title"))),
    "examples": story(title=(str, Field(examples=["a"]))),
    "a deprecation": story(title=(str, Field(deprecated="no more"))),
    "what the application adds": story(title=(str, Field(json_schema_extra={"widget": "area"}))),
    "an annotation": story(title=(Annotated[str, "a note"], ...)),
    "an alias, as values are stored by name": story(title=(str, Field(alias="headline"))),
}


@pytest.mark.parametrize("change", NOTES)
def test_what_only_explains_does_not_count(change: str):
    assert of(list[NOTES[change]]) == of(list[story()])  # type: ignore[misc] # made for the test


CHANGES = {
    "a type": story(title=(int, ...)),
    "an optional type": story(title=(str | None, ...)),
    "a name": story(headline=(str, ...)),
    "a field named title": story(title=(str, ...), description=(str, ...)),
    "another field named like a keyword": story(title=(str, ...), examples=(str, ...)),
    "a default": story(title=(str, "a")),
    "another default": story(title=(str, "b")),
    "an empty list for a default": story(title=(list, Field(default_factory=list))),
    "an empty set for a default": story(title=(list, Field(default_factory=set))),
    "a constraint": story(title=(str, Field(max_length=9))),
    "another constraint": story(title=(str, Field(max_length=8))),
    "a pattern": story(title=(str, Field(pattern="a"))),
    "a literal": story(title=(Literal["title"], ...)),
    "another literal": story(title=(Literal["description"], ...)),
    "the name of the model": story(name="Article"),
    "no other fields": story(config=ConfigDict(extra="forbid")),
    "any other fields": story(config=ConfigDict(extra="allow")),
}


def test_what_means_something_counts():
    found = {name: of(list[made]) for name, made in CHANGES.items()}  # type: ignore[valid-type] # made for the test
    assert len({*found.values(), of(list[story()])}) == len(found) + 1  # type: ignore[misc] # as above


class Cat(BaseModel):
    kind: Literal["cat"] = "cat"


class Dog(BaseModel):
    kind: Literal["dog"] = "dog"


def test_a_discriminator_counts():
    told = Annotated[Cat | Dog, Field(discriminator="kind")]
    assert len({of(told), of(Cat | Dog), of(Dog | Cat), of(Cat)}) == 4


def test_containers_and_scalars_of_the_same_json_are_told_apart():
    kinds = [list[int], tuple[int, ...], set[int], frozenset[int], list[str], dict[str, int], Any]
    kinds += [int, float, bool, str, bytes, None, list[Any], list[int] | None]
    assert len(set(map(of, kinds))) == len(kinds)


def test_names_of_classes_fields_and_members_count():
    kinds: list[Any] = [
        NamedTuple("Point", [("x", int), ("y", int)]),
        NamedTuple("Point", [("y", int), ("x", int)]),
        NamedTuple("Place", [("x", int), ("y", int)]),
        make_dataclass("Point", [("x", int), ("y", int)]),
        make_dataclass("Place", [("x", int), ("y", int)]),
        Enum("Colour", {"RED": "r", "BLUE": "b"}),
        Enum("Colour", {"RED": "b", "BLUE": "r"}),
        Enum("Paint", {"RED": "r", "BLUE": "b"}),
    ]
    assert len(set(map(of, kinds))) == len(kinds)


PROGRAM = """
from tests.unit.fallback.snapshots.test_fingerprint import CHANGES, of
print([of(list[made]) for made in CHANGES.values()])
"""


def test_it_is_the_same_in_every_process():
    found = {
        subprocess.run(
            [sys.executable, "-c", PROGRAM],
            check=True,
            capture_output=True,
            text=True,
            timeout=50,
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(sys.path)},
        ).stdout
        for seed in ("1", "2")
    }
    assert found == {f"{[of(list[made]) for made in CHANGES.values()]}\n"}  # type: ignore[valid-type] # made for the test


def test_a_snapshot_is_read_after_a_word_about_its_type_was_changed():
    def codec(returns: Any) -> Codec:
        def feed() -> None: ...

        feed.__annotations__["return"] = returns
        return Codec(Target.of(feed, "feed"))

    before = story(title=(str, Field(description="the title")))
    after = story(doc="Another word.", title=(str, Field(description="its title")))
    blob = codec(before).encode(before(title="a"), key="k", created=1.0, epoch=0)
    assert codec(after).decode(blob, key="k").value == after(title="a")
