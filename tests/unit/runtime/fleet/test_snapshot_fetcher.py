"""Two processes of a fleet: one captures, the other, with a cold memory, serves what it finds."""

from __future__ import annotations

import functools
import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from degrade import (
    Runtime,
    UnavailableError,
    default,
    degradable,
    flag,
    omit,
    request,
    served,
    snapshot,
)
from degrade.clock import ManualClock
from degrade.control import Control
from degrade.core.enums import HoldMode, RungKind, Sharing
from degrade.runtime import current_runtime
from degrade.runtime.fleet import adaptive_timeout, snapshot_fetcher
from tests.shelf import Shelf, ShelfStore
from tests.unit.runtime.doing import Boom, classes_of, stats_of

ill: set[str] = set()
ran: list[str] = []


def feed(user: str) -> list[str]:
    ran.append(user)
    if user in ill:
        raise Boom
    return [f"for {user}"]


@pytest.fixture
def shelf() -> Iterator[Shelf]:
    ill.clear()
    ran.clear()
    yield Shelf()
    ill.clear()


class Fleet:
    """Two runtimes with one store; `here` says which one the process is at the moment."""

    def __init__(self, shelf: Shelf, clock: ManualClock) -> None:
        self.shelf, self.clock = shelf, clock
        self.store = ShelfStore(shelf, clock)
        self.control = Control(self.store, actor="ana", clock=clock)
        self.one, self.other = self.process(), self.process()

    def process(self, threads: str = "manual") -> Runtime:
        return Runtime(self.store, clock=self.clock, threads=threads, rng=random.Random(7))  # type: ignore[arg-type] # a word of the three

    def here(self, runtime: Runtime) -> Runtime:
        before = current_runtime.swap(runtime)
        if before is not None:
            before.let_go()
        runtime.adopt_all()
        runtime.refresh()
        runtime.tick()
        return runtime

    def degrade(self) -> None:
        self.control.hold("feed", HoldMode.DEGRADED, for_=None, reason="drill")

    def shared(self, runtime: Runtime) -> dict[str, int]:
        return {how.value: n for how, n in stats_of(runtime, "feed").sharing.items() if n}


@pytest.fixture
def fleet(shelf: Shelf, clock: ManualClock, forget_flags: None) -> Iterator[Fleet]:
    before = current_runtime.existing()
    yield Fleet(shelf, clock)
    current_runtime.swap(before)


def guarded(**settings: object) -> Callable[[str], list[str]]:
    rung = snapshot(**{"max_age": "1h", **settings})  # type: ignore[arg-type] # settings of tests
    return degradable("feed", fallback=[rung, default(["nothing"])])(feed)


def warm(fleet: Fleet, fn: Callable[[str], list[str]], *users: str) -> None:
    """Let one process capture and send, then be the other one, degraded."""
    fleet.here(fleet.one)
    for user in users:
        fn(user)
    fleet.clock.advance(1)
    fleet.one.tick()
    fleet.degrade()
    fleet.here(fleet.other)


def test_a_cold_process_serves_what_another_captured_with_its_true_age(fleet: Fleet):
    fn = guarded()
    warm(fleet, fn, "u1")
    fleet.clock.advance(60)
    with request() as current:
        assert fn("u1") == ["for u1"]
    (note,) = current.served
    assert (note.rung, note.age_s) == (RungKind.SNAPSHOT, 61.0)
    assert fn("u1") == ["for u1"]
    assert len(fleet.shelf.asked) == 1
    assert ran == ["u1"]
    assert classes_of(fleet.other, "feed") == {"degraded": 2}
    assert fleet.one.tier.book("feed", feed.__code__).sharing == {Sharing.SENT: 1}
    assert fleet.shared(fleet.other) == {"hit": 1}


def test_a_failed_call_asks_too_on_its_way_down_the_ladder(fleet: Fleet):
    fn = guarded()
    fleet.here(fleet.one)
    fn("u1")
    fleet.one.tick()
    fleet.here(fleet.other)
    ill.add("u1")
    assert fn("u1") == ["for u1"]
    assert fleet.shared(fleet.other) == {"hit": 1}


