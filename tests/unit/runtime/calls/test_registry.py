"""Declaring a name again: which declarations are one flag, and whose names are whose."""

from __future__ import annotations

import asyncio
import functools
import gc
import importlib
import inspect
import sys
import threading
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from degrade import (
    SLA,
    DuplicateFlagError,
    Flag,
    Recovery,
    Runtime,
    UnknownFlagError,
    UsageError,
    default,
    degradable,
    flag,
    simplified,
    snapshot,
)
from degrade.clock import ManualClock
from degrade.control import Control
from degrade.fallback.snapshots.capture_budget import Account
from degrade.runtime import current_runtime
from degrade.runtime.calls.flag import declared
from tests.unit.runtime.doing import classes_of, pass_time, watch_of

STRICT = SLA(errors="5%")


class Upstream:
    """A dependency that is away, wrapped anew for each request."""

    runs = 0

    def __init__(self, name: str = "upstream") -> None:
        self.get = degradable(name, sla=SLA(errors="5%"), fallback=default("stored"))(self._get)

    def _get(self) -> str:
        type(self).runs += 1
        raise ConnectionError


def made_anew() -> str:
    return Upstream().get()


def closure() -> str:
    here = object()

    @degradable("upstream", sla=SLA(errors="5%"), fallback=default("stored"))
    def get() -> str:
        Upstream.runs += 1
        assert here
        raise ConnectionError

    return get()


def anonymous() -> str:
    guard = degradable("upstream", sla=SLA(errors="5%"), fallback=lambda: "stored")
    return guard(lambda: Upstream._get(Upstream.__new__(Upstream)))()


def partial_of_a_method() -> str:
    fn = functools.partial(Upstream._get, Upstream.__new__(Upstream))
    return degradable("upstream", sla=SLA(errors="5%"), fallback=lambda: "stored")(fn)()


def ignoring() -> str:
    """An equal predicate is made anew each time, too."""
    kind = LookupError
    guard = degradable(
        "upstream",
        sla=SLA(errors="5%"),
        ignore=lambda error: isinstance(error, kind),
        fallback=default("stored"),
    )
    return guard(Upstream.__new__(Upstream)._get)()


def block() -> str:
    with Flag("upstream", sla=SLA(errors="5%")).call() as call:
        if call.degraded:
            return "stored"
        Upstream.runs += 1
        raise ConnectionError


WAYS = [made_anew, closure, anonymous, partial_of_a_method, ignoring, block]


@pytest.mark.parametrize("way", WAYS)
def test_what_is_declared_anew_for_each_call_trips_all_the_same(
    way: Callable[[], str], runtime: Runtime, clock: ManualClock
):
    Upstream.runs = 0
    tripped = False
    for _ in range(200):
        try:
            way()
        except ConnectionError:
            assert way is block, "the others have a ladder"
        clock.advance(0.25)
        runtime.tick()
        tripped = tripped or flag("upstream").degraded
    assert tripped
    assert Upstream.runs < 20
    assert len(runtime.stats()) == 1


def test_an_equal_declaration_of_a_function_is_the_same_flag(runtime: Runtime):
    def declare(**properties: Any) -> Flag:
        given = {"sla": SLA(errors="5%"), "owner": "team", "recovery": Recovery(cooldown="1s")}
        return flag(degradable("feed", **{**given, **properties})(made_anew))

    first, watch = declare(), watch_of(runtime, "feed")
    assert declare() is first
    assert watch_of(runtime, "feed") is watch
    other = declare(owner="others")
    assert other is not first
    assert flag("feed") is other


def test_an_equal_flag_of_the_same_scope_is_the_same_object():
    def ignoring(kind: type[Exception]) -> Callable[[BaseException], bool]:
        return lambda error: isinstance(error, kind)

    flags = []
    for kind in (LookupError, LookupError, LookupError, KeyError):
        properties = {"failures": (OSError,), "ignore": ignoring(kind)}
        flags.append(Flag("feed", sla=SLA(errors="5%"), **properties))
    assert flags[0] is flags[1] is flags[2]
    assert flag("feed") is flags[3] is not flags[0]


PROPERTIES: list[dict[str, Any]] = [
    {"level": 2},
    {"owner": "team"},
    {"message": "soon"},
    {"recovery": Recovery(cooldown="1s")},
    {"failures": OSError},
    {"ignore": OSError},
    {"ignore": callable},
]


