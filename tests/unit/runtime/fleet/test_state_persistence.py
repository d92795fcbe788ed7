"""A process that starts while its store is away begins with what was known on this host last."""

from __future__ import annotations

import logging
import random
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from degrade import SLA, Recovery, Runtime, default, degradable
from degrade.clock import ManualClock
from degrade.control import Control
from degrade.core.records import ControlState
from degrade.core.state_machine import resumed
from degrade.errors import ConfigError, StoreError
from degrade.ports import Change
from degrade.runtime.calls.registry import registry
from degrade.runtime.fleet.state_persistence import SAVE_S
from degrade.stores.local_holds import LocalHolds
from degrade.stores.memory import MemoryStore
from degrade.stores.state_file import CONFIRM_S, STALE_S, Saved, SavedState
from degrade.testing.store_records import hold
from tests.unit.runtime.doing import Sick, call_quietly, pass_time, stats_of, watch_of

QUICK = Recovery(cooldown="5s", steps=(0.1, 1.0), step_time="2s", step_calls=3)


class Shared(MemoryStore):
    """A store that several runtimes of a test share, and that can be away."""

    shared = True
    away = False

    def __init__(self, clock: ManualClock) -> None:
        super().__init__(clock=clock)
        self.written: list[str] = []

    def _check(self) -> None:
        if self.away:
            raise StoreError("nobody listens there")

    def change(self, change: Change) -> Any:
        self.written.append("change")
        return super().change(change)

    def sweep(self, instance: str) -> Any:
        self.written.append("sweep")
        return super().sweep(instance)


class Host:
    """One host, on which one process runs after the other; each has one flag, `feed`."""

    def __init__(self, clock: ManualClock, folder: Path, exits: ExitStack) -> None:
        self.clock = clock
        self.store = Shared(clock)
        self.file = SavedState("default", "redis://server", directory=folder)
        self.control = Control(self.store, actor="ana", clock=clock)
        self._exits = exits

    def process(self, *, declare: bool = True, **settings: Any) -> Runtime:
        """Start a process in the place of the one before; its function is `self.sick`."""
        self.end()
        saved = SavedState("default", "redis://server", directory=self.file.path.parent)
        settings = {"threads": "manual", "rng": random.Random(7), "saved": saved, **settings}
        self.runtime: Runtime = self._exits.enter_context(
            Runtime(self.store, clock=self.clock, **settings)
        )
        self.sick = Sick()
        if declare:
            self.declare()
        return self.runtime

    def declare(self) -> None:
        self.feed = degradable(
            "feed", sla=SLA(errors="5%"), recovery=QUICK, fallback=[default("stale")]
        )(self.sick)

    def end(self) -> None:
        self._exits.close()

    def held(self, mode: str, for_: str | None = None) -> None:
        """Hold the flag, and let a process know and save it, before the store goes away."""
        self.process().tick()
        self.control.hold("feed", mode, for_=for_, reason="bad model")
        self.live(SAVE_S)
        self.store.away = True

    def tripped(self) -> None:
        """Let the flag degrade and the process save it."""
        self.process().tick()
        self.sick.ill = True
        call_quietly(self.feed, times=20)
        self.live(SAVE_S + 0.25)
        assert stats_of(self.runtime, "feed").phase == "degraded"

    def live(self, seconds: float, **more: Any) -> None:
        pass_time(self.runtime, self.clock, seconds, **more)


@pytest.fixture
def host(clock: ManualClock, tmp_path: Path, forget_flags: None) -> Iterator[Host]:
    with ExitStack() as exits:
        yield Host(clock, tmp_path, exits)


def mode(host: Host) -> str:
    return stats_of(host.runtime, "feed").mode.value


# ------------------------------------------------------------------ orders


