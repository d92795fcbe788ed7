"""What a process does by itself: judge its own calls while Redis is gone, and drill on purpose."""

from __future__ import annotations

import pytest

from tests.faults import promises
from tests.faults.steps import A_SECOND, FLAGS, FOLLOWED, HELD, hold_one, operator

pytestmark = [pytest.mark.real, pytest.mark.faults, pytest.mark.timeout(120)]

DETECTED_S = 2.0
CHANGES = 2 * 3
"""Of the phases of two flags: degraded, recovering, steady; a line each."""
SHARE = 0.10
SHARE_OFF_BY = 0.035
"""Four standard deviations of the share of a thousand draws."""


def test_without_redis_a_failing_dependency_is_noticed_and_recovered_from(
    application, redis_server, figures
):
    figures.about(
        "T11 redis_gone_local",
        "Redis is killed for good; then the dependency of the functions fails, and comes back",
    )
    app = application(redis_server.url, flags=FLAGS, ports=[redis_server.port])
    hold_one(redis_server, app)
    app.gather("calm", calls=3 * A_SECOND)
    redis_server.kill()
    app.add()  # a process that never saw it
    app.gather("fault", calls=2 * A_SECOND)
    failing = app.mark("fault")
    app.behave("fail")
    detected_s = app.await_mode(FOLLOWED, "degraded") - failing
    app.gather("fault", calls=2 * A_SECOND)
    healthy = app.mark("healed")
    app.behave("ok")
    recovered_s = app.await_mode(FOLLOWED, "normal") - healthy
    app.await_answer(FOLLOWED, "full")
    app.gather("fault", calls=A_SECOND)
    reports = app.reports()
    figures.keep(promises.check(reports, changes=CHANGES))
    figures.note("degraded after the dependency failed", detected_s, "2 s", unit="s")
    figures.note("at full traffic after it came back", recovered_s, unit="s")
    assert detected_s < DETECTED_S
    assert all(state["state_age_s"] > 3.0 for state in app.states()), "Redis was gone all the time"
    whoever_saw_redis = [report for report in reports if "calm" in report["phases"]]
    kept = promises.answers(whoever_saw_redis, ["calm", "fault", "healed"], HELD)
    assert set(kept) == {"degraded"}


def test_a_drill_degrades_the_share_that_was_ordered_and_nothing_fails(
    application, redis_server, figures
):
    figures.about(
        "T22 drill", "10 % of the calls are degraded on purpose, half a time with a frozen Redis"
    )
    app = application(redis_server.url, flags=FLAGS, ports=[redis_server.port])
    hold_one(redis_server, app)
    control = operator(redis_server.url, app)
    app.gather("calm", calls=2 * A_SECOND)
    app.mark("begins")
    held = control.hold(FOLLOWED, "degraded", dial="10%", for_=None, reason="a drill", wait="100%")
    assert held.arrived is not None
    assert held.arrived.enough
    app.gather("drill", calls=5 * A_SECOND)
    app.mark("fault")
    redis_server.freeze()
    app.gather("fault", calls=5 * A_SECOND)
    redis_server.thaw()
    app.await_fresh(younger_s=1.5)
    assert {state["flags"][FOLLOWED]["dial"] for state in app.states()} == {SHARE}
    (told,) = [flag for flag in control.status(FOLLOWED).flags if flag.name == FOLLOWED]
    app.mark("ends")
    control.release(FOLLOWED, reason="the drill is over", now=True)
    app.await_mode(FOLLOWED, "normal")  # nine of ten answers were full all the while
    app.gather("calm", calls=A_SECOND)
    reports = app.reports()
    counted = promises.answers(reports, ["drill", "fault"], FOLLOWED)
    share = counted["degraded"] / counted.total()
    figures.keep(promises.check(reports))
    figures.note(
        "calls answered", f"{100 * (1 - counted['raised'] / counted.total()):g} %", "100 %"
    )
    figures.note("share that was degraded", f"{share:.1%} of {counted.total():,}", "10 %")
    figures.note("orders in the log", len(control.events(flag=FOLLOWED)), "2")
    assert counted["raised"] == 0
    assert counted.total() > 1_000
    assert abs(share - SHARE) < SHARE_OFF_BY
    assert told.hold is not None
    assert told.hold.dial == SHARE
    assert promises.answers(reports, ["calm"], FOLLOWED)["degraded"] == 0