@pytest.mark.parametrize("properties", PROPERTIES, ids="+".join)
def test_a_different_declaration_keeps_the_history_where_the_sla_is_the_same(
    properties: dict[str, Any], runtime: Runtime
):
    def declare(**given: Any) -> Flag:
        return Flag("feed", sla=SLA(errors="5%"), **given)

    first = declare()
    with first.call():
        pass
    runtime.tick()
    watch = watch_of(runtime, "feed")
    second = declare(**properties)
    assert second is not first
    assert watch_of(runtime, "feed") is watch
    assert watch.flag is second
    with second.call(), first.call():
        pass
    runtime.tick()
    assert classes_of(runtime, "feed") == {"full": 3}


def test_another_sla_begins_a_history_of_its_own(runtime: Runtime):
    for limit in ("5%", "10%"):
        made = Flag("feed", sla=SLA(errors=limit))
        with made.call():
            pass
        runtime.tick()
    assert classes_of(runtime, "feed") == {"full": 1}


def test_a_new_level_obeys_the_order_in_force_at_once(runtime: Runtime, control: Control):
    control.order_level(2, for_="5m", reason="drill")
    runtime.tick()
    levels = [Flag("feed", level=level).degraded for level in (1, 3)]
    assert levels == [False, True]


def test_one_decorator_guards_several_functions_with_one_flag(runtime: Runtime):
    guard = degradable("feed", sla=STRICT, fallback=default("stored"))

    @guard
    def one() -> str:
        return "one"

    @guard
    def two() -> str:
        return "two"

    assert (one(), two()) == ("one", "two")
    assert flag(one) is flag(two)
    runtime.tick()
    assert classes_of(runtime, "feed") == {"full": 2}


def test_one_decorator_keeps_the_parameters_of_each_function(runtime: Runtime):
    """It remembers the last form that it guarded."""
    guard = degradable("feed", fallback=default(lambda *_, **__: "stored"))

    def made(given: Any) -> Any:
        def feed(a: Any, b: Any = given, *, c: Any = given) -> Any:
            return a, b, c

        return feed

    class Feed:
        def __init__(self, own: str) -> None:
            self.own = own

        def feed(self, a: Any, *more: Any) -> Any:
            return self.own, a, more

    async def later(a: Any) -> Any:
        return a

    cases: list[tuple[Any, tuple[Any, ...], Any]] = [
        (made(1), (0,), (0, 1, 1)),
        (made(True), (0,), (0, True, True)),
        (Feed("x").feed, (1, 2), ("x", 1, (2,))),
        (Feed("y").feed, (1,), ("y", 1, ())),
        (functools.partial(Feed("x").feed, 1), (2,), ("x", 1, (2,))),
        (functools.partial(Feed("y").feed, 3), (), ("y", 3, ())),
        (functools.partial(Feed("y").feed, a=3), (), ("y", 3, ())),
        (functools.partial(made(1), b=2), (0,), (0, 2, 1)),
    ]
    for fn, args, result in [*cases, *reversed(cases)]:
        assert repr(guard(fn)(*args)) == repr(result)
        assert inspect.signature(guard(fn)) == inspect.signature(fn)
    assert [asyncio.run(guard(later)(number)) for number in range(3)] == [0, 1, 2]


@pytest.mark.parametrize("fresh", [False, True])
def test_the_bound_of_a_rung_holds_for_all_that_is_declared_alike(fresh: bool, runtime: Runtime):
    served: list[Any] = []

    def fail() -> str:
        raise ConnectionError

    def simple() -> str:
        if not served:
            served.append("asking")
            served.append((make() if fresh else once)(fail)())
        return "simple"

    def make() -> Any:
        return degradable("feed", fallback=[simplified(simple, limit=1), default("last")])

    once = make()
    assert once(fail)() == "simple"
    assert served == ["asking", "last"]


def test_two_functions_of_one_name_never_share_snapshots(runtime: Runtime):
    """As two routes of one module may be called `view` both."""
    scope: dict[str, Any] = {"Flag": Flag, "degradable": degradable, "snapshot": snapshot}
    scope |= {"__name__": "routes", "ill": [], "views": [], "default": default}
    view = (
        "@degradable(name, fallback=[snapshot(max_age='1h'), default('none')])\n"
        "def view(user: str) -> str:\n"
        "    if ill: raise ConnectionError\n"
        "    return {!r} + user\n"
        "views.append(view)\n"
    )
    for name in ("feed", Flag("shared")):
        scope |= {"name": name, "ill": [], "views": []}
        exec(compile(view.format("a ") + view.format("b "), "routes.py", "exec"), scope)  # noqa: S102 - as a module is
        first, second = scope["views"]
        first("ana")
        runtime.tick()
        scope["ill"].append(1)
        assert (first("ana"), second("ana")) == ("a ana", "none")


