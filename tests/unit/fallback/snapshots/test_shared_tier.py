from __future__ import annotations

import contextlib
import json
import pickle
import re
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from degrade.clock import ManualClock
from degrade.core.enums import Sharing
from degrade.errors import StoreError
from degrade.fallback.ladder import snapshot
from degrade.fallback.rung import Answer, Call, Target
from degrade.fallback.snapshots import shared_tier
from degrade.fallback.snapshots.capture_budget import Account
from degrade.fallback.snapshots.memory_tier import MemoryTier
from degrade.fallback.snapshots.shared_tier import SharedTier
from degrade.fallback.snapshots.snapshot_rung import BoundSnapshot
from degrade.ports import Blob, PartlyStoredError
from degrade.stores.signed_snapshots import SignedBlobs
from tests.shelf import Shelf

KEYS = (b"k" * 32, b"o" * 32)


@dataclass
class Story:
    id: int
    tags: list[str]


def feed(user_id: str) -> list[Story]:
    return []


def titles(user_id: str) -> tuple[str, ...]:
    return ()


def other_feed(user_id: str) -> list[Story]:
    return []


class Process:
    """One process of a fleet: a rung with a memory of its own, and the shelf that all share."""

    def __init__(
        self, shelf: Shelf, clock: ManualClock, fn: Any = feed, *, ahead_s: float = 0.0, **settings
    ) -> None:
        self.clock = clock
        self.memory = MemoryTier(clock=clock)
        rung = snapshot(**{"max_age": "1h", **settings}).bind(Target.of(fn, "feed"))
        assert isinstance(rung, BoundSnapshot)
        self.rung = rung
        rung.attach(self.memory)
        self.tier = SharedTier(shelf, monotonic=clock.monotonic, store_now=self.store_now)
        self.ahead_s = ahead_s
        self.after_s = 0.0

    def store_now(self) -> float:
        return self.clock.wall() + self.ahead_s

    def keep(self, value: object, *args: Any, subject: str | None = None) -> None:
        key = self.rung.wanted(args, {}, subject, self.clock.monotonic())
        assert key is not None
        made = self.rung.capture(
            key, value, admitted_s=self.clock.monotonic(), wall_s=self.store_now(), epoch=1
        )
        assert made is not None
        assert self.memory.insert(made)
        self.tier.offer(made)

    def find(self, *args: Any, subject: str | None = None) -> Answer | None:
        key = self.rung.keys.key(args, {}, subject)
        assert key is not None
        _, found = self.tier.find(
            self.rung, key, after_s=self.after_s, within_s=0.02, told=lambda: None
        )
        return found and self.rung.serve_found(found, self.clock.monotonic())

    def serve(self, *args: Any, subject: str | None = None) -> Answer | None:
        now, wall = self.clock.monotonic(), self.clock.wall()
        return self.rung.serve(Call(args, {}, subject, now, wall))

    @property
    def counts(self) -> dict[str, int]:
        return {how.value: count for how, count in self.rung.book.sharing.items() if count}


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()


@pytest.fixture
def one(shelf: Shelf, clock: ManualClock) -> Process:
    return Process(shelf, clock)


@pytest.fixture
def other(shelf: Shelf, clock: ManualClock) -> Process:
    return Process(shelf, clock)


class TornShelf(Shelf):
    """A shelf in two parts, of which one may be away."""

    def __init__(self) -> None:
        super().__init__()
        self.torn = False

    def put(self, blobs: Sequence[Blob]) -> None:
        here = [blob for blob in blobs if not (self.torn and self.far(blob.key))]
        super().put(here)
        left = [blob for blob in blobs if blob not in here]
        if not here:
            raise StoreError("nothing was stored")
        if left:
            raise PartlyStoredError("a part is away", left=left)

    @staticmethod
    def far(key: str) -> bool:
        return zlib.crc32(key.encode()) % 3 == 0


def keep_many(process: Process, count: int) -> None:
    for number in range(count):
        process.memory.budget.spent(process.clock.monotonic(), -1.0, Account())
        process.keep([Story(number, [])], f"u{number}")


def send(process: Process, rounds: int) -> None:
    for _ in range(rounds):
        process.clock.advance(1)
        with contextlib.suppress(StoreError):
            process.tier.send()


# ------------------------------------------------------------------ from one process to another


