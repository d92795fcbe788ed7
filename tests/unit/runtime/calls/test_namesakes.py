"""Several functions declared under one name from one place: none serves what another computed."""

from __future__ import annotations

import functools
import gc
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from degrade import Runtime, default, degradable, request, snapshot
from degrade.clock import ManualClock
from degrade.control import Control
from degrade.runtime.calls.guarded_function import GuardedFunction
from tests.unit.runtime.doing import Boom

Feed = Callable[[str], list[str]]
TENANTS = ("red", "blue")
SETTINGS: dict[str, dict[str, Any]] = {
    "all parameters": {},
    "named parameters": {"key": ("user",)},
    "a function": {"key": lambda user: user},
    "everyone": {"everyone": True},
    "objects": {"copy": False},
}

ill: set[str] = set()


@pytest.fixture(autouse=True)
def healthy() -> None:
    ill.clear()


def result(tenant: str, user: str) -> list[str]:
    if tenant in ill:
        raise Boom
    return [f"{tenant} for {user}"]


def result_of(tenant: str, user: str) -> list[str]:
    return result(tenant, user)


@dataclass(eq=False)
class Tenant:
    name: str

    def feed(self, user: str) -> list[str]:
        return result(self.name, user)

    def __call__(self, user: str) -> list[str]:
        return result(self.name, user)


def closure(tenant: str) -> Feed:
    def feed(user: str) -> list[str]:
        return result(tenant, user)

    return feed


def partial(tenant: str) -> Feed:
    return functools.partial(result_of, tenant)


def method(tenant: str) -> Feed:
    return Tenant(tenant).feed


def calling(tenant: str) -> Feed:
    return Tenant(tenant)


def declared(make: Callable[[str], Feed], tenant: str, **settings: Any) -> Feed:
    rungs = [snapshot(**{"max_age": "1h", **settings}), default(["none"])]
    return degradable("feed", fallback=rungs)(make(tenant))


def kept(runtime: Runtime) -> list[str]:
    """Return whose results lie in memory."""
    return sorted(
        str(key) for book in runtime.tier.books() if book.flag == "feed" for key in book.entries
    )


@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("make", [closure, partial, method, calling])
def test_none_serves_what_another_computed(
    runtime: Runtime, control: Control, make: Callable[[str], Feed], settings: str
):
    red, blue = (declared(make, tenant, **SETTINGS[settings]) for tenant in TENANTS)
    red("ana")
    runtime.tick()
    control.hold("feed", "degraded", for_=None, reason="drill")
    assert blue("ana") == ["none"]
    assert blue("ana") == ["none"], "also not by the short way of a wrapper"
    assert red("ana") == ["red for ana"]
    control.release("feed", reason="over", now=True)
    blue("ana")
    runtime.tick()
    ill.update(TENANTS)
    for _ in range(3):
        assert (red("ana"), blue("ana")) == (["red for ana"], ["blue for ana"])
    control.hold("feed", "degraded", for_=None, reason="drill")
    for _ in range(3):
        assert (red("ana"), blue("ana")) == (["red for ana"], ["blue for ana"])


def test_the_short_way_of_a_wrapper_reads_the_functions_own_snapshots(
    runtime: Runtime, control: Control, monkeypatch: pytest.MonkeyPatch
):
    blue = declared(closure, "blue", share=True)
    blue("ana")
    runtime.tick()
    control.hold("feed", "degraded", for_=None, reason="drill")
    blue("ana")  # decodes it
    monkeypatch.setattr(GuardedFunction, "call", None)  # the long way would break
    assert blue("ana") == ["blue for ana"]


def test_those_that_were_declared_before_the_runtime_have_their_snapshots_too(
    clock: ManualClock, forget_flags: None
):
    red, blue = (declared(closure, tenant) for tenant in TENANTS)
    with Runtime(clock=clock, threads="manual") as runtime:
        red("ana")
        blue("ana")
        runtime.tick()
        ill.update(TENANTS)
        assert (red("ana"), blue("ana")) == (["red for ana"], ["blue for ana"])
    with Runtime(clock=clock, threads="manual"):
        assert (red("ana"), blue("ana")) == (["none"], ["none"])


def test_an_off_reaches_the_snapshots_of_all(runtime: Runtime, control: Control):
    red, blue = (declared(closure, tenant) for tenant in TENANTS)
    red("ana")
    blue("ana")
    runtime.tick()
    assert len(kept(runtime)) == 2
    control.hold("feed", "off", for_=None, reason="wrong results")
    control.release("feed", reason="over", now=True)
    ill.update(TENANTS)
    assert (red("ana"), blue("ana")) == (["none"], ["none"])
    assert kept(runtime) == []


def test_subjects_are_told_apart_in_each(runtime: Runtime):
    red, blue = (declared(closure, tenant) for tenant in TENANTS)
    with request(subject="ana"):
        red("x")
        blue("x")
    runtime.tick()
    ill.update(TENANTS)
    with request(subject="ben"):
        assert (red("x"), blue("x")) == (["none"], ["none"])
    with request(subject="ana"):
        assert (red("x"), blue("x")) == (["red for x"], ["blue for x"])


def test_what_nobody_can_call_any_more_leaves_nothing_behind(runtime: Runtime, clock: ManualClock):
    for number in range(50):
        declared(closure, f"t{number}")("ana")
        runtime.tick()
    last = declared(closure, "last")
    last("ana")
    runtime.tick()
    assert len(kept(runtime)) == 51
    gc.collect()
    runtime.tier.sweep(clock.monotonic())
    assert len(kept(runtime)) == 1
    assert len(runtime.tier) == 1
    assert len([book for book in runtime.tier.books() if book.flag == "feed"]) == 1
    ill.add("last")
    assert last("ana") == ["last for ana"]


def test_a_function_of_a_module_finds_its_snapshots_again_when_it_is_declared_anew(
    runtime: Runtime,
):
    rungs = [snapshot(max_age="1h"), default(["none"])]
    degradable("feed", fallback=rungs)(result_of)("red", "ana")
    runtime.tick()
    ill.update(TENANTS)
    assert degradable("feed", fallback=rungs)(result_of)("red", "ana") == ["red for ana"]
