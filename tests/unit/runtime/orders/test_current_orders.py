"""What humans order: obeyed at once, ended in steps, and kept while the store is away."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

import degrade
from degrade import SLA, Flag, Runtime, default, degradable, snapshot
from degrade.clock import ManualClock
from degrade.control import Control
from degrade.core.enums import HoldMode
from degrade.core.records import ControlState, Hold, LevelOrder
from degrade.errors import StoreError
from degrade.ports import Change
from degrade.runtime.background.io_worker import POLL_S
from degrade.stores.local_holds import LocalHolds
from degrade.stores.memory import MemoryStore
from degrade.stores.sqlite import SQLiteStore
from tests.unit.runtime.doing import Sick, call_quietly, pass_time, stats_of, watch_of

KEPT = snapshot(max_age="1h", refresh="1s", copy=False)


def shares(runtime: Runtime) -> dict[str, float]:
    """Return the share of calls that run, by flag."""
    return {stats.name: round(1 - stats.dial, 6) for stats in runtime.stats()}


def modes(runtime: Runtime) -> dict[str, str]:
    return {stats.name: stats.mode.value for stats in runtime.stats()}


def phases(runtime: Runtime) -> dict[str, str]:
    return {stats.name: stats.phase.value for stats in runtime.stats()}


# ------------------------------------------------------------------ obeying


@pytest.mark.parametrize("mode", ["degraded", "off"])
def test_a_hold_is_obeyed_at_once(runtime: Runtime, control: Control, mode: str):
    feed = degradable("feed", fallback=[default("stale")])(Sick())
    assert feed() == "fresh"
    control.hold("feed", mode, for_=None, reason="bad model")
    assert feed() == "stale"
    figures = stats_of(runtime, "feed")
    assert figures.mode == mode
    assert figures.reason == "hold by ana: bad model"
    assert figures.since == runtime.clock.wall()


def test_a_hold_made_before_the_flag_is_declared_is_obeyed(runtime: Runtime, control: Control):
    control.hold("feed", "degraded", for_=None, reason="bad model", force=True)
    feed = degradable("feed", fallback=[default("stale")])(Sick())
    assert feed() == "stale"


def test_a_hold_at_a_dial_degrades_that_share_of_the_subjects(runtime: Runtime, control: Control):
    feed = degradable("feed", fallback=[default("stale")])(Sick())
    control.hold("feed", "degraded", for_=None, dial="25%", reason="try")
    found: dict[str, set[str]] = {}
    for _ in range(3):
        for i in range(1_000):
            with degrade.request(subject=f"user-{i}"):
                found.setdefault(f"user-{i}", set()).add(feed())
    assert all(len(answers) == 1 for answers in found.values()), "one experience for a user"
    degraded = sum(answers == {"stale"} for answers in found.values())
    assert 190 <= degraded <= 310
    drawn = [feed() for _ in range(1_000)].count("stale")
    assert 190 <= drawn <= 310


def test_degraded_agrees_with_the_calls_of_a_subject(runtime: Runtime, control: Control):
    feed = degradable("feed", fallback=[default("stale")])(Sick())
    control.hold("feed", "degraded", for_=None, dial="50%", reason="try")
    flag = degrade.flag("feed")
    seen = set()
    for i in range(50):
        with degrade.request(subject=f"user-{i}"):
            seen.add(flag.degraded)
            assert flag.degraded == (feed() == "stale")
    assert seen == {True, False}
    runtime.tick()
    assert sum(stats_of(runtime, "feed").calls.values()) == 50, "asking records nothing"


def test_a_level_reaches_the_flags_of_that_level_and_above(runtime: Runtime, control: Control):
    for level in (None, 1, 2, 3):
        Flag(f"flag.{level}", level=level, _place=(f"p{level}", "", ""))
    control.order_level(2, for_=None, reason="launch")
    assert modes(runtime) == {
        "flag.1": "normal", "flag.2": "degraded", "flag.3": "degraded", "flag.None": "normal",
    }  # fmt: skip


def test_a_normal_hold_exempts_from_a_level(runtime: Runtime, control: Control):
    Flag("feed", level=3)
    control.order_level(3, for_=None, reason="launch")
    control.hold("feed", "normal", for_=None, reason="needed")
    assert modes(runtime) == {"feed": "normal"}
    control.release("feed", reason="no more")
    assert modes(runtime) == {"feed": "degraded"}


def test_a_hold_on_every_flag_reaches_flags_without_a_level(runtime: Runtime, control: Control):
    for i in range(3):
        Flag(f"flag.{i}", _place=(f"p{i}", "", ""))
    control.hold("*", "off", for_=None, reason="incident")
    assert set(modes(runtime).values()) == {"off"}
    control.hold("flag.1", "normal", for_=None, reason="needed")
    assert modes(runtime)["flag.1"] == "normal"


def test_observe_mutes_the_machine_and_never_a_human(runtime: Runtime, control: Control):
    sick = Sick()
    feed = degradable("feed", level=3, sla=SLA(errors="5%"), fallback=[default("stale")])(sick)
    control.hold("feed", "observe", for_=None, reason="try")
    sick.ill = True
    call_quietly(feed, times=5)
    runtime.tick()
    figures = stats_of(runtime, "feed")
    assert (figures.phase, figures.mode, figures.dial) == ("degraded", "normal", 0.0)
    runs = sick.runs
    feed()
    assert sick.runs == runs + 1
    control.order_level(3, for_=None, reason="launch")
    feed()
    assert sick.runs == runs + 1


def test_a_wall_clock_that_jumps_moves_no_machine(
    runtime: Runtime, control: Control, clock: ManualClock
):
    sick = Sick()
    feed = degradable("feed", sla=SLA(errors="5%"), fallback=[default("stale")])(sick)
    pass_time(runtime, clock, 2, meanwhile=feed)
    for jump in (3_600, -7_200):
        clock.jump_wall(jump)
        pass_time(runtime, clock, 2, meanwhile=feed)
    assert phases(runtime) == {"feed": "steady"}
    assert modes(runtime) == {"feed": "normal"}


# ------------------------------------------------------------------ ends


@pytest.mark.parametrize("mode", ["degraded", "off"])
@pytest.mark.parametrize("end", ["released", "expired"])
def test_the_end_of_a_hold_is_a_ramp_never_full_traffic(
    runtime: Runtime, control: Control, clock: ManualClock, mode: str, end: str
):
    sick = Sick()
    feed = degradable("feed", fallback=[default("stale")])(sick)
    control.hold("feed", mode, for_="10s", reason="bad model")
    runtime.tick()
    if end == "released":
        control.release("feed", reason="deployed")
    else:
        clock.advance(9.99)
        runtime.tick()
        assert modes(runtime) == {"feed": mode}
        clock.advance(0.01)
    runtime.tick()
    assert phases(runtime) == {"feed": "recovering"}
    seen = [shares(runtime)["feed"]]
    for _ in range(600):
        pass_time(runtime, clock, 0.25, meanwhile=lambda: [feed() for _ in range(10)])
        share = shares(runtime)["feed"]
        if share != seen[-1]:
            seen.append(share)
    assert seen == [0.01, 0.05, 0.25, 0.5, 1.0]
    assert phases(runtime) == {"feed": "steady"}


def test_the_end_of_a_hold_at_a_dial_never_lowers_what_runs(runtime: Runtime, control: Control):
    Flag("feed")
    control.hold("feed", "degraded", for_=None, dial="70%", reason="try")
    control.release("feed", reason="fine")
    assert shares(runtime) == {"feed": 0.5}


def test_the_end_of_a_level_is_a_ramp(runtime: Runtime, control: Control):
    Flag("feed", level=3)
    control.order_level(3, for_=None, reason="launch")
    assert shares(runtime) == {"feed": 0.0}
    control.release_level(reason="over")
    assert shares(runtime) == {"feed": 0.01}


@pytest.mark.parametrize("mode", ["normal", "observe"])
def test_the_end_of_normal_and_observe_is_no_step(runtime: Runtime, control: Control, mode: str):
    Flag("feed")
    control.hold("feed", mode, for_=None, reason="try")
    control.release("feed", reason="fine")
    assert shares(runtime) == {"feed": 1.0}
    assert phases(runtime) == {"feed": "steady"}


def test_release_now_is_full_traffic_at_once(runtime: Runtime, control: Control):
    feed = degradable("feed", fallback=[default("stale")])(Sick())
    control.hold("feed", "off", for_=None, reason="bad model")
    control.release("feed", reason="certain", now=True)
    assert shares(runtime) == {"feed": 1.0}
    assert feed() == "fresh"


def test_release_now_ends_what_the_machine_thinks_too(
    runtime: Runtime, control: Control, clock: ManualClock
):
    sick = Sick()
    feed = degradable("feed", sla=SLA(errors="5%"), fallback=[default("stale")])(sick)
    sick.ill = True
    call_quietly(feed, times=5)
    runtime.tick()
    assert phases(runtime) == {"feed": "degraded"}
    control.hold("feed", "degraded", for_=None, reason="bad model")
    sick.ill = False
    control.release("feed", reason="certain", now=True)
    assert shares(runtime) == {"feed": 1.0}


def test_a_hold_that_expires_after_an_older_one_was_released_at_once_ends_in_steps(
    runtime: Runtime, control: Control, clock: ManualClock
):
    Flag("feed", level=3)
    control.hold("feed", "off", for_=None, reason="first")
    control.release("feed", reason="certain", now=True)
    control.hold("feed", "off", for_="10s", reason="second")
    clock.advance(10)
    runtime.tick()
    assert shares(runtime) == {"feed": 0.01}


def test_a_level_that_expires_after_an_older_one_was_released_at_once_ends_in_steps(
    runtime: Runtime, control: Control, clock: ManualClock
):
    Flag("feed", level=3)
    control.order_level(3, for_=None, reason="first")
    control.release_level(reason="certain", now=True)
    control.order_level(3, for_="10s", reason="second")
    clock.advance(10)
    runtime.tick()
    assert shares(runtime) == {"feed": 0.01}


@pytest.mark.parametrize("order", ["every", "each", "level"])
def test_flags_released_together_are_spread_over_a_minute(
    runtime: Runtime, control: Control, clock: ManualClock, order: str
):
    names = [f"flag.{i}" for i in range(20)]
    for i, name in enumerate(names):
        Flag(name, level=3 if i == 7 else 2, _place=(name, "", ""))
    if order == "every":
        control.hold("*", "degraded", for_=None, reason="incident")
    elif order == "level":
        control.order_level(2, for_=None, reason="incident")
    else:
        for name in names:
            control.hold(name, "degraded", for_=None, reason="incident")
    if order == "level":
        control.release_level(reason="over")
    else:
        control.release("*", reason="over")
    started: dict[str, float] = {}
    for _ in range(62 * 4):
        for name, share in shares(runtime).items():
            if share > 0:
                started.setdefault(name, clock.monotonic())
        pass_time(runtime, clock, 0.25)
    first = min(started.values())
    delays = {name: at - first for name, at in started.items()}
    assert set(delays) == set(names)
    assert [name for name, delay in delays.items() if delay == 0] == ["flag.7"], (
        "the one that users miss least goes first"
    )
    assert max(delays.values()) <= 61
    assert len({round(delay) for delay in delays.values()}) >= 8, "spread, not in a herd"


def test_releasing_together_now_spreads_nothing(runtime: Runtime, control: Control):
    for i in range(5):
        Flag(f"flag.{i}", _place=(f"p{i}", "", ""))
    control.hold("*", "degraded", for_=None, reason="incident")
    control.release("*", reason="certain", now=True)
    assert set(shares(runtime).values()) == {1.0}


def test_a_hold_released_under_a_standing_level_changes_nothing(runtime: Runtime, control: Control):
    Flag("feed", level=3)
    control.order_level(3, for_=None, reason="launch")
    control.hold("feed", "degraded", for_=None, reason="bad model")
    control.release("feed", reason="fine")
    assert shares(runtime) == {"feed": 0.0}
    assert phases(runtime) == {"feed": "steady"}
    control.release_level(reason="over")
    assert shares(runtime) == {"feed": 0.01}


def test_an_expired_hold_is_swept_from_the_store_with_its_event(
    runtime: Runtime, control: Control, clock: ManualClock
):
    Flag("feed")
    control.hold("feed", "off", for_="10s", reason="bad model")
    pass_time(runtime, clock, 11)
    assert runtime.store.read().holds == {}
    assert [event.type for event in runtime.store.events(flag="feed")] == [
        "hold", "transition", "expired",
    ]  # fmt: skip


def test_extending_a_hold_moves_its_end(runtime: Runtime, control: Control, clock: ManualClock):
    Flag("feed")
    control.hold("feed", "off", for_="10s", reason="bad model")
    clock.advance(9)
    control.extend("feed", for_="10s")
    clock.advance(9)
    runtime.tick()
    assert modes(runtime) == {"feed": "off"}
    clock.advance(1)
    runtime.tick()
    assert shares(runtime) == {"feed": 0.01}


def test_release_at_once_before_the_first_call_still_lets_that_call_wake_the_runtime(
    clock: ManualClock,
):
    feed = degradable("feed")(Sick())
    with Runtime() as runtime:
        control = Control(runtime.store, actor="ana")
        control.hold("feed", "off", for_=None, reason="bad model")
        control.release("feed", reason="certain", now=True)
        feed()
        assert runtime._ticker is not None
        assert runtime._ticker.alive


# ------------------------------------------------------------------ snapshots and off


class Elsewhere:
    """Another process's hands on the store: this process is not told of its changes."""

    def __init__(self, store: MemoryStore) -> None:
        self.store = store

    def change(self, **what: Any) -> None:
        callbacks, self.store._callbacks = self.store._callbacks, []
        try:
            self.store.change(Change(actor="ben", reason="elsewhere", instance="x", **what))
        finally:
            self.store._callbacks = callbacks


