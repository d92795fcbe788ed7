"""Copies of constants of any shape: like the original in all, and tied to nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict

from degrade.fallback.constant_copy import copier
from degrade.fallback.data import is_immutable
from degrade.fallback.snapshots.stable_text import stable_text


@dataclass
class Node:
    parts: Any


@dataclass(frozen=True, slots=True)
class Frozen:
    parts: Any


class Model(BaseModel):
    model_config = ConfigDict(extra="allow")
    parts: Any


class Words(list[Any]):
    """A class of users."""


MUTABLE = (list, dict, Words, Node, Model)
WRAPPED = (tuple, Frozen)


@st.composite
def graphs(draw: st.DrawFn) -> Any:
    """A value whose objects hold each other in any way: shared, nested, in cycles."""
    kinds = draw(st.lists(st.sampled_from(MUTABLE), min_size=1, max_size=6))
    nodes: list[Any] = [kind(parts=None) if kind in (Node, Model) else kind() for kind in kinds]
    values: list[Any] = [*nodes, 1, "a", None, (), frozenset({1})]
    for kind in draw(st.lists(st.sampled_from(WRAPPED), max_size=5)):
        parts = tuple(draw(st.lists(st.sampled_from(values), max_size=3)))
        values.append(parts if kind is tuple else Frozen(parts))
    for node in nodes:
        parts = draw(st.lists(st.sampled_from(values), max_size=3))
        if isinstance(node, list):
            node.extend(parts)
        elif isinstance(node, dict):
            node.update(enumerate(parts))
        else:
            node.parts = draw(st.sampled_from(values))
            if isinstance(node, Model):
                node.extra = parts  # type: ignore[attr-defined]  # a field that is not declared
    return draw(st.sampled_from(values))


def children(value: Any) -> list[Any]:
    """Return what a value holds, in order."""
    if isinstance(value, dict):
        return list(value.values())
    if isinstance(value, (list, tuple)):
        return list(value)
    if isinstance(value, Model):
        return [value.parts, *(value.model_extra or {}).values()]
    return [value.parts] if isinstance(value, (Node, Frozen)) else []


def objects(value: Any) -> list[Any]:
    """Return everything that is reached from a value, once, in order."""
    found: dict[int, Any] = {}
    stack = [value]
    while stack:
        item = stack.pop()
        if id(item) not in found:
            found[id(item)] = item
            stack += reversed(children(item))
    return list(found.values())


def drawing(value: Any) -> Any:
    """Return a picture of a value: the type of each object, and which ones it holds."""
    all_of_it = objects(value)
    names = {id(item): number for number, item in enumerate(all_of_it)}
    return [(type(item), [names[id(part)] for part in children(item)]) for item in all_of_it]


@given(graphs())
def test_a_copy_has_the_shape_of_the_constant_and_shares_only_what_nobody_can_change(value: Any):
    make = copier(value)
    one, other = make(), make()
    assert drawing(one) == drawing(other) == drawing(value)
    for former, later in ((value, one), (one, other)):
        known = {id(item) for item in objects(former)}
        shared = [item for item in objects(later) if id(item) in known]
        assert all(map(is_immutable, shared))


@given(graphs())
def test_what_nobody_can_change_is_shared(value: Any):
    make = copier(value)
    assert (make() is make()) == is_immutable(value)


@given(graphs())
def test_a_value_that_is_immutable_holds_nothing_that_can_be_changed(value: Any):
    assert is_immutable(value) == (not any(isinstance(item, MUTABLE) for item in objects(value)))


plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(st.text(max_size=3), inner, max_size=3)
        | st.sets(st.integers(), max_size=3)
    ),
    max_leaves=12,
)


@given(plain)
def test_plain_data_is_copied_to_the_last_type(value: Any):
    assert stable_text(copier(value)()) == stable_text(value)