def test_what_one_process_captured_another_serves_with_its_true_age(one, other, clock):
    one.keep([Story(1, ["a"])], "u1")
    one.tier.send()
    clock.advance(312)
    assert other.serve("u1") is None
    assert other.find("u1") == Answer([Story(1, ["a"])], 312.0)
    assert other.serve("u1") == Answer([Story(1, ["a"])], 312.0)  # now from memory
    assert (one.counts, other.counts) == ({"sent": 1}, {"hit": 1})


def test_a_store_that_lost_everything_is_sent_again_what_memory_still_has(one, other, shelf, clock):
    one.keep([Story(1, [])], "u1")
    one.keep([Story(2, [])], "u2")
    one.tier.send()
    clock.advance(60)
    shelf.bodies.clear()
    assert not one.tier.due()
    one.tier.lost()
    assert one.tier.due()
    one.tier.send()
    assert other.find("u1") == Answer([Story(1, [])], 60.0)
    assert other.find("u2") == Answer([Story(2, [])], 60.0)
    clock.advance(60)
    assert not one.tier.due()


def test_what_is_sent_again_replaces_nothing(one, other, shelf, clock):
    one.keep([Story(1, [])], "u1")
    one.tier.send()
    shelf.bodies.clear()
    clock.advance(60)
    other.keep([Story(2, [])], "u1")
    other.tier.send()
    one.tier.lost()
    one.tier.send()
    third = Process(shelf, clock)
    assert third.find("u1") == Answer([Story(2, [])], 0.0)


def test_nothing_that_was_voided_or_is_too_old_is_sent_again(one, shelf, clock):
    one.keep([Story(1, [])], "u1")
    one.tier.send()
    shelf.bodies.clear()
    one.tier.lost()
    one.memory.void("feed", clock.monotonic())
    one.tier.send()
    assert not shelf.bodies
    clock.advance(1)
    one.keep([Story(1, [])], "u2")
    one.tier.send()
    shelf.bodies.clear()
    one.tier.lost()
    clock.advance(3600)
    one.tier.send()
    assert not shelf.bodies
    clock.advance(1)
    assert not one.tier.due(), "what memory has no more is forgotten"


def test_it_is_sent_again_slowly_and_all_of_it_through_errors(one, shelf, clock):
    for number in range(120):
        one.memory.budget.spent(clock.monotonic(), -1.0, Account())
        one.keep([Story(number, [])], f"u{number}")
    one.tier.send()
    shelf.bodies.clear()
    one.tier.lost()
    shelf.sick = True
    with pytest.raises(StoreError):
        one.tier.send()
    shelf.sick = False
    clock.advance(1)
    while one.tier.due():
        one.tier.send()
        assert shelf.batches[-1] <= 50
        clock.advance(1)
    assert len(shelf.bodies) == 120


def test_a_part_that_is_away_keeps_nothing_from_the_others(clock):
    shelf = TornShelf()
    one = Process(shelf, clock)
    keep_many(one, 300)
    shelf.torn = True
    send(one, 8)
    assert len(shelf.bodies) > 180
    assert not any(shelf.far(key) for _, key in shelf.bodies)
    assert len(shelf.bodies) + len(one.tier) == 300, "only what was not stored waits"
    shelf.torn = False
    send(one, 1)
    assert len(shelf.bodies) == 300
    assert one.counts == {"sent": 300}


def test_a_part_that_is_away_keeps_nothing_lost_from_the_others(clock):
    shelf = TornShelf()
    one = Process(shelf, clock)
    keep_many(one, 300)
    one.tier.send()
    shelf.bodies.clear()
    one.tier.lost()
    shelf.torn = True
    send(one, 20)
    kept = len(shelf.bodies)
    assert kept > 180
    shelf.torn = False
    send(one, 10)
    assert len(shelf.bodies) == 300
    assert not one.tier.due()


def test_all_who_wait_for_one_key_get_results_of_their_own(one, other):
    one.keep([Story(1, ["a"])], "u1")
    one.tier.send()
    key = other.rung.keys.key(("u1",), {}, None)
    _, found = other.tier.find(other.rung, key, after_s=0.0, within_s=0.02, told=lambda: None)
    for _ in range(3):
        answer = other.rung.serve_found(found, other.clock.monotonic())
        assert answer == Answer([Story(1, ["a"])], 0.0)
        answer.value[0].tags.append("spoiled")
        answer.value.clear()
    assert other.serve("u1") == Answer([Story(1, ["a"])], 0.0)