@pytest.fixture
def elsewhere(runtime: Runtime) -> Elsewhere:
    assert isinstance(runtime.store, MemoryStore)
    return Elsewhere(runtime.store)


def a_hold(mode: HoldMode) -> Hold:
    return Hold(mode=mode, actor="ben", reason="elsewhere", at=0)


def test_a_change_of_another_process_is_obeyed_after_a_poll(
    runtime: Runtime, clock: ManualClock, elsewhere: Elsewhere
):
    feed = degradable("feed", fallback=[default("stale")])(Sick())
    runtime.tick()
    elsewhere.change(type="hold", holds={"feed": a_hold(HoldMode.DEGRADED)})
    assert feed() == "fresh"
    clock.advance(2 * POLL_S)
    runtime.tick()
    assert feed() == "stale"


@pytest.mark.parametrize("target", ["feed", "*"])
def test_an_off_that_came_and_went_unseen_voids_the_snapshots(
    runtime: Runtime, clock: ManualClock, elsewhere: Elsewhere, control: Control, target: str
):
    sick = Sick("wrong")
    feed = degradable("feed", fallback=[KEPT, default("static")])(sick)
    other = degradable("other", fallback=[KEPT, default("static")])(lambda: "fine")
    feed()
    other()
    runtime.tick()
    clock.advance(1)
    elsewhere.change(type="hold", holds={target: a_hold(HoldMode.OFF)})
    clock.advance(1)
    elsewhere.change(type="released", holds={target: None})
    clock.advance(1)
    runtime.tick()
    sick.ill = True
    assert feed() == "static"
    control.hold("other", "degraded", for_=None, reason="drill")
    assert other() == ("fine" if target == "feed" else "static")


