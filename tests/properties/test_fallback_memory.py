"""Memory stays within its bytes, whatever is written."""

from __future__ import annotations

import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from degrade.fallback.snapshots.memory_tier import UNDECODED, Capture, Entry, MemoryTier

MAX_BYTES = 4 * 1024 * 1024


def write(tier: MemoryTier, number: int, blob: bytes) -> None:
    at = float(number)
    made = Entry(created=at, at=at, expires=at + 60.0, due=at + 30.0, blob=blob)
    key = (f"user-{number}", str, "ana")
    tier.insert(Capture(tier.book("feed"), key, made))


@pytest.mark.slow
@pytest.mark.timeout(300)  # some seconds of work, on a machine that may be busy
def test_memory_stays_within_its_bytes_under_a_million_distinct_keys():
    tier = MemoryTier(MAX_BYTES)
    most = 0
    for number in range(1_000_000):
        write(tier, number, b"[1]")
        if number % 100 == 0:
            most = max(most, tier.bytes)
    assert MAX_BYTES // 2 < most <= MAX_BYTES
    entries = tier.book("feed").entries
    assert len(entries) == len(tier) > 1_000
    assert ("user-999999", str, "ana") in entries


def test_the_bytes_counted_are_no_less_than_the_interpreter_uses():
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        tier = MemoryTier(MAX_BYTES)
        for number in range(20_000):
            write(tier, number, b"%d" % number * 20)
            if number % 1_000 == 0:
                used = tracemalloc.get_traced_memory()[0] - before
                assert used <= MAX_BYTES
        used = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert 0.3 * tier.bytes < used <= tier.bytes


@given(
    st.lists(
        st.tuples(
            st.integers(0, 15),
            st.integers(0, 4_000),
            st.sampled_from(["write", "decode", "decode", "discard", "void"]),
        ),
        max_size=60,
    )
)
def test_the_books_and_the_dictionaries_always_agree(steps: list[tuple[int, int, str]]):
    tier = MemoryTier(24_000)
    book = tier.book("feed")
    for number, (key, size, what) in enumerate(steps):
        found = book.entries.get(key)
        if what == "write":
            at = float(number)
            made = Entry(created=at, at=at, expires=at + 9, due=at + 5, blob=b"x" * size)
            tier.insert(Capture(book, key, made))
        elif what == "void":
            tier.void("feed", float(number))
        elif found is not None and what == "decode":
            tier.keep_decoded(book, key, found, "y" * size)
        elif found is not None:
            tier.discard(book, key, found)
        assert tier.bytes <= tier.max_bytes
        assert len(tier) == len(book.entries)
        assert tier._written.currsize == sum(entry.size for entry in book.entries.values())
        decoded = {k for k, entry in book.entries.items() if entry.value is not UNDECODED}
        assert {place[1] for place in tier._decoded} == decoded
