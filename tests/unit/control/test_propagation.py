"""Waiting until a change has arrived: who counts, who is named, and when it ends."""

from __future__ import annotations

import pytest

from degrade.control import Control
from degrade.core.records import FlagInfo, InstanceReport
from degrade.errors import ConfigError, StoreError
from degrade.stores.local_holds import LocalHolds
from degrade.stores.memory import MemoryStore


class Passing:
    """Time that passes while somebody sleeps, and what happens meanwhile."""

    def __init__(self, clock):
        self.clock = clock
        self.begun = clock.monotonic()
        self.sleeps = []
        self.plans = []

    def at(self, after_s, act):
        self.plans.append((after_s, act))

    def __call__(self, sleep_s):
        self.sleeps.append(sleep_s)
        self.clock.advance(sleep_s)
        gone_s = self.clock.monotonic() - self.begun
        for plan in [plan for plan in self.plans if plan[0] <= gone_s]:
            self.plans.remove(plan)
            plan[1]()


class Failing(MemoryStore):
    """A store whose heartbeats cannot be read for a while, or are many."""

    def __init__(self, clock):
        super().__init__(clock=clock)
        self.passing = clock
        self.dead = False
        self.takes_s = 0.0

    def instances(self, *, within_s=600.0):
        self.passing.advance(self.takes_s)
        if self.dead:
            raise StoreError("it is frozen")
        return super().instances(within_s=within_s)


@pytest.fixture
def store(clock):
    store = Failing(clock)
    store.declare([FlagInfo(name="feed", level=2)])
    return store


@pytest.fixture
def sleep(clock):
    return Passing(clock)


@pytest.fixture
def control(store, clock, tmp_path, sleep):
    local = LocalHolds(directory=tmp_path, clock=clock)
    return Control(store, actor="ana", clock=clock, local=local, sleep=sleep)


@pytest.fixture
def beat(store):
    def beat(*names, epoch):
        for name in names:
            report = InstanceReport(
                id=name, host=f"host-{name}", pid=7, version="1", started=0.0, at=0.0, epoch=epoch
            )
            store.report(report)

    return beat


def held(control, **more):
    return control.hold("feed", "off", for_="30m", reason="bad", **more)


def test_without_being_asked_nobody_waits(control, beat, sleep):
    beat("a", epoch=0)
    assert held(control).arrived is None
    assert sleep.sleeps == []


def test_it_returns_as_soon_as_enough_have_applied_it(control, beat, sleep):
    beat("a", "b", "c", "d", epoch=0)
    sleep.at(0.5, lambda: beat("a", "b", epoch=1))
    sleep.at(0.9, lambda: beat("c", epoch=1))
    arrived = held(control, wait="75%", timeout="10s").arrived
    assert (arrived.enough, arrived.applied, arrived.instances) == (True, 3, 4)
    assert arrived.after_s == pytest.approx(1.0)
    assert [item.id for item in arrived.missing] == ["d"]
    assert (arrived.epoch, arrived.trouble) == (1, None)


def test_whoever_reports_a_later_epoch_has_applied_it(control, beat, sleep):
    beat("a", epoch=40)
    assert held(control, wait="100%").arrived.enough
    assert sleep.sleeps == []


def test_99_percent_of_three_are_all_three_and_of_two_hundred_all_but_two(control, beat, sleep):
    beat("a", "b", epoch=9)
    beat("c", epoch=0)
    assert not held(control, wait="99%", timeout="1s").arrived.enough
    beat(*(f"n{number}" for number in range(195)), epoch=9)
    assert control.wait_applied(1, share="99%").enough
    beat("d", "e", epoch=0)
    assert not control.wait_applied(1, share="99%", timeout="1s").enough


def test_when_the_time_is_over_the_missing_are_named_with_where_and_since_when(
    control, beat, sleep, clock
):
    beat("frozen", epoch=0)
    clock.advance(45)
    beat("slow", epoch=0)
    sleep.at(0, lambda: beat("good", epoch=1))
    arrived = held(control, wait="99%", timeout="10s").arrived
    assert (arrived.enough, arrived.applied, arrived.instances) == (False, 1, 3)
    assert arrived.after_s == pytest.approx(10)
    slow, frozen = arrived.missing
    assert (slow.host, slow.pid, slow.epoch, slow.silent) == ("host-slow", 7, 0, False)
    assert (frozen.id, frozen.silent) == ("frozen", True)
    assert frozen.heard_s == pytest.approx(55)


def test_it_looks_a_few_times_a_second_and_never_past_its_end(control, beat, sleep):
    beat("a", epoch=0)
    held(control, wait="99%", timeout="1.5s")
    assert sum(sleep.sleeps) == pytest.approx(1.5)
    assert 5 <= len(sleep.sleeps) <= 10


