"""Which functions share a name, so that their snapshots may not be shared."""

from __future__ import annotations

import functools
import math
import weakref
from collections.abc import Callable
from typing import Any

import pytest

from degrade.fallback.snapshots.function_identity import fleet_name, stands_alone


def plain(user: str) -> str:
    return user


def traced(fn: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(fn)
    def inner(*args: Any) -> Any:
        return fn(*args)

    return inner


def made(tenant: str) -> Callable[[str], str]:
    def feed(user: str) -> str:
        return tenant + user

    return feed


def made_of_nothing() -> Callable[[str], str]:
    def feed(user: str) -> str:
        return user

    return feed


class Tenant:
    def feed(self, user: str) -> str:
        return user

    @traced
    def decorated(self, user: str) -> str:
        return user

    @classmethod
    def of_class(cls, user: str) -> str:
        return user

    @staticmethod
    def static(user: str) -> str:
        return user

    def __call__(self, user: str) -> str:
        return user


class Wrapping:
    def __init__(self, fn: Callable[..., Any]) -> None:
        functools.update_wrapper(self, fn)

    def __call__(self, user: str) -> str:
        return user


def named(fn: Callable[..., Any]) -> Callable[..., Any]:
    """Give a partial the name of its function, as many do."""
    return functools.update_wrapper(functools.partial(fn, "red"), fn)


HOLDING: dict[str, Callable[..., Any]] = {
    "closure": made("red"),
    "closure under a decorator": traced(made("red")),
    "partial": functools.partial(plain, "red"),
    "partial with a name": named(plain),
    "bound method": Tenant().feed,
    "bound method under a decorator": Tenant().decorated,
    "method bound to a class": Tenant.of_class,
    "callable object": Tenant(),
    "callable object with a name": Wrapping(plain),
}


@pytest.mark.parametrize("what", HOLDING)
def test_what_holds_something_has_no_name_in_the_fleet_and_stands_alone(what: str):
    assert fleet_name(HOLDING[what], told_apart=False) is None
    assert stands_alone(HOLDING[what])


@pytest.mark.parametrize(
    ("fn", "name"),
    [
        (Tenant().feed, "Tenant.feed"),
        (Tenant().decorated, "Tenant.decorated"),
        (made("red"), "made.<locals>.feed"),
        (named(plain), "plain"),
    ],
)
def test_a_key_of_the_user_gives_it_a_name(fn: Callable[..., Any], name: str):
    assert fleet_name(fn, told_apart=True) == f"{__name__}:{name}"


@pytest.mark.parametrize("fn", [plain, Tenant.feed, Tenant.static, math.hypot])
def test_a_function_of_a_module_or_class_has_a_name_and_shares_it_with_none(fn: Callable[..., Any]):
    assert fleet_name(fn, told_apart=False) == f"{fn.__module__}:{fn.__qualname__}"
    assert not stands_alone(fn)


def test_decorators_leave_a_function_its_name_in_the_fleet_and_may_hold_something_here():
    assert fleet_name(traced(plain), told_apart=False) == f"{__name__}:plain"
    assert stands_alone(traced(plain))


@pytest.mark.parametrize("fn", [lambda user: user, made_of_nothing()])
def test_what_a_function_made_stands_alone(fn: Callable[..., Any]):
    assert stands_alone(fn)


def test_nothing_keeps_a_function_alive():
    fn = made("red")
    gone = weakref.ref(fn)
    stands_alone(fn)
    fleet_name(fn, told_apart=False)
    del fn
    assert gone() is None