def test_an_older_state_read_late_does_not_undo_a_newer_one(clock: ManualClock):
    """One thread reads, is delayed, and another one reads and obeys a newer state meanwhile."""
    read, go_on = threading.Event(), threading.Event()

    class Slow(MemoryStore):
        def read(self) -> ControlState:
            state = super().read()
            if threading.current_thread().name == "slow reader":
                read.set()
                assert go_on.wait(10)
            return state

    store = Slow(clock=clock)
    with Runtime(store, clock=clock, threads="manual") as runtime:
        Flag("feed")
        runtime.tick()
        slow = threading.Thread(target=runtime.refresh, name="slow reader")
        slow.start()
        assert read.wait(10)
        Control(store, actor="ana", clock=clock).hold("feed", "off", for_=None, reason="wrong")
        assert modes(runtime) == {"feed": "off"}
        go_on.set()
        slow.join(10)
        clock.advance(1)
        runtime.tick()
        assert modes(runtime) == {"feed": "off"}


# ------------------------------------------------------------------ the store away


class Broken(MemoryStore):
    """A store that fails when told to, in any way it likes."""

    failing: Exception | None = None

    def _check(self) -> None:
        super()._check()
        if self.failing is not None:
            raise self.failing


@pytest.mark.parametrize("error", [StoreError("gone"), RuntimeError("a bug of the store")])
def test_the_last_known_orders_stay_while_the_store_is_away(clock: ManualClock, error: Exception):
    store = Broken(clock=clock)
    with Runtime(store, clock=clock, threads="manual") as runtime:
        feed = degradable("feed", fallback=[default("stale")])(Sick())
        other = degradable("other", fallback=[default("stale")])(Sick())
        runtime.tick()
        control = Control(store, actor="ana", clock=clock)
        control.hold("feed", "degraded", for_=None, reason="bad model")
        control.hold("other", "off", for_="30s", reason="bad model")
        store.failing = error
        for _ in range(29):
            pass_time(runtime, clock, 1)
            assert feed() == other() == "stale"
        pass_time(runtime, clock, 2)
        assert modes(runtime)["feed"] == "degraded"
        assert phases(runtime)["other"] == "recovering", "expiry needs no store"
        assert runtime.state_age_s() == pytest.approx(31, abs=0.5)
        store.failing = None
        pass_time(runtime, clock, 1)
        assert runtime.state_age_s() == pytest.approx(0, abs=0.3)
        control.release("feed", reason="fine", now=True)
        assert feed() == "fresh"