def test_a_healthy_call_never_asks(fleet: Fleet):
    fn = guarded()
    fleet.here(fleet.other)
    assert fn("u1") == ["for u1"]
    assert fn("u1") == ["for u1"]
    assert fleet.shelf.asked == []


def test_a_result_of_the_ladder_is_never_shared(fleet: Fleet):
    fn = guarded()
    fleet.here(fleet.one)
    ill.add("u1")
    assert fn("u1") == ["nothing"]
    fleet.clock.advance(1)
    fleet.one.tick()
    assert fleet.shelf.bodies == {}


def test_what_is_served_is_not_captured_and_sent_again(fleet: Fleet):
    fn = guarded()
    warm(fleet, fn, "u1")
    for _ in range(3):
        fleet.clock.advance(100)
        assert fn("u1") == ["for u1"]
        fleet.other.tick()
    assert fleet.shelf.batches == [1]


def test_a_missing_key_costs_one_question_for_a_while(fleet: Fleet):
    fn = guarded()
    warm(fleet, fn)
    for _ in range(10):
        assert fn("u1") == ["nothing"]
    assert len(fleet.shelf.asked) == 1
    fleet.clock.advance(snapshot_fetcher.MISS_S)
    assert fn("u1") == ["nothing"]
    assert len(fleet.shelf.asked) == 2
    assert fleet.shared(fleet.other) == {"miss": 2}


def test_a_value_that_cannot_be_used_is_asked_for_again_later_still(fleet: Fleet):
    fn = guarded()
    warm(fleet, fn, "u1")
    (place,) = fleet.shelf.bodies
    fleet.shelf.bodies[place] = b"\x80\x04K\x01."
    assert fn("u1") == ["nothing"]
    fleet.clock.advance(snapshot_fetcher.REFUSED_S - 0.1)
    assert fn("u1") == ["nothing"]
    assert fleet.shared(fleet.other) == {"refused": 1}
    fleet.clock.advance(0.2)
    assert fn("u1") == ["nothing"]
    assert fleet.shared(fleet.other) == {"refused": 2}


def test_subjects_never_share_through_the_store_unless_told_so(fleet: Fleet):
    fn = guarded()
    fleet.here(fleet.one)
    with request("ana"):
        fn("u1")
    fleet.clock.advance(1)
    fleet.one.tick()
    fleet.degrade()
    fleet.here(fleet.other)
    with request("ben"):
        assert fn("u1") == ["nothing"]
    assert fn("u1") == ["nothing"]
    with request("ana"):
        assert fn("u1") == ["for u1"]


def test_off_never_asks_and_what_was_made_before_its_end_is_never_served(fleet: Fleet):
    fn = guarded()
    fleet.here(fleet.one)
    fn("u1")
    fleet.one.tick()
    fleet.control.hold("feed", HoldMode.OFF, for_=None, reason="wrong content")
    fleet.here(fleet.other)
    assert fn("u1") == ["nothing"]
    assert fleet.shelf.asked == []
    fleet.clock.advance(1)
    fleet.control.release("feed", reason="fixed", now=True)
    fleet.degrade()
    fleet.other.refresh()
    assert fn("u1") == ["nothing"]
    assert fleet.shared(fleet.other) == {"refused": 1}


def test_a_process_that_never_saw_the_off_serves_nothing_from_before_its_end(fleet: Fleet):
    fn = guarded()
    fleet.here(fleet.one)
    fn("u1")
    fleet.one.tick()
    fleet.control.hold("feed", HoldMode.OFF, for_=None, reason="wrong content")
    fleet.clock.advance(1)
    fleet.control.release("feed", reason="fixed", now=True)
    fleet.clock.advance(1)
    fleet.one.refresh()
    fn("u2")
    fleet.clock.advance(1)
    fleet.one.tick()
    fleet.degrade()
    fleet.here(fleet.other)
    assert fn("u1") == ["nothing"]
    assert fn("u2") == ["for u2"]  # made after the end, though before this process looked


def test_before_the_time_of_the_store_is_known_nothing_is_sent_or_asked(fleet: Fleet):
    fn = guarded()
    current_runtime.swap(fleet.one)
    fn("u1")
    ill.add("u2")
    assert fn("u2") == ["nothing"]
    assert fleet.shelf.asked == []
    fleet.one.refresh()
    fleet.clock.advance(1)
    fleet.one.tick()
    assert fleet.shelf.bodies == {}


