"""The wrapper: the same function to its callers, whatever kind of callable it is."""

from __future__ import annotations

import asyncio
import functools
import inspect
import operator
import pickle
import pydoc
import traceback
from collections.abc import Callable
from typing import Any

import pytest

from degrade import Runtime, default, degradable, flag, snapshot
from tests.unit.runtime.doing import Boom, classes_of

pytestmark = pytest.mark.usefixtures("runtime")


def plain(a, b=2):
    """Add."""
    return (a, b)


def positional_only(a, b=2, /, c=3):
    return (a, b, c)


def keyword_only(a, *, b, c=3):
    return (a, b, c)


def variadic(a, *rest, b=2, **more):
    return (a, rest, b, more)


def everything(a, /, b, c=3, *rest, d, e=5, **more):
    return (a, b, c, rest, d, e, more)


def nothing():
    return ()


SHAPES: list[tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]] = [
    (plain, (1,), {}),
    (plain, (1, 5), {}),
    (plain, (), {"b": 7, "a": 1}),
    (positional_only, (1,), {}),
    (positional_only, (1, 4), {"c": 9}),
    (keyword_only, (1,), {"b": 2}),
    (keyword_only, (1,), {"c": 8, "b": 2}),
    (variadic, (1, 2, 3), {"b": 4, "z": 5}),
    (variadic, (1,), {}),
    (everything, (1, 2), {"d": 4}),
    (everything, (1, 2, 9, 8, 7), {"d": 4, "e": 6, "x": 1}),
    (nothing, (), {}),
]
LADDERS = {
    "bare": {},
    "default": {"fallback": [default(None)]},
    "snapshot": {"fallback": [snapshot(max_age="1h", copy=False)]},
    "accept": {"accept": lambda _: True},
}


@pytest.fixture(params=LADDERS)
def ladder(request: pytest.FixtureRequest) -> dict[str, Any]:
    return LADDERS[request.param]


@pytest.mark.parametrize(("fn", "args", "kwargs"), SHAPES)
def test_a_function_gets_its_arguments_as_they_were_given(fn, args, kwargs, ladder):
    guarded = degradable("feed", **ladder)(fn)
    for _ in range(3):  # by the slow way, by the fast one, and again
        assert guarded(*args, **kwargs) == fn(*args, **kwargs)


@pytest.mark.parametrize(("fn", "args", "kwargs"), SHAPES)
def test_a_coroutine_function_gets_its_arguments_as_they_were_given(fn, args, kwargs, ladder):
    @functools.wraps(fn)
    async def slow(*args, **kwargs):
        await asyncio.sleep(0)
        return fn(*args, **kwargs)

    guarded = degradable("feed", **ladder)(slow)
    assert inspect.iscoroutinefunction(guarded)
    for _ in range(3):
        assert asyncio.run(guarded(*args, **kwargs)) == fn(*args, **kwargs)


@pytest.mark.parametrize("fn", [plain, positional_only, keyword_only, variadic, everything])
def test_the_signature_stays(fn, ladder):
    guarded = degradable("feed", **ladder)(fn)
    assert inspect.signature(guarded) == inspect.signature(fn)
    kinds = [p.kind for p in inspect.signature(guarded, follow_wrapped=False).parameters.values()]
    assert kinds == [p.kind for p in inspect.signature(fn).parameters.values()]


@pytest.mark.parametrize(
    ("fn", "args", "kwargs"),
    [
        (plain, (), {}),
        (plain, (1, 2, 3), {}),
        (plain, (1,), {"c": 3}),
        (plain, (1,), {"a": 3}),
        (positional_only, (), {"a": 1}),
        (keyword_only, (1,), {}),
        (keyword_only, (1, 2), {}),
        (nothing, (1,), {}),
        (everything, (1,), {"d": 2}),
    ],
)
def test_wrong_arguments_are_told_in_the_functions_own_words_and_count_for_nothing(
    runtime: Runtime, fn, args, kwargs, ladder
):
    guarded = degradable("feed", **ladder)(fn)
    with pytest.raises(TypeError) as own:
        fn(*args, **kwargs)
    with pytest.raises(TypeError) as ours:
        guarded(*args, **kwargs)
    assert str(ours.value) == str(own.value)
    runtime.tick()
    assert classes_of(runtime, "feed") == {}