# ------------------------------------------------------------------ elsewhere


def write(folder: Path, name: str, text: str) -> None:
    (folder / f"{name}.py").write_text("from degrade import *\n" + text)
    importlib.invalidate_caches()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(tmp_path)):
            del sys.modules[name]


ELSEWHERE = {
    "function": "@degradable('feed')\ndef feed(): ...",
    "lambda": "feed = degradable('feed')(lambda: 1)",
    "object": "import operator\nfeed = degradable('feed')(operator.itemgetter(1))",
    "bound method": "import string\nfeed = degradable('feed')(string.Template('x').substitute)",
    "partial": "import functools, os\nfeed = degradable('feed')(functools.partial(os.getenv, 'x'))",
    "closure of a library": "import functools\n"
    "feed = degradable('feed')(functools.singledispatch(lambda a: 1))",
    "flag": "feed = Flag('feed')",
    "method": "class Feed:\n    @degradable('feed')\n    def feed(self): ...",
}


@pytest.mark.parametrize("how", ELSEWHERE)
def test_an_equal_declaration_in_another_module_is_refused(how: str, folder: Path):
    write(folder, "one_of_a_test", ELSEWHERE[how])
    write(folder, "two_of_a_test", ELSEWHERE[how])
    first = importlib.import_module("one_of_a_test").feed if "class" not in ELSEWHERE[how] else None
    importlib.import_module("one_of_a_test")
    with pytest.raises(DuplicateFlagError, match="one_of_a_test") as caught:
        importlib.import_module("two_of_a_test")
    assert "degradable(degrade.flag('feed'), ...)" in str(caught.value)
    if first is not None:
        importlib.reload(sys.modules["one_of_a_test"])


def test_a_function_of_a_library_may_be_declared_equally_wherever_it_is_used(folder: Path):
    for name in ("one_of_a_test", "two_of_a_test"):
        write(folder, name, "import os\nenv = degradable('env', level=3)(os.getenv)")
    one, two = map(importlib.import_module, ("one_of_a_test", "two_of_a_test"))
    assert flag(one.env) is flag(two.env)


# ------------------------------------------------------------------ subclasses

BASE = """
class Base:
    @degradable("repo.get", sla=SLA(errors="5%"), fallback=default("stored"))
    def get(self): return "base"
class Generic[T](Base): ...
class Other: ...
"""
GET = """
    @degradable("repo.get", sla=SLA(errors="5%"), fallback=default("none"))
    def get(self): return "child"
"""
CHILDREN = {
    "a name": "from base_of_a_test import Base\nclass Child(Base):",
    "a module": "import base_of_a_test\nclass Child(base_of_a_test.Base):",
    "one of several": "from base_of_a_test import Base, Other\nclass Child(Other, Base):",
    "with keywords": "import abc\nfrom base_of_a_test import Base\n"
    "class Child(Base, metaclass=abc.ABCMeta):",
    "generic": "from base_of_a_test import Generic\nclass Child(Generic[int]):",
    "further down": "from base_of_a_test import Base\nclass Middle(Base): ...\nclass Child(Middle):",
    "in a function": "from base_of_a_test import Base\n"
    "def make():\n    base = Base\n    class Child(base):{}    return Child\nChild = make()",
    "a local function": "def make():\n    from base_of_a_test import Base\n"
    "    def inner():\n        class Child(Base):{}        return Child\n    return inner()\n"
    "Child = make()",
}


@pytest.fixture
def base(folder: Path):
    write(
        folder,
        "base_of_a_test",
        "from typing import Generic as G, TypeVar\nT = TypeVar('T')\n"
        + BASE.replace("Generic[T](Base)", "Generic(Base, G[T])"),
    )
    return importlib.import_module("base_of_a_test")


def child_of(text: str) -> str:
    if "{}" not in text:
        return text + GET
    indent = "            " if "inner" in text else "        "
    body = GET.replace("\n    ", f"\n{indent}").rstrip()
    return text.format(body + "\n")


