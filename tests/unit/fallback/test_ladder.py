from __future__ import annotations

import asyncio
import functools
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

import pytest
from pydantic import BaseModel

from degrade.core.enums import RungKind
from degrade.errors import ConfigError, UsageError
from degrade.fallback.ladder import default, ladder, omit, simplified, snapshot
from degrade.fallback.rung import Answer, Call, Rung, Target


def ranked(user_id: str, *, limit: int = 3) -> list[str]:
    return [user_id] * limit


async def ranked_later(user_id: str, *, limit: int = 3) -> list[str]:
    return [user_id] * limit


def newest(user_id: str, *, limit: int = 3) -> list[str]:
    return ["newest", user_id][:limit]


async def newest_later(user_id: str, *, limit: int = 3) -> list[str]:
    return ["later", user_id][:limit]


def stream(user_id: str, *, limit: int = 3) -> Iterator[str]:
    yield user_id


class Newest:
    def __call__(self, user_id: str, *, limit: int = 3) -> list[str]:
        return ["object"]


class NewestLater:
    async def __call__(self, user_id: str, *, limit: int = 3) -> list[str]:
        return ["object, later"]


RANKED = Target.of(ranked, "feed")
RANKED_LATER = Target.of(ranked_later, "feed")


def call(*args: Any, **kwargs: Any) -> Call:
    return Call(args, kwargs, None, 1_000.0, 1_700_000_000.0)


def code_of(make: Any) -> str:
    with pytest.raises(UsageError) as caught:
        make()
    return caught.value.code


# ------------------------------------------------------------------- what each rung serves


def test_simplified_serves_what_the_function_returns_for_the_same_arguments():
    rung = simplified(newest).bind(RANKED)
    assert rung.serve(call("u1", limit=2)) == Answer(["newest", "u1"], None)
    assert (rung.kind, rung.static, rung.is_async) == (RungKind.SIMPLIFIED, False, False)


def test_simplified_serves_nothing_while_its_limit_is_taken_and_again_afterwards():
    inside, go = threading.Event(), threading.Event()

    def slow(user_id: str, *, limit: int = 3) -> list[str]:
        inside.set()
        go.wait(10)
        return ["slow"]

    rung = simplified(slow, limit=1).bind(RANKED)
    thread = threading.Thread(target=rung.serve, args=(call("u1"),))
    thread.start()
    assert inside.wait(10)
    assert rung.serve(call("u2")) is None
    go.set()
    thread.join(10)
    assert rung.serve(call("u2")) == Answer(["slow"])


def test_a_simplified_function_that_raises_gives_its_place_back():
    def broken(user_id: str, *, limit: int = 3) -> list[str]:
        raise LookupError(user_id)

    rung = simplified(broken, limit=1).bind(RANKED)
    for _ in range(3):
        with pytest.raises(LookupError):
            rung.serve(call("u1"))


def test_simplified_is_whole_again_in_a_child_whose_parent_was_busy():
    rung = simplified(newest, limit=1).bind(RANKED)
    rung._tokens.pop()
    assert rung.serve(call("u1")) is None
    rung.after_fork()
    assert rung.serve(call("u1")) is not None


@pytest.mark.parametrize("fn", [newest_later, functools.partial(newest_later), NewestLater()])
def test_a_coroutine_function_serves_under_a_coroutine_function(fn: Any):
    rung = simplified(fn).bind(RANKED_LATER)
    assert rung.is_async
    assert asyncio.run(rung.serve_async(call("u1"))) is not None


def test_a_coroutine_rung_respects_its_limit_and_gives_its_place_back_when_cancelled():
    async def forever(user_id: str, *, limit: int = 3) -> list[str]:
        await asyncio.Event().wait()
        return []

    async def scenario() -> None:
        rung = simplified(forever, limit=1).bind(RANKED_LATER)
        first = asyncio.ensure_future(rung.serve_async(call("u1")))
        await asyncio.sleep(0)
        assert await rung.serve_async(call("u2")) is None
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        second = asyncio.ensure_future(rung.serve_async(call("u2")))
        await asyncio.sleep(0)
        assert not second.done()
        second.cancel()

    asyncio.run(scenario())


def test_a_plain_rung_serves_under_a_coroutine_function():
    rung = simplified(newest).bind(RANKED_LATER)
    assert not rung.is_async
    assert asyncio.run(rung.serve_async(call("u1"))) == Answer(["newest", "u1"])