def test_defaults_are_the_same_objects(ladder):
    marker: list[int] = []

    def fn(a=marker, *, b=marker):
        return a, b

    a, b = degradable("feed", **ladder)(fn)()
    assert a is marker
    assert b is marker


def test_parameters_may_have_the_names_that_the_wrapper_uses(runtime: Runtime):
    @degradable("feed", fallback=[snapshot(max_age="1h", copy=False), default(None)])
    def fn(gate, fn, start, result, _dg_start=0, args=1, kwargs=2, type=3, map=4):  # noqa: A002 - on purpose
        return (gate, fn, start, result, _dg_start, args, kwargs, type, map)

    for _ in range(3):
        assert fn(1, 2, 3, 4) == (1, 2, 3, 4, 0, 1, 2, 3, 4)
    runtime.tick()
    assert classes_of(runtime, "feed") == {"full": 3}


def test_what_a_function_says_of_itself_stays():
    guarded = degradable("feed")(plain)
    assert guarded.__name__ == "plain"
    assert guarded.__qualname__ == plain.__qualname__
    assert guarded.__module__ == plain.__module__
    assert guarded.__doc__ == "Add."
    assert guarded.__wrapped__ is plain


def test_help_shows_the_functions_own_text():
    guarded = degradable("feed")(plain)
    assert pydoc.plain(pydoc.render_doc(guarded)) == pydoc.plain(pydoc.render_doc(plain))


@degradable("pickled.feed", fallback=[default(())])
def pickled(a: int) -> tuple[int, ...]:
    return (a,)


def test_a_guarded_function_is_pickled_by_its_name():
    assert pickle.loads(pickle.dumps(pickled)) is pickled


# ------------------------------------------------------------------ kinds of callables


class Feed:
    def __init__(self, size: int) -> None:
        self.size = size

    def read(self, user: str, *, extra: int = 0) -> tuple[int, str, int]:
        return (self.size, user, extra)

    async def aread(self, user: str) -> tuple[int, str]:
        return (self.size, user)


def test_a_method_gets_its_instance():
    class Guarded(Feed):
        read = degradable("read", fallback=[default(())])(Feed.read)
        aread = degradable("aread", fallback=[default(())])(Feed.aread)

    for _ in range(3):
        assert Guarded(5).read("u1", extra=2) == (5, "u1", 2)
        assert Guarded.read(Guarded(6), "u1") == (6, "u1", 0)
        assert asyncio.run(Guarded(7).aread("u1")) == (7, "u1")
    assert flag(Guarded(1).read) is flag("read")


@pytest.mark.parametrize("outside", [True, False])
def test_static_and_class_methods_work_above_and_below(outside: bool):
    def guard(name: str, kind: Any) -> Callable[[Any], Any]:
        decorator = degradable(name, fallback=[default(None)])
        if outside:
            return lambda fn: decorator(kind(fn))
        return lambda fn: kind(decorator(fn))

    class Shop:
        @guard("shop.static", staticmethod)
        def static(a: int) -> int:
            return a

        @guard("shop.made", classmethod)
        def made(cls, a: int) -> tuple[type, int]:
            return (cls, a)

    class Branch(Shop):
        pass

    for _ in range(3):
        assert Shop.static(1) == Shop().static(1) == 1
        assert Branch.made(2) == Branch().made(2) == (Branch, 2)


def test_a_partial_keeps_what_it_was_given():
    guarded = degradable("feed", fallback=[default(None)])(functools.partial(plain, b=9))
    for _ in range(3):
        assert guarded(1) == (1, 9)
        assert guarded(1, b=3) == (1, 3)


def test_a_partial_of_a_coroutine_function_is_awaited():
    async def fn(a, b):
        return (a, b)

    guarded = degradable("feed", fallback=[default(None)])(functools.partial(fn, 1))
    assert inspect.iscoroutinefunction(guarded)
    for _ in range(3):
        assert asyncio.run(guarded(2)) == (1, 2)


def test_a_callable_object_is_called():
    class Ranker:
        weight = 3

        def __call__(self, a: int) -> int:
            return a * self.weight

    ranker = Ranker()
    guarded = degradable("feed", fallback=[default(0)])(ranker)
    for _ in range(3):
        assert guarded(2) == 6


def test_a_callable_object_with_an_async_call_is_awaited():
    class Ranker:
        async def __call__(self, a: int) -> int:
            return a * 2

    guarded = degradable("feed", fallback=[default(0)])(Ranker())
    for _ in range(3):
        assert asyncio.run(guarded(2)) == 4