def test_what_was_found_and_nobody_can_change_is_decoded_once_and_shared(shelf, clock):
    one, other = (Process(shelf, clock, titles) for _ in range(2))
    one.keep(("a", "b"), "u1")
    one.tier.send()
    found, served = other.find("u1"), other.serve("u1")
    assert found == Answer(("a", "b"), 0.0)
    assert found.value is served.value


def test_what_was_found_is_shared_where_the_author_promises_that_nobody_changes_it(shelf, clock):
    one, other = Process(shelf, clock), Process(shelf, clock, share=True)
    one.keep([Story(1, [])], "u1")
    one.tier.send()
    found, served = other.find("u1"), other.serve("u1")
    assert found.value is served.value


def test_a_transform_sees_what_was_found(one, shelf, clock):
    other = Process(shelf, clock, transform=lambda stories: stories[:1])
    one.keep([Story(1, []), Story(2, [])], "u1")
    one.tier.send()
    assert other.find("u1") == Answer([Story(1, [])], 0.0)
    assert other.serve("u1") == Answer([Story(1, [])], 0.0)


def test_two_subjects_and_two_arguments_never_share(one, other):
    one.keep([Story(1, [])], "u1", subject="ana")
    one.tier.send()
    assert other.find("u1", subject="ben") is None
    assert other.find("u1") is None
    assert other.find("u2", subject="ana") is None
    assert other.find("u1", subject="ana") == Answer([Story(1, [])], 0.0)


def test_subjects_share_when_the_rung_is_for_everyone(shelf, clock):
    one, other = (Process(shelf, clock, everyone=True) for _ in range(2))
    one.keep([], "u1", subject="ana")
    one.tier.send()
    assert other.find("u1", subject="ben") == Answer([], 0.0)


def test_two_functions_of_one_flag_never_share(one, shelf, clock):
    other = Process(shelf, clock, other_feed)
    one.keep([Story(1, [])], "u1")
    one.tier.send()
    assert other.find("u1") is None
    assert other.counts == {"miss": 1}


def test_a_value_under_a_wrong_key_is_refused(one, other, shelf):
    one.keep([Story(1, [])], "u1", subject="ana")
    one.tier.send()
    ((flag, key),) = shelf.bodies
    shelf.bodies[flag, key.replace("ana", "ben")] = shelf.bodies[flag, key]
    assert other.find("u1", subject="ben") is None
    assert other.counts == {"refused": 1}


def test_one_that_cannot_be_trusted_is_refused_counted_and_said_by_the_tier_alone(
    shelf, clock, caplog
):
    one, other = (Process(SignedBlobs(shelf, [key], namespace="shop"), clock) for key in KEYS)
    one.keep([Story(1, [])], "u1")
    one.keep([Story(2, [])], "u2")
    one.tier.send()
    assert one.find("u1") == Answer([Story(1, [])], 0.0)
    for user in ("u1", "u2"):
        assert other.find(user) is None
        assert other.serve(user) is None
    assert other.counts == {"refused": 2}
    assert [record.name for record in caplog.records] == ["degrade.stores"]


def test_an_older_signed_one_of_the_same_key_counts_by_its_own_time(shelf, clock):
    signed = SignedBlobs(shelf, KEYS, namespace="shop")
    one, other, third = (Process(signed, clock, max_age=60) for _ in range(3))
    one.keep([Story(1, [])], "u1")
    one.tier.send()
    older = dict(shelf.bodies)
    clock.advance(40)
    one.keep([Story(2, [])], "u1")
    one.tier.send()
    assert shelf.bodies != older
    shelf.bodies |= older
    assert other.find("u1") == Answer([Story(1, [])], 40.0)
    third.after_s = clock.wall() - 1
    assert third.find("u1") is None, "it is from before an off ended"
    clock.advance(20)
    third.after_s = 0.0
    assert third.find("u1") is None, "it is too old"


