"""What the memory store adds to the contract."""

from __future__ import annotations

from degrade.stores.memory import MemoryStore
from degrade.testing.store_records import draft


def test_the_log_keeps_its_newest_events_in_one_chain(clock):
    store = MemoryStore(clock=clock, event_cap=3)
    store.append([draft(str(number)) for number in range(5)])
    events = store.events()
    assert [event.cause for event in events] == ["2", "3", "4"]
    (newest,) = store.append([draft("5")])
    assert newest.id > events[-1].id


def test_each_store_has_a_life_of_its_own(clock):
    assert (
        MemoryStore(clock=clock).read().incarnation != MemoryStore(clock=clock).read().incarnation
    )


def test_it_is_not_shared_and_says_so(clock):
    store = MemoryStore(clock=clock)
    assert (store.url, store.shared) == ("memory://", False)
