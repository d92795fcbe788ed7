"""T06 lost_hints: hints are lost while a thousand orders are given; nobody stays behind for them."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager

import pytest

from tests.faults import promises
from tests.faults.application import Application, Worker
from tests.faults.figures import shown
from tests.faults.steps import A_SECOND, FLAGS, FOLLOWED, HELD, hold_one, operator
from tests.servers.redis_server import RedisServer
from tests.servers.waiting import until

pytestmark = [pytest.mark.real, pytest.mark.faults, pytest.mark.timeout(120)]

FLIPS = 1_000
EACH_S = 0.012
"""The pace of the orders, so that those who listen are cut off between them."""
ONE_POLL_S = 1.2
"""A second, and a fifth of it by jitter."""


@contextmanager
def cut_off_twenty_times_a_second(server: RedisServer) -> Iterator[list[int]]:
    """Kill the connections of all who listen, again and again; yields how many were killed."""
    over = threading.Event()
    killed: list[int] = []

    def cut() -> None:
        with closing(server.client()) as client:
            while not over.wait(0.05):
                killed.append(int(client.execute_command("CLIENT", "KILL", "TYPE", "pubsub")))

    cutting = threading.Thread(target=cut)
    cutting.start()
    try:
        yield killed
    finally:
        over.set()
        cutting.join(10.0)


def listeners(server: RedisServer) -> int:
    return server.cli("CLIENT", "LIST", "TYPE", "pubsub").count("id=")


def overrun(server: RedisServer, app: Application, deaf: Worker) -> None:
    """Let others shout into the channel while a process does not listen, until it is cut off."""
    channel = f"degrade:{{{app.namespace}}}:hint"
    shout = "x" * 20_000
    before = listeners(server)
    deaf.freeze()
    try:
        with closing(server.client()) as client:

            def cut_off() -> bool:
                for _ in range(50):
                    client.publish(channel, shout)
                return listeners(server) < before

            until(cut_off, what="the one that does not read to be cut off")
    finally:
        deaf.thaw()


def test_a_thousand_orders_arrive_though_their_hints_are_lost(application, servers, figures):
    """Beside the poll, what counts is what asking takes, and how late threads are without us."""
    figures.about(
        "T06 lost_hints",
        "Those who listen are cut off 20 times a second, one by a full buffer, during 1,000 orders",
    )
    server = servers.redis(config={"client-output-buffer-limit": "pubsub 1mb 256kb 10"})
    app = application(server.url, flags=FLAGS, ports=[server.port], workers=3)
    hold_one(server, app)
    control = operator(server.url, app)
    app.gather("calm", calls=3 * A_SECOND)
    asked_s = max(asking_takes_s(app) for _ in range(10))
    app.mark("fault")
    with cut_off_twenty_times_a_second(server) as killed:
        pace = threading.Event()
        for number in range(FLIPS):
            due = time.monotonic() + EACH_S
            mode = "normal" if number % 2 else "degraded"
            epoch = control.hold(FOLLOWED, mode, for_=None, reason=f"flip {number}").epoch
            pace.wait(max(0.0, due - time.monotonic()))
        given = time.monotonic()
    diverged_s = everybody_has(app, epoch) - given
    assert {state["flags"][FOLLOWED]["mode"] for state in app.states()} == {"normal"}
    app.gather("warm", calls=A_SECOND)  # what a frozen process takes is no news
    until(lambda: listeners(server) == 3, what="everybody to listen again")
    overrun(server, app, app.workers[0])
    epoch = control.hold(FOLLOWED, "degraded", for_=None, reason="the last").epoch
    given = time.monotonic()
    overrun_s = everybody_has(app, epoch) - given
    app.await_answer(FOLLOWED, "degraded")
    app.gather("calm", calls=2 * A_SECOND)
    reports = app.reports()
    figures.keep(promises.check(reports))
    figures.note("connections of listeners killed", sum(killed))
    figures.note("orders", FLIPS)
    limit_s = ONE_POLL_S + asked_s + promises.late_without_s(reports, ["calm", "fault"])
    figures.note("all agree after the last order", diverged_s, shown(limit_s, "s"), unit="s")
    figures.note("all agree after a full buffer", overrun_s, shown(limit_s, "s"), unit="s")
    assert sum(killed) > 50
    assert diverged_s <= limit_s
    assert overrun_s <= limit_s
    assert set(promises.answers(reports, ["calm", "fault"], HELD)) == {"degraded"}


def asking_takes_s(app: Application) -> float:
    """Return how long it takes to see an epoch that everybody has."""
    began = time.monotonic()
    return everybody_has(app, 0) - began


def everybody_has(app: Application, epoch: int) -> float:
    """Wait until every process obeys an epoch, and return when that was seen."""
    until(
        lambda: all(state["epoch"] >= epoch for state in app.states()),
        what=f"everybody to obey the epoch {epoch}",
    )
    return time.monotonic()
