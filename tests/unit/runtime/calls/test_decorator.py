"""`@degradable`: what it takes, and how it refuses what it cannot guard."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from degrade import (
    ConfigError,
    DegradeError,
    Flag,
    Runtime,
    UnknownFlagError,
    UsageError,
    default,
    degradable,
    flag,
    omit,
    simplified,
    snapshot,
)
from degrade.clock import ManualClock
from tests.unit.runtime.doing import Sick

pytestmark = pytest.mark.usefixtures("runtime")


class Story:
    """A class, and a type that no snapshot can encode."""

    def method(self, user: str) -> list[int]:
        return []

    @property
    def title(self) -> str:
        return ""


def generator() -> Iterator[int]:
    yield 1


async def agenerator() -> AsyncIterator[int]:
    yield 1


class CallableGenerator:
    def __call__(self) -> Iterator[int]:
        yield 1


def plain(user: str) -> list[int]:
    return []


def untyped(user):
    return []


def opaque(user: str) -> Story:
    return Story()


async def coroutine(user: str) -> list[int]:
    return []


def kept(**options: Any) -> Any:
    return [snapshot(max_age="1h", **options)]


REFUSED: list[tuple[str, Callable[[], object], str, str]] = [
    ("a class", lambda: degradable("x")(Story), "decorated-class", "the class Story"),
    ("a builtin class", lambda: degradable("x")(dict), "decorated-class", "the class dict"),
    ("a property", lambda: degradable("x")(Story.title), "decorated-property", "under @property"),
    ("a cached property", lambda: degradable("x")(functools.cached_property(plain)),
     "decorated-property", "under @property"),
    ("a builtin", lambda: degradable("x")(len), "decorated-builtin", "builtin len"),
    ("a bound builtin", lambda: degradable("x")([].append), "decorated-builtin", "append"),
    ("a method of a builtin", lambda: degradable("x")(str.upper), "decorated-builtin", "upper"),
    ("a slot of a builtin", lambda: degradable("x")(int.__add__), "decorated-builtin", "__add__"),
    ("a bound slot", lambda: degradable("x")((1).__add__), "decorated-builtin", "__add__"),
    ("a class method of a builtin", lambda: degradable("x")(dict.__dict__["fromkeys"]),
     "decorated-builtin", "fromkeys"),
    ("a value", lambda: degradable("x")(5), "not-callable", "5, which cannot be called"),
    ("nothing", lambda: degradable("x")(None), "not-callable", "None"),
    ("no name", lambda: degradable(plain), "not-callable", "plain has no name"),
    ("a generator", lambda: degradable("x")(generator), "decorated-generator", "generator"),
    ("an async generator", lambda: degradable("x")(agenerator), "decorated-generator",
     "agenerator"),
    ("a partial of a generator", lambda: degradable("x")(functools.partial(generator)),
     "decorated-generator", "partial(generator)"),
    ("an object that generates", lambda: degradable("x")(CallableGenerator()),
     "decorated-generator", "CallableGenerator"),
    ("a guarded function", lambda: degradable("y")(degradable("x")(plain)), "decorated-twice",
     "'x' guards already"),
    ("a guarded static method", lambda: degradable("y")(staticmethod(degradable("x")(plain))),
     "decorated-twice", "'x' guards already"),
    ("a deadline on a function", lambda: degradable("x", deadline="1s")(plain), "sync-deadline",
     "plain is none"),
    ("an async rung under a function", lambda: degradable("x", fallback=[coroutine])(plain),
     "async-rung", "coroutine"),
    ("an async default", lambda: degradable("x", fallback=[default(coroutine)]), "async-rung",
     "coroutine"),
    ("a bare value", lambda: degradable("x", fallback=5), "bare-value", "default(5)"),
    ("a bare None", lambda: degradable("x", fallback=None), "bare-value", "omit()"),
    ("an empty list", lambda: degradable("x", fallback=[]), "bare-value", "default([])"),
    ("a text", lambda: degradable("x", fallback="later"), "bare-value", "default('later')"),
    ("a value in a list", lambda: degradable("x", fallback=[plain, 5]), "bare-value",
     "default(5)"),
    ("a class as a rung", lambda: degradable("x", fallback=[Story]), "bare-class", "Story"),
    ("a class in default", lambda: degradable("x", fallback=[default(dict)]), "bare-class",
     "dict"),
    ("a rung after the last", lambda: degradable("x", fallback=[omit(), plain]), "bad-rung",
     "put it last"),
    ("two snapshots", lambda: degradable("x", fallback=kept() + kept()), "bad-rung",
     "one snapshot"),
    ("a rung of other arguments", lambda: degradable("x", fallback=[lambda a, b: 0])(plain),
     "bad-rung", "cannot be called"),
    ("a default of other arguments", lambda: degradable("x", fallback=[default(Sick())])(plain),
     "bad-rung", "cannot be called"),
    ("a simplified value", lambda: degradable("x", fallback=[simplified(5)]), "bad-rung", "5"),
    ("a snapshot without a type", lambda: degradable("x", fallback=kept())(untyped),
     "snapshot-return-type", "untyped"),
    ("a snapshot of an opaque type", lambda: degradable("x", fallback=kept())(opaque),
     "snapshot-return-type", "Story"),
    ("a snapshot of an unknown key", lambda: degradable("x", fallback=kept(key=("usr",)))(plain),
     "snapshot-key", "did you mean 'user'"),
    ("a snapshot of a bare key", lambda: degradable("x", fallback=kept(key="user")),
     "snapshot-key", "('user',)"),
    ("a snapshot of a method", lambda: degradable("x", fallback=kept())(Story.method),
     "snapshot-method-key", "key=('user',)"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("make", "code", "words"), [case[1:] for case in REFUSED], ids=[case[0] for case in REFUSED]
)
def test_a_misuse_is_refused_when_decorating_with_its_own_code_and_words(make, code, words):
    with pytest.raises(UsageError) as caught:
        make()
    assert caught.value.code == code
    assert words in str(caught.value)
    assert isinstance(caught.value, TypeError)
    assert isinstance(caught.value, DegradeError)


@pytest.mark.parametrize(
    ("properties", "words"),
    [
        ({"late": "never"}, "late='never'"),
        ({"late": "keep"}, "needs a deadline"),
        ({"accept": 5}, "accept=5"),
        ({"deadline": 0}, "deadline=0"),
        ({"deadline": "soon"}, "deadline"),
        ({"deadline": "-1s"}, "deadline"),
    ],
)
def test_a_bad_argument_is_refused(properties, words):
    with pytest.raises(ConfigError, match=words):
        degradable("x", **properties)(coroutine)


def test_what_is_refused_declares_no_flag():
    for _, make, _, _ in REFUSED:
        with pytest.raises(UsageError):
            make()
    with pytest.raises(UnknownFlagError):
        flag("y")


def test_nothing_is_declared_before_a_function_is_there():
    degradable("x", fallback=[default(None)])
    with pytest.raises(UnknownFlagError):
        flag("x")


def test_the_decorator_may_be_kept_and_used_for_a_flag_of_several_functions():
    guard = degradable(Flag("x"), fallback=[default("stale")])
    one, two = guard(Sick(1)), guard(Sick(2))
    assert (one(), two()) == (1, 2)


def test_a_bare_function_is_a_rung(runtime: Runtime):
    def cheaper(user: str) -> list[int]:
        return [1]

    for fallback in (cheaper, [cheaper], (cheaper,)):
        degradable("x", fallback=fallback)(plain)
        assert [kind.value for kinds in flag("x").ladders for kind in kinds] == ["simplified"]


def test_refusals_name_the_function_and_the_flag():
    with pytest.raises(UsageError) as caught:
        degradable("feed.ranking", deadline="1s")(Story().method)
    assert "'feed.ranking'" in str(caught.value)
    assert "Story.method" in str(caught.value)


# ------------------------------------------------------------------- names in annotations


def guarded(name: str) -> Any:
    return degradable(name, fallback=[snapshot(max_age="1h", key=("query",)), default("nothing")])


def shop() -> tuple[Any, Any, list[Exception]]:
    """Return a class of guarded methods, another class, and a list of what they raise."""
    raised: list[Exception] = []

    def found(value: Any) -> list[Any]:
        for error in raised:
            raise error
        return [value]

    @dataclass
    class Shelf:
        name: str

    class Shop:
        @dataclass
        class Item:
            name: str

        @staticmethod
        @guarded("shop.inner_static")
        def inner_static(query: str) -> list[Item]:
            return found(Shop.Item(query))

        @guarded("shop.outer_static")
        @staticmethod
        def outer_static(query: str) -> list[Item]:
            return found(Shop.Item(query))

        @classmethod
        @guarded("shop.inner_class")
        def inner_class(cls, query: str) -> list[Item]:
            return found(Shop.Item(query))

        @guarded("shop.outer_class")
        @classmethod
        def outer_class(cls, query: str) -> list[Item]:
            return found(Shop.Item(query))

        @guarded("shop.method")
        def method(self, query: str) -> list[Item]:
            return found(Shop.Item(query))

        @guarded("shop.shelf")
        @staticmethod
        def shelf(query: str) -> list[Shelf]:
            return found(Shelf(query))

        @guarded("shop.later")
        @staticmethod
        def later(query: str) -> list[Later]:
            return found(Shop.Later(query))

        @dataclass
        class Later:
            name: str

    return Shop, Shelf, raised


@pytest.mark.parametrize(
    ("method", "kind"),
    [
        ("inner_static", "Item"),
        ("outer_static", "Item"),
        ("inner_class", "Item"),
        ("outer_class", "Item"),
        ("method", "Item"),
        ("shelf", "Shelf"),
        ("later", "Later"),
    ],
)
def test_an_annotation_names_a_class_of_the_class_body_or_of_the_function_around_it(
    runtime: Runtime, clock: ManualClock, method: str, kind: str
):
    owner, shelf, raised = shop()
    expected = [(shelf if kind == "Shelf" else getattr(owner, kind))("x")]
    assert getattr(owner(), method)("x") == expected
    clock.advance(1)
    runtime.tick()
    raised.append(OSError())
    assert getattr(owner(), method)("x") == expected


@pytest.mark.parametrize("what", ["accept", "ignore"])
def test_a_predicate_that_would_have_to_be_awaited_is_refused(what: str):
    async def judge(_: object) -> bool:
        return True

    with pytest.raises(ConfigError, match="plain function"):
        degradable("judged", **{what: judge})(lambda: 1)