def test_what_is_sent_again_to_a_store_that_lost_it_is_signed_again(shelf, clock):
    one, other = (Process(SignedBlobs(shelf, KEYS, namespace="shop"), clock) for _ in range(2))
    one.keep([Story(1, [])], "u1")
    one.tier.send()
    assert other.find("u1") is not None
    signed = dict(shelf.bodies)
    shelf.bodies.clear()
    one.tier.lost()
    clock.advance(shared_tier.SEND_EVERY_S)
    one.tier.send()
    assert shelf.bodies == signed


# ------------------------------------------------------------------ ages and voids


def test_nothing_is_served_at_its_greatest_age(one, shelf, clock):
    other = Process(shelf, clock, max_age=60)
    one.keep([], "u1")
    one.tier.send()
    clock.advance(59.9)
    assert other.find("u1") is not None
    clock.advance(0.1)
    assert other.serve("u1") is None
    assert other.find("u1") is None
    assert other.counts == {"hit": 1, "refused": 1}


def test_ages_go_by_the_time_of_the_store_not_by_the_clocks_of_hosts(shelf):
    store_clock = ManualClock(wall_s=1_000_000.0)
    here, there = ManualClock(wall_s=1_000_000.0 - 500), ManualClock(wall_s=1_000_000.0 + 9_000)
    one = Process(shelf, here, ahead_s=500, max_age=60)
    other = Process(shelf, there, ahead_s=-9_000, max_age=60)
    assert one.store_now() == other.store_now() == store_clock.wall()
    one.keep([], "u1")
    one.tier.send()
    there.advance(59)
    assert other.find("u1") == Answer([], 59.0)
    there.advance(1)
    assert other.find("u1") is None


def test_one_from_the_future_is_refused_beyond_what_a_slow_reply_explains(one, shelf, clock):
    ahead = Process(shelf, clock, ahead_s=5.0)
    ahead.keep([], "u1")
    ahead.tier.send()
    assert one.find("u1") is None
    ahead.ahead_s = 1.0
    clock.advance(30)
    ahead.keep([], "u2")
    ahead.tier.send()
    assert one.find("u2") == Answer([], 0.0)


def test_nothing_from_before_an_off_ended_is_served(one, other, clock):
    one.keep([], "u1")
    one.tier.send()
    other.after_s = clock.wall()
    assert other.find("u1") is None
    assert other.counts == {"refused": 1}
    clock.advance(30)
    one.keep([], "u1")
    one.tier.send()
    assert other.find("u1") is not None


def test_nothing_admitted_before_a_void_here_comes_back_from_the_store(one, other, clock):
    one.keep([], "u1")
    one.tier.send()
    clock.advance(5)
    other.memory.void("feed", clock.monotonic())
    assert other.find("u1") is None
    assert other.counts == {"refused": 1}


def test_what_is_found_and_then_voided_is_not_served(one, other, clock):
    one.keep([], "u1")
    one.tier.send()
    key = other.rung.keys.key(("u1",), {}, None)
    _, found = other.tier.find(other.rung, key, after_s=0, within_s=1, told=lambda: None)
    assert found is not None
    other.memory.void("feed", clock.monotonic())
    assert other.rung.serve_found(found, clock.monotonic()) is None


def test_a_newer_one_in_memory_is_not_replaced(one, other, clock):
    one.keep([Story(1, [])], "u1")
    one.tier.send()
    clock.advance(1)
    other.keep([Story(2, [])], "u1")
    assert other.find("u1") == Answer([Story(1, [])], 1.0)
    assert other.serve("u1") == Answer([Story(2, [])], 0.0)


def test_a_capture_admitted_before_a_void_is_not_sent_after_it(one, shelf, clock):
    one.keep([], "u1")
    one.memory.void("feed", clock.monotonic())
    one.tier.send()
    assert shelf.bodies == {}
    assert one.counts == {"unsent": 1}


def test_after_a_void_a_key_is_sent_again_at_once(one, shelf, clock):
    one.keep([Story(1, [])], "u1")
    one.tier.send()
    clock.advance(1)
    one.memory.void("feed", clock.monotonic())
    clock.advance(1)
    one.keep([Story(2, [])], "u1")  # within `refresh`, but what was sent is void
    one.tier.send()
    assert shelf.batches == [1, 1]


# ------------------------------------------------------------------ the queue


