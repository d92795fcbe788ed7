"""A Redis that is frozen, paused or cut off: calls go on at full speed, on the last known state."""

from __future__ import annotations

import contextlib
import threading
import time

import pytest

from tests.faults import promises
from tests.faults.steps import (
    A_SECOND,
    CONVERGED_S,
    FLAGS,
    FOLLOWED,
    HELD,
    by_hand,
    followed,
    hold_one,
)
from tests.servers.namespace import Namespaces
from tests.servers.waiting import until

pytestmark = [pytest.mark.real, pytest.mark.timeout(120)]


def speed(reports):
    """Return calls a second under the fault, to those in calm phases."""
    calm, fault = (
        sum(len(report["phases"][phase]["bare"]) / report["phases"][phase]["seconds"]
            for report in reports)
        for phase in ("calm", "fault")
    )  # fmt: skip
    return fault / calm


@pytest.mark.slow
def test_a_frozen_redis_slows_no_call_and_is_caught_up_with_at_once(
    application, redis_server, figures
):
    figures.about("T01 redis_frozen", "SIGSTOP for twice ten seconds, then SIGCONT")
    app = application(redis_server.url, flags=FLAGS, ports=[redis_server.port])
    hold_one(redis_server, app)
    converged = []
    for word in ("degraded", "normal"):
        app.gather("calm", calls=4 * A_SECOND)
        frozen = app.mark("fault")
        redis_server.freeze()
        app.gather("fault", calls=10 * A_SECOND)
        ages = [state["state_age_s"] for state in app.states()]
        assert min(ages) > time.monotonic() - frozen - 2.5
        app.mark("thawed")
        redis_server.thaw()
        converged.append(followed(redis_server, app, after=time.monotonic(), word=word))
        app.await_fresh()
    app.gather("calm", calls=A_SECOND)
    reports = app.reports()
    figures.keep(promises.check(reports))
    ratio = speed(promises.guarded(reports))
    without = speed([report for report in reports if report["control"]])
    figures.note("calls a second, to calm phases", f"{ratio:.2f}")
    figures.note("the same without the library", f"{without:.2f}")
    figures.note("converged after SIGCONT", max(converged), f"{CONVERGED_S} s", unit="s")
    assert ratio > 0.95 * min(1.0, without)
    assert max(converged) < CONVERGED_S, converged
    assert set(promises.answers(reports, ["calm", "fault", "thawed"], HELD)) == {"degraded"}


@pytest.mark.faults
def test_a_frozen_redis_never_stalls_an_event_loop(application, redis_server, figures):
    figures.about("T02 redis_frozen_async", "SIGSTOP for ten seconds, under an event loop")
    app = application(redis_server.url, flags=FLAGS, ports=[redis_server.port], kind="async")
    hold_one(redis_server, app)
    by_hand(redis_server, app, "inline", "degraded")
    app.await_answer("inline", "degraded")
    app.gather("calm", calls=5 * A_SECOND)
    redis_server.freeze()
    app.gather("fault", calls=10 * A_SECOND)
    redis_server.thaw()
    converged = followed(redis_server, app, after=time.monotonic())
    app.gather("calm", calls=5 * A_SECOND)
    reports = app.reports()
    kept = promises.check(reports)
    figures.keep(kept)
    figures.note("converged after SIGCONT", converged, f"{CONVERGED_S} s", unit="s")
    figures.note("p99 of the event loop's lateness", kept.lag_s, unit="s")
    figures.note("the same without the library", kept.lag_without_s, "5 ms less", unit="s")
    figures.note("the loop's worst lateness", kept.worst_lag_s, "300 ms", unit="s")
    assert kept.lag_s < kept.lag_without_s + 0.005, kept
    assert kept.worst_lag_s < promises.REDIS_TIMEOUT_S + kept.worst_without_s, kept
    assert converged < CONVERGED_S
    assert set(promises.answers(reports, ["calm", "fault"], "inline")) == {"degraded"}


def cut_off_and_joined_again(server, app, way, figures, *, rounds):
    """Lose all packets, then reset all connections, then heal: noticed and healed in three seconds.

    Args:
        server: Where an operator can write all the while.
        app: What reaches it by the way that is cut.
        way: With `blackhole`, `reset` and `heal`.
        figures: Where it is noted.
        rounds: How many times six seconds packets are lost for.
    """
    hold_one(server, app)
    app.gather("calm", calls=4 * A_SECOND)
    before = [state["troubles"].get("store", 0) for state in app.states()]
    cut = app.mark("fault")
    way.blackhole()

    def noticed():
        counts = [state["troubles"].get("store", 0) for state in app.states()]
        return all(now > then for now, then in zip(counts, before, strict=True))

    until(noticed, within_s=10.0, every_s=0.02, what="everybody to notice the partition")
    noticed_s = time.monotonic() - cut
    for _ in range(rounds):
        app.gather("fault", calls=6 * A_SECOND)
    by_hand(server, app, FOLLOWED, "degraded")  # while nobody can see it
    way.heal()
    way.reset()
    app.gather("fault", calls=4 * A_SECOND)
    assert all(state["flags"][FOLLOWED]["answer"] == "full" for state in app.states())
    app.mark("healed")
    way.heal()
    healed = time.monotonic()
    healed_s = max(app.await_answer(FOLLOWED, "degraded")) - healed
    app.gather("calm", calls=2 * A_SECOND)
    reports = app.reports()
    figures.keep(promises.check(reports))
    figures.note("noticed after", noticed_s, "3 s", unit="s")
    figures.note("caught up after", healed_s, "3 s", unit="s")
    assert noticed_s < 3.0
    assert healed_s < 3.0
    assert set(promises.answers(reports, ["calm", "fault", "healed"], HELD)) == {"degraded"}


