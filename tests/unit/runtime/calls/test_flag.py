"""Declarations: names, places, looking up, and what a flag answers about itself."""

from __future__ import annotations

import importlib
import os
import runpy
import sys
from pathlib import Path
from types import ModuleType

import pytest

import degrade
from degrade import (
    SLA,
    ConfigError,
    DuplicateFlagError,
    Flag,
    Recovery,
    Runtime,
    UnknownFlagError,
    UsageError,
    compose,
    default,
    degradable,
    flag,
)
from degrade.clock import ManualClock
from degrade.control import Control
from degrade.runtime import current_runtime
from tests.unit.runtime.doing import Sick, classes_of, stats_of

GOOD_NAMES = ["a", "A1", "feed.ranking", "feed_2", "a-b", "x" * 100, "9lives"]
BAD_NAMES = [
    "", ".", "-a", "a.", "a b", "é", "a/b", "*", "x" * 101, "a\n", "a\n\n", None, 5, b"a", "_", "_a",
    "_incarnation", "__proto__"]  # fmt: skip


@pytest.mark.parametrize("name", GOOD_NAMES)
def test_a_good_name_is_taken(name):
    assert Flag(name).name == name


@pytest.mark.parametrize("name", BAD_NAMES)
@pytest.mark.parametrize("how", ["Flag", "degradable"])
def test_a_bad_name_is_refused(name, how):
    with pytest.raises(ConfigError, match="a name has") as caught:
        if how == "Flag":
            Flag(name)
        else:
            degradable(name)(Sick())
    assert caught.value.code == "bad-name"


@pytest.mark.parametrize(
    ("properties", "words"),
    [
        ({"level": 0}, "level"),
        ({"level": 4}, "level"),
        ({"level": True}, "level"),
        ({"level": "3"}, "level"),
        ({"owner": 5}, "owner=5.*give a str"),
        ({"owner": b"team"}, "owner"),
        ({"owner": "\ud800"}, "owner.*surrogates"),
        ({"message": object()}, "message=.*give a str"),
        ({"sla": "p99=250ms"}, "SLA"),
        ({"recovery": 5}, "Recovery"),
        ({"failures": ()}, "failures"),
        ({"failures": BaseException}, "KeyboardInterrupt"),
        ({"failures": (OSError, SystemExit)}, "failures"),
        ({"failures": "OSError"}, "failures"),
        ({"failures": OSError("instance")}, "failures"),
        ({"ignore": KeyboardInterrupt}, "ignore"),
        ({"ignore": ()}, "ignore"),
        ({"ignore": 5}, "ignore"),
    ],
)
def test_a_bad_property_is_refused_with_its_name(properties, words):
    with pytest.raises(ConfigError, match=words) as caught:
        Flag("feed", **properties)
    assert "'feed'" in str(caught.value)
    with pytest.raises(UnknownFlagError):
        flag("feed")


def test_properties_are_kept():
    sla, recovery = SLA(errors="5%"), Recovery(cooldown="1s")
    made = Flag("feed", sla=sla, level=2, owner="team", message="soon", recovery=recovery)
    assert (made.sla, made.level, made.owner, made.message, made.recovery) == (
        sla, 2, "team", "soon", recovery,
    )  # fmt: skip
    info = made.info()
    assert (info.name, info.level, info.owner, info.message) == ("feed", 2, "team", "soon")
    assert info.sla == "errors 5% over 30s"
    assert "test_properties_are_kept" in info.where
    assert repr(made) == "<flag feed level=2>"


# ------------------------------------------------------------------ looking up


def test_a_flag_is_found_by_name_and_by_function(runtime: Runtime):
    feed = degradable("feed.ranking", level=3)(Sick())
    assert flag("feed.ranking") is flag(feed)
    assert flag(feed).level == 3


def test_an_unknown_name_is_told_with_the_closest():
    Flag("feed.ranking")
    with pytest.raises(UnknownFlagError, match=r"did you mean 'feed\.ranking'") as caught:
        flag("feed.rankign")
    assert caught.value.code == "unknown-flag"


def test_an_unknown_name_unlike_any_is_told_with_those_there_are():
    with pytest.raises(UnknownFlagError, match="declared: none"):
        flag("zzz")
    Flag("feed.ranking")
    with pytest.raises(UnknownFlagError, match=r"declared: feed\.ranking"):
        flag("zzz")


def test_a_function_without_a_flag_is_told():
    with pytest.raises(UnknownFlagError, match=r"unguarded_function.*not guarded"):

        def unguarded_function() -> None: ...

        flag(unguarded_function)


# ------------------------------------------------------------------ declaring again


