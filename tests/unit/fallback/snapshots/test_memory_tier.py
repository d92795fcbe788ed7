from __future__ import annotations

import sys
import threading
import tracemalloc
from dataclasses import dataclass
from typing import Any

import pytest

from degrade.fallback.snapshots.memory_tier import (
    UNDECODED,
    Capture,
    Entry,
    MemoryTier,
    SnapshotTable,
)
from degrade.fallback.snapshots.object_size import deep_size

MIB = 1024 * 1024


def entry(
    at: float = 1_000.0, blob: bytes = b"[1]", max_age_s: float = 60.0, **kwargs: Any
) -> Entry:
    return Entry(
        created=at, at=at, expires=at + max_age_s, due=at + max_age_s / 2, blob=blob, **kwargs
    )


def put(tier: MemoryTier, book: SnapshotTable, key: Any, made: Entry) -> bool:
    return tier.insert(Capture(book, key, made))


def test_a_book_is_the_same_one_every_time_and_each_rung_has_its_own():
    tier = MemoryTier()
    assert tier.book("feed") is tier.book("feed")
    assert tier.book("feed") is not tier.book("feed", 1)
    assert tier.book("feed") is not tier.book("ads")


def test_what_was_inserted_is_read_from_a_plain_dictionary():
    tier = MemoryTier()
    book = tier.book("feed")
    made = entry()
    assert put(tier, book, ("u1",), made)
    assert type(book.entries).__getitem__ is dict.__getitem__
    assert book.entries.get(("u1",)) is made
    assert len(tier) == 1


def test_a_capture_is_sealed_when_it_is_inserted():
    tier = MemoryTier()
    book = tier.book("feed")
    assert tier.insert(Capture(book, "k", entry(blob=b""), lambda: b"sealed"))
    assert book.entries["k"].blob == b"sealed"


def test_an_insert_ends_the_wait_of_its_key_also_when_it_is_refused():
    tier = MemoryTier()
    book = tier.book("feed")
    tier.void("feed", 2_000.0)
    for made in (entry(1_000.0), entry(3_000.0)):
        book.pending["k"] = (made.at,)
        put(tier, book, "k", made)
        assert not book.pending
    book.pending["k"] = (1.0,)
    tier.drop(Capture(book, "k", entry()))
    assert not book.pending


def test_a_result_admitted_earlier_never_replaces_a_later_one():
    tier = MemoryTier()
    book = tier.book("feed")
    later = entry(2_000.0)
    assert put(tier, book, "k", later)
    assert not put(tier, book, "k", entry(1_000.0))
    assert book.entries["k"] is later
    assert put(tier, book, "k", entry(3_000.0))
    assert len(tier) == 1


def test_the_oldest_written_goes_first_when_there_is_no_room():
    tier = MemoryTier(100_000)
    book = tier.book("feed")
    for number in range(200):
        put(tier, book, number, entry(number, blob=b"x" * 1_000))
        if number == 20:
            put(tier, book, 0, entry(20.5, blob=b"x" * 1_000))
    kept = list(book.entries)
    assert kept == sorted(kept)
    assert 0 not in kept
    assert kept[-1] == 199
    assert 20 < len(kept) < 60
    assert len(tier) == len(kept)
    assert tier.bytes <= tier.max_bytes


def test_writing_again_makes_a_snapshot_young():
    tier = MemoryTier(40_000)
    book = tier.book("feed")
    for number in range(100):
        put(tier, book, number, entry(number, blob=b"x" * 1_000))
        put(tier, book, "kept", entry(number, blob=b"x" * 1_000))
    assert "kept" in book.entries
    assert 0 not in book.entries


def test_what_is_larger_than_the_tier_is_refused_and_evicts_nobody():
    tier = MemoryTier(100_000)
    book = tier.book("feed")
    assert put(tier, book, "small", entry())
    assert not put(tier, book, "large", entry(blob=b"x" * 100_000))
    assert list(book.entries) == ["small"]


def test_long_keys_are_counted():
    tier = MemoryTier(1 * MIB)
    book = tier.book("feed")
    for number in range(50):
        put(tier, book, (f"{number}" + "k" * 100_000,), entry(number))
    assert len(book.entries) < 10