@pytest.mark.parametrize("ordered", ["degraded", "off"])
def test_the_last_known_hold_is_in_force_while_the_store_is_away(host: Host, ordered: str):
    host.held(ordered)
    host.clock.advance(100)
    host.process().tick()
    assert mode(host) == ordered
    assert host.feed() == "stale"
    assert stats_of(host.runtime, "feed").reason == "hold by ana: bad model"
    assert host.runtime.orders.from_file
    host.live(60)
    assert mode(host) == ordered


def test_the_age_of_the_state_counts_from_when_the_store_was_heard_last(host: Host):
    host.held("degraded")
    host.live(CONFIRM_S)
    known = host.runtime.state_age_s()
    assert known == CONFIRM_S
    host.process().tick()
    assert host.runtime.state_age_s() == known
    host.live(100)
    assert host.runtime.state_age_s() == known + 100
    host.store.away = False
    host.live(1)
    assert host.runtime.state_age_s() == 0


def test_without_a_file_a_process_begins_as_ever(host: Host):
    host.store.away = True
    host.process().tick()
    assert mode(host) == "normal"
    assert host.runtime.state_age_s() is None
    assert not host.runtime.orders.from_file


@pytest.mark.parametrize(("passed_s", "after"), [(50, "degraded"), (61, "normal")])
def test_a_hold_ends_by_the_clock_of_the_host(host: Host, passed_s: float, after: str):
    host.held("degraded", "1m")
    host.clock.advance(passed_s - SAVE_S)
    host.process().tick()
    assert mode(host) == after


def test_a_hold_ends_in_the_time_of_a_store_whose_clock_is_another(host: Host):
    there = host.clock.wall() + 3_600.0
    held = hold("degraded").but(at=there, until=there + 60.0)
    state = ControlState(incarnation="life", epoch=9, now=there, holds={"feed": held})
    host.store.away = True
    host.file.write(Saved(at=host.clock.wall(), state=state), watched=())
    host.process().tick()
    host.live(58)
    assert mode(host) == "degraded"
    assert stats_of(host.runtime, "feed").phase == "steady"
    host.live(4)
    assert stats_of(host.runtime, "feed").phase == "recovering"


def test_a_hold_that_ends_while_the_store_is_away_leads_into_recovery(host: Host):
    host.held("degraded", "1m")
    host.process().tick()
    host.live(60)
    assert stats_of(host.runtime, "feed").phase == "recovering"


def test_off_stays_until_the_store_was_asked(host: Host):
    host.held("off", "1m")
    host.clock.advance(3_600)
    host.process().tick()
    assert mode(host) == "off"
    host.live(60)
    assert mode(host) == "off"
    host.store.away = False
    host.live(1)
    assert mode(host) != "off"
    assert stats_of(host.runtime, "feed").phase == "recovering", "it comes back in steps"


def test_off_that_had_ended_when_it_was_saved_is_over(host: Host):
    now = host.clock.wall()
    state = ControlState(
        incarnation="life", epoch=1, now=now, holds={"feed": hold("off", until=now)}
    )
    host.file.write(Saved(at=now, state=state), watched=())
    host.store.away = True
    host.process().tick()
    assert mode(host) == "normal"
    assert host.runtime.orders.from_file


def test_what_the_store_says_replaces_what_the_file_said(host: Host):
    host.held("degraded")
    host.store.away = False
    host.control.release("feed", reason="repaired", now=True)
    host.control.hold("other", "off", for_=None, reason="bad", force=True)
    host.process().tick()
    assert mode(host) == "normal"
    assert not host.runtime.orders.from_file
    assert host.runtime.orders.known


def test_a_store_that_went_back_is_believed_rather_than_the_file(host: Host):
    state = host.store.read()
    ahead = state.model_copy(update={"epoch": 9, "holds": {"feed": hold("off")}})
    host.file.write(Saved(at=host.clock.wall(), state=ahead), watched=())
    host.process().tick()
    assert stats_of(host.runtime, "feed").phase == "recovering", "it comes back in steps"
    assert host.runtime.orders.known
    assert host.runtime.orders.epoch == state.epoch


