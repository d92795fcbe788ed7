"""A fleet of real processes without any fault: what all of them do together."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator

import pytest

from degrade.control import Control
from degrade.core.records import Event
from degrade.settings import open_store
from tests.servers.waiting import until

pytestmark = pytest.mark.real

FLAG = "feed.ranking"
POLL_S = 1.2


@pytest.fixture
def fleet(application, redis_server):
    """Three processes, on a server of their own, and the door for humans."""
    app = application(redis_server.url, workers=3)
    store = open_store(redis_server.url, namespace=app.namespace)
    until(store.flags, what="the flags to be declared")
    yield app, Control(store, actor="ana"), store
    store.close()


def test_a_toggle_reaches_every_process_by_a_hint(fleet):
    app, control, _ = fleet
    app.gather("calm", calls=20)
    late = []
    for _ in range(5):
        began = time.monotonic()
        control.hold(FLAG, "degraded", for_=None, reason="a test")
        late.append(max(app.await_answer(FLAG, "degraded")) - began)
        control.release(FLAG, reason="a test", now=True)
        app.await_answer(FLAG, "full")
    assert min(late) < 0.5  # of five polls in a row, none is so early for three processes
    assert max(late) < 5


def test_a_word_by_redis_cli_degrades_the_fleet_within_a_poll(fleet, redis_server):
    app, _, store = fleet
    app.gather("calm", calls=20)
    holds = f"degrade:{{{app.namespace}}}:holds"
    late = []
    for _ in range(2):
        began = time.monotonic()
        redis_server.cli("HSET", holds, FLAG, "degraded")
        late.append(max(app.await_answer(FLAG, "degraded")) - began)
        redis_server.cli("HDEL", holds, FLAG)
        until(lambda: not store.read().holds, what="the release to be adopted")
        app.await_mode(FLAG, "normal")
    assert min(late) < POLL_S + 0.5
    assert {event.actor for event in store.events(flag=FLAG) if event.type == "hold"} == {
        "redis-cli"
    }


def test_a_process_that_starts_later_begins_with_what_was_ordered(fleet):
    app, control, _ = fleet
    control.hold(FLAG, "off", for_=None, reason="a test")
    app.await_answer(FLAG, "degraded")
    late = app.add()
    until(lambda: late.state()["flags"][FLAG]["mode"] == "off", what="the new process to follow")


def test_most_of_a_fleet_degrades_all_of_it_and_one_instance_tries_first(fleet, redis_server):
    app, _, store = fleet
    control_key = f"degrade:{{{app.namespace}}}:control"
    until(lambda: len(store.instances()) == 3, what="three heartbeats")
    redis_server.cli("HSET", control_key, "not_before", "0")  # it is older than it looks
    redis_server.cli("HINCRBY", control_key, "epoch", "1")
    sick = app.workers[:2]
    app.behave("fail", only=sick)
    until(lambda: FLAG in store.read().verdicts, what="a verdict of the fleet")
    app.await_answer(FLAG, "degraded", within_s=10)  # the healthy one, too
    app.behave("ok", only=sick)
    app.await_mode(FLAG, "normal", within_s=40)
    until(lambda: FLAG not in store.read().verdicts, what="the verdict to be over")
    types = [event.type for event in store.events(flag=FLAG)]
    assert types.count("fleet_degraded") == 1
    assert types.count("fleet_over") == 1
    ids = [worker.state()["instance"] for worker in app.workers]
    told = sorted(store.events(flag=FLAG), key=lambda event: event.at)
    begun, on = (
        next(event.at for event in told if event.type == type_)
        for type_ in ("fleet_degraded", "fleet_recovering")
    )
    spans = sorted(span for one in ids for span in _first_tries(told, one, begun, on))
    assert spans  # somebody tried, or the fleet could not be recovering
    assert all(end <= begin for (_, end), (begin, _) in itertools.pairwise(spans)), told


def _first_tries(
    told: list[Event], instance: str, begun: float, on: float
) -> Iterator[tuple[float, float]]:
    """Give the spans of an instance's first steps between a verdict and the fleet's recovery."""
    own = [event for event in told if event.instance == instance and event.type == "transition"]
    for event, after in itertools.pairwise(own):
        heard_before = "fleet breach" not in after.cause
        if event.cause == "cooldown over" and begun < event.at < on and heard_before:
            yield event.at, min(after.at, on)


def test_one_sick_instance_degrades_itself_alone(fleet, redis_server):
    app, _, store = fleet
    redis_server.cli("HSET", f"degrade:{{{app.namespace}}}:control", "not_before", "0")
    redis_server.cli("HINCRBY", f"degrade:{{{app.namespace}}}:control", "epoch", "1")
    sick, *others = app.workers
    app.behave("fail", only=[sick])
    until(lambda: sick.state()["flags"][FLAG]["mode"] == "degraded", what="it to degrade")
    until(
        lambda: store.read() and redis_server.cli("HLEN", f"degrade:{{{app.namespace}}}:votes") != "0",
        what="its vote",
    )  # fmt: skip
    app.gather("voted", calls=60)
    assert store.read().verdicts == {}
    assert [one.state()["flags"][FLAG]["mode"] for one in others] == ["normal", "normal"]
