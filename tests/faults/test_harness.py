"""The harness itself, over a store that needs no server: what it sees, and that it sees faults."""

from __future__ import annotations

import socket

import pytest

from degrade.control import Control
from degrade.settings import open_store
from tests.faults import promises
from tests.faults.figures import Figures, fold
from tests.faults.recording import sockets_to
from tests.servers.waiting import until

pytestmark = pytest.mark.real

FLAG = "feed.ranking"
ROUNDS = 4
"""Quiet calls and others by turns, so that a burst of noise is in both."""


def control(app, url):
    return Control(open_store(url, namespace=app.namespace), actor="ana")


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_the_application_follows_an_operator_and_keeps_the_promises(application, tmp_path, kind):
    url = f"sqlite:///{tmp_path}/store.db"
    app = application(url, kind=kind, rate=80.0)
    assert [worker.hello["first"] for worker in app.workers] == (
        ["full", "full"] if kind == "sync" else [None, None]
    )
    for _ in range(ROUNDS):
        app.gather("calm", calls=80)
        held = app.mark("warm")
        control(app, url).hold(FLAG, "degraded", for_=None, reason="a test")
        since = app.await_answer(FLAG, "degraded")
        assert 0 < max(since) - held < 5
        app.gather("held", calls=30)
        app.mark("warm")
        control(app, url).release(FLAG, reason="a test", now=True)
        app.await_answer(FLAG, "full")
        app.gather("fault", calls=80)
    reports = app.reports()
    assert set(promises.answers(reports, ["held"], FLAG)) == {"degraded"}
    kept = promises.check(reports, fault=["held", "fault"])
    assert kept.sockets == 0
    assert kept.calls >= 600
    if kind == "async":
        assert kept.lag_s > 0
        assert promises.answers(reports, ["calm"], "inline")["full"] > 0
    assert [worker.stop() for worker in app.everyone] == [0, 0, 0]


def test_an_application_whose_dependency_fails_trips_and_recovers(application):
    app = application("memory://", workers=1)
    app.gather("calm", calls=10)
    app.behave("fail")
    (since,) = app.await_answer(FLAG, "degraded")
    app.await_mode(FLAG, "degraded")
    app.behave("ok")
    app.await_mode(FLAG, "normal")
    (again,) = app.await_answer(FLAG, "full")
    assert again > since
    (report, _) = app.reports()
    assert [change[2] for change in report["changes"]][:2] == ["full", "degraded"]
    assert report["log"]


def test_sockets_are_counted_where_they_lead(redis_server):
    port = frozenset({redis_server.port})
    assert sockets_to(port) == 0
    with socket.create_connection((redis_server.host, redis_server.port)):
        assert sockets_to(port) == 1
        assert sockets_to(frozenset({1})) == 0
    assert sockets_to(port) == 0


def report(guarded, *, control=False, **more):
    """A report as the application makes it; `guarded` are the latencies of both phases."""
    calm, fault = guarded

    def phase(values):
        return {
            "guarded": values, "bare": [0.002] * len(values), "degraded": [], "lag": [], "classes": {},
            "most": {"sockets": 2, "threads": 5}, "seconds": 1.0, "cpu_s": 0.1,
        }  # fmt: skip

    made = {
        "control": control, "errors": [], "thread_errors": [], "stderr": "", "changes": [],
        "log": [[float(at), "line"] for at in range(10)],
        "phases": {"calm": phase(calm), "fault": phase(fault)},
    }  # fmt: skip
    return made | more


def broken(**more):
    return report(([0.002] * 300, [0.002] * 300), **more)


@pytest.mark.parametrize(
    ("reports", "complaint"),
    [
        ([broken(errors=["StoreError"])], "reached a caller"),
        ([broken(thread_errors=["degrade-io died"])], "degrade-io"),
        ([broken(stderr="Traceback")], "Traceback"),
        ([broken(log=[[1.0, "line"]] * 11)], "line"),
        ([report(([0.002] * 300, [0.0031] * 300))], "slower"),
        ([report(([0.002] * 1000, [0.002] * 999 + [0.31]))], "waited"),
    ],
    ids=["exception", "thread", "stderr", "log", "slower", "waited"],
)
def test_every_broken_promise_is_noticed(reports, complaint):
    kept = promises.check([broken()])
    assert (kept.ratio, kept.lines, kept.sockets) == (1.0, 10, 2)
    with pytest.raises(AssertionError, match=complaint):
        promises.check(reports)


def test_too_many_connections_are_noticed():
    with pytest.raises(AssertionError, match="connections"):
        promises.check([broken()], sockets=1)


def test_a_machine_that_slows_everybody_is_no_broken_promise():
    slowed = report(([0.002] * 300, [0.0031] * 300))
    busy = report(([0.002] * 300, [0.0025] * 300), control=True)
    quiet = report(([0.002] * 300, [0.002] * 300), control=True)
    assert promises.check([slowed, busy]).expected_s == 0.0025
    with pytest.raises(AssertionError, match="slower"):
        promises.check([slowed, quiet])
    slowed["phases"]["fault"]["bare"] = [0.0031] * 300
    with pytest.raises(AssertionError, match="slower"):  # what is in our way is in theirs, too
        promises.check([slowed, quiet])


def test_degraded_calls_that_are_slower_than_full_ones_are_noticed():
    waiting = broken()
    waiting["phases"]["fault"]["degraded"] = [0.1] * 300
    with pytest.raises(AssertionError, match="degraded calls"):
        promises.check([waiting])


def test_too_few_calls_are_not_judged():
    few = broken()
    few["phases"]["fault"]["guarded"] = [0.002] * 299
    with pytest.raises(AssertionError, match="too few calls"):
        promises.check([few])


def test_a_thread_that_spins_is_noticed():
    spinning = broken()
    spinning["phases"]["fault"]["cpu_s"] = 0.18
    with pytest.raises(AssertionError, match="busier"):
        promises.check([spinning])


@pytest.mark.parametrize(("slow", "noticed"), [(1, False), (2, True)])
def test_two_slow_calls_of_each_hundred_are_noticed_and_a_burst_is_not(slow, noticed):
    calm = [0.002] * 1000
    each = ([0.002] * (100 - slow) + [0.05] * slow) * 10
    burst = [0.002] * 600 + [0.05] * 400
    assert promises.check([report((calm, burst))]).ratio == 1.0
    if noticed:
        with pytest.raises(AssertionError, match="slower"):
            promises.check([report((calm, each))])
    else:
        assert promises.check([report((calm, each))]).ratio == 1.0


def test_lines_are_counted_over_the_worst_minute():
    assert promises.most_in_a_minute([]) == 0
    assert promises.most_in_a_minute([[float(at), ""] for at in range(0, 120, 10)]) == 7


def test_figures_become_a_page(tmp_path):
    figures = Figures()
    figures.write(tmp_path)
    assert list(tmp_path.iterdir()) == []
    figures.about("T01 redis_frozen", "SIGSTOP for 20 s")
    figures.note("converged after", 0.1234, "2 s", unit="s")
    figures.keep(promises.check([broken()]))
    figures.write(tmp_path)
    page = fold(tmp_path)
    assert "## T01 redis_frozen" in page
    assert "| converged after | 123 ms | 2 s |" in page
    assert "| connections a process | 2 | 2 |" in page


def test_a_process_that_is_killed_is_noticed_not_waited_for(application):
    app = application("memory://", workers=1, control=False)
    app.workers[0].process.kill()
    with pytest.raises((AssertionError, BrokenPipeError)):
        until(lambda: app.states() and False)