def test_omit_serves_none_also_under_off():
    rung = omit().bind(RANKED)
    assert rung.serve(call("u1")) == Answer(None)
    assert (rung.kind, rung.static) == (RungKind.OMIT, True)


def test_default_serves_what_a_function_returns_for_the_same_arguments():
    rung = default(newest).bind(RANKED)
    assert rung.serve(call("u1")) == Answer(["newest", "u1"])
    assert (rung.kind, rung.static) == (RungKind.DEFAULT, True)


@dataclass
class Page:
    stories: list[str] = field(default_factory=list)


class Model(BaseModel):
    stories: list[str] = []


@pytest.mark.parametrize(
    "constant",
    [[], [1], ["a", [1]], {}, {"a": 1}, {"a": []}, set(), {1}, bytearray(b"a"), ([],), Page(["a"]),
     Model(stories=["a"])],
)  # fmt: skip
def test_each_caller_gets_its_own_copy_of_a_container(constant: Any):
    rung = default(constant).bind(RANKED)
    before = repr(constant)
    one, other = (rung.serve(call("u1")) for _ in range(2))
    assert one is not None
    assert other is not None
    assert one.value == other.value == constant
    assert type(one.value) is type(constant)
    _spoil(one.value)
    _spoil(constant)
    third = rung.serve(call("u1"))
    assert third is not None
    assert repr(third.value) == repr(other.value) == before


def _spoil(value: Any) -> None:
    if isinstance(value, (Page, Model)):
        value.stories.append("spoiled")
    elif isinstance(value, tuple):
        value[0].append("spoiled")
    elif isinstance(value, dict):
        value["spoiled"] = 1
        if "a" in value and isinstance(value["a"], list):
            value["a"].append(1)
    elif isinstance(value, list):
        value.append("spoiled")
        if len(value) > 2:
            value[1].append("spoiled")
    elif isinstance(value, bytearray):
        value.extend(b"spoiled")
    else:
        value.add("spoiled")


class Missing(Enum):
    MISSING = 0


@pytest.mark.parametrize("constant", [0, "", b"", None, 1.5, Missing.MISSING, object(), (1, "a")])
def test_what_nobody_can_change_is_served_as_it_is(constant: object):
    answer = default(constant).bind(RANKED).serve(call("u1"))
    assert answer is not None
    assert answer.value is constant or answer.value == constant
    if not isinstance(constant, tuple):
        assert answer.value is constant


# ----------------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("make", "code"),
    [
        (lambda: default(list), "bare-class"),
        (lambda: simplified(Page), "bare-class"),
        (lambda: simplified([]), "bad-rung"),
        (lambda: simplified(omit()), "bad-rung"),
        (lambda: simplified(stream), "bad-rung"),
        (lambda: default(stream), "bad-rung"),
        (lambda: default(omit()), "bad-rung"),
        (lambda: default(iter([])), "bad-rung"),
        (lambda: default([threading.Lock()]), "shared-value"),
        (lambda: default(newest_later), "async-rung"),
        (lambda: default(NewestLater()), "async-rung"),
        (lambda: simplified(newest_later).bind(RANKED), "async-rung"),
        (lambda: simplified(NewestLater()).bind(RANKED), "async-rung"),
        (lambda: simplified(lambda: [0]).bind(RANKED), "bad-rung"),
        (lambda: default(lambda: [0]).bind(RANKED), "bad-rung"),
        (lambda: default(lambda user_id, other: []).bind(RANKED), "bad-rung"),
        (lambda: snapshot(max_age="1h", key="user_id"), "snapshot-key"),
        (lambda: snapshot(max_age="1h", key=()), "snapshot-key"),
        (lambda: snapshot(max_age="1h", key=[1]), "snapshot-key"),
        (lambda: snapshot(max_age="1h", key=7), "snapshot-key"),
        (lambda: snapshot(max_age="1h", key=str), "snapshot-key"),
        (lambda: snapshot(max_age="1h", key=newest_later), "snapshot-key"),
        (lambda: snapshot(max_age="1h", transform=newest_later), "bad-rung"),
        (lambda: snapshot(max_age="1h", transform=3), "bad-rung"),
    ],
)
def test_a_rung_that_cannot_work_is_refused_with_its_own_code(make: Any, code: str):
    assert code_of(make) == code