def test_nothing_from_the_file_is_written_to_the_store_or_to_the_file(host: Host):
    host.held("degraded", "1m")
    body, written = host.file.path.read_bytes(), list(host.store.written)
    host.process().tick()
    host.live(100)
    assert host.runtime.orders.live is None
    assert host.runtime.orders.epoch == 0, "nothing of the store's is applied"
    assert host.runtime.reports()["feed"].mode == "degraded"
    assert host.file.path.read_bytes() == body
    assert host.store.written == written, "not even a sweep of what ended by our own clock"


def test_a_local_hold_still_replaces_what_the_file_says(host: Host, tmp_path: Path):
    host.held("off")
    local = LocalHolds(directory=tmp_path, clock=host.clock)
    local.hold("feed", hold("normal"))
    host.process(local=local).tick()
    assert host.feed() == "fresh"


# ------------------------------------------------------------------ machines


def test_a_degraded_flag_begins_degraded_for_the_rest_of_its_cooldown_and_ramps(host: Host):
    host.tripped()
    left_s = watch_of(host.runtime, "feed").state.until - host.clock.monotonic()
    host.store.away = True
    host.clock.advance(1)
    host.process().tick()
    assert stats_of(host.runtime, "feed").phase == "degraded"
    assert host.feed() == "stale"
    assert host.sick.runs == 0
    wait_s = watch_of(host.runtime, "feed").state.until - host.clock.monotonic()
    assert left_s - 2 <= wait_s <= left_s - 1 + 0.2 * 5
    host.live(wait_s + 0.5)
    assert stats_of(host.runtime, "feed").phase == "recovering"
    assert stats_of(host.runtime, "feed").dial == 0.9
    host.live(10, meanwhile=lambda: [host.feed() for _ in range(40)])
    assert stats_of(host.runtime, "feed").phase == "steady"


def test_calls_of_before_it_began_degraded_move_it_no_more(host: Host):
    watch = watch_of(host.process(), "feed")
    host.sick.ill = True
    call_quietly(host.feed, times=20)
    host.clock.advance(1)
    now = host.clock.monotonic()
    begun = resumed(
        QUICK, now, share=0.5, left_s=60, cooldown_s=5, cause="it was degraded", draw=0.0
    )
    watch.begin(begun, now)
    host.runtime.tick()
    assert watch.state == begun


def test_a_recovering_flag_begins_at_the_first_step(host: Host):
    host.tripped()
    host.sick.ill = False
    host.live(5)
    assert stats_of(host.runtime, "feed").phase == "recovering"
    host.live(SAVE_S)
    host.store.away = True
    host.process().tick()
    assert stats_of(host.runtime, "feed").phase == "degraded"
    assert stats_of(host.runtime, "feed").dial == 1.0
    host.live(1.25)
    assert stats_of(host.runtime, "feed").dial == 0.9


def test_a_flag_that_was_degraded_an_hour_ago_begins_steady(host: Host):
    host.tripped()
    host.store.away = True
    host.clock.advance(STALE_S + 1)
    host.process().tick()
    assert stats_of(host.runtime, "feed").phase == "steady"


def test_a_flag_declared_later_begins_where_it_was_until_the_store_is_read(host: Host):
    host.tripped()
    registry.flags.clear()
    host.store.away = True
    host.process(declare=False).tick()
    host.declare()
    assert stats_of(host.runtime, "feed").phase == "degraded"
    host.store.away = False
    host.live(1)
    registry.close(host.runtime)
    host.runtime._watches.clear()
    host.declare()  # a flag that was never seen
    assert stats_of(host.runtime, "feed").phase == "steady"


# ------------------------------------------------------------------ the file