def test_a_bound_method_is_called():
    guarded = degradable("feed", fallback=[default(0)])(Feed(4).read)
    for _ in range(3):
        assert guarded("u1") == (4, "u1", 0)


def test_a_lambda_is_called():
    guarded = degradable("feed")(lambda a: a + 1)
    assert guarded(1) == 2


@pytest.mark.parametrize(
    ("fn", "args", "result"),
    [
        (operator.itemgetter(1), ([5, 6],), 6),
        (functools.partial(max, 3), (7,), 7),
        (functools.partial(dict, a=1), (), {"a": 1}),
    ],
)
def test_a_callable_that_does_not_tell_its_signature_is_called(runtime: Runtime, fn, args, result):
    guarded = degradable("feed", fallback=[default(None)])(fn)
    for _ in range(3):
        assert guarded(*args) == result
    runtime.tick()
    assert classes_of(runtime, "feed") == {"full": 3}


# ------------------------------------------------------------------ tracebacks


def deep() -> None:
    raise Boom("deep")


def shallow() -> None:
    deep()


@pytest.mark.parametrize("calls_before", [0, 1], ids=["slow way", "fast way"])
@pytest.mark.parametrize("fallback", [(), [snapshot(max_age="1h", copy=False)]])
def test_the_users_frames_are_in_the_traceback_once(runtime: Runtime, calls_before, fallback):
    guarded = degradable("feed", fallback=fallback)(shallow)
    for _ in range(calls_before):
        with pytest.raises(Boom):
            guarded()
    with pytest.raises(Boom) as caught:
        guarded()
    names = [frame.name for frame in traceback.extract_tb(caught.value.__traceback__)]
    assert names.count("shallow") == names.count("deep") == 1
    assert names[-2:] == ["shallow", "deep"]
    text = "".join(traceback.format_exception(caught.value))
    assert text.count("Traceback") == 1, text


def shut(runtime: Runtime, name: str) -> None:
    """Send every call of a flag the slow way."""
    runtime._watches[name].gate.shut = True


def chain_of(call: Callable[[], object]) -> list[object]:
    """Call while another exception is handled; return all that hangs on what is raised."""
    outer = LookupError("outer")
    with pytest.raises(Boom) as caught:
        try:
            raise outer
        except LookupError:
            call()
    found: list[object] = []
    error: BaseException | None = caught.value
    while error is not None:
        found.append((repr(error), repr(error.__cause__), error.__suppress_context__))
        found.append(getattr(error, "__notes__", None))
        error = error.__context__
    return found


@pytest.mark.parametrize("way", ["fast", "slow", "ladder that cannot serve"])
@pytest.mark.parametrize("awaits", [False, True])
def test_context_and_cause_of_the_users_exception_stay(runtime: Runtime, way: str, awaits: bool):
    def fails() -> None:
        try:
            raise KeyError("origin")
        except KeyError:
            raise Boom("mine") from ValueError("cause")

    async def afails() -> None:
        fails()

    def broken_rung() -> None:
        raise RuntimeError("rung")

    fn = afails if awaits else fails
    guarded = degradable("feed", fallback=[broken_rung] if way.startswith("ladder") else ())(fn)
    if way == "slow":
        shut(runtime, "feed")

    def run(what: Callable[[], Any]) -> Callable[[], object]:
        return lambda: what().send(None) if awaits else what()  # nothing there waits

    own = chain_of(run(fn))
    assert "KeyError('origin')" in str(own)
    assert chain_of(run(guarded)) == own


def test_an_exception_without_context_gets_none(runtime: Runtime):
    @degradable("feed")
    def fails() -> None:
        raise Boom("mine")

    for _ in range(2):
        shut(runtime, "feed")
        with pytest.raises(Boom) as caught:
            fails()
        assert caught.value.__context__ is None
        assert caught.value.__cause__ is None


def test_a_function_may_raise_stop_iteration(runtime: Runtime):
    @degradable("feed")
    def ends() -> None:
        raise StopIteration("over")

    shut(runtime, "feed")
    with pytest.raises(StopIteration, match="over"):
        ends()
    runtime._watches["feed"].gate.shut = False
    with pytest.raises(StopIteration, match="over"):
        ends()