@pytest.mark.parametrize("how", CHILDREN)
def test_a_subclass_that_overrides_a_guarded_method_shares_its_flag(
    how: str, base: Any, folder: Path, runtime: Runtime, control: Control
):
    write(folder, "child_of_a_test", child_of(CHILDREN[how]))
    child = importlib.import_module("child_of_a_test").Child
    assert flag(child.get) is flag(base.Base.get)
    assert (base.Base().get(), child().get()) == ("base", "child")
    control.hold("repo.get", "degraded", for_=None, reason="drill")
    assert (base.Base().get(), child().get()) == ("stored", "none")
    importlib.reload(sys.modules["child_of_a_test"])
    importlib.reload(base)


STRANGERS = {
    "no bases": "class Child:",
    "another base": "class Child(dict):",
    "a base that it only knows": "from base_of_a_test import Base, Other\nclass Child(Other):",
    "another class before": "from base_of_a_test import Base\nclass First(Base): ...\nclass Child:",
}


@pytest.mark.parametrize("how", STRANGERS)
def test_a_class_that_overrides_nothing_shares_nothing(how: str, base: Any, folder: Path):
    write(folder, "child_of_a_test", child_of(STRANGERS[how]))
    with pytest.raises(DuplicateFlagError, match=r"base_of_a_test.*Base\.get"):
        importlib.import_module("child_of_a_test")


def test_a_subclass_cannot_change_the_flag_of_its_base(base: Any, folder: Path):
    write(folder, "child_of_a_test", child_of(CHILDREN["a name"]))
    importlib.import_module("child_of_a_test")
    write(folder, "child_of_a_test", child_of(CHILDREN["a name"]).replace("5%", "10%"))
    with pytest.raises(DuplicateFlagError):
        importlib.reload(sys.modules["child_of_a_test"])


def test_another_method_or_other_properties_are_no_override(base: Any, folder: Path):
    for change in (("def get(", "def find("), ("5%", "10%")):
        text = child_of(CHILDREN["a name"]).replace(*change)
        write(folder, "child_of_a_test", text)
        with pytest.raises(DuplicateFlagError):
            importlib.import_module("child_of_a_test")


def test_class_and_static_methods_are_overridden_alike(runtime: Runtime):
    for kind in (staticmethod, classmethod):
        guard = functools.partial(degradable, f"repo.{kind.__name__}", fallback=default(0))

        class Base:
            get = 1

        class Guarded(Base):
            @kind
            @guard()
            def get(*_: object) -> int:
                return 1

        class Child(Guarded):
            @guard()
            @kind
            def get(*_: object) -> int:
                return 2

        assert flag(Child.get) is flag(Guarded.get)
        assert (Guarded.get(), Child.get()) == (1, 2)


def test_a_subclass_may_take_the_flag_itself(base: Any, folder: Path):
    text = child_of(STRANGERS["no bases"]).replace('"repo.get", sla=SLA(errors="5%")', "shared")
    write(folder, "child_of_a_test", "shared = flag('repo.get')\n" + text)
    assert flag(importlib.import_module("child_of_a_test").Child.get) is flag("repo.get")


# ------------------------------------------------------------------ names of a runtime


def declare_one() -> Callable[[], int]:
    @degradable("feed", fallback=default(0))
    def feed() -> int:
        return 1

    return feed


def declare_two() -> Callable[[], int]:
    @degradable("feed", level=2, fallback=default(0))
    def feed() -> int:
        return 2

    return feed


def test_two_runtimes_may_have_one_name_each(clock: ManualClock):
    for declare, value in ((declare_one, 1), (declare_two, 2), (declare_one, 1)):
        with Runtime(clock=clock, threads="manual") as runtime:
            feed = declare()
            assert feed() == value
            runtime.tick()
            assert classes_of(runtime, "feed") == {"full": 1}
            assert flag("feed") is flag(feed)
        with pytest.raises(UnknownFlagError):
            flag("feed")
        assert declared() == []


def test_names_of_before_are_seen_inside_and_taken(clock: ManualClock):
    outer = declare_one()
    with Runtime(clock=clock, threads="manual"):
        assert flag("feed") is flag(outer)
        with pytest.raises(DuplicateFlagError):
            declare_two()
        with Runtime(clock=clock, threads="manual"):
            Flag("inner")
            with pytest.raises(DuplicateFlagError):
                declare_two()
        assert [known.name for known in declared()] == ["feed"]
    assert flag("feed") is flag(outer)


def test_a_name_of_an_outer_runtime_is_seen_in_an_inner_one(clock: ManualClock):
    with Runtime(clock=clock, threads="manual") as outer:
        feed = declare_one()
        with Runtime(clock=clock, threads="manual") as inner:
            assert flag("feed") is flag(feed)
            feed()
            inner.tick()
            assert classes_of(inner, "feed") == {"full": 1}
        feed()
        outer.tick()
        assert classes_of(outer, "feed") == {"full": 1}