def test_troubles_of_the_store_are_told_once_a_minute(
    clock: ManualClock, caplog: pytest.LogCaptureFixture
):
    store = Broken(clock=clock)
    with Runtime(store, clock=clock, threads="manual") as runtime:
        Flag("feed")
        runtime.tick()
        store.failing = StoreError("gone")
        pass_time(runtime, clock, 600, every_s=1)
        assert 10 <= len(caplog.records) <= 33, "one line a minute and kind of work"
        assert runtime.internal_errors.counts["store"] > 100


# ------------------------------------------------------------------ this host's file


@pytest.fixture
def local(tmp_path: Path, clock: ManualClock) -> LocalHolds:
    return LocalHolds("default", directory=tmp_path, clock=clock)


def test_a_local_hold_replaces_the_stores_and_ends_in_steps(clock: ManualClock, local: LocalHolds):
    reader = LocalHolds("default", directory=local.path.parent, clock=clock)
    with Runtime(clock=clock, threads="manual", local=reader) as runtime:
        control = Control(runtime.store, actor="ana", clock=clock, local=local)
        Flag("feed")
        runtime.tick()
        control.hold("feed", "normal", for_=None, reason="needed")
        control.hold("feed", "off", for_=None, reason="here", local=True)
        clock.advance(0.2)
        runtime.tick()
        assert modes(runtime) == {"feed": "off"}
        assert "here" in stats_of(runtime, "feed").reason
        control.release("feed", reason="fine", local=True)
        clock.advance(0.2)
        runtime.tick()
        assert modes(runtime) == {"feed": "normal"}, "the store's hold stands again"