def test_no_age_is_judged_by_the_clock_of_a_host(fleet: Fleet, clock: ManualClock):
    fn = guarded(max_age=60)
    warm(fleet, fn, "u1")
    here = ManualClock(wall_s=clock.wall() + 5_000)
    other = Runtime(fleet.store, clock=here, threads="manual")
    fleet.here(other)
    with request():
        assert fn("u1") == ["for u1"]
        (note,) = served()
    assert note.age_s == pytest.approx(1.0)


def test_an_inline_runtime_does_not_ask(fleet: Fleet):
    fn = guarded()
    warm(fleet, fn, "u1")
    fleet.here(fleet.process("inline"))
    assert fn("u1") == ["nothing"]
    assert fleet.shelf.asked == []


def test_a_store_that_fails_is_left_alone_for_longer_each_time(fleet: Fleet):
    fn = guarded()
    warm(fleet, fn, *(f"u{i}" for i in range(5)))
    fleet.shelf.sick = True
    assert fn("u0") == ["nothing"]
    assert fn("u1") == ["nothing"]
    assert len(fleet.shelf.asked) == 1
    fleet.clock.advance(adaptive_timeout.PAUSE_S)
    assert fn("u1") == ["nothing"]
    fleet.clock.advance(1.9 * adaptive_timeout.PAUSE_S)
    assert fn("u1") == ["nothing"]
    assert len(fleet.shelf.asked) == 2
    fleet.shelf.sick = False
    fleet.clock.advance(0.2 * adaptive_timeout.PAUSE_S)
    assert fn("u1") == ["for u1"]
    assert fn("u2") == ["for u2"]
    assert fleet.shared(fleet.other) == {"failed": 2, "unasked": 2, "hit": 2}
    assert fleet.other.internal_errors.counts["shared_snapshot"] == 2


def test_the_pause_has_an_end(fleet: Fleet):
    fn = guarded()
    warm(fleet, fn)
    fleet.shelf.sick = True
    for i in range(12):
        fn(f"u{i}")
        fleet.clock.advance(adaptive_timeout.MOST_PAUSE_S)
    assert len(fleet.shelf.asked) == 12


def test_a_ladder_without_an_answer_still_raises_ours_alone(fleet: Fleet):
    fn = degradable("feed", fallback=[snapshot(max_age="1h")])(feed)
    warm(fleet, fn)
    fleet.shelf.sick = True
    with pytest.raises(UnavailableError):
        fn("u1")
    ill.add("u2")
    fleet.control.release("feed", reason="drill over", now=True)
    fleet.other.refresh()
    with pytest.raises(Boom):
        fn("u2")


def test_a_transform_that_breaks_is_a_rung_that_cannot_serve(fleet: Fleet):
    fn = guarded(transform=lambda stories: 1 / 0)
    warm(fleet, fn, "u1")
    assert fn("u1") == ["nothing"]
    assert stats_of(fleet.other, "feed").drops == {"rung_snapshot": 1}


def test_sending_takes_its_time_and_is_not_lost_with_an_error(fleet: Fleet):
    fn = guarded()
    fleet.here(fleet.one)
    fleet.shelf.sick = True
    fn("u1")
    fleet.one.tick()
    assert fleet.one.internal_errors.counts["share"] == 1
    fleet.shelf.sick = False
    fleet.one.tick()
    assert fleet.shelf.bodies == {}
    fleet.clock.advance(1)
    fleet.one.tick()
    assert len(fleet.shelf.bodies) == 1


def test_a_store_that_cannot_tell_the_time_loses_no_result(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
):
    def broken() -> float:
        raise OSError("what time?")

    fn = guarded()
    fleet.here(fleet.one)
    monkeypatch.setattr(fleet.store, "now", broken)
    assert fn("u1") == ["for u1"]
    assert fleet.one.internal_errors.counts["capture"] == 1