def test_runtimes_that_end_in_another_order_take_their_own_names(clock: ManualClock):
    one, two = (Runtime(clock=clock, threads="manual") for _ in range(2))
    one.__enter__()
    Flag("one")
    two.__enter__()
    Flag("two")
    one.__exit__(None, None, None)
    assert [known.name for known in declared()] == ["two"]
    two.__exit__(None, None, None)
    assert declared() == []
    current_runtime.swap(None)


def test_what_a_runtime_replaced_is_back_after_it(clock: ManualClock):
    def declare(level: int) -> Callable[[], str]:
        @degradable("feed", level=level, fallback=default("stored"))
        def feed() -> str:
            return "fresh"

        return feed

    with Runtime(clock=clock, threads="manual") as outer:
        feed = declare(1)
        with Runtime(clock=clock, threads="manual") as inner:
            declare(3)
            assert flag("feed").level == 3
            Control(inner.store, actor="ana", clock=clock).order_level(3, for_="5m", reason="drill")
            inner.tick()
            assert feed() == "stored", "the old function goes by the declaration in force"
        assert flag("feed") is flag(feed)
        assert feed() == "fresh"
        outer.tick()
        assert classes_of(outer, "feed") == {"full": 1}


def test_a_function_made_inside_is_guarded_by_the_runtime_that_serves_when_it_is_called(
    clock: ManualClock,
):
    with Runtime(clock=clock, threads="manual"):
        feed = declare_one()
    with Runtime(clock=clock, threads="manual") as later:
        assert feed() == 1
        Control(later.store, actor="ana", clock=clock).hold(
            "feed", "degraded", for_=None, reason="drill"
        )
        assert feed() == 0
        assert flag("feed").degraded
        later.tick()
        assert classes_of(later, "feed") == {"full": 1, "degraded": 1}
        two = declare_two()
        assert two() == 0, "the hold is for the name"
        assert flag("feed") is flag(two), "what was left over stands in nobody's way"
        assert feed() == 0
    with pytest.raises(UnknownFlagError):
        flag("feed")


def test_a_module_imported_inside_declares_for_the_process(clock: ManualClock, folder: Path):
    """The first test that needs it imports it, all others find it imported."""
    write(folder, "app_of_a_test", "@degradable('feed', fallback=default(0))\ndef feed(): return 1")
    write(folder, "late_of_a_test", "import app_of_a_test\nfeed = app_of_a_test.feed")
    for _ in range(3):
        with Runtime(clock=clock, threads="manual") as runtime:
            app = importlib.import_module("late_of_a_test")
            assert flag("feed") is flag(app.feed)
            assert app.feed() == 1
            runtime.tick()
            assert classes_of(runtime, "feed") == {"full": 1}
    assert flag("feed") is flag(app.feed)
    with Runtime(clock=clock, threads="manual"):
        importlib.reload(sys.modules["app_of_a_test"])
    assert flag("feed") is flag(sys.modules["app_of_a_test"].feed)


def test_a_reload_is_in_force_also_where_a_runtime_has_replaced_the_flag(
    clock: ManualClock, folder: Path
):
    source = (
        "def make(level):\n    return degradable('feed', level=level)(lambda: 1)\nfeed = make({})"
    )
    write(folder, "app_of_a_test", source.format(1))
    app = importlib.import_module("app_of_a_test")
    with Runtime(clock=clock, threads="manual"):
        app.make(3)
        assert flag("feed").level == 3
        write(folder, "app_of_a_test", source.format(2) + "  # written anew")
        importlib.reload(app)
        assert flag("feed").level == 2
    assert flag("feed").level == 2


def test_a_decorator_whose_name_is_taken_by_now_says_so(clock: ManualClock):
    guard = degradable("feed", fallback=default(0))
    with Runtime(clock=clock, threads="manual"):
        guard(lambda: 1)
    with Runtime(clock=clock, threads="manual"):
        declare_one()
        with pytest.raises(DuplicateFlagError):
            guard(lambda: 1)


def test_a_decorator_of_a_module_serves_each_runtime(clock: ManualClock):
    guard = degradable("feed", fallback=default(0))
    for _ in range(2):
        with Runtime(clock=clock, threads="manual") as runtime:
            assert guard(lambda: 1)() == 1
            assert guard(lambda: 1)() == 1
            runtime.tick()
            assert classes_of(runtime, "feed") == {"full": 2}
            assert [known.name for known in declared()] == ["feed"]
        assert declared() == []


