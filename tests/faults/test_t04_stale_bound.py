"""T04 stale_bound: whoever hears nothing from Redis says for how long, and the exporter says so."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from prometheus_client import CollectorRegistry

from degrade import Runtime, degradable
from degrade.settings import open_store
from degrade.telemetry.prometheus import alone
from tests.faults import promises
from tests.faults.application import Application
from tests.faults.steps import A_SECOND, FLAGS, FOLLOWED, by_hand, hold_one
from tests.servers.waiting import until

pytestmark = [pytest.mark.real, pytest.mark.faults, pytest.mark.timeout(120)]

OFF_BY_S = 1.5
"""A poll of a second and its jitter may lie between the last answer and the fault."""

FRESH_S = 1.5
"""The age of a state that is asked for every second."""

HEALED_S = 3.0
"""What it may take until everybody has found a server that is back."""


def exported_s(registry: CollectorRegistry) -> float:
    age_s = registry.get_sample_value("degrade_state_age_seconds")
    assert age_s is not None, "a process that saw Redis exports no age"
    return age_s


def ages_of(app: Application, registry: CollectorRegistry) -> list[Callable[[], float]]:
    """Return what tells the age of the state, one of each process and the exporter's."""
    return [
        *(lambda worker=worker: worker.state()["state_age_s"] for worker in app.workers),
        lambda: exported_s(registry),
    ]


def test_the_age_that_everybody_reports_is_that_of_the_silence(application, redis_server, figures):
    figures.about(
        "T04 stale_bound",
        "SIGSTOP for ten seconds, then SIGKILL; an empty server takes the place, and a flag is "
        "changed there",
    )
    app = application(redis_server.url, flags=FLAGS, ports=[redis_server.port])
    hold_one(redis_server, app)
    with Runtime(open_store(redis_server.url, namespace=app.namespace)) as runtime:
        degradable("exported")(lambda: 1)()
        until(lambda: runtime.orders.known, within_s=10.0, every_s=0.02, what="the first state")
        registry = alone(runtime)
        ages = ages_of(app, registry)
        app.gather("calm", calls=4 * A_SECOND)
        calm_s = max(age() for age in ages)
        app.mark("fault")
        frozen = time.monotonic()
        redis_server.freeze()
        off_by_s, beside_s, told_s = [], [], []
        for _ in range(5):
            app.gather("fault", calls=2 * A_SECOND)
            for age in ages:
                before = time.monotonic()
                told_s.append(age())
                off_by_s.append(told_s[-1] - (before - frozen))
            beside_s.append(abs(exported_s(registry) - (runtime.state_age_s() or 0.0)))
        assert all(state["flags"][FOLLOWED]["answer"] == "full" for state in app.states())
        redis_server.restart(empty=True)
        app.mark("healed")
        back = time.monotonic()
        until(
            lambda: max(age() for age in ages) < FRESH_S,
            within_s=30.0, every_s=0.02, what="a young state everywhere",
        )  # fmt: skip
        healed_s = time.monotonic() - back
        by_hand(redis_server, app, FOLLOWED, "degraded")
        app.await_answer(FOLLOWED, "degraded")
        app.gather("calm", calls=2 * A_SECOND)
        after_s = max(age() for age in ages)
    reports = app.reports()
    figures.keep(promises.check(reports))
    figures.note("age of the state before the fault", calm_s, f"{FRESH_S} s", unit="s")
    figures.note("age at the end of the silence", max(told_s), unit="s")
    figures.note("age to the true silence", max(map(abs, off_by_s)), f"{OFF_BY_S} s", unit="s")
    figures.note("exporter's age to the process's own", max(beside_s), "50 ms", unit="s")
    figures.note("everybody young again after", healed_s, f"{HEALED_S} s", unit="s")
    figures.note("age of the state in the end", after_s, f"{FRESH_S} s", unit="s")
    assert calm_s < FRESH_S
    assert max(told_s) > 8.0, "the silence was not told"
    assert max(map(abs, off_by_s)) <= OFF_BY_S, off_by_s
    assert max(beside_s) < 0.05
    assert healed_s < HEALED_S
    assert after_s < FRESH_S