def test_functions_whose_names_mean_nothing_elsewhere_are_not_shared(fleet: Fleet):
    tenant = "red"

    def closing_over(user: str) -> list[str]:
        return [tenant, user]

    fn = degradable("feed", fallback=[snapshot(max_age="1h"), omit()])(closing_over)
    warm(fleet, fn, "u1")
    assert fn("u1") is None
    assert (fleet.shelf.asked, fleet.shelf.bodies) == ([], {})


def traced(fn: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(fn)
    def inner(*args: Any) -> Any:
        return fn(*args)

    return inner


class Tenant:
    def __init__(self, name: str) -> None:
        self.name = name

    def feed(self, user: str) -> list[str]:
        return [self.name, user]

    traced = traced(feed)


@pytest.mark.parametrize(
    "make", [lambda tenant: Tenant(tenant).feed, lambda tenant: Tenant(tenant).traced]
)
def test_what_holds_a_tenant_is_not_shared(
    fleet: Fleet, make: Callable[[str], Callable[[str], list[str]]]
):
    rungs = [snapshot(max_age="1h"), omit()]
    warm(fleet, degradable("feed", fallback=rungs)(make("red")), "u1")
    blue = degradable("feed", fallback=rungs)(make("blue"))  # as another process declares it
    assert blue("u1") is None
    assert (fleet.shelf.asked, fleet.shelf.bodies) == ([], {})


@pytest.mark.parametrize(
    ("key", "shared"), [(("user",), False), (lambda user: ("blue", user), True)]
)
def test_two_that_a_function_made_with_one_name_are_shared_only_if_a_function_makes_their_keys(
    fleet: Fleet, key: Any, shared: bool
):
    by_user = snapshot(max_age="1h", key=key)
    for tenant in ("red", "blue"):
        fleet.here(fleet.other)
        fleet.here(fleet.one)
        fn = degradable("feed", fallback=[by_user, omit()])(Tenant(tenant).feed)
    warm(fleet, fn, "u1")
    assert fn("u1") == (["blue", "u1"] if shared else None)
    assert bool(fleet.shelf.bodies) is shared


def test_a_key_that_the_user_names_makes_a_closure_shareable(fleet: Fleet):
    tenant = "red"

    def closing_over(user: str) -> list[str]:
        return [tenant, user]

    by_tenant = snapshot(max_age="1h", key=lambda user: (tenant, user))
    fn = degradable("feed", fallback=[by_tenant, omit()])(closing_over)
    warm(fleet, fn, "u1")
    assert fn("u1") == ["red", "u1"]


def test_two_functions_of_one_flag_with_one_name_are_not_shared(fleet: Fleet):
    def _(user: str) -> list[str]:
        return ["first"]

    first = degradable("feed", fallback=[snapshot(max_age="1h"), omit()])(_)

    def _(user: str) -> list[str]:
        return ["second"]

    second = degradable(flag("feed"), fallback=[snapshot(max_age="1h"), omit()])(_)
    warm(fleet, first, "u1")
    assert first("u1") is None
    assert second("u1") is None
    assert fleet.shelf.bodies == {}


def test_after_a_pause_one_question_at_a_time_is_open_until_one_is_answered(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
):
    fn = guarded()
    warm(fleet, fn)
    fleet.shelf.sick = True
    fn("u1")
    fleet.clock.advance(adaptive_timeout.PAUSE_S)
    asked: list[str] = []

    def meanwhile(flag: str, key: str, *, within_s: float) -> None:
        asked.append(key)
        fn(f"v{len(asked)}")  # another call, while this question is open

    monkeypatch.setattr(fleet.shelf, "get", meanwhile)
    fn("u2")
    assert len(asked) == 1


def test_at_most_so_many_questions_are_open(fleet: Fleet, monkeypatch: pytest.MonkeyPatch):
    fn = guarded()
    warm(fleet, fn)
    asked: list[str] = []

    def meanwhile(flag: str, key: str, *, within_s: float) -> None:
        if len(asked) < 5:
            asked.append(key)
            fn(f"v{len(asked)}")  # another call, while this question is open

    monkeypatch.setattr(adaptive_timeout, "MOST_OPEN", 3)
    monkeypatch.setattr(fleet.shelf, "get", meanwhile)
    fn("u1")
    assert len(asked) == 3
    assert fleet.shared(fleet.other) == {Sharing.MISS.value: 3, Sharing.UNASKED.value: 1}