def test_replacing_and_dropping_give_their_bytes_back():
    tier = MemoryTier()
    book = tier.book("feed")
    for at in range(10):
        put(tier, book, "k", entry(at, blob=b"x" * 1_000))
    one = tier.bytes
    assert one < 3_000
    tier.keep_decoded(book, "k", book.entries["k"], ["value"] * 100)
    assert tier.bytes > one
    tier.discard(book, "k", book.entries["k"])
    assert tier.bytes == len(tier) == 0
    assert not book.entries


def test_discarding_leaves_a_newer_entry_alone():
    tier = MemoryTier()
    book = tier.book("feed")
    old, new = entry(1.0), entry(2.0)
    put(tier, book, "k", old)
    put(tier, book, "k", new)
    tier.discard(book, "k", old)
    assert book.entries["k"] is new


# ----------------------------------------------------------------------------- decoded values


def test_a_decoded_value_is_shared_with_the_calls_to_come():
    tier = MemoryTier()
    book = tier.book("feed")
    made = entry()
    put(tier, book, "k", made)
    assert made.value is UNDECODED
    value = ["a"]
    tier.keep_decoded(book, "k", made, value)
    assert book.entries["k"].value is value


def test_decoded_values_have_a_share_of_their_own_and_no_snapshot_is_lost_to_them():
    tier = MemoryTier(400_000)
    book = tier.book("feed")
    for number in range(50):
        put(tier, book, number, entry(number))
    for number in range(50):
        tier.keep_decoded(book, number, book.entries[number], ["x" * 10_000 + str(number)])
        assert tier.bytes <= tier.max_bytes
    decoded = [key for key, made in book.entries.items() if made.value is not UNDECODED]
    assert len(book.entries) == 50
    assert 5 <= len(decoded) <= 10
    assert decoded == list(range(50 - len(decoded), 50)), "the oldest decoded go first"


def test_a_reader_that_holds_an_entry_keeps_its_decoded_value():
    tier = MemoryTier(400_000)
    book = tier.book("feed")
    for number in range(20):
        put(tier, book, number, entry(number))
    first = book.entries[0]
    tier.keep_decoded(book, 0, first, "first")
    for number in range(1, 20):
        tier.keep_decoded(book, number, book.entries[number], ["x" * 20_000 + str(number)])
    assert book.entries[0].value is UNDECODED
    assert book.entries[0].blob == first.blob
    assert (book.entries[0].at, book.entries[0].expires) == (first.at, first.expires)
    assert first.value == "first"


def test_an_evicted_snapshot_gives_back_the_bytes_of_its_decoded_value():
    tier = MemoryTier(400_000)
    book = tier.book("feed")
    put(tier, book, "k", entry())
    tier.keep_decoded(book, "k", book.entries["k"], "x" * 50_000)
    for number in range(500):
        put(tier, book, f"{number}", entry(number))
    assert "k" not in book.entries
    assert tier.bytes == sum(kept.size for kept in book.entries.values())


def test_a_decoded_value_too_large_for_its_share_is_not_kept():
    tier = MemoryTier(400_000)
    book = tier.book("feed")
    put(tier, book, "k", entry())
    tier.keep_decoded(book, "k", book.entries["k"], "x" * 200_000)
    assert book.entries["k"].value is UNDECODED


def test_a_decoded_value_of_a_replaced_entry_is_not_kept():
    tier = MemoryTier()
    book = tier.book("feed")
    old, new = entry(1.0), entry(2.0)
    put(tier, book, "k", old)
    put(tier, book, "k", new)
    before = tier.bytes
    tier.keep_decoded(book, "k", old, "old")
    assert new.value is UNDECODED
    assert tier.bytes == before


def test_keeping_a_decoded_value_never_waits_for_the_tier():
    tier = MemoryTier()
    book = tier.book("feed")
    made = entry()
    put(tier, book, "k", made)
    done = threading.Event()

    def reader() -> None:
        tier.keep_decoded(book, "k", made, "value")
        done.set()

    with tier._lock:
        thread = threading.Thread(target=reader)
        thread.start()
        assert done.wait(10)
    thread.join(10)
    assert made.value is UNDECODED