def test_the_newest_of_a_key_waits_and_is_sent_once(one, shelf, clock):
    for number in range(5):
        one.keep([Story(number, [])], "u1")
        clock.advance(30)
    assert len(one.tier) == 1
    one.tier.send()
    assert (shelf.batches, len(one.tier), one.tier.waiting_bytes) == ([1], 0, 0)
    assert b"4" in next(iter(shelf.bodies.values()))
    assert one.counts == {"sent": 1}


def test_a_key_is_not_sent_more_often_than_refresh_allows(one, shelf, clock):
    one.keep([], "u1")
    one.tier.send()
    one.rung.book.entries.clear()  # as if memory had no room
    clock.advance(29)
    one.keep([], "u1")
    assert not one.tier.due()
    one.rung.book.entries.clear()
    clock.advance(1)
    one.keep([], "u1")
    assert one.tier.due()
    one.tier.send()
    assert shelf.batches == [1, 1]


def test_sending_pauses_between_rounds(one, clock):
    assert not one.tier.due()
    one.keep([], "u1")
    assert one.tier.due()
    one.tier.send()
    one.keep([], "u2")
    assert not one.tier.due()
    clock.advance(shared_tier.SEND_EVERY_S)
    assert one.tier.due()


def test_the_oldest_is_dropped_and_counted_when_the_queue_is_full(one, shelf, monkeypatch):
    monkeypatch.setattr(shared_tier, "MOST_QUEUED", 3)
    for number in range(5):
        one.keep([], f"u{number}")
    assert len(one.tier) == 3
    one.tier.send()
    assert one.counts == {"unsent": 2, "sent": 3}
    assert [user for _, key in shelf.bodies for user in re.findall("'(u.)'", key)] == [
        "u2",
        "u3",
        "u4",
    ]


def test_the_queue_is_bounded_in_bytes(one, monkeypatch):
    monkeypatch.setattr(shared_tier, "MOST_QUEUED_BYTES", 2_000)
    for number in range(50):
        one.keep([Story(number, [f"tag {number}"])], f"u{number}")
    assert 0 < one.tier.waiting_bytes <= 2_000
    assert one.counts["unsent"] + len(one.tier) == 50


def test_many_are_sent_in_batches(one, shelf):
    for number in range(450):
        one.memory.budget.spent(0.0, -1.0, Account())
        one.keep([], f"u{number}")
    one.tier.send()
    assert shelf.batches == [200, 200, 50]


def test_what_the_store_does_not_take_is_sent_later_unless_something_newer_came(one, shelf, clock):
    one.keep([Story(1, [])], "u1")
    one.keep([Story(1, [])], "u2")
    shelf.sick = True
    with pytest.raises(StoreError):
        one.tier.send()
    assert len(one.tier) == 2
    clock.advance(30)
    one.keep([Story(2, [])], "u1")
    shelf.sick = False
    one.tier.send()
    assert one.counts == {"sent": 2}
    assert one.tier.waiting_bytes == 0
    u1, u2 = (shelf.bodies[place] for place in sorted(shelf.bodies))
    assert b'"id":2' in u1
    assert b'"id":1' in u2


def test_what_came_while_a_batch_failed_is_newer_than_the_batch(one, shelf, clock, monkeypatch):
    def slow(blobs):
        clock.advance(30)
        one.keep([Story(2, [])], "u1")
        raise StoreError("no answer in time")

    one.keep([Story(1, [])], "u1")
    with monkeypatch.context() as patched:
        patched.setattr(shelf, "put", slow)
        with pytest.raises(StoreError):
            one.tier.send()
    one.tier.send()
    (body,) = shelf.bodies.values()
    assert b'"id":2' in body
    assert one.counts == {"unsent": 1, "sent": 1}
    assert one.tier.waiting_bytes == 0


def test_one_that_is_too_large_for_the_way_holds_nobody_up_for_long(one, shelf, clock, monkeypatch):
    put = shelf.put

    def narrow(blobs):
        if any("u0" in blob.key for blob in blobs):
            raise StoreError("no answer in time")
        put(blobs)

    monkeypatch.setattr(shelf, "put", narrow)
    for number in range(30):
        one.keep([], f"u{number}")
    for _ in range(10):
        with pytest.raises(StoreError):
            one.tier.send()
    assert (len(shelf.bodies), len(one.tier)) == (29, 1)
    assert max(shelf.batches) > 1


