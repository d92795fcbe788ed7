"""A primary that is replaced: by Sentinel or in a cluster, on purpose or because it is gone."""

from __future__ import annotations

import time

import pytest

from tests.faults import promises
from tests.faults.steps import (
    A_SECOND,
    CONVERGED_S,
    FLAGS,
    HELD,
    followed,
    hold_one,
    holds,
)
from tests.servers.waiting import until

pytestmark = [pytest.mark.real, pytest.mark.timeout(120)]


def ports(fleet):
    return [server.port for server in fleet.servers]


def replaced(trio, old):
    """Wait until the first of the sentinels names another primary."""
    until(
        lambda: any(named(sentinel, trio) != str(old.port) for sentinel in trio.sentinels),
        within_s=20.0, every_s=0.01, what="a failover",
    )  # fmt: skip


def named(sentinel, trio):
    return sentinel.cli("SENTINEL", "GET-MASTER-ADDR-BY-NAME", trio.name).split()[1]


def refusals(app):
    """Return how often each process was refused or left alone by the store."""
    return [state["troubles"].get("store", 0) for state in app.states()]


@pytest.mark.parametrize("how", ["moved", "killed", "frozen", "thawed"])
def test_everybody_follows_the_new_primary_of_the_sentinels(
    application, sentinel_trio, figures, how
):
    """Who is moved, or thawed when it has just been replaced, answers on until it is demoted."""
    figures.about(f"T17 sentinel {how}", f"the primary is {how}, down-after is a second")
    app = application(sentinel_trio.url, flags=FLAGS, ports=ports(sentinel_trio))
    old = sentinel_trio.primary
    hold_one(old, app)
    old.cli("WAIT", 1, 5_000)
    app.gather("calm", calls=3 * A_SECOND)
    begun = app.mark("fault")
    if how == "moved":
        new = sentinel_trio.failover()
    else:
        old.kill() if how == "killed" else old.freeze()
        if how == "thawed":
            replaced(sentinel_trio, old)
            old.thaw()
        new = sentinel_trio.await_other_than(old)
    failed_over = time.monotonic()
    converged = followed(new, app, after=failed_over)
    if how == "frozen":
        old.thaw()  # it still takes itself for the primary
    app.await_fresh()
    refused = refusals(app)
    app.gather("fault", calls=3 * A_SECOND)
    assert refusals(app) == refused, "nobody asks the old primary any more"
    assert followed(new, app, after=time.monotonic(), word="normal") < CONVERGED_S
    app.gather("calm", calls=A_SECOND)
    reports = app.reports()
    figures.keep(promises.check(reports))
    figures.note("until all sentinels named another", failed_over - begun, unit="s")
    figures.note("converged after it", converged, f"{CONVERGED_S} s", unit="s")
    figures.note("silence in all", converged + failed_over - begun, unit="s")
    assert converged < CONVERGED_S
    assert set(promises.answers(reports, ["calm", "fault"], HELD)) == {"degraded"}


@pytest.mark.faults
@pytest.mark.parametrize("how", ["killed", "migrated"])
def test_everybody_follows_the_slot_in_a_cluster(application, redis_cluster, figures, how):
    figures.about(f"T18 cluster {how}", f"the node of the keys is {how}, node timeout is 1.5 s")
    app = application(redis_cluster.url, flags=FLAGS, ports=ports(redis_cluster))
    key = holds(app)
    old = redis_cluster.node_of(key).server
    hold_one(old, app)
    old.cli("WAIT", 1, 5_000)
    app.gather("calm", calls=3 * A_SECOND)
    begun = app.mark("fault")
    if how == "killed":
        redis_cluster.kill_node_of(key)
        new = redis_cluster.await_takeover(key, old)
    else:
        new = redis_cluster.migrate_slot_of(key)
    failed_over = time.monotonic()
    converged = followed(new, app, after=failed_over)
    app.gather("fault", calls=3 * A_SECOND)
    app.gather("calm", calls=A_SECOND)
    reports = app.reports()
    figures.keep(promises.check(reports, sockets=3))
    figures.note("the cluster took", failed_over - begun, unit="s")
    figures.note("converged after it", converged, f"{CONVERGED_S} s", unit="s")
    assert converged < CONVERGED_S
    assert set(promises.answers(reports, ["calm", "fault"], HELD)) == {"degraded"}
