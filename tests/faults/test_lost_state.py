"""A Redis that forgets, goes back, or carries out late what was ordered long ago."""

from __future__ import annotations

import time
import uuid
from contextlib import closing

import pytest

from degrade.errors import StoreError
from tests.faults import promises
from tests.faults.steps import (
    A_SECOND,
    FLAGS,
    FOLLOWED,
    HELD,
    by_hand,
    followed,
    hold_one,
    holds,
    operator,
)
from tests.servers.waiting import until

pytestmark = [pytest.mark.real, pytest.mark.timeout(120)]

RESTORED_S = 3.0


def flush(server, app):
    server.cli("FLUSHALL")


def evict(server, app):
    """Let other keys fill the memory until the server gives up the holds for them."""
    server.cli("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
    used = int(server.info("memory")["used_memory"])
    server.cli("CONFIG", "SET", "maxmemory", used + 1_000_000)
    with closing(server.client()) as client:
        before = int(client.info("stats")["evicted_keys"])

        def gone():
            """Write a little, and look at once: whoever restores the holds is fast."""
            pipe = client.pipeline(transaction=True)
            for _ in range(20):
                pipe.set(f"other:{uuid.uuid4().hex}", b"x" * 5_000)
            pipe.exists(holds(app))
            return not pipe.execute()[-1]

        until(gone, within_s=20.0, every_s=0.0, what="the holds to be evicted")
        assert int(client.info("stats")["evicted_keys"]) > before
        server.cli("CONFIG", "SET", "maxmemory", 0)


def restart_empty(server, app):
    server.restart()


def forget_scripts(server, app):
    server.cli("SCRIPT", "FLUSH")


WIPES = {
    "FLUSHALL": flush,
    "eviction": evict,
    "restart without data": restart_empty,
    "SCRIPT FLUSH": forget_scripts,
}


def restorations(server, app):
    """Return how often the log of the store says that it was restored."""
    return server.cli("XRANGE", f"degrade:{{{app.namespace}}}:events", "-", "+").count('"restored"')


def test_whatever_is_wiped_stays_in_force_and_is_restored_by_one(
    application, redis_server, figures
):
    figures.about("T12 wipe", "everything is deleted, in four ways, one after the other")
    app = application(redis_server.url, flags=FLAGS, ports=[redis_server.port], workers=3)
    hold_one(redis_server, app)
    for number, (name, wipe) in enumerate(WIPES.items()):
        app.gather("calm", calls=2 * A_SECOND)
        wiped = app.mark("fault")
        wipe(redis_server, app)
        until(
            lambda: redis_server.cli("HGET", holds(app), HELD),
            within_s=10.0, every_s=0.02, what=f"the hold to be restored after {name}",
        )  # fmt: skip
        restored_s = time.monotonic() - wiped
        app.gather("fault", calls=2 * A_SECOND)
        if name != "SCRIPT FLUSH":
            assert restorations(redis_server, app) == 1, name
            redis_server.cli("XTRIM", f"degrade:{{{app.namespace}}}:events", "MAXLEN", 0)
            figures.note(f"restored after {name}", restored_s, f"{RESTORED_S:g} s", unit="s")
            assert restored_s < RESTORED_S, name
        app.mark("healed")
        followed(redis_server, app, after=wiped, word="normal" if number % 2 else "degraded")
    app.gather("calm", calls=A_SECOND)
    reports = app.reports()
    wrong = promises.answers(reports, ["calm", "fault", "healed"], HELD)
    figures.keep(promises.check(reports))
    figures.note("answers against the hold", f"{wrong['full']}", "0")
    assert set(wrong) == {"degraded"}


@pytest.mark.slow
def test_a_write_that_timed_out_never_beats_a_newer_one(application, redis_server, figures):
    figures.about("T14 zombie_write", "SIGSTOP, an order that times out, SIGCONT, a newer order")
    app = application(redis_server.url, flags=FLAGS, ports=[redis_server.port])
    hold_one(redis_server, app)
    control = operator(redis_server.url + "?timeout=300ms", app)
    control.hold(FOLLOWED, "normal", for_=None, reason="to be connected")
    applied = 0
    for turn in range(3):
        app.gather("calm", calls=A_SECOND)
        app.mark("fault")
        redis_server.freeze()
        with pytest.raises(StoreError):
            control.hold(FOLLOWED, "degraded", for_=None, reason=f"zombie {turn}")
        app.gather("fault", calls=3 * A_SECOND)  # longer than any deadline of a write
        redis_server.thaw()
        control.hold(FOLLOWED, "normal", for_=None, reason=f"newer {turn}")
        app.await_fresh(younger_s=1.0)
        app.gather("settled", calls=2 * A_SECOND)
        applied += "zombie" in redis_server.cli("HGET", holds(app), FOLLOWED)
    reports = app.reports()
    figures.keep(promises.check(reports))
    served = promises.answers(reports, ["calm", "fault", "settled"], FOLLOWED)
    figures.note("late orders in force", applied, "0")
    figures.note("answers by late orders", served["degraded"], "0")
    assert applied == 0
    assert set(served) == {"full"}


@pytest.mark.faults
def test_the_newest_order_of_the_newest_life_wins_after_a_split(
    application, servers, redis_server, figures
):
    figures.about("T13 epoch_back", "a primary and its replica both take orders, then one follows")
    second = servers.redis(config={"replicaof": f"{redis_server.host} {redis_server.port}"})
    app = application(redis_server.url, flags=FLAGS, ports=[redis_server.port])
    hold_one(redis_server, app)
    until(lambda: second.cli("HGET", holds(app), HELD), what="the replica to have it")
    app.gather("calm", calls=A_SECOND)
    second.cli("REPLICAOF", "NO", "ONE")
    app.mark("fault")
    for word in ("degraded", "normal", "degraded", "normal"):
        followed(redis_server, app, after=time.monotonic(), word=word)
    by_hand(second, app, FOLLOWED, "normal")
    redis_server.cli("REPLICAOF", second.host, second.port)  # it goes back to older data
    until(lambda: redis_server.info("replication")["master_link_status"] == "up")
    redis_server.cli("REPLICAOF", "NO", "ONE")
    converged = followed(redis_server, app, after=time.monotonic())
    app.gather("fault", calls=3 * A_SECOND)
    app.gather("calm", calls=A_SECOND)
    reports = app.reports()
    figures.keep(promises.check(reports))
    figures.note("converged after the rejoin", converged, "5 s", unit="s")
    assert converged < 5.0
    assert set(promises.answers(reports, ["calm", "fault"], HELD)) == {"degraded"}