SOURCE = """
from degrade import Flag, default, degradable

extra = Flag("extra", level={level})

@degradable("feed", level={level}, fallback=[default("stale")])
def feed():
    return {value!r}
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def write(level: int, value: str, name: str = "app_of_a_test") -> Path:
        path = tmp_path / f"{name}.py"
        path.write_text(SOURCE.format(level=level, value=value))
        importlib.invalidate_caches()
        return path

    yield write
    for name in ("app_of_a_test", "other_of_a_test"):
        sys.modules.pop(name, None)


def load(name: str = "app_of_a_test") -> ModuleType:
    return importlib.import_module(name)


def test_a_reloaded_module_replaces_its_flags(runtime: Runtime, control: Control, module):
    module(3, "old")
    app = load()
    old = app.feed
    assert old() == "old"
    module(2, "new")
    importlib.reload(app)
    assert app.feed() == "new"
    assert flag("feed").level == flag("extra").level == 2
    assert flag("feed") is flag(app.feed)


def test_old_and_new_functions_obey_the_same_orders_after_a_reload(
    runtime: Runtime, control: Control, module
):
    module(3, "old")
    app = load()
    old, old_extra = app.feed, app.extra
    old()
    module(2, "new")
    importlib.reload(app)
    for call_the_old_one in (lambda: None, old, lambda: old_extra.degraded):
        call_the_old_one()
        assert app.feed() == "new"
        control.hold("feed", "degraded", for_=None, reason="drill")
        control.hold("extra", "degraded", for_=None, reason="drill")
        assert app.feed() == "stale"
        assert old() == "stale"
        assert app.extra.degraded
        assert old_extra.degraded
        control.release("*", reason="over", now=True)
    runtime.tick()
    calls = classes_of(runtime, "feed")
    assert calls["degraded"] == 6
    assert sum(calls.values()) == 11, "calls of both are counted, and nothing piles up"
    assert flag("feed").level == 2


def test_a_module_run_as_main_and_imported_declares_once(runtime: Runtime, module):
    path = module(3, "value")
    load()
    scope = runpy.run_path(str(path), run_name="__main__")
    assert flag("feed") is flag(scope["feed"])


def test_the_same_name_in_another_module_is_refused(runtime: Runtime, module):
    module(3, "one")
    module(3, "two", name="other_of_a_test")
    app = load()
    with pytest.raises(DuplicateFlagError, match="app_of_a_test") as caught:
        load("other_of_a_test")
    assert caught.value.code == "duplicate-flag"
    assert "degrade.flag('extra')" in str(caught.value)
    assert flag("feed") is flag(app.feed)


def test_the_same_name_on_another_function_is_refused(runtime: Runtime):
    @degradable("feed")
    def one() -> int:
        return 1

    with pytest.raises(DuplicateFlagError, match="one"):

        @degradable("feed")
        def two() -> int:
            return 2

    assert one() == 1


def test_one_flag_may_guard_several_functions(runtime: Runtime, control: Control):
    shared = Flag("feed", sla=SLA(errors="5%"))

    @degradable(shared, fallback=[default("stale one")])
    def one() -> str:
        return "one"

    @degradable(shared, fallback=[default("stale two")])
    def two() -> str:
        return "two"

    assert (one(), two()) == ("one", "two")
    runtime.tick()
    assert classes_of(runtime, "feed") == {"full": 2}
    control.hold("feed", "degraded", for_=None, reason="drill")
    assert (one(), two()) == ("stale one", "stale two")


def test_a_declared_flag_takes_no_second_set_of_properties():
    with pytest.raises(ConfigError, match=r"level=.*give these to Flag"):
        degradable(Flag("feed"), level=3)


# ------------------------------------------------------------------ degraded


def test_degraded_follows_the_flag(runtime: Runtime, control: Control):
    feed = Flag("feed")
    assert not feed.degraded
    for mode in ("degraded", "off"):
        control.hold("feed", mode, for_=None, reason="drill")
        assert feed.degraded
    control.release("feed", reason="over", now=True)
    assert not feed.degraded
    assert stats_of(runtime, "feed").calls == dict.fromkeys(stats_of(runtime, "feed").calls, 0)


def test_asking_whether_it_is_degraded_wakes_the_runtime(clock: ManualClock):
    """A program that only asks must follow orders too."""
    with Runtime() as runtime:
        feed = Flag("feed")
        assert not feed.degraded
        assert runtime._ticker is not None
        assert runtime._io_worker.alive


def test_a_block_on_a_flag_with_a_ladder_is_refused(runtime: Runtime):
    feed = degradable("feed", fallback=[default(None)])(Sick())
    with pytest.raises(UsageError, match="has a ladder") as caught:
        flag(feed).call()
    assert caught.value.code == "ladder-on-block"


# ------------------------------------------------------------------ before, after and without


def test_flags_declared_before_and_after_are_adopted(clock: ManualClock):
    before = degradable("before", fallback=[default("stale")])(Sick())
    with Runtime(clock=clock, threads="manual") as runtime:
        after = degradable("after", fallback=[default("stale")])(Sick())
        control = Control(runtime.store, actor="ana", clock=clock)
        control.hold("*", "degraded", for_=None, reason="drill")
        assert (before(), after()) == ("stale", "stale")
        runtime.tick()
        assert [stats.name for stats in runtime.stats()] == ["after", "before"]


def test_flags_return_to_the_runtime_before(clock: ManualClock):
    feed = degradable("feed", fallback=[default("stale")])(Sick())
    with Runtime(clock=clock, threads="manual") as outer:
        control = Control(outer.store, actor="ana", clock=clock)
        feed()
        control.hold("feed", "degraded", for_=None, reason="drill")
        with Runtime(clock=clock, threads="manual") as inner:
            assert current_runtime.current() is inner
            assert feed() == "fresh"
            inner.tick()
            assert classes_of(inner, "feed") == {"full": 1}
        assert current_runtime.current() is outer
        assert feed() == "stale"
        outer.tick()
        assert classes_of(outer, "feed") == {"full": 1, "degraded": 1}


def test_configure_binds_flags_of_before_and_after(tmp_path: Path):
    before = degradable("before", fallback=[default("stale")])(Sick())
    runtime = degrade.configure(threads="manual", local=tmp_path)
    try:
        after = degradable("after", fallback=[default("stale")])(Sick())
        Control(runtime.store, actor="ana").hold("*", "degraded", for_=None, reason="drill")
        assert (before(), after()) == ("stale", "stale")
        second = degrade.configure(threads="manual", local=tmp_path)
        assert current_runtime.current() is second
        assert (before(), after()) == ("fresh", "fresh")
        second.close()
    finally:
        runtime.close()


def test_without_any_configuration_a_memory_runtime_serves(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    monkeypatch.chdir(tmp_path)
    for name in ("STORE", "NAMESPACE", "THREADS", "LOCAL"):
        monkeypatch.delenv(f"DEGRADE_{name}", raising=False)
    feed = degradable("feed")(Sick())
    assert current_runtime.existing() is None
    try:
        assert feed() == "fresh"
        assert current_runtime.current().store.url == "memory://"
    finally:
        current_runtime.current().close()


@pytest.mark.parametrize("setting", ["redis-but-wrong", "sqlite://nowhere"])
def test_a_wrong_setting_never_reaches_a_call(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, setting: str, caplog: pytest.LogCaptureFixture
):
    """Nobody called `configure()`, which would have raised it: the call must not pay for it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DEGRADE_STORE", setting)
    with pytest.raises(ConfigError):
        degrade.configure()
    feed = degradable("feed", fallback=[default("stale")])(Sick())
    try:
        assert feed() == "fresh"
        assert feed() == "fresh"
        assert current_runtime.current().store.url == "memory://"
        assert [record.levelname for record in caplog.records] == ["ERROR"]
        assert setting in caplog.text
    finally:
        if current_runtime.existing() is not None:
            current_runtime.current().close()


