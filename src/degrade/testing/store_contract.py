"""The contract that every store keeps, as a pytest class to inherit from.

    class TestMyStore(StoreContract):
        @pytest.fixture
        def make(self, tmp_path):
            return lambda clock, namespace: MyStore(tmp_path / "x", clock=clock, namespace=namespace)

Time is a `ManualClock` that all stores of a test share, so a store must judge every end and age
by the clock it is given.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest

from degrade.clock import Clock, ManualClock
from degrade.core.enums import HoldMode
from degrade.core.records import Event, FlagInfo, Hold
from degrade.errors import ConfigError, StoreError
from degrade.ports import Store
from degrade.stores.state_changes import broken_links
from degrade.testing.store_records import change, draft, hold, order, report, standing

__all__ = ("MakeStore", "StoreContract")

MakeStore = Callable[[Clock, str], Store]
"""Opens the store under test with a clock and a namespace; twice the same is twice the same data,
unless the store is not shared."""

DAY_S = 86_400.0


def expect(found: object, wanted: object, rule: str) -> None:
    """Fail with the rule that was broken unless both are equal."""
    if found != wanted:
        raise AssertionError(f"{rule}\n  found:  {found!r}\n  wanted: {wanted!r}")


class StoreContract:
    """Inherit from it and give it a `make` fixture that returns a `MakeStore`."""

    @pytest.fixture
    def make(self) -> MakeStore:
        """Return how to open the store under test."""
        raise NotImplementedError("override the fixture `make`")

    @pytest.fixture
    def clock(self) -> ManualClock:
        return ManualClock()

    @pytest.fixture
    def store(self, make: MakeStore, clock: ManualClock) -> Iterator[Store]:
        store = make(clock, "default")
        yield store
        store.close()

    # reading

    def test_a_new_store_holds_nothing(self, store: Store, clock: ManualClock) -> None:
        state = store.read()
        expect((state.epoch, state.holds, state.level), (0, {}, None), "a new store is empty")
        expect(bool(state.incarnation), True, "a life of a store has an id")
        expect(state.now, clock.wall(), "`now` is the store's time")
        expect((store.events(), store.flags(), store.instances()), ([], {}, []), "nothing is there")

    def test_what_was_written_is_read_back_field_by_field(
        self, store: Store, clock: ManualClock
    ) -> None:
        asked = hold("degraded", until=clock.wall() + 60, dial=0.25)
        store.change(change("hold", {"*": hold("observe")}, feed=asked))
        state = store.read()
        expect(
            state.holds["feed"],
            asked.model_copy(update={"at": clock.wall(), "epoch": 1}),
            "a hold keeps its fields; the store gives time and epoch",
        )
        expect(state.holds["*"].mode, HoldMode.OBSERVE, "`*` is kept as it is")
        expect(state.epoch, 1, "a change of several parts raises the epoch once")

    def test_the_time_is_known_without_asking(self, store: Store, clock: ManualClock) -> None:
        expect(store.now(), clock.wall(), "before the first read it is as good as it is known")
        store.read()
        clock.advance(61)
        expect(store.now(), clock.wall(), "it goes on while nobody asks the store")
        expect(store.read().now, store.now(), "a read has the same time")

    def test_who_changes_something_is_called_back(self, store: Store) -> None:
        seen: list[int] = []
        store.subscribe(lambda state: seen.append((state or store.read()).epoch))
        store.change(change(feed=hold()))
        store.change(change("released", search=None))
        expect(
            seen, [1], "after a change of its own, once it can be read; not when nothing was done"
        )

    def test_a_read_is_a_copy(self, store: Store) -> None:
        store.read().holds["feed"] = hold()
        expect(store.read().holds, {}, "changing what was read changes nothing in the store")

    def test_unknown_fields_of_newer_releases_survive_a_change(self, store: Store) -> None:
        newer = Hold.model_validate(hold().model_dump() | {"ticket": "OPS-1"})
        store.change(change(feed=newer))
        store.change(change(search=hold()))
        extra = store.read().holds["feed"].model_extra
        expect(extra, {"ticket": "OPS-1"}, "unknown fields are kept")

    # changed()

    def test_changed_says_yes_before_the_first_read_and_no_after_it(self, store: Store) -> None:
        expect(store.changed(), True, "before the first read something may have changed")
        store.read()
        expect(store.changed(), False, "nothing changed since the read")
        expect(store.changed(), False, "asking changes nothing")

    def test_changed_says_yes_after_every_kind_of_change_until_it_is_read(
        self, store: Store, clock: ManualClock
    ) -> None:
        def swept() -> None:
            clock.advance(10)
            store.sweep("i-1")

        acts: list[Callable[[], object]] = [
            lambda: store.change(change(feed=hold(until=clock.wall() + 100))),
            lambda: store.change(change("extended", feed=hold(until=clock.wall() + 5))),
            swept,
            lambda: store.change(change("level", level=order())),
            lambda: store.change(change("level_released", level=None)),
        ]
        for number, act in enumerate(acts):
            store.read()
            act()
            expect((number, store.changed()), (number, True), "a change is noticed")
            expect((number, store.changed()), (number, True), "until it is read")

    def test_changed_tells_who_has_an_older_state_though_others_read(self, store: Store) -> None:
        mine = store.read()
        store.change(change(feed=hold()))
        newer = store.read()
        expect(store.changed(), False, "the newest state was read")
        expect(store.changed(mine), True, "but not by whom has the one before")
        expect(store.changed(newer), False, "and by whom has the newest")

    def test_other_views_see_a_change_exactly_if_the_store_is_shared(
        self, store: Store, make: MakeStore, clock: ManualClock
    ) -> None:
        other = make(clock, "default")
        try:
            other.read()
            store.change(change(feed=hold("off")))
            expect(other.changed(), store.shared, "`shared` says whether others notice")
            seen = {"feed": "off"} if store.shared else {}
            expect(standing(other.read()), seen, "`shared` says whether others see")
            expect(len(other.events()), len(seen), "the log is shared as the state is")
        finally:
            other.close()

    def test_namespaces_do_not_see_each_other(
        self, store: Store, make: MakeStore, clock: ManualClock
    ) -> None:
        other = make(clock, "other")
        try:
            other.read()
            store.change(change(feed=hold()))
            store.append([draft()])
            store.declare([FlagInfo(name="feed")])
            store.report(report("i-1"))
            expect(other.read().holds, {}, "holds belong to a namespace")
            found = (other.events(), other.flags(), other.instances())
            expect(found, ([], {}, []), "events, flags and instances belong to a namespace")
            other.change(change(feed=hold()))
            expect([event.prev for event in other.events()], [""], "each namespace has its log")
        finally:
            other.close()

    # changing

    def test_every_part_of_a_change_has_its_event(self, store: Store, clock: ManualClock) -> None:
        events = store.change(change("level", level=order(2), a=hold(), b=hold("off")))
        expect([event.flag for event in events], ["a", "b", None], "one event a flag and level")
        first = events[0]
        found = (first.at, first.actor, first.cause, first.instance, first.epoch, first.incident)
        wanted = (clock.wall(), "ana", "because", "i-1", 1, None)
        expect(found, wanted, "an event says when, who, why, where, and the epoch after it")
        written = {key: event.evidence[key] for event in events for key in ("hold", "level")
                   if key in event.evidence}  # fmt: skip
        expect(written["level"]["level"], 2, "the evidence is the record that was written")
        expect(store.events(), list(events), "what is returned is what is logged")

    def test_a_hold_replaces_the_one_before_and_says_so(self, store: Store) -> None:
        store.change(change(feed=hold("off")))
        (event,) = store.change(change(feed=hold("normal")))
        expect(event.evidence["replaced"]["mode"], "off", "the evidence has what was replaced")
        expect(standing(store.read()), {"feed": "normal"}, "the last hold stands")

    def test_a_release_leaves_a_tombstone(self, store: Store, clock: ManualClock) -> None:
        store.change(change(feed=hold()))
        clock.advance(5)
        store.change(change("released", feed=None, now=True))
        state = store.read()
        expect(state.holds, {}, "the hold is gone")
        tomb = state.released["feed"]
        found = (tomb.actor, tomb.at, tomb.epoch, tomb.now, tomb.expired)
        expect(found, ("ana", clock.wall(), 2, True, False), "who ended it, when, and how")

    def test_tombstones_are_kept_for_a_day(self, store: Store, clock: ManualClock) -> None:
        store.change(change(feed=hold()))
        store.change(change("released", feed=None))
        clock.advance(DAY_S - 1)
        store.change(change(other=hold()))
        expect(set(store.read().released), {"feed"}, "a tombstone stays for a day")
        clock.advance(2)
        store.change(change(other=hold()))
        expect(set(store.read().released), set(), "and goes with the first change after it")

    def test_a_new_order_takes_the_place_of_the_tombstone(self, store: Store) -> None:
        store.change(change(feed=hold(), level=order()))
        store.change(change("released", feed=None, level=None, now=True))
        store.change(change(feed=hold(), level=order()))
        state = store.read()
        found = (state.released, state.level_released)
        expect(found, ({}, None), "how the last one ended says nothing of this one")

    def test_removing_what_is_not_there_changes_nothing(self, store: Store) -> None:
        store.read()
        events = store.change(change("released", level=None, feed=None))
        expect((events, store.read().epoch, store.events()), ((), 0, []), "nothing was done")
        expect(store.read().released, {}, "no tombstone for what never was")
        expect(store.changed(), False, "nothing changed")

    def test_an_extension_moves_the_end_alone(self, store: Store, clock: ManualClock) -> None:
        start = clock.wall()
        store.change(change(feed=hold("off", until=start + 10)))
        clock.advance(5)
        longer = hold("normal", until=start + 99)
        events = store.change(change("extended", feed=longer, search=longer))
        expect([event.flag for event in events], ["feed"], "what is not held is left alone")
        kept = store.read().holds["feed"]
        found = (kept.mode.value, kept.until, kept.at, kept.epoch)
        expect(found, ("off", start + 99, start, 2), "only the end and the epoch differ")

    def test_an_ended_hold_cannot_be_extended(self, store: Store, clock: ManualClock) -> None:
        store.change(change(feed=hold(until=clock.wall() + 10)))
        clock.advance(10)
        events = store.change(change("extended", feed=hold(until=clock.wall() + 10)))
        expect(events, (), "its processes have let go of it already")

    def test_a_level_is_ordered_and_released(self, store: Store, clock: ManualClock) -> None:
        store.change(change("level", level=order(2, until=clock.wall() + 60)))
        level = store.read().level
        wanted = order(2, until=clock.wall() + 60).model_copy(
            update={"at": clock.wall(), "epoch": 1}
        )
        expect(level, wanted, "the order stands")
        (event,) = store.change(change("level_released", level=None))
        state = store.read()
        expect((state.level, event.flag), (None, None), "the order is gone")
        end = state.level_released
        expect(end is not None and end.epoch, 2, "the level has its tombstone")

    def test_the_end_of_an_off_is_remembered_however_it_came(
        self, store: Store, clock: ManualClock
    ) -> None:
        start = clock.wall()
        off = hold("off", until=start + 10)
        store.change(change(released=off, replaced=off, expired=off, again=off, never=hold()))
        expect(store.read().off_ended, {}, "none has ended yet")
        clock.advance(3)
        store.change(change("released", released=None, never=None))
        store.change(change(replaced=hold("degraded"), again=hold("off")))
        wanted = {"released": start + 3, "replaced": start + 3}
        expect(store.read().off_ended, wanted, "a release and a replacement end an off")
        clock.advance(20)
        store.sweep("i-1")
        expect(store.read().off_ended, wanted | {"expired": start + 10}, "and so does its time")

    # sweeping

    def test_ends_are_judged_by_the_clock_given(self, store: Store, clock: ManualClock) -> None:
        until = clock.wall() + 10
        store.change(change("level", level=order(until=until), feed=hold(until=until), b=hold()))
        clock.advance(9.5)
        expect(store.sweep("i-2"), (), "nothing is over yet")
        clock.advance(0.5)
        expect(set(store.read().holds), {"feed", "b"}, "a read does not judge")
        events = store.sweep("i-2")
        found = [(event.type, event.flag, event.actor, event.instance) for event in events]
        wanted = [
            ("expired", "feed", "automation", "i-2"), ("level_expired", None, "automation", "i-2"),
        ]  # fmt: skip
        expect(found, wanted, "every end has its event")
        state = store.read()
        expect((set(state.holds), state.level, state.epoch), ({"b"}, None, 2), "the rest stands")
        ends = (state.released["feed"], state.level_released)
        expect([end and end.expired for end in ends], [True, True], "tombstones say: expired")
        expect(store.sweep("i-3"), (), "whoever comes second finds nothing left")
        expect(store.read().epoch, 2, "and changes nothing")

    # the log

    def test_the_log_is_a_chain(self, store: Store, clock: ManualClock) -> None:
        store.change(change("level", level=order(), a=hold(until=clock.wall() + 1), b=hold()))
        store.append([draft(), draft(flag="b")])
        clock.advance(2)
        store.sweep("i-1")
        store.change(change("released", b=None))
        events = store.events()
        expect(len(events), 7, "everything is in the log")
        expect((events[0].prev, broken_links(events)), ("", []), "each event names the one before")
        expect(broken_links(events[:2] + events[3:]), [events[3].id], "a gap shows")
        ids = [event.id for event in events]
        expect((ids, len(set(ids))), (sorted(ids), 7), "ids are unique and sort as they came")
        epochs = [event.epoch for event in events]
        expect(epochs, [1, 1, 1, 1, 1, 2, 3], "automation leaves the epoch, changes raise it")

    def test_evidence_comes_back_as_json(self, store: Store) -> None:
        raw: dict[str, object] = {"n": 3, "share": 0.5, "deep": {"list": [1, None, True]}, "nan": float("nan"),
               "odd": {1}, "text": "é\n\udcff"}  # fmt: skip
        store.append([draft("bad byte \udcff", evidence=raw)])
        (event,) = store.events()
        expect(event.evidence["deep"], {"list": [1, None, True]}, "JSON stays what it is")
        expect(event.evidence["odd"], [1], "what JSON has no word for gets the nearest")
        expect(event.evidence["nan"], "NaN", "and so do numbers that are none")
        expect((event.evidence["text"], event.cause), ("é\n?", "bad byte ?"), "text is Unicode")
        expect(broken_links([event]), [], "it can be digested")

    def test_events_are_found_by_id_flag_and_number(self, store: Store) -> None:
        store.append([draft(cause=str(number), flag="ab"[number % 2]) for number in range(6)])
        events = store.events()

        def causes(found: list[Event]) -> str:
            return "".join(event.cause for event in found)

        expect(causes(events), "012345", "oldest first")
        expect(causes(store.events(limit=2)), "45", "without `since`, the newest")
        expect(causes(store.events(since=events[1].id)), "2345", "those after an id")
        expect(causes(store.events(since=events[1].id, limit=2)), "23", "page by page")
        expect(causes(store.events(flag="b")), "135", "those of a flag")
        expect(causes(store.events(flag="b", since=events[1].id, limit=1)), "3", "all together")
        expect(store.events(since=events[5].id), [], "nothing after the newest")
        expect((store.events(flag="c"), store.events(limit=0)), ([], []), "nothing is an answer")

    def test_an_id_that_is_none_is_refused(self, store: Store) -> None:
        with pytest.raises(ConfigError):
            store.events(since="yesterday")

    def test_appending_nothing_is_nothing(self, store: Store) -> None:
        expect((store.append([]), store.events()), ((), []), "no drafts, no events")

    # flags and instances

    def test_the_newest_declaration_of_a_flag_wins(self, store: Store) -> None:
        store.declare([FlagInfo(name="b", level=3), FlagInfo(name="a", level=1)])
        store.declare([FlagInfo(name="b", level=2, owner="team")])
        store.declare([])
        found = store.flags()
        expect(list(found), ["a", "b"], "every flag ever declared, by name")
        expect(found["b"], FlagInfo(name="b", level=2, owner="team"), "the newest wins")
        expect(store.read().epoch, 0, "a declaration orders nothing")

    def test_a_heartbeat_replaces_the_last_one_of_its_instance(
        self, store: Store, clock: ManualClock
    ) -> None:
        store.report(report("i-1"))
        clock.advance(5)
        store.report(report("i-2"))
        store.report(report("i-1", at=clock.wall() - 999))
        found = store.instances()
        expect([item.id for item in found], ["i-1", "i-2"], "one report an instance")
        expect({item.at for item in found}, {clock.wall()}, "heartbeats have the store's time")
        expect(found[0].flags, report("i-1", at=clock.wall() - 999).flags, "all fields come back")

    def test_silent_and_ended_instances_are_left_out(
        self, store: Store, clock: ManualClock
    ) -> None:
        store.report(report("old"))
        clock.advance(100)
        store.report(report("gone"))
        store.report(report("new"))
        store.goodbye("gone")
        store.goodbye("never there")
        expect([item.id for item in store.instances()], ["new", "old"], "newest first")
        expect([item.id for item in store.instances(within_s=99)], ["new"], "recent ones alone")
        clock.advance(501)
        expect([item.id for item in store.instances()], ["new"], "ten minutes unless told")

    # threads and ends

    def test_no_change_of_many_threads_is_lost(self, store: Store) -> None:
        failures: list[Exception] = []

        def work(name: str) -> None:
            try:
                for number in range(10):
                    store.change(change("hold", {f"{name}{number}": hold()}))
                    store.append([draft()])
            except Exception as error:  # noqa: BLE001 - shown by the test's own thread
                failures.append(error)

        threads = [threading.Thread(target=work, args=(name,)) for name in "abcd"]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        expect(failures, [], "nothing fails")
        state = store.read()
        expect((state.epoch, len(state.holds)), (40, 40), "every change is there")
        expect((len(store.events()), broken_links(store.events())), (80, []), "in one chain")

    def test_a_closed_store_refuses_everything(self, store: Store) -> None:
        store.close()
        store.close()
        acts: list[Callable[[], object]] = [
            store.read, store.changed, store.events, store.flags, store.instances,
            lambda: store.change(change(feed=hold())), lambda: store.sweep("i"),
            lambda: store.append([draft()]), lambda: store.declare([FlagInfo(name="a")]),
            lambda: store.report(report("i")), lambda: store.goodbye("i"),
        ]  # fmt: skip
        for act in acts:
            with pytest.raises(StoreError):
                act()

    def test_its_names_are_fit_to_be_shown(self, store: Store) -> None:
        expect("://" in store.url, True, "`url` says what it is")
        expect("\n" in repr(store), False, "`repr` is one line")