@pytest.mark.parametrize("dead", [False, True])
def test_it_reads_for_at_most_half_of_the_time(control, store, beat, sleep, dead):
    beat("a", epoch=0)
    store.takes_s, store.dead = 1.0, dead
    held(control, wait="99%", timeout="5.5s")
    assert sleep.sleeps == pytest.approx([1.0, 1.0, 0.5])


def test_without_any_instance_nothing_has_arrived(control, sleep):
    arrived = held(control, wait="1%", timeout="2s").arrived
    assert (arrived.enough, arrived.applied, arrived.instances) == (False, 0, 0)
    assert arrived.after_s == pytest.approx(2)


def test_who_said_goodbye_or_was_silent_for_ten_minutes_is_not_waited_for(
    control, store, beat, sleep, clock
):
    beat("gone", epoch=0)
    clock.advance(601)
    beat("leaving", epoch=0)
    beat("good", epoch=1)
    sleep.at(1, lambda: store.goodbye("leaving"))
    arrived = held(control, wait="100%").arrived
    assert (arrived.enough, arrived.instances, arrived.missing) == (True, 1, ())


def test_a_store_that_cannot_be_read_meanwhile_is_asked_again(control, store, beat, sleep):
    beat("a", epoch=0)

    def die():
        store.dead = True

    def live():
        store.dead = False
        beat("a", epoch=1)

    sleep.at(0.1, die)
    sleep.at(3, live)
    arrived = held(control, wait="100%").arrived
    assert (arrived.enough, arrived.trouble) == (True, None)
    store.dead = True
    arrived = control.wait_applied(1, timeout="1s")
    assert (arrived.enough, arrived.instances, arrived.trouble) == (False, 0, "it is frozen")


def test_every_order_can_be_waited_for(control, beat, sleep):
    beat("a", epoch=100)
    assert held(control, wait=1).arrived.epoch == 1
    assert control.release("feed", reason="x", wait=1).arrived.epoch == 2
    assert control.order_level(3, for_=None, reason="x", wait=1).arrived.epoch == 3
    assert control.release_level(reason="x", wait=1).arrived.epoch == 4
    assert control.release_level(reason="x", wait=1).arrived is None
    assert control.release("feed", reason="x", wait=1).arrived is None
    assert control.release("*", reason="x", wait=1).arrived is None


@pytest.mark.parametrize(
    ("more", "code"),
    [
        ({"wait": 0}, "bad-hold"),
        ({"wait": "0%"}, "bad-hold"),
        ({"wait": 99}, "bad-ratio"),
        ({"wait": "most"}, "bad-ratio"),
        ({"wait": 1, "timeout": "soon"}, "bad-duration"),
        ({"wait": 1, "local": True}, "bad-hold"),
    ],
)
def test_what_cannot_be_waited_for_is_refused_before_anything_is_ordered(
    control, store, more, code
):
    with pytest.raises(ConfigError) as caught:
        held(control, **more)
    assert caught.value.code == code
    assert store.events() == []
    with pytest.raises(ConfigError):
        control.wait_applied(1, share=None)


@pytest.mark.parametrize(
    ("meanwhile", "told"),
    [
        (lambda other: other.release("feed", reason="too early"), ("released", "bob", "too early")),
        (
            lambda other: other.hold("feed", "normal", for_="1m", reason="no"),
            ("hold", "bob", "no"),
        ),
        (lambda other: other.release("*", reason="all"), ("released", "bob", "all")),
        (lambda other: other.extend("feed", for_="2h"), None),
        (lambda other: other.hold("*", "normal", for_="1m", reason="no"), None),
        (lambda other: other.order_level(2, for_="1m", reason="no"), None),
    ],
)
def test_an_order_that_was_undone_while_it_was_waited_for_says_by_which(
    store, clock, sleep, tmp_path, meanwhile, told
):
    local = LocalHolds(directory=tmp_path, clock=clock)
    control, other = (
        Control(store, actor=actor, clock=clock, local=local, sleep=sleep)
        for actor in ("ana", "bob")
    )
    sleep.at(0.2, lambda: meanwhile(other))
    found = control.hold("feed", "off", for_="1h", reason="x", wait=1.0, timeout="1s").arrived
    undone = found.undone
    assert (None if undone is None else (undone.type, undone.actor, undone.cause)) == told


def test_a_level_that_was_released_while_it_was_waited_for_says_so(store, clock, sleep, tmp_path):
    local = LocalHolds(directory=tmp_path, clock=clock)
    control = Control(store, actor="ana", clock=clock, local=local, sleep=sleep)
    sleep.at(0.2, lambda: control.release_level(reason="over", actor="bob"))
    found = control.order_level(2, for_="1h", reason="x", wait=1.0, timeout="1s").arrived
    assert (found.undone.type, found.undone.actor) == ("level_released", "bob")