def test_threads_declare_in_the_runtime_that_serves_the_process(clock: ManualClock):
    with Runtime(clock=clock, threads="manual"):
        thread = threading.Thread(target=declare_one)
        thread.start()
        thread.join()
        assert [known.name for known in declared()] == ["feed"]
    assert declared() == []


def test_many_threads_that_declare_alike_have_one_flag(runtime: Runtime):
    found: set[int] = set()
    feeds: list[Any] = []
    start = threading.Barrier(8)

    def declare() -> None:
        start.wait(10)
        for _ in range(50):
            feed = declare_one()
            feeds.append(feed)
            found.add(id(flag(feed)))
            feed()

    threads = [threading.Thread(target=declare) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    runtime.tick()
    assert found == {id(flag("feed"))}
    assert classes_of(runtime, "feed") == {"full": 400}
    assert len(flag("feed").guards) == 400


# ------------------------------------------------------------------ nothing is left behind


def kept_in_memory(user: str) -> list[str]:
    return [user]


class Client:
    def fetch(self, user: str) -> list[str]:
        return [user]


LADDERS: dict[str, Any] = {
    "default": default([]),
    "simplified": kept_in_memory,
    "snapshot": [snapshot(max_age="1h"), default([])],
}


@pytest.mark.parametrize("fresh", [False, True], ids=["one decorator", "a new decorator each time"])
@pytest.mark.parametrize("ladder", LADDERS)
def test_what_is_decorated_again_and_again_leaves_nothing(
    ladder: str, fresh: bool, runtime: Runtime, clock: ManualClock
):
    def make() -> Any:
        return degradable("feed", sla=SLA(errors="5%"), fallback=LADDERS[ladder])

    once = make()

    def work(times: int) -> None:
        for number in range(times):
            guard = make() if fresh else once
            guard(functools.partial(Client().fetch))("ana")
            if number % 50 == 0:
                clock.advance(0.25)
                runtime.tick()
        gc.collect()
        runtime.tick()
        runtime.tier.sweep(clock.monotonic())
        gc.collect()

    work(100)
    assert len(flag("feed").guards) == 0
    tracemalloc.start()
    try:
        before = tracemalloc.take_snapshot()
        work(200)
        after = tracemalloc.take_snapshot()
    finally:
        tracemalloc.stop()
    ours = tracemalloc.Filter(inclusive=True, filename_pattern="*/degrade/*")
    grown = after.filter_traces([ours]).compare_to(before.filter_traces([ours]), "lineno")
    assert sum(entry.count_diff for entry in grown) < 100, grown[:5]
    assert len(runtime.tier.books()) <= 1


def test_objects_whose_methods_were_guarded_can_die(runtime: Runtime):
    import weakref

    made = [Upstream() for _ in range(5)]
    assert len(flag("upstream").guards) == 5
    refs = [weakref.ref(each) for each in made]
    made.clear()
    gc.collect()
    assert [ref() for ref in refs] == [None] * 5
    assert flag("upstream").guards == []


def test_what_was_skipped_stays_counted_when_its_function_is_gone(
    runtime: Runtime, clock: ManualClock
):
    guard = degradable("feed", fallback=[snapshot(max_age="1h"), default([])])
    runtime.tier.budget.spent(clock.monotonic(), 1_000, Account())
    for _ in range(3):
        guard(functools.partial(Client().fetch))("ana")
        gc.collect()
    (stats,) = runtime.stats()
    assert stats.captures_skipped["budget"] == 3


def test_what_never_kept_a_snapshot_leaves_no_book(runtime: Runtime):
    guard = degradable("feed", fallback=[snapshot(max_age="1h"), default([])])
    feed = guard(functools.partial(Client().fetch))
    assert len(runtime.tier.books()) == 1
    del feed
    gc.collect()
    assert runtime.tier.books() == []


def test_only_what_lives_keeps_a_block_from_a_flag(runtime: Runtime):
    feed = degradable("feed", fallback=default(0))(lambda: 1)
    with pytest.raises(UsageError):
        flag("feed").call()
    del feed
    with flag("feed").call():
        pass


def test_time_goes_on_for_a_flag_that_was_declared_anew(runtime: Runtime, clock: ManualClock):
    Flag("feed", sla=STRICT, level=2)
    pass_time(runtime, clock, 1)
    assert Flag("feed", sla=STRICT, level=2).bound() is watch_of(runtime, "feed")
