"""T23 clocks: the time of day of one process jumps, or a process stands still; nothing flips."""

from __future__ import annotations

import time

import pytest

from tests.faults import promises
from tests.faults.steps import CONVERGED_S, FOLLOWED, HELD, by_hand, hold_one, operator
from tests.servers.waiting import until

pytestmark = [pytest.mark.real, pytest.mark.faults, pytest.mark.timeout(120)]

STEADY = "feed.comments"
"""A flag that nobody orders anything for, and that must not flip."""
FLAGS = (FOLLOWED, HELD, STEADY)
A_SECOND = 240
SLOW_A_SECOND = 180
"""Calls of 40 threads, of which half a dozen are on their way at any time."""
STILL_S = 31.0
"""Longer than an instance counts as live without a heartbeat."""


def flips(report, flag):
    """Return how often the answer of a flag changed in a process, after the first one."""
    return max(0, sum(change[1] == flag for change in report["changes"]) - 1)


def test_a_jump_of_the_time_of_day_flips_nothing(application, redis_server, figures):
    figures.about(
        "T23 clocks jump", "the time of day of one process goes an hour ahead, then back two"
    )
    app = application(redis_server.url, flags=FLAGS, ports=[redis_server.port], workers=1)
    astray = app.add(movable=True)
    app.await_fresh()
    control = operator(redis_server.url, app)
    control.hold(HELD, "degraded", for_="30m", reason="shorter than the jump", force=True)
    app.await_answer(HELD, "degraded")
    app.gather("calm", calls=4 * A_SECOND)
    converged = []
    for by_s, word in ((3600.0, "degraded"), (-3600.0, "normal")):
        app.mark("fault")
        astray.ask("shift", by_s=by_s)
        app.gather("fault", calls=4 * A_SECOND)
        ordered = by_hand(redis_server, app, FOLLOWED, word)
        answer = "full" if word == "normal" else word
        converged.append(max(app.await_answer(FOLLOWED, answer)) - ordered)
        app.await_fresh(younger_s=1.5)
    astray.ask("shift", by_s=0.0)
    app.gather("calm", calls=A_SECOND)
    reports = app.reports()
    figures.keep(promises.check(reports))
    flipped = sum(flips(report, STEADY) for report in promises.guarded(reports))
    figures.note("flips", flipped, "0")
    figures.note("an order is followed meanwhile", max(converged), f"{CONVERGED_S} s", unit="s")
    assert flipped == 0
    assert max(converged) < CONVERGED_S
    held = promises.answers(reports, ["calm", "fault"], HELD)
    assert set(held) == {"degraded"}, "half an hour of the server's, not of the process's"


def test_a_process_that_stood_still_flips_nothing_and_reads_first(
    application, redis_server, figures
):
    figures.about(
        "T23 clocks stop", f"a process is stopped for {STILL_S:g} s, in the middle of calls"
    )
    app = application(
        redis_server.url, flags=FLAGS, ports=[redis_server.port], threads=40, rate=1.5,
        takes_s=0.1,
    )  # fmt: skip
    stopped = app.workers[0]
    hold_one(redis_server, app)
    app.gather("calm", calls=3 * SLOW_A_SECOND)
    app.gather(
        "warm", calls=SLOW_A_SECOND
    )  # calls that are stopped on their way take as long as that
    stopped.freeze()
    begun = time.monotonic()
    by_hand(redis_server, app, FOLLOWED, "degraded")
    until(lambda: time.monotonic() - begun > STILL_S, within_s=60.0, every_s=0.1, what="time")
    thawed = time.monotonic()
    stopped.thaw()
    app.await_answer(FOLLOWED, "degraded")
    followed_s = time.monotonic() - thawed
    app.await_fresh(younger_s=1.5)
    app.gather("fault", calls=5 * SLOW_A_SECOND)
    states = app.states()
    app.gather("calm", calls=SLOW_A_SECOND)
    reports = app.reports()
    figures.keep(promises.check(reports))
    flipped = sum(flips(report, STEADY) for report in promises.guarded(reports))
    figures.note("flips", flipped, "0")
    figures.note("what was ordered meanwhile is followed", followed_s, f"{CONVERGED_S} s", unit="s")
    assert flipped == 0
    assert {state["flags"][STEADY]["phase"] for state in states} == {"steady"}
    assert followed_s < CONVERGED_S
    assert set(promises.answers(reports, ["calm", "fault"], HELD)) == {"degraded"}