def test_an_object_kept_as_it_is_counts_with_its_size():
    tier = MemoryTier(1 * MIB)
    book = tier.book("feed")
    for number in range(100):
        put(tier, book, number, entry(number, blob=b"", value=["x" * 50_000 + str(number)]))
    assert 5 < len(book.entries) < 20
    assert tier.bytes <= tier.max_bytes


# ---------------------------------------------------------------------------------- owners


class Owner:
    pass


def test_an_owner_has_a_book_of_its_own_the_same_one_every_time():
    tier = MemoryTier()
    one, other = Owner(), Owner()
    assert tier.book("feed", 0, one) is tier.book("feed", 0, one)
    assert tier.book("feed", 0, one) not in (tier.book("feed"), tier.book("feed", 0, other))


def test_a_new_owner_never_finds_the_book_of_one_that_is_gone():
    tier = MemoryTier()
    for _ in range(100):  # a new object often lies where the last one lay
        owner = Owner()
        book = tier.book("feed", 0, owner)
        assert not book.entries
        put(tier, book, "k", entry())
        del owner


def test_a_sweep_empties_the_books_of_owners_that_are_gone():
    tier = MemoryTier()
    stays, goes = Owner(), Owner()
    for owner in (stays, goes):
        put(tier, tier.book("feed", 0, owner), "k", entry())
    before = tier.bytes
    del goes, owner
    assert tier.sweep(0.0) == 1
    assert (len(tier), len(tier.books()), tier.bytes) == (1, 1, before // 2)
    assert "k" in tier.book("feed", 0, stays).entries


def test_void_sweep_and_fork_reach_the_books_of_owners():
    tier = MemoryTier()
    owner = Owner()
    book = tier.book("feed", 0, owner)
    put(tier, book, "k", entry(1_000.0))
    assert tier.void("ads", 1_000.0) == 0
    assert tier.void("feed", 1_000.0) == 1
    assert not put(tier, book, "k", entry(1_000.0))
    put(tier, book, "k", entry(1_001.0))
    assert tier.sweep(1e9) == 1
    put(tier, book, "k", entry(1_001.0))
    tier.after_fork()
    assert (book.entries, tier.bytes) == ({}, 0)
    assert tier.book("feed", 0, owner) is book


def test_many_owners_keep_the_limit_together():
    tier = MemoryTier(200_000)
    owners = [Owner() for _ in range(500)]
    for owner in owners:
        put(tier, tier.book("feed", 0, owner), "k", entry())
        assert tier.bytes <= tier.max_bytes
    held = [owner for owner in owners if tier.book("feed", 0, owner).entries]
    assert 0 < len(held) < 500
    assert held == owners[-len(held) :], "the oldest go first"


def test_a_book_takes_little():
    tier = MemoryTier()
    owners = [Owner() for _ in range(2_000)]
    tracemalloc.start()
    for owner in owners:
        tier.book("feed", 0, owner)
    taken = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert taken / len(owners) < 800


# ------------------------------------------------------------------------------------ void


def test_after_void_nothing_made_before_is_there_and_nothing_admitted_before_comes_in():
    tier = MemoryTier()
    book, deeper, other = tier.book("feed"), tier.book("feed", 1), tier.book("ads")
    entries = book.entries
    for place in (book, deeper, other):
        put(tier, place, "k", entry(1_000.0))
    assert tier.void("feed", 1_000.0) == 2
    assert not book.entries
    assert not deeper.entries
    assert "k" in other.entries
    assert not put(tier, book, "k", entry(999.0))
    assert not put(tier, book, "k", entry(1_000.0))
    assert put(tier, book, "k", entry(1_000.1))
    assert book.entries is entries, "readers hold on to the dictionary"


def test_an_earlier_void_takes_nothing_back():
    tier = MemoryTier()
    book = tier.book("feed")
    tier.void("feed", 2_000.0)
    tier.void("feed", 1_000.0)
    assert not put(tier, book, "k", entry(1_500.0))


def test_a_void_while_a_capture_is_being_finished_refuses_it():
    tier = MemoryTier()
    book = tier.book("feed")

    def seal() -> bytes:
        tier.void("feed", 1_000.0)  # another thread, just here
        return b"[1]"

    assert not tier.insert(Capture(book, "k", entry(1_000.0, blob=b""), seal))
    assert not book.entries
    assert tier.bytes == len(tier) == 0


def test_no_interleaving_of_inserts_and_voids_leaves_an_entry_of_before():
    tier = MemoryTier()
    book = tier.book("feed")
    barrier = threading.Barrier(2, timeout=30)
    at = [0.0]
    interval = sys.getswitchinterval()

    def insert() -> None:
        for number in range(300):
            barrier.wait()
            put(tier, book, number, entry(at[0]))
            barrier.wait()

    thread = threading.Thread(target=insert)
    sys.setswitchinterval(1e-6)
    try:
        thread.start()
        for number in range(300):
            at[0] = number + 0.5
            barrier.wait()
            tier.void("feed", number + 0.5)
            barrier.wait()
            assert not book.entries
    finally:
        sys.setswitchinterval(interval)
        thread.join(10)


def test_a_sweep_drops_what_is_too_old_and_only_that():
    tier = MemoryTier()
    book = tier.book("feed")
    put(tier, book, "old", entry(1_000.0, max_age_s=60))
    put(tier, book, "young", entry(1_000.0, max_age_s=61))
    assert tier.sweep(1_059.9) == 0
    assert tier.sweep(1_060.0) == 1
    assert list(book.entries) == ["young"]
    assert len(tier) == 1


def test_a_child_starts_empty_whatever_its_parent_was_doing():
    tier = MemoryTier()
    book = tier.book("feed")
    entries = book.entries
    put(tier, book, "k", entry())
    book.pending["other"] = (1.0,)
    tier._lock.acquire()  # the parent's courier was writing when it forked
    tier.after_fork()
    assert not book.entries
    assert not book.pending
    assert tier.bytes == 0
    assert put(tier, book, "k", entry())
    assert book.entries is entries


def test_readers_see_whole_entries_while_others_insert_evict_and_void():
    tier = MemoryTier(200_000)
    book = tier.book("feed")
    stop = threading.Event()
    wrong: list[object] = []

    def read() -> None:
        while not stop.is_set():
            for key in range(100):
                found = book.entries.get(key)
                if found is not None and found.blob != b"%d" % key * 100:
                    wrong.append(key)

    readers = [threading.Thread(target=read) for _ in range(4)]
    for reader in readers:
        reader.start()
    for number in range(5_000):
        put(tier, book, number % 100, entry(number, blob=b"%d" % (number % 100) * 100))
        if number % 500 == 0:
            tier.void("feed", number)
    stop.set()
    for reader in readers:
        reader.join(10)
    assert not wrong
    assert tier.bytes <= tier.max_bytes


# ------------------------------------------------------------------------------------ sizes


@dataclass
class Story:
    title: str
    tags: list[str]


def test_size_counts_what_hangs_on_a_value():
    assert deep_size("x" * 10_000) > 10_000
    assert deep_size([Story("x" * 10_000, ["y" * 10_000])]) > 20_000
    assert deep_size({"a": {"b": ("x" * 10_000,)}}) > 10_000


def test_size_counts_a_shared_part_once_and_ends_on_a_circle():
    shared = "x" * 10_000
    assert deep_size([shared, shared]) < 20_000
    circle: list[Any] = []
    circle.append(circle)
    assert deep_size(circle) < 1_000


def test_size_leaves_out_classes_modules_and_functions():
    assert deep_size([sys, Story, deep_size]) < 1_000


@pytest.mark.parametrize("value", [None, 1, (), UNDECODED])
def test_size_of_anything_is_small_and_positive(value: object):
    assert 0 < deep_size(value) < 200


def test_a_tier_shows_what_is_in_it_in_one_line():
    tier = MemoryTier(1_000_000)
    assert repr(tier) == "<MemoryTier 0 snapshots, 0 of 1000000 bytes>"
    assert repr(UNDECODED) == "UNDECODED"