@pytest.mark.parametrize("error", [StoreError("gone"), RuntimeError("a bug of the store")])
def test_a_local_hold_works_with_a_broken_store(
    clock: ManualClock, local: LocalHolds, error: Exception
):
    store = Broken(clock=clock)
    store.failing = error
    reader = LocalHolds("default", directory=local.path.parent, clock=clock)
    with Runtime(store, clock=clock, threads="manual", local=reader) as runtime:
        feed = degradable("feed", fallback=[default("stale")])(Sick())
        runtime.tick()
        local.hold("feed", a_hold(HoldMode.DEGRADED))
        clock.advance(0.2)
        runtime.tick()
        assert feed() == "stale"
        local.release("feed")
        clock.advance(0.2)
        runtime.tick()
        assert shares(runtime) == {"feed": 0.01}


def test_a_release_here_is_not_taken_for_an_older_release_at_once_of_the_store(
    clock: ManualClock, local: LocalHolds
):
    reader = LocalHolds("default", directory=local.path.parent, clock=clock)
    with Runtime(clock=clock, threads="manual", local=reader) as runtime:
        control = Control(runtime.store, actor="ana", clock=clock, local=local)
        Flag("feed")
        runtime.tick()
        control.hold("feed", "off", for_=None, reason="first")
        control.release("feed", reason="certain", now=True)
        control.hold("feed", "off", for_=None, reason="here", local=True)
        clock.advance(0.2)
        runtime.tick()
        control.release("feed", reason="fine", local=True)
        clock.advance(0.2)
        runtime.tick()
        assert shares(runtime) == {"feed": 0.01}