def test_what_became_too_old_while_waiting_is_not_sent(shelf, clock):
    one = Process(shelf, clock, max_age=60)
    one.keep([], "u1")
    clock.advance(60)
    one.tier.send()
    assert (shelf.bodies, one.counts) == ({}, {"unsent": 1})


def test_it_is_kept_for_as_long_as_it_may_be_served(shelf, clock):
    one = Process(shelf, clock, max_age=60)
    one.keep([], "u1")
    clock.advance(10)
    one.tier.send()
    assert list(shelf.kept_s.values()) == [50.0]


def test_what_is_larger_than_the_store_takes_is_not_queued(clock):
    one = Process(Shelf(limit=300), clock)
    one.keep([Story(1, ["x" * 5_000])], "u1")
    assert len(one.tier) == 1  # it compresses well
    one = Process(Shelf(limit=100), clock)
    one.keep([Story(1, ["x" * 5_000])], "u1")
    assert len(one.tier) == 0


def test_objects_that_are_kept_as_they_are_stay_in_the_process(shelf, clock):
    one = Process(shelf, clock, copy=False)
    one.keep([Story(1, [])], "u1")
    assert len(one.tier) == 0
    assert not one.rung.shares


# ------------------------------------------------------------------ hostile values


def headed(head: dict[str, Any], value: bytes, **changes: object) -> bytes:
    return json.dumps({**head, **changes}).encode() + b"\n" + value


# What an attacker, another deploy or an accident may leave in place of a snapshot, made from
# the envelope and the value of a good one.
HOSTILE: dict[str, Callable[[dict[str, Any], bytes], bytes]] = {
    "empty": lambda head, value: b"",
    "pickle": lambda head, value: pickle.dumps([Story(1, [])]),
    "cut": lambda head, value: headed(head, value[:-3]),
    "cut in the head": lambda head, value: headed(head, value)[:20],
    "no envelope": lambda head, value: value,
    "deep json": lambda head, value: headed(head, b"[" * 1_000_000),
    "deep head": lambda head, value: b"[" * 1_000_000,
    "deep value": lambda head, value: headed(head, b"[" * 5_000 + b"]" * 5_000),
    "another type": lambda head, value: headed(head, value, schema="0" * 16),
    "another version": lambda head, value: headed(head, value, v=2),
    "another key": lambda head, value: headed(head, value, key=head["key"].replace("u1", "u2")),
    "no time": lambda head, value: headed(head, value, created=None),
    "endless time": lambda head, value: headed(head, value, created=1e999),
    "time of no number": lambda head, value: headed(head, value, created=float("nan")),
    "not packed": lambda head, value: headed(head, value, packed=1),
    "bomb": lambda head, value: headed(head, zlib.compress(b"[" + b" " * 99_000_000), packed=1),
    "not a list": lambda head, value: headed(head, b'{"0":[]}'),
    "another shape": lambda head, value: headed(head, b'[[{"id":"x","tags":3}]]'),
    "far too much": lambda head, value: headed(head, b" " * (17 * 1024 * 1024)),
    "somewhat too much": lambda head, value: headed(head, b"[[" + b" " * 5_000_000 + b"]]"),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_a_hostile_value_is_ignored_and_counted(what, one, other, shelf):
    one.keep([Story(1, [])], "u1")
    one.tier.send()
    shelf.limit = 64 * 1024 * 1024
    ((place, good),) = shelf.bodies.items()
    head, _, value = good.partition(b"\n")
    shelf.bodies[place] = HOSTILE[what](json.loads(head), value)
    assert other.find("u1") is None
    assert other.serve("u1") is None
    assert other.counts == {"refused": 1}
    shelf.bodies[place] = good
    assert other.find("u1") == Answer([Story(1, [])], 0.0)


def test_the_first_refusal_is_told_without_the_value(one, other, shelf, caplog):
    one.keep([Story(1, [])], "u1")
    one.tier.send()
    (place,) = shelf.bodies
    shelf.bodies[place] = b"s3cr3t"
    other.find("u1")
    other.find("u1")
    assert [record.getMessage() for record in caplog.records] == [
        "cannot read a snapshot of feed: not a snapshot"
    ]


def test_a_store_that_fails_is_counted_and_told_to_whoever_asks(other, shelf):
    shelf.sick = True
    with pytest.raises(StoreError):
        other.find("u1")
    assert other.counts == {Sharing.FAILED.value: 1}
