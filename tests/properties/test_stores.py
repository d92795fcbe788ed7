"""Both stores against a model of a few dictionaries, for any order of operations."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from degrade.clock import ManualClock
from degrade.core.enums import HoldMode
from degrade.core.records import Hold, LevelOrder
from degrade.ports import Change, Store
from degrade.stores.memory import MemoryStore
from degrade.stores.sqlite import SQLiteStore
from degrade.stores.state_changes import broken_links
from degrade.testing.store_records import change, draft, hold, order

FLAGS = st.sampled_from(["a", "b", "*"])
MODES = st.sampled_from(list(HoldMode))
LENGTHS = st.none() | st.integers(1, 50).map(float)


class StoreMachine(RuleBasedStateMachine):
    """The model keeps (mode, until) a flag, (level, until), the epoch and the types logged."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = ManualClock()
        self.store = self.open()
        self.holds: dict[str, tuple[HoldMode, float | None]] = {}
        self.level: tuple[int, float | None] | None = None
        self.epoch = 0
        self.log: list[tuple[str, str | None, int]] = []
        self.off_ended: dict[str, float] = {}
        self.unread = True

    def open(self) -> Store:
        return MemoryStore(clock=self.clock)

    def until(self, length: float | None) -> float | None:
        return None if length is None else self.clock.wall() + length

    def over(self, until: float | None) -> bool:
        return until is not None and until <= self.clock.wall()

    def wrote(self, found: tuple, expected: list[tuple[str, str | None]]) -> None:
        if expected:
            self.epoch += 1
            self.unread = True
        assert [(event.type, event.flag) for event in found] == expected
        assert all(event.epoch == self.epoch for event in found)
        self.log += [(*pair, self.epoch) for pair in expected]

    def end_off(self, flag: str, at: float) -> None:
        before = self.holds.get(flag)
        if before is not None and before[0] is HoldMode.OFF:
            self.off_ended[flag] = at

    @rule(flags=st.lists(FLAGS, unique=True, min_size=1), mode=MODES, length=LENGTHS)
    def hold(self, flags: list[str], mode: HoldMode, length: float | None) -> None:
        until = self.until(length)
        asked: dict[str, Hold | None] = {flag: hold(mode, until=until) for flag in flags}
        self.wrote(self.store.change(change("hold", asked)), [("hold", flag) for flag in flags])
        for flag in flags:
            if mode is not HoldMode.OFF:
                self.end_off(flag, self.clock.wall())
            self.holds[flag] = (mode, until)

    @rule(flag=FLAGS, length=LENGTHS)
    def extend(self, flag: str, length: float | None) -> None:
        until = self.until(length)
        found = self.store.change(change("extended", {flag: hold("observe", until=until)}))
        before = self.holds.get(flag)
        if before is None or self.over(before[1]):
            self.wrote(found, [])
        else:
            self.wrote(found, [("extended", flag)])
            self.holds[flag] = (before[0], until)

    @rule(flags=st.lists(FLAGS, unique=True, min_size=1))
    def release(self, flags: list[str]) -> None:
        gone = [flag for flag in flags if flag in self.holds]
        found = self.store.change(change("released", dict.fromkeys(flags)))
        self.wrote(found, [("released", flag) for flag in gone])
        for flag in gone:
            self.end_off(flag, self.clock.wall())
            del self.holds[flag]

    @rule(level=st.none() | st.integers(1, 3), length=LENGTHS)
    def order(self, level: int | None, length: float | None) -> None:
        until = self.until(length)
        asked: LevelOrder | None = None if level is None else order(level, until=until)
        found = self.store.change(change("level", level=asked))
        self.wrote(found, [("level", None)] if level is not None or self.level else [])
        self.level = None if level is None else (level, until)

    @rule()
    def sweep(self) -> None:
        gone = [flag for flag, (_, until) in self.holds.items() if self.over(until)]
        level_gone = self.level is not None and self.over(self.level[1])
        found = self.store.sweep("i-1")
        for flag in gone:
            end = self.holds[flag][1]
            assert end is not None
            self.end_off(flag, end)
            del self.holds[flag]
        expected: list[tuple[str, str | None]] = [("expired", flag) for flag in sorted(gone)]
        if level_gone:
            self.level = None
            expected.append(("level_expired", None))
        in_order = tuple(sorted(found, key=lambda event: (event.flag is None, event.flag or "")))
        self.wrote(in_order, expected)

    @rule(count=st.integers(0, 3))
    def append(self, count: int) -> None:
        found = self.store.append([draft()] * count)
        assert [(event.type, event.epoch) for event in found] == [
            ("transition", self.epoch)
        ] * count
        self.log += [("transition", "feed", self.epoch)] * count

    @rule(seconds=st.floats(0, 30))
    def time_passes(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @rule()
    def reading_settles_changed(self) -> None:
        assert self.store.changed() or not self.unread
        self.store.read()
        assert not self.store.changed()
        self.unread = False

    @precondition(lambda self: self.log)
    @rule(data=st.data(), limit=st.integers(1, 20))
    def page_through_the_log(self, data: st.DataObject, limit: int) -> None:
        events = self.store.events()
        start = data.draw(st.integers(0, len(events) - 1))
        assert (
            self.store.events(since=events[start].id, limit=limit)
            == (events[start + 1 : start + 1 + limit])
        )
        assert self.store.events(limit=limit) == events[-limit:]

    @invariant()
    def the_store_agrees_with_the_model(self) -> None:
        # by another view where there is one, so that `changed` of this one is left alone
        state = self.peek()
        assert {flag: (held.mode, held.until) for flag, held in state.holds.items()} == self.holds
        level = state.level
        assert (None if level is None else (level.level, level.until)) == self.level
        assert (state.epoch, state.off_ended) == (self.epoch, self.off_ended)

    @invariant()
    def the_log_is_whole(self) -> None:
        events = self.store.events()
        assert broken_links(events) == []
        found = [(event.type, event.flag, event.epoch) for event in events]
        assert sorted(found, key=str) == sorted(self.log, key=str)
        assert [event.epoch for event in events] == sorted(event.epoch for event in events)

    def peek(self):
        state = self.store.read()
        self.unread = False
        return state

    def teardown(self) -> None:
        self.store.close()


class SQLiteMachine(StoreMachine):
    """The same over a file, with a second view that reads, reopens and forgets at will."""

    def open(self) -> Store:
        self.directory = tempfile.mkdtemp()
        self.path = Path(self.directory) / "store.db"
        self.other = SQLiteStore(self.path, clock=self.clock)
        return SQLiteStore(self.path, clock=self.clock)

    def peek(self):
        return self.other.read()

    @rule()
    def reopen(self) -> None:
        self.store.close()
        self.store = SQLiteStore(self.path, clock=self.clock)
        self.unread = True

    @rule(mode=MODES)
    def another_process_changes(self, mode: HoldMode) -> None:
        self.store, self.other = self.other, self.store
        try:
            self.wrote(
                self.store.change(
                    Change(
                        type="hold",
                        actor="bob",
                        reason="me too",
                        instance="i-2",
                        holds={"a": hold(mode)},
                    )
                ),
                [("hold", "a")],
            )
            if mode is not HoldMode.OFF:
                self.end_off("a", self.clock.wall())
            self.holds["a"] = (mode, None)
        finally:
            self.store, self.other = self.other, self.store

    def teardown(self) -> None:
        super().teardown()
        self.other.close()
        shutil.rmtree(self.directory)


TestMemoryMachine = StoreMachine.TestCase
TestMemoryMachine.settings = settings(max_examples=60, stateful_step_count=30)
TestSQLiteMachine = SQLiteMachine.TestCase
TestSQLiteMachine.settings = settings(max_examples=25, stateful_step_count=25)
TestSQLiteMachine.pytestmark = [pytest.mark.real]
