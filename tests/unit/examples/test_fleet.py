from __future__ import annotations

import pytest

from degrade.core.records import FlagReport, InstanceReport
from degrade.core.words import Mode, Phase
from degrade.stores.memory import MemoryStore
from examples.news_feed.fleet import FlagState, Fleet


def report(pid: int, **flags: FlagReport) -> InstanceReport:
    return InstanceReport(
        id=f"i-{pid}", host="h", pid=pid, version="1", started=0.0, at=0.0, epoch=0, flags=flags
    )


def flag(phase: Phase, mode: Mode = Mode.NORMAL, dial: float = 0.0) -> FlagReport:
    return FlagReport(phase=phase, mode=mode, dial=dial, since=0.0, reason="")


@pytest.fixture
def store(clock):
    store = MemoryStore(clock=clock)
    yield store
    store.close()


def test_a_flag_is_as_bad_as_in_its_worst_process(store):
    store.report(report(1, feed=flag(Phase.STEADY)))
    store.report(report(2, feed=flag(Phase.RECOVERING, Mode.DEGRADED, 0.5)))
    state = Fleet(store, [1, 2]).flags()["feed"]
    assert state == FlagState(phase=Phase.RECOVERING, mode=Mode.DEGRADED, dial=0.25)
    assert not state.normal


def test_off_in_one_process_is_shown(store):
    store.report(report(1, feed=flag(Phase.STEADY, Mode.OFF, 1.0)))
    store.report(report(2, feed=flag(Phase.DEGRADED, Mode.DEGRADED, 1.0)))
    assert Fleet(store, [1, 2]).flags()["feed"].mode is Mode.OFF


def test_nothing_is_known_until_every_process_has_reported(store):
    store.report(report(1, feed=flag(Phase.STEADY)))
    assert Fleet(store, [1, 2]).flags() == {}


def test_other_processes_of_the_store_do_not_count(store):
    for pid in (1, 2):
        store.report(report(pid, feed=flag(Phase.STEADY)))
    store.report(report(3, feed=flag(Phase.DEGRADED, Mode.DEGRADED, 1.0)))
    fleet = Fleet(store, [1, 2])
    assert fleet.flags()["feed"].normal
    assert fleet.instances() == {"i-1": 1, "i-2": 2}
