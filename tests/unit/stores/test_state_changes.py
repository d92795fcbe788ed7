"""The chain of the log, by which a missing or altered entry shows."""

from __future__ import annotations

import hashlib
import json

import pytest

from degrade.errors import ConfigError
from degrade.stores.memory import MemoryStore
from degrade.stores.state_changes import broken_links, digest, event_id, sequence
from degrade.testing.store_records import change, draft, hold, order


@pytest.fixture
def events(clock):
    store = MemoryStore(clock=clock)
    store.change(change(feed=hold("off")))
    store.append([draft("é ü", evidence={"b": 1, "a": [1.5]}), draft()])
    store.change(change("released", feed=None))
    return store.events()


def test_the_digest_is_that_of_the_canonical_json(events):
    text = json.dumps(
        events[1].model_dump(mode="json"), sort_keys=True, separators=(",", ":"), ensure_ascii=False
    )
    assert digest(events[1]) == hashlib.sha256(text.encode()).hexdigest() == events[2].prev


@pytest.mark.parametrize(
    "alteration",
    [{"cause": "nothing"}, {"actor": "bob"}, {"at": 0.0}, {"evidence": {}}, {"epoch": 9}],
)
def test_an_altered_entry_shows_at_the_next_one(events, alteration):
    events[1] = events[1].model_copy(update=alteration)
    assert broken_links(events) == [events[2].id]


def test_a_missing_entry_shows_and_a_whole_log_does_not(events):
    assert broken_links(events) == []
    assert broken_links([*events[:1], *events[2:]]) == [events[2].id]
    assert broken_links(reversed(events)) == [event.id for event in reversed(events[:-1])]


def test_ids_sort_as_their_numbers_and_may_be_written_short():
    numbers = [1, 9, 10, 99, 100_000, 10**11]
    assert [sequence(event_id(number)) for number in numbers] == numbers
    assert sorted(map(event_id, numbers)) == [event_id(number) for number in numbers]
    assert sequence("42") == 42


@pytest.mark.parametrize("since", ["", "-1", "1.5", "abc", "٣", "9" * 19])
def test_what_is_no_id_is_refused(since):
    with pytest.raises(ConfigError, match="not an event id"):
        sequence(since)


def test_the_tombstone_of_what_expired_names_it(clock):
    store = MemoryStore(clock=clock)
    until = clock.wall() + 5
    store.change(change("level", level=order(2, until=until), feed=hold(until=until)))
    clock.advance(1)
    store.change(change("extended", feed=hold(until=until + 5)))
    held, level = store.read().holds["feed"], store.read().level
    clock.advance(20)
    store.sweep("i-1")
    state = store.read()
    assert level is not None
    assert state.level_released is not None
    assert state.released["feed"].of == (held.at, held.epoch) == (until - 5, 2)
    assert state.level_released.of == (level.at, level.epoch)
    store.change(change(feed=hold()))
    store.change(change("released", feed=None))
    assert store.read().released["feed"].of is None
