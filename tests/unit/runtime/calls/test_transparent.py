"""The wrapper is transparent: what lies below it is called as the caller called, and keeps its nature."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import inspect
import typing
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import click
import click.testing
import cloudpickle
import joblib
import pydantic
import pytest
import tenacity
import typer.testing
import wrapt
from fastapi import FastAPI, Request
from fastapi.testclient import TestClient
from func_timeout import FunctionTimedOut
from hypothesis import given
from hypothesis import strategies as st

from degrade import (
    SLA,
    Flag,
    Runtime,
    UnavailableError,
    UsageError,
    default,
    degradable,
    flag,
    omit,
    simplified,
    snapshot,
)
from degrade.control import Control
from tests.unit.runtime.doing import Boom, classes_of, outcomes_of

pytestmark = pytest.mark.usefixtures("runtime")

LADDERS: dict[str, dict[str, Any]] = {
    "bare": {},
    "default": {"fallback": default(None)},
    "snapshot": {"fallback": [snapshot(max_age="1h", copy=False), default(None)]},
    "accept": {"accept": lambda _: True, "fallback": default(None)},
}


@pytest.fixture(params=LADDERS)
def guard(request: pytest.FixtureRequest) -> Callable[[Any], Any]:
    return degradable("feed", sla=SLA(errors="5%"), **LADDERS[request.param])


# ------------------------------------------------------------------ arguments


def injecting(fn: Callable[..., Any]) -> Callable[..., Any]:
    """Inject the first argument, as session providers do."""

    @functools.wraps(fn)
    def inner(*args: Any, **kwargs: Any) -> Any:
        return fn("DB", *args, **kwargs)

    return inner


def filling(fn: Callable[..., Any]) -> Callable[..., Any]:
    """Fill an argument only where the caller left it out."""

    @functools.wraps(fn)
    def inner(user: str, *args: Any, **kwargs: Any) -> Any:
        if args or "session" in kwargs:
            return fn(user, *args, **kwargs)
        return fn(user, session="S")

    return inner


def orders(db: str, user: str) -> str:
    return f"{user} from {db}"


def carts(user: str, session: str | None = None) -> str:
    return f"{user} in {session}"


def test_an_argument_that_a_decorator_below_injects_is_not_asked_for(guard):
    fn = guard(injecting(orders))
    for _ in range(3):
        assert fn("ana") == "ana from DB"
        assert fn(user="ana") == "ana from DB"


def test_an_argument_that_the_caller_left_out_stays_left_out(guard):
    fn = guard(filling(carts))
    for _ in range(3):
        assert fn("ana") == "ana in S"
        assert fn("ana", "mine") == "ana in mine"
        assert fn("ana", session=None) == "ana in None"


def test_snapshots_below_an_injecting_decorator_are_kept_apart_by_what_the_caller_passed(
    runtime: Runtime, clock
):
    up = True

    @degradable("orders", fallback=[snapshot(max_age="1h"), default("none")])
    @injecting
    def found(db: str, user: str = "nobody") -> str:
        if not up:
            raise Boom
        return f"{user} from {db}"

    assert found("ana") == "ana from DB"
    clock.advance(1)
    runtime.tick()
    up = False
    assert found("ana") == "ana from DB"
    assert found("ben") == "none"


RECORDED: list[tuple[tuple[Any, ...], dict[str, Any]]] = []


@injecting
def everything(db: Any, *args: Any, **kwargs: Any) -> None:
    """Record what arrives."""
    RECORDED.append((args, kwargs))


@given(
    args=st.lists(st.integers()).map(tuple),
    kwargs=st.dictionaries(st.sampled_from(["a", "b", "args", "kwargs", "self"]), st.integers()),
)
def test_exactly_what_the_caller_passed_arrives(args: tuple[int, ...], kwargs: dict[str, int]):
    RECORDED.clear()
    with Runtime(threads="manual"):
        degradable("exact", fallback=default(None))(everything)(*args, **kwargs)
    assert [(args, kwargs)] == RECORDED


def test_a_rung_below_an_injecting_decorator_gets_what_the_caller_passed():
    @degradable("orders", fallback=[lambda user: f"{user} from memory", default(None)])
    @injecting
    def broken(db: str, user: str) -> str:
        raise Boom

    assert broken("ana") == "ana from memory"


def test_a_default_that_is_changed_later_is_the_functions_own():
    def fn(a: int = 1) -> int:
        return a

    guarded = degradable("feed")(tenacity.retry(fn))
    assert guarded() == 1
    fn.__defaults__ = (2,)
    assert guarded() == 2


# ------------------------------------------------------------------ annotations


class Item(pydantic.BaseModel):
    name: str


ITEMS = {"sla": SLA(errors="5%"), "fallback": default({"ok": False})}


@pytest.mark.parametrize("below", [lambda fn: fn, tenacity.retry], ids=["bare", "tenacity"])
def test_fastapi_finds_what_annotations_name(below: Callable[[Any], Any]):
    app = FastAPI()

    @app.post("/items")
    @degradable("items.add", **ITEMS)
    @below
    async def add(item: Item, request: Request) -> Any:
        return {"ok": item.name}

    @app.post("/plain")
    @degradable("items.plain", **ITEMS)
    @below
    def plain(item: Item) -> Any:
        return {"ok": item.name}

    for path in ("/items", "/plain"):
        answer = TestClient(app).post(path, json={"name": "x"})
        assert (answer.status_code, answer.json()) == (200, {"ok": "x"})


@degradable("items.global", **ITEMS)
def module_level(item: Item) -> Item:
    return item


def test_annotations_are_resolved_by_the_globals_of_the_wrapper():
    bare = functools.partial(typing.get_type_hints, globalns=module_level.__globals__)
    assert bare(module_level)["item"] is Item
    assert module_level.__globals__ is globals()
    found = inspect.signature(module_level, eval_str=True, follow_wrapped=False)
    assert found.parameters["item"].name == "item"


def test_pydantic_validates_the_call_of_a_guarded_function():
    assert pydantic.validate_call(module_level)({"name": "x"}) == Item(name="x")


def test_click_and_typer_see_the_parameters():
    @click.command()
    @click.argument("name")
    @degradable("click.greet", fallback=default(None))
    def greet(name: str) -> None:
        click.echo(f"hello {name}")

    result = click.testing.CliRunner().invoke(greet, ["ana"])
    assert (result.exit_code, result.output) == (0, "hello ana\n")

    app = typer.Typer()

    @app.command()
    @degradable("typer.greet", fallback=default(None))
    def welcome(name: str, times: int = 1) -> None:
        typer.echo(f"welcome {name} " * times)

    result = typer.testing.CliRunner().invoke(app, ["ana", "--times", "2"])
    assert (result.exit_code, result.output.split()) == (0, ["welcome", "ana"] * 2)


def test_the_names_of_the_users_module_do_not_reach_the_wrapper():
    scope: dict[str, Any] = {"degradable": degradable, "default": default}
    exec(  # noqa: S102 - a module that shadows builtins
        "type = map = BaseException = context = None\n"
        "@degradable('shadowed', fallback=default('FALLBACK'))\n"
        "def fn(a): raise ValueError(a)\n",
        scope,
    )
    assert [scope["fn"](1) for _ in range(3)] == ["FALLBACK"] * 3


# ------------------------------------------------------------------ the nature of a callable


def test_attributes_of_what_is_guarded_are_there():
    @functools.lru_cache
    def square(n: int) -> int:
        return n * n

    cached = degradable("cached", fallback=default(0))(square)
    assert [cached(3), cached(3)] == [9, 9]
    assert cached.cache_info().hits == 1
    cached.cache_clear()
    assert cached.cache_info().hits == 0
    assert cached.__name__ == "square"
    with pytest.raises(AttributeError, match="no_such"):
        cached.no_such  # noqa: B018 - is looked up
    assert flag(cached).name == "cached"


def test_what_does_not_bind_to_an_instance_does_not_bind_guarded():
    class Shop:
        tool = functools.partial(lambda *args: args, "x")
        guarded = degradable("tool", fallback=default(()))(tool)

    assert Shop().guarded() == Shop().tool() == Shop.guarded() == ("x",)


def test_a_bound_method_on_a_class_stays_bound():
    class Inner:
        def get(self, *args: Any) -> tuple[Any, ...]:
            return (self, *args)

    inner = Inner()

    class Shop:
        get = degradable("inner.get", fallback=default(()))(inner.get)

    assert Shop().get(1) == Shop.get(1) == (inner, 1)


def test_a_cached_method_binds():
    class Shop:
        @degradable("shop.cached", fallback=default(0))
        @functools.lru_cache  # noqa: B019 - the shop lives as long as the test
        def size(self, n: int) -> tuple[Any, int]:
            return self, n

    shop = Shop()
    assert shop.size(2) == (shop, 2)
    assert Shop.size(shop, 2) == (shop, 2)


def test_a_descriptor_object_learns_its_instance():
    @wrapt.decorator
    def traced(wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
        return type(instance).__name__, wrapped(*args, **kwargs)

    class Shop:
        @degradable("shop.traced", fallback=default(None))
        @traced
        def get(self, n: int) -> int:
            return n

    assert [Shop().get(1) for _ in range(2)] == [("Shop", 1)] * 2


def test_a_guarded_partial_of_a_coroutine_function_tells_that_it_is_one():
    async def fn(a: int, b: int) -> tuple[int, int]:
        return a, b

    guarded = degradable("feed", fallback=default(None))(functools.partial(fn, 1))
    assert inspect.iscoroutinefunction(guarded)
    assert list(inspect.signature(guarded).parameters) == ["b"]


# ------------------------------------------------------------------ pickled by value


def by_value(fn: Any) -> Any:
    """Send a function that no module has through a pickle."""
    return cloudpickle.loads(cloudpickle.dumps(fn))


@pytest.mark.parametrize("shared_flag", [False, True])
def test_a_guarded_function_travels_by_value_before_and_after_calls(shared_flag: bool):
    def double(x: int) -> int:
        if x > 100:
            raise Boom
        return x * 2

    async def adouble(x: int) -> int:
        return double(x)

    with Runtime(threads="manual") as runtime:
        name: Any = Flag("score", sla=SLA(errors="5%")) if shared_flag else "score"
        ladder = [simplified(lambda x: -x), snapshot(max_age="1h"), default(0)]
        score = degradable(name, fallback=ladder)(double)
        ascore = degradable("ascore", fallback=default(0), deadline="1s")(adouble)
        tool = degradable("tool", fallback=default(0))(functools.partial(double))
        for _ in range(2):
            copy = by_value(score)
            assert copy is not score
            assert [copy(1), copy(101)] == [2, -101]
            assert score(1) == 2
            assert by_value(tool)(101) == 0
            assert asyncio.run(by_value(ascore)(2)) == asyncio.run(ascore(2)) == 4
        runtime.tick()
        assert classes_of(runtime, "score") == {"full": 4, "degraded": 2}


def test_no_snapshot_travels_with_a_function():
    def greet(name: str) -> str:
        return f"hello {name}"

    with Runtime(threads="manual") as runtime:
        guarded = degradable("greet", fallback=[snapshot(max_age="1h")])(greet)
        assert guarded("subject-of-somebody") == "hello subject-of-somebody"
        runtime.tick()
        assert runtime.tier.bytes > 0
        assert b"subject-of-somebody" not in cloudpickle.dumps(guarded)


def test_joblib_runs_a_guarded_function_in_other_processes():
    with Runtime(threads="manual"):
        guarded = degradable("score.local", fallback=default(0))(lambda x: x * 2)
        for _ in range(2):
            calls = (joblib.delayed(guarded)(n) for n in range(3))
            assert joblib.Parallel(n_jobs=2)(calls) == [0, 2, 4]


# ------------------------------------------------------------------ results that are awaited


async def fetch(what: object) -> str:
    if what == "broken":
        raise ConnectionError
    return f"got {what}"


@functools.singledispatch
async def dispatched(what: object) -> str:
    return await fetch(what)


class Client:
    def get(self, what: object) -> Awaitable[str]:
        return fetch(what)


class OnlyAwaitable:
    """As of clients whose requests can be awaited, or entered."""

    size = 3

    def __init__(self, what: object) -> None:
        self.what = what

    def __await__(self) -> Any:
        return fetch(self.what).__await__()

    async def __aenter__(self) -> str:
        return await self

    async def __aexit__(self, *_: object) -> None:
        pass


def plainly(what: object) -> Any:
    return OnlyAwaitable(what)


def bare(what: object) -> Any:
    return fetch(what)


def task(what: object) -> Any:
    return asyncio.ensure_future(fetch(what))


AWAITED = {
    "coroutine": bare,
    "task": task,
    "dispatched": dispatched,
    "method": Client().get,
    "object": OnlyAwaitable,
}


@pytest.mark.parametrize("kind", AWAITED)
def test_a_plain_function_that_returns_an_awaitable_is_guarded_through_its_awaiting(
    runtime: Runtime, kind: str
):
    made = AWAITED[kind]
    fn = plainly if kind == "object" else made
    guarded = degradable("f", sla=SLA(errors="5%"), fallback=default("FALLBACK"))(fn)

    async def main() -> list[str]:
        return [await guarded("broken"), await guarded("x"), await guarded("broken")]

    assert asyncio.run(main()) == ["FALLBACK", "got x", "FALLBACK"]
    runtime.tick()
    assert outcomes_of(runtime, "f") == {"success": 1, "failure": 2}
    assert classes_of(runtime, "f") == {"full": 1, "degraded": 2}
    assert runtime._watches["f"]._tally.in_flight == 0


@pytest.mark.parametrize("kind", AWAITED)
def test_a_degraded_one_answers_without_calling_and_is_awaited_all_the_same(
    runtime: Runtime, kind: str
):
    ran: list[object] = []
    made = AWAITED[kind]

    def fn(what: object) -> Awaitable[str]:
        ran.append(what)
        return made(what)

    guarded = degradable("f", sla=SLA(errors="5%"), fallback=default("FALLBACK"))(fn)

    async def main() -> None:
        for _ in range(20):
            assert await guarded("broken") == "FALLBACK"
            runtime.tick()
        count = len(ran)
        assert flag("f").degraded
        assert await guarded("x") == "FALLBACK"
        assert len(ran) == count

    asyncio.run(main())


def test_an_awaitable_keeps_its_attributes_and_may_be_entered():
    guarded = degradable("f", fallback=default("FALLBACK"))(plainly)

    async def main() -> None:
        for _ in range(2):
            request = guarded("x")
            assert request.size == 3
            async with request as response:
                assert response == "got x"
        running = degradable("g", fallback=default("FALLBACK"))(task)("x")
        done, _ = await asyncio.wait({running})
        assert len(done) == 1
        assert running.done()

    asyncio.run(main())


def test_what_the_plain_part_raises_comes_from_the_ladder_or_from_awaiting(runtime: Runtime):
    def fn(what: object) -> Awaitable[str]:
        raise Boom

    guarded = degradable("f", fallback=default("FALLBACK"))(fn)
    strict = degradable("g")(fn)

    async def main() -> None:
        assert await guarded("x") == "FALLBACK"
        with pytest.raises(Boom) as caught:
            await strict("x")
        assert caught.value.__context__ is None

    asyncio.run(main())
    runtime.tick()
    assert outcomes_of(runtime, "f") == outcomes_of(runtime, "g") == {"failure": 1}


@pytest.mark.parametrize("trouble", ["a hold", "it raises at once"])
def test_before_any_result_was_seen_the_caller_that_awaits_gets_an_awaitable(
    runtime: Runtime, trouble: str
):
    @degradable("f", fallback=default("FALLBACK"))
    def fn(what: object) -> Any:
        if trouble != "a hold":
            raise Boom
        return fetch(what)

    if trouble == "a hold":
        Control(runtime.store, actor="me").hold("f", "degraded", for_=None, reason="load")
        runtime.refresh()

    async def main() -> None:
        for _ in range(3):
            assert await fn("x") == "FALLBACK"
        if trouble != "a hold":
            assert fn("x") == "FALLBACK"  # here nothing says that it is awaited

    asyncio.run(main())


def test_a_decorator_that_is_applied_anew_remembers_that_results_are_awaited(runtime: Runtime):
    decorate = degradable("f", sla=SLA(errors="5%"), fallback=default("FALLBACK"))

    async def main() -> None:
        for what in ["x"] * 3 + ["broken"] * 20:
            answer = await decorate(functools.partial(Client().get))(what)
            assert answer == ("got x" if what == "x" else "FALLBACK")
            runtime.tick()
        assert flag("f").degraded
        waiting = decorate(functools.partial(Client().get))("x")  # not awaited at once
        assert await waiting == "FALLBACK"

    asyncio.run(main())


def test_a_timeout_that_is_no_exception_of_the_plain_part_is_answered(runtime: Runtime):
    def fn(what: object) -> Awaitable[str]:
        raise FunctionTimedOut

    guarded = degradable("f", sla=SLA(errors="5%"), fallback=default("FALLBACK"))(fn)

    async def main() -> None:
        assert await guarded("x") == "FALLBACK"

    asyncio.run(main())
    runtime.tick()
    assert outcomes_of(runtime, "f") == {"timeout": 1}


def test_an_annotation_tells_an_awaitable_when_decorating():
    async def cheaper(what: object) -> str:
        return "cheaper"

    @degradable("f", fallback=[cheaper, default("FALLBACK")], deadline="5ms")
    def slow(what: object) -> Awaitable[str]:
        return asyncio.sleep(10, "never")

    async def main() -> None:
        assert await slow("x") == "cheaper"

    asyncio.run(main())


def test_a_function_that_never_returns_one_pays_nothing_after_its_first_results(runtime: Runtime):
    @degradable("plain", fallback=default(0))
    def plain(a: int) -> int:
        return a

    asking = plain.__code__
    assert b"is_awaitable" in str(asking.co_names).encode()
    for i in range(20):
        assert plain(i) == i
    assert "is_awaitable" not in str(plain.__code__.co_names)
    runtime.tick()
    assert classes_of(runtime, "plain") == {"full": 20}


def test_a_function_that_only_sometimes_returns_one_is_guarded_both_ways(runtime: Runtime):
    @degradable("mixed", fallback=default("FALLBACK"))
    def mixed(what: object) -> Any:
        return fetch(what) if what != "cached" else "cached"

    async def main() -> None:
        assert await mixed("x") == "got x"
        assert mixed("cached") == "cached"
        assert await mixed("broken") == "FALLBACK"

    asyncio.run(main())
    runtime.tick()
    assert classes_of(runtime, "mixed") == {"full": 2, "degraded": 1}


# ------------------------------------------------------------------ context managers


@contextlib.contextmanager
def connection(name: str):
    yield name


@contextlib.asynccontextmanager
async def aconnection(name: str):
    yield name


@pytest.mark.parametrize(
    "fn",
    [
        connection,
        aconnection,
        functools.partial(connection, "main"),
        tenacity.retry(connection),
    ],
)
def test_a_function_that_makes_a_context_manager_is_refused(fn: Any):
    with pytest.raises(UsageError, match=r"flag\.call\(\)") as refused:
        degradable("db", fallback=default(None))(fn)
    assert refused.value.code == "decorated-context-manager"


# ------------------------------------------------------------------ refusals and exceptions


class Refused(Exception):
    pass


@pytest.mark.parametrize("awaits", [False, True])
@pytest.mark.parametrize("after", ["a failed call", "a hold"])
def test_a_refusal_in_a_rung_ends_the_ladder_and_reaches_the_caller(
    runtime: Runtime, awaits: bool, after: str
):
    refusal = Refused("no access")
    refusal.__context__ = KeyError("ana")

    def cheap(user: str) -> list[str]:
        raise refusal

    async def acheap(user: str) -> list[str]:
        cheap(user)
        return []

    def docs(user: str) -> list[str]:
        raise Boom

    async def adocs(user: str) -> list[str]:
        raise Boom

    decorate = degradable(
        "docs",
        ignore=(Refused, PermissionError),
        fallback=[acheap if awaits else cheap, default(["front page"])],
    )
    guarded = decorate(adocs if awaits else docs)
    if after == "a hold":
        Control(runtime.store, actor="me").hold("docs", "degraded", for_=None, reason="load")
        runtime.refresh()
    for _ in range(2):
        with pytest.raises(Refused) as caught:
            asyncio.run(guarded("ana")) if awaits else guarded("ana")
        assert caught.value is refusal
    runtime.tick()
    assert classes_of(runtime, "docs") == {"ignored": 2}


def test_accept_judges_what_a_rung_computed():
    @degradable("related", accept=bool, fallback=[lambda story: [], default(["front page"])])
    def related(story: str) -> list[str]:
        return []

    assert related("x") == ["front page"]


@dataclass(frozen=True)
class OutOfStock(Exception):
    item: str


class Slotted(Exception):
    __slots__ = ()

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(name)


class Unhashable(type):
    __hash__ = None  # type: ignore[assignment]


class Hostile(Exception, metaclass=Unhashable):
    pass


@pytest.mark.parametrize(
    "error", [OutOfStock("pen"), Slotted(), Hostile()], ids=["frozen", "slotted", "hostile"]
)
@pytest.mark.parametrize("threads", ["manual", "inline"])
@pytest.mark.parametrize("awaits", [False, True])
def test_the_exception_is_the_callers_own(error: Exception, threads: Any, awaits: bool):
    def raises(item: str) -> str:
        raise error

    async def araises(item: str) -> str:
        raise error

    fn = araises if awaits else raises
    with Runtime(threads=threads):
        stock = degradable("stock", sla=SLA(errors="5%"))(fn)
        cart = degradable("cart", ignore=type(error), fallback=default("FALLBACK"))(fn)
        book = degradable("book", fallback=default("FALLBACK"))(fn)
        for _ in range(2):
            for guarded in (stock, cart):
                with pytest.raises(type(error)) as caught:
                    asyncio.run(guarded("pen")) if awaits else guarded("pen")
                assert caught.value is error
            assert (asyncio.run(book("pen")) if awaits else book("pen")) == "FALLBACK"


def test_without_a_rung_that_can_serve_a_refused_call_is_unavailable(runtime: Runtime):
    guarded = degradable("feed", fallback=[simplified(lambda: 1 / 0)])(lambda: 1)
    Control(runtime.store, actor="me").hold("feed", "off", for_=None, reason="wrong")
    runtime.refresh()
    with pytest.raises(UnavailableError):
        guarded()
    assert omit().kind.value == "omit"
