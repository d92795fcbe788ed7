"""Events of the automation reach the log, however often an append of theirs failed."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from degrade import SLA, Runtime, degradable
from degrade.clock import ManualClock
from degrade.core.records import ControlState, Event
from degrade.errors import StoreError
from degrade.ports import EventDraft
from degrade.runtime.background import event_queue
from degrade.runtime.background.event_queue import EventQueue
from degrade.stores.memory import MemoryStore
from tests.unit.runtime.doing import Sick, call_quietly, pass_time


class Weak(MemoryStore):
    """A store that can be away, refuse to write or to be read, or lose its answer."""

    away = deaf = mute = blind = False

    def __init__(self, clock: ManualClock) -> None:
        super().__init__(clock=clock)
        self.appends: list[tuple[float, int]] = []
        self._at = clock.monotonic

    def changed(self, since: ControlState | None = None) -> bool:
        self._answer()
        return super().changed(since)

    def append(self, drafts: Sequence[EventDraft]) -> tuple[Event, ...]:
        self.appends.append((self._at(), len(drafts)))
        self._answer()
        if self.deaf:
            raise StoreError("read only")
        events = super().append(drafts)
        if self.mute:
            raise StoreError("the answer did not come in time")
        return events

    def events(
        self, *, since: str | None = None, flag: str | None = None, limit: int = 1_000
    ) -> list[Event]:
        if self.blind:
            raise StoreError("no answer")
        return super().events(since=since, flag=flag, limit=limit)

    def _answer(self) -> None:
        if self.away:
            raise StoreError("away")


@pytest.fixture
def store(clock: ManualClock) -> Weak:
    return Weak(clock)


@pytest.fixture
def runtime(store: Weak, clock: ManualClock):
    with Runtime(store, clock=clock, threads="manual") as runtime:
        runtime.tick()
        yield runtime


def trip(runtime: Runtime, clock: ManualClock, name: str) -> None:
    """Degrade a flag by failures, which is one event."""
    sick = degradable(name, sla=SLA(errors="5%"))(Sick())
    sick.__wrapped__.ill = True  # type: ignore[attr-defined] # what is wrapped is ours
    call_quietly(sick, times=20)
    clock.advance(0.3)
    runtime.tick()


def draft(cause: str = "breach") -> EventDraft:
    return EventDraft(
        type="transition", flag="feed", actor="automation", cause=cause, instance="me"
    )


def causes(store: Weak) -> list[str]:
    return [event.cause for event in store.events()]


def tripped(store: Weak) -> list[str | None]:
    return [event.flag for event in store.events() if event.evidence.get("to") == "degraded"]


def test_an_event_outlives_an_append_that_failed_and_says_how_late_it_is(
    runtime: Runtime, store: Weak, clock: ManualClock
):
    store.away = True
    happened = clock.wall()
    trip(runtime, clock, "feed")
    pass_time(runtime, clock, 3)
    assert store.events() == []
    store.away = False
    pass_time(runtime, clock, 0.5)
    (event, *_) = store.events()
    assert (event.flag, event.evidence["from"], event.evidence["to"]) == (
        "feed", "steady", "degraded",
    )  # fmt: skip
    assert event.evidence["late_s"] == pytest.approx(event.at - happened, abs=0.5)
    assert event.evidence["late_s"] >= 3


def test_an_event_in_time_says_nothing_of_being_late(
    runtime: Runtime, store: Weak, clock: ManualClock
):
    trip(runtime, clock, "feed")
    (event,) = store.events()
    assert "late_s" not in event.evidence


def test_what_comes_while_the_store_is_away_waits_in_order_and_does_not_ask_it(
    runtime: Runtime, store: Weak, clock: ManualClock
):
    store.away = True
    for name in ("a", "b", "c"):
        trip(runtime, clock, name)
    pass_time(runtime, clock, 60)
    assert len(store.appends) == 1
    store.away = False
    pass_time(runtime, clock, 0.5)
    trip(runtime, clock, "d")
    assert tripped(store) == ["a", "b", "c", "d"]


def test_a_store_that_answers_but_cannot_be_written_is_tried_less_and_less_often(
    runtime: Runtime, store: Weak, clock: ManualClock
):
    store.deaf = True
    trip(runtime, clock, "feed")
    pass_time(runtime, clock, 120)
    assert 5 <= len(store.appends) <= 9
    store.deaf = False
    pass_time(runtime, clock, 31)
    assert tripped(store) == ["feed"]
    assert not runtime._io_worker._backlog.failed


def test_an_append_whose_answer_was_lost_is_not_written_twice(
    runtime: Runtime, store: Weak, clock: ManualClock
):
    store.mute = True
    trip(runtime, clock, "feed")
    store.mute = False
    trip(runtime, clock, "list")
    pass_time(runtime, clock, 3)
    assert tripped(store) == ["feed", "list"]


def test_events_that_look_the_same_are_all_written(
    runtime: Runtime, store: Weak, clock: ManualClock
):
    waiting = EventQueue(runtime)
    runtime.instance = "me"
    waiting.tell(draft())
    waiting.write()
    clock.advance(10)
    waiting.tell(draft())
    waiting.tell(draft())
    store.deaf = True
    with pytest.raises(StoreError):
        waiting.write()
    store.deaf = False
    waiting.retry()
    assert causes(store) == ["breach"] * 3


def test_the_log_is_asked_again_after_a_look_that_failed(runtime: Runtime, store: Weak):
    waiting = EventQueue(runtime)
    runtime.instance = "me"
    waiting.tell(draft())
    store.mute = True
    with pytest.raises(StoreError):
        waiting.write()
    store.mute, store.blind = False, True
    with pytest.raises(StoreError):
        waiting.retry()
    store.blind = False
    waiting.retry()
    assert causes(store) == ["breach"]
    assert not waiting.failed


def test_the_oldest_of_too_many_are_dropped_and_counted(
    runtime: Runtime, store: Weak, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(event_queue, "MOST_WAITING", 3)
    waiting = EventQueue(runtime)
    for number in range(5):
        waiting.tell(draft(str(number)))
    waiting.write()
    assert causes(store) == ["2", "3", "4"]
    assert runtime.internal_errors.counts["queue_full"] == 2


def test_a_long_backlog_is_written_in_parts_and_goes_on_where_it_broke(
    runtime: Runtime, store: Weak
):
    waiting = EventQueue(runtime)
    for number in range(500):
        waiting.tell(draft(str(number)))
    waiting.write()
    assert [count for _, count in store.appends] == [200, 200, 100]
    assert causes(store) == [str(number) for number in range(500)]


def test_what_the_last_append_left_is_written_at_the_end(store: Weak, clock: ManualClock):
    """Only where the store answered since: the end of a process waits for nobody."""
    with Runtime(store, clock=clock, threads="manual") as runtime:
        runtime.tick()
        store.deaf = True
        trip(runtime, clock, "feed")
        store.deaf = False
        courier = runtime._io_worker
        courier.start()
        courier.stop()
        assert tripped(store) == ["feed"]