@pytest.mark.parametrize(
    ("make", "code"),
    [
        (lambda: simplified(newest, limit=0), "bad-setting"),
        (lambda: simplified(newest, limit=True), "bad-setting"),
        (lambda: snapshot(max_age=0), "bad-setting"),
        (lambda: snapshot(max_age="soon"), "bad-duration"),
        (lambda: snapshot(max_age="1h", refresh=-1), "bad-duration"),
    ],
)
def test_a_setting_out_of_range_is_refused(make: Any, code: str):
    with pytest.raises(ConfigError) as caught:
        make()
    assert caught.value.code == code


@pytest.mark.parametrize(
    "fn",
    [newest, Newest(), functools.partial(newest), lambda *_, **__: [], lambda user_id, limit: []],
)
def test_a_function_that_takes_the_arguments_in_some_way_is_taken(fn: Any):
    simplified(fn).bind(RANKED)
    default(fn).bind(RANKED)


def test_a_function_that_does_not_tell_its_signature_is_taken():
    default(min).bind(RANKED)


def test_the_refusal_of_a_misfit_names_flag_function_and_both_signatures():
    with pytest.raises(UsageError, match=r"'feed'.*lambda.*\(\).*ranked\(user_id.*limit"):
        default(lambda: [0]).bind(RANKED)


# ----------------------------------------------------------------------------- the ladder


def test_no_fallback_is_an_empty_ladder():
    assert ladder(()) == ()


@pytest.mark.parametrize("fn", [newest, newest_later, Newest(), functools.partial(newest), min])
def test_a_bare_function_is_simplified(fn: Any):
    for given in (fn, [fn], (fn,)):
        (rung,) = ladder(given)
        assert rung.kind is RungKind.SIMPLIFIED


def test_a_ladder_keeps_its_order():
    rungs = ladder([newest, snapshot(max_age="1h"), default(newest), default([])])
    assert [rung.kind.value for rung in rungs] == ["simplified", "snapshot", "default", "default"]
    assert all(isinstance(rung, Rung) for rung in rungs)
    assert ladder(omit())[0].kind is RungKind.OMIT


@pytest.mark.parametrize(
    ("given", "code", "hint"),
    [
        ([], "bare-value", r"did you mean default\(\[\]\)"),
        (0, "bare-value", r"did you mean default\(0\)"),
        ("none", "bare-value", r"did you mean default\('none'\)"),
        (None, "bare-value", r"did you mean omit\(\)"),
        ([1, 2], "bare-value", r"did you mean default\(\[1, 2\]\)"),
        ({"a": 1}, "bare-value", r"did you mean default\(\{'a': 1\}\)"),
        ([newest, []], "bare-value", r"did you mean default\(\[\]\)"),
        ([newest, None], "bare-value", r"did you mean omit\(\)"),
        ("x" * 500, "bare-value", r"did you mean default\(<str>\)"),
        (Page, "bare-class", r"did you mean default\(Page\(\)\)"),
        ([Page], "bare-class", r"did you mean default\(Page\(\)\)"),
        ([omit(), newest], "bad-rung", r"omit\(\) always serves.*put it last"),
        ([default(0), omit()], "bad-rung", r"default\(0\) always serves"),
        ([snapshot(max_age=60), snapshot(max_age=90)], "bad-rung", "one snapshot"),
        (stream, "bad-rung", "generator"),
    ],
)
def test_what_is_no_ladder_is_refused_with_a_hint(given: object, code: str, hint: str):
    with pytest.raises(UsageError, match=hint) as caught:
        ladder(given)
    assert caught.value.code == code


# ----------------------------------------------------------------------------- the target


class Feed:
    def ranked(self, user_id: str) -> list[str]:
        return []

    @classmethod
    def of_all(cls) -> list[str]:
        return []

    @staticmethod
    def of_none(user_id: str) -> list[str]:
        return []


def test_a_function_in_a_class_body_is_a_method_by_its_first_parameter():
    assert Target.of(Feed.ranked, "feed").is_method
    assert Target.of(Feed.of_all.__func__, "feed").is_method
    assert not Target.of(Feed.of_none, "feed").is_method
    assert not RANKED.is_method

    def self_like(self: str) -> str:
        return self

    assert not Target.of(self_like, "feed").is_method


def test_rungs_show_what_they_are_in_one_line():
    shown = [*ladder([newest, snapshot(max_age="1h"), default(newest), default([])]), omit()]
    assert [repr(rung) for rung in shown] == [
        "simplified(newest)", "snapshot(max_age=3600)", "default(newest)", "default([])", "omit()",
    ]  # fmt: skip
    assert repr(omit().bind(RANKED)) == "<omit rung>"