def test_a_partition_is_noticed_and_healed_within_three_seconds(
    application, redis_server, proxy, figures
):
    figures.about("T05 partition", "nothing comes through for a while, then resets, then all again")
    url = redis_server.url.replace(str(redis_server.port), str(proxy.port))
    app = application(url, flags=FLAGS, ports=[proxy.port])
    figures.note("by", "a proxy in user space")
    cut_off_and_joined_again(redis_server, app, proxy, figures, rounds=1)


@pytest.mark.faults
def test_a_minute_of_lost_packets_is_noticed_and_healed_within_three_seconds(
    application, servers, figures
):
    """With network namespaces; where the machine allows none, by the proxy, and the figure says so."""
    figures.about(
        "T05 partition minute", "packets are lost for a minute, then resets, then all again"
    )
    with contextlib.ExitStack() as stack:
        if why_not := Namespaces.why_not():
            server = servers.redis()
            way = servers.proxy(server)
            figures.note("by", f"a proxy in user space ({why_not})")
            app = application(server.url.replace(str(server.port), str(way.port)),
                              flags=FLAGS, ports=[way.port])  # fmt: skip
        else:
            way = stack.enter_context(Namespaces())
            server = servers.redis(**way.server())
            figures.note("by", "network namespaces, the cable between them pulled out")
            app = application(way.url, flags=FLAGS, ports=[way.port], within=way.client)
        cut_off_and_joined_again(server, app, way, figures, rounds=10)


@pytest.mark.faults
@pytest.mark.parametrize("pause", ["WRITE", "ALL"])
def test_a_paused_redis_slows_no_call(application, redis_server, figures, pause):
    figures.about(f"T15 pause {pause}", f"CLIENT PAUSE {pause} for eight seconds")
    app = application(redis_server.url, flags=FLAGS, ports=[redis_server.port])
    hold_one(redis_server, app)
    app.gather("calm", calls=4 * A_SECOND)
    app.mark("fault")
    redis_server.cli("CLIENT", "PAUSE", 8000, pause)
    app.gather("fault", calls=6 * A_SECOND)
    ages = [state["state_age_s"] for state in app.states()]
    if pause == "WRITE":
        assert max(ages) < 3.0  # reads go on
    redis_server.cli("CLIENT", "UNPAUSE")
    converged = followed(redis_server, app, after=time.monotonic())
    app.gather("calm", calls=2 * A_SECOND)
    reports = app.reports()
    figures.keep(promises.check(reports))
    figures.note("age of the state at the end", max(ages), unit="s")
    figures.note("converged after the pause", converged, f"{CONVERGED_S} s", unit="s")
    assert converged < CONVERGED_S
    assert set(promises.answers(reports, ["calm", "fault"], HELD)) == {"degraded"}


@pytest.mark.faults
def test_a_redis_busy_with_one_long_command_slows_no_call(application, servers, figures):
    figures.about("T15 pause SLEEP", "DEBUG SLEEP for six seconds: nobody is answered meanwhile")
    server = servers.redis(config={"enable-debug-command": "yes"})
    app = application(server.url, flags=FLAGS, ports=[server.port])
    hold_one(server, app)
    app.gather("calm", calls=4 * A_SECOND)
    app.mark("fault")
    busy = threading.Thread(target=server.cli, args=("DEBUG", "SLEEP", 6))
    busy.start()
    app.gather("fault", calls=5 * A_SECOND)
    ages = [state["state_age_s"] for state in app.states()]
    busy.join()
    converged = followed(server, app, after=time.monotonic())
    app.gather("calm", calls=2 * A_SECOND)
    reports = app.reports()
    figures.keep(promises.check(reports))
    figures.note("age of the state at the end", max(ages), unit="s")
    figures.note("converged after the pause", converged, f"{CONVERGED_S} s", unit="s")
    assert min(ages) > 3.0, "nobody was answered"
    assert converged < CONVERGED_S
    assert set(promises.answers(reports, ["calm", "fault"], HELD)) == {"degraded"}