def test_a_file_that_cannot_be_used_is_told_once_and_changes_nothing(
    host: Host, caplog: pytest.LogCaptureFixture
):
    host.held("off")
    host.file.path.write_bytes(b"degrade-state 9 \n{}")
    caplog.clear()
    host.process().tick()
    assert mode(host) == "normal"
    told = [record for record in caplog.records if "state_file" in record.getMessage()]
    assert len(told) == 1
    assert "format 9 is newer" in told[0].getMessage()


def test_a_new_process_says_what_it_begins_with(host: Host, caplog: pytest.LogCaptureFixture):
    host.held("off")
    host.clock.advance(57)
    with caplog.at_level(logging.INFO, "degrade"):
        host.process().tick()
    (said,) = [line for line in caplog.messages if "until the store is read" in line]
    assert "what was saved 57s ago is in force: 1 holds; degraded: none" in said


def test_the_file_is_written_when_something_changed_and_not_more_often(host: Host):
    def signature() -> object:
        found = host.file.path.stat()
        return found.st_ino, found.st_mtime_ns

    host.process().tick()
    first = signature()
    host.live(SAVE_S * 3)
    assert signature() == first, "nothing changed"
    host.control.hold("feed", "off", for_=None, reason="one")
    host.control.hold("feed", "degraded", for_=None, reason="two")
    host.live(SAVE_S)
    second = signature()
    assert second != first
    host.control.hold("feed", "off", for_=None, reason="three")
    host.live(0.25)
    assert signature() == second, "it is written every few seconds at most"
    host.live(SAVE_S)
    assert signature() != second


def test_the_file_of_a_quiet_process_stays_young_while_the_store_answers(host: Host):
    host.process().tick()
    host.live(CONFIRM_S * 2)
    found = host.file.read()
    assert found is not None
    young_at = host.clock.wall()
    assert young_at - found.at <= CONFIRM_S + SAVE_S
    host.store.away = True
    host.live(CONFIRM_S * 2)
    found = host.file.read()
    assert found is not None
    assert found.at <= young_at, "of a store that is away nothing new is known"


def test_a_machine_that_moves_while_the_store_is_away_is_saved(host: Host):
    host.process().tick()
    heard_at = host.clock.wall()
    host.store.away = True
    host.live(SAVE_S)
    host.sick.ill = True
    call_quietly(host.feed, times=20)
    host.live(SAVE_S + 0.25)
    found = host.file.read()
    assert found is not None
    assert found.machines["feed"].phase == "degraded"
    assert found.at == heard_at, "the orders in it are as old as ever"
    assert found.machines["feed"].at > heard_at


def test_a_disk_that_fails_is_a_trouble_and_tried_again(host: Host, tmp_path: Path):
    (tmp_path / "file").write_text("")
    saved = SavedState("default", "redis://server", directory=tmp_path / "file" / "below")
    runtime = host.process(saved=saved)
    host.live(SAVE_S * 3)
    assert host.feed() == "fresh"
    assert runtime.internal_errors.counts["state_file"] >= 3
    (tmp_path / "file").unlink()
    host.live(SAVE_S)
    assert saved.read() is not None


def test_without_a_file_nothing_is_written(host: Host, tmp_path: Path):
    host.process(saved=None).tick()
    host.live(SAVE_S)
    assert list(tmp_path.iterdir()) == []


# ------------------------------------------------------------------ waiting for the store


def test_a_process_is_ready_once_the_store_was_read(host: Host):
    host.held("off")
    runtime = host.process()
    assert runtime.wait_ready() is False
    assert mode(host) == "off", "what the last process saved is in force"
    host.store.away = False
    host.clock.advance(1)
    assert runtime.wait_ready() is True
    host.store.away = True
    assert runtime.wait_ready() is True, "once is enough"


def test_waiting_inline_reads_the_store_itself(host: Host):
    runtime = host.process(threads="inline")
    assert runtime.wait_ready() is True


def test_the_most_to_wait_must_be_a_duration(host: Host):
    with pytest.raises(ConfigError, match="timeout"):
        host.process().wait_ready("soon")