def test_a_damaged_local_file_keeps_what_was_known(clock: ManualClock, local: LocalHolds):
    reader = LocalHolds("default", directory=local.path.parent, clock=clock)
    with Runtime(clock=clock, threads="manual", local=reader) as runtime:
        Flag("feed")
        local.hold("feed", a_hold(HoldMode.OFF))
        runtime.tick()
        assert modes(runtime) == {"feed": "off"}
        local.path.write_text("{ torn")
        pass_time(runtime, clock, 5)
        assert modes(runtime) == {"feed": "off"}
        assert runtime.internal_errors.counts["local"] > 0
        assert watch_of(runtime, "feed").held_here


def test_a_hint_that_comes_after_the_read_of_its_change_takes_nothing_away(clock: ManualClock):
    with Runtime(clock=clock, threads="manual") as runtime:
        Flag("feed")
        Control(runtime.store, actor="ana").hold("feed", "off", for_=None, reason="bad model")
        runtime.tick()
        read = runtime.store.read()
        vague = read.holds["feed"].model_copy(update={"actor": "the fleet"})
        runtime.hear(read.model_copy(update={"holds": {"feed": vague}}))
        assert runtime.stats()[0].reason == "hold by ana: bad model"
        newer = {"epoch": read.epoch + 1, "holds": {"feed": vague}}
        runtime.hear(read.model_copy(update=newer))
        assert runtime.stats()[0].reason == "hold by the fleet: bad model"


def test_who_looks_at_the_store_in_a_process_hides_no_order_from_it(
    clock: ManualClock, tmp_path: Path
):
    path = tmp_path / "store.db"
    own, other = SQLiteStore(path, clock=clock), SQLiteStore(path, clock=clock)
    with Runtime(own, clock=clock, threads="manual") as runtime:
        degradable("feed", fallback=default("stale"))(Sick())
        pass_time(runtime, clock, 1)
        Control(other, actor="ana", clock=clock).hold("feed", "off", for_=None, reason="drill")
        Control(own, actor="eve", clock=clock).status()
        pass_time(runtime, clock, 1)
        assert modes(runtime) == {"feed": "off"}


def test_a_hint_about_one_flag_is_obeyed_as_a_whole_state_is(clock: ManualClock):
    holds = {name: a_hold(HoldMode.OFF) for name in ("ads", "feed")}
    steps: list[dict[str, object]] = [
        {"holds": {"feed": holds["feed"]}},
        {"holds": holds},
        {"holds": {"ads": holds["ads"]}, "off_ended": {"feed": 1.0}},
        {"holds": {"ads": holds["ads"], "*": a_hold(HoldMode.DEGRADED)}},
        {"holds": {}, "level": LevelOrder(level=3, actor="ana", reason="load", at=0.0)},
        {"holds": {}, "level": None},
        {"holds": {"search": a_hold(HoldMode.DEGRADED)}},
        {"holds": {}},
    ]
    with Runtime(clock=clock, threads="manual") as runtime:
        for name in ("ads", "feed", "search"):
            Flag(name, level=3)
        runtime.adopt_all()
        runtime.refresh()
        known = runtime.store.read()
        for number, step in enumerate(steps, known.epoch + 1):
            known = known.model_copy(update={**step, "epoch": number})
            runtime.hear(known)
            found = {watch.flag.name: (watch.hold, watch.level, watch.off_ended, watch.resolved)
                     for watch in runtime.watched()}  # fmt: skip
            runtime.obey()
            assert found == {
                watch.flag.name: (watch.hold, watch.level, watch.off_ended, watch.resolved)
                for watch in runtime.watched()
            }


def test_a_hold_that_a_hint_brings_ends_in_time(clock: ManualClock):
    with Runtime(clock=clock, threads="manual") as runtime:
        Flag("feed")
        runtime.adopt_all()
        runtime.refresh()
        known = runtime.store.read()
        until = runtime.store_now() + 10
        brief = a_hold(HoldMode.OFF).model_copy(update={"until": until})
        runtime.hear(known.model_copy(update={"epoch": known.epoch + 1, "holds": {"feed": brief}}))
        assert modes(runtime) == {"feed": "off"}
        assert not runtime.orders.due(until - 1)
        assert runtime.orders.due(until)