UNREADABLE = {
    "a directory that is gone": lambda folder: folder.rmdir(),
    "a file that is not UTF-8": lambda folder: (folder / "degrade.toml").write_bytes(b"\xff"),
    "a file that cannot be opened": lambda folder: (folder / "degrade.toml").symlink_to(
        "degrade.toml"
    ),
    "a table that is none": lambda folder: (folder / "pyproject.toml").write_text("tool = 5"),
    "an unknown home": lambda folder: os.environ.update(DEGRADE_LOCAL="~nosuchuser/x"),
}


@pytest.mark.parametrize("case", UNREADABLE)
def test_settings_that_cannot_be_read_never_reach_a_call(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, case: str, caplog: pytest.LogCaptureFixture
):
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("DEGRADE_LOCAL", str(tmp_path))
    UNREADABLE[case](folder)
    with pytest.raises(ConfigError):
        degrade.configure()
    feed = degradable("feed", fallback=[default("stale")])(Sick())
    try:
        assert feed() == "fresh"
        assert feed() == "fresh"
        assert current_runtime.current().store.url == "memory://"
        assert [record.levelname for record in caplog.records] == ["ERROR"]
    finally:
        if current_runtime.existing() is not None:
            current_runtime.current().close()


def test_what_breaks_while_the_runtime_is_made_never_reaches_a_call(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(compose, "_composed", None)  # what no code of ours does
    feed = degradable("feed")(Sick())
    try:
        assert feed() == "fresh"
        assert "a memory runtime serves" in caplog.text
        assert "Traceback" in caplog.text
    finally:
        if current_runtime.existing() is not None:
            current_runtime.current().close()


def test_what_is_required_is_told_to_operators_and_to_health(runtime: Runtime):
    required = Flag("checkout", required=True)
    degradable("feed", required=False)(lambda: "full")
    assert required.info().required
    assert not flag("feed").info().required
    assert {each.name: each.required for each in runtime.stats()} == {
        "checkout": True, "feed": False,
    }  # fmt: skip


@pytest.mark.parametrize("bad", [None, 1, "yes"])
def test_required_is_said_by_true(bad: object):
    with pytest.raises(ConfigError, match="required="):
        Flag("checkout", required=bad)  # type: ignore[arg-type]
