"""Permits, one thread at a time and twenty at once."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator

import pytest

from degrade.core.probe_permits import Permit, Permits, probe_limit


@pytest.mark.parametrize(
    ("share", "peak", "limit"),
    [(0.01, 0, 1), (0.01, 99, 1), (0.01, 200, 2), (0.29, 100, 29), (0.25, 10, 2), (1.0, 7, 7)],
)
def test_probes_are_bounded_by_the_share_of_the_peak_and_at_least_one(
    share: float, peak: int, limit: int
):
    assert probe_limit(share, peak) == limit


def taken(permits: Permits, now: float = 0.0, lease_s: float = 10.0) -> Permit:
    permit = permits.take(now, lease_s)
    assert permit is not None
    return permit


def test_no_more_permits_are_given_than_the_limit():
    permits = Permits(2, now=0.0)
    taken(permits), taken(permits)
    assert permits.take(0.0, 10.0) is None
    assert (permits.limit, permits.in_flight) == (2, 2)


def test_a_permit_given_back_can_be_taken_again():
    permits = Permits(1, now=0.0)
    assert permits.give_back(taken(permits))
    assert permits.in_flight == 0
    taken(permits)


def test_giving_back_twice_frees_one_place():
    permits = Permits(2, now=0.0)
    first = taken(permits)
    taken(permits)
    assert permits.give_back(first)
    assert permits.give_back(first) is False
    assert permits.in_flight == 1


def test_a_permit_hung_past_its_lease_is_freed():
    permits = Permits(3, now=0.0)
    hung, also_hung = taken(permits, lease_s=5.0), taken(permits, now=1.0, lease_s=5.0)
    taken(permits, now=1.0, lease_s=5.001)
    assert permits.expire(4.999) == 0
    assert permits.expire(6.0) == 2
    assert permits.in_flight == 1
    assert not permits.give_back(hung)
    assert not permits.give_back(also_hung)
    assert permits.in_flight == 1


def test_a_permit_ends_with_its_lease_counted_from_when_it_was_taken():
    assert taken(Permits(1, now=0.0), now=3.0, lease_s=2.0).until == 5.0


def test_a_new_generation_is_free_of_the_permits_of_the_old_one():
    permits = Permits(1, now=0.0)
    old = taken(permits)
    permits.restart(2, now=7.0)
    assert (permits.limit, permits.in_flight) == (2, 0)
    taken(permits), taken(permits)
    permits.give_back(old)
    assert permits.take(0.0, 10.0) is None
    assert permits.expire(9.0) == 0
    assert permits.expire(10.0) == 2


def test_a_lower_limit_leaves_those_in_flight_and_gives_none_until_there_is_room():
    permits = Permits(3, now=0.0)
    first, second, third = taken(permits), taken(permits), taken(permits)
    permits.resize(2)
    assert permits.in_flight == 3
    permits.give_back(first)
    assert permits.take(0.0, 10.0) is None
    permits.give_back(second)
    taken(permits)
    assert permits.take(0.0, 10.0) is None
    permits.give_back(third)
    assert permits.limit == 2


def test_a_higher_limit_gives_more_at_once():
    permits = Permits(1, now=0.0)
    taken(permits)
    permits.resize(2)
    taken(permits)
    assert permits.take(0.0, 10.0) is None


@pytest.mark.parametrize(("instances", "wait_s"), [(0, 1.0), (1, 1.0), (40, 40.0)])
def test_a_probe_is_due_when_none_was_taken_for_as_many_seconds_as_there_are_instances(
    instances: int, wait_s: float
):
    permits = Permits(2, now=100.0)
    assert not permits.due(100.0 + wait_s - 0.001, instances)
    assert permits.due(100.0 + wait_s, instances)
    taken(permits, now=200.0)
    assert permits.last_taken == 200.0
    assert not permits.due(200.0 + wait_s - 0.001, instances)
    assert permits.due(200.0 + wait_s, instances)


def test_a_refused_attempt_does_not_put_off_the_next_probe():
    permits = Permits(1, now=0.0)
    taken(permits, now=1.0)
    assert permits.take(9.0, 10.0) is None
    assert permits.last_taken == 1.0


def test_a_new_generation_counts_its_wait_from_its_start():
    permits = Permits(1, now=0.0)
    permits.restart(1, now=50.0)
    assert permits.last_taken == 50.0
    assert not permits.due(50.5, 1)


def test_their_text_says_how_many_are_in_flight():
    permits = Permits(3, now=0.0)
    permit = taken(permits, lease_s=4.0)
    assert repr(permits) == "Permits(limit=3, in_flight=1)"
    assert repr(permit) == "Permit(until=4.0)"


class Racing(dict[Permit, bool]):
    """What is out, with another thread that takes a place at the worst instant."""

    other: Permit

    def __setitem__(self, permit: Permit, out: bool) -> None:
        super().__setitem__(permit, out)
        super().__setitem__(self.other, True)


def test_two_attempts_for_the_last_place_are_never_both_granted():
    permits = Permits(1, now=0.0)
    other = taken(Permits(1, now=0.0))
    permits._generation.out = racing = Racing()
    racing.other = other
    assert permits.take(5.0, 10.0) is None
    assert list(racing) == [other]
    assert permits.last_taken == 0.0


class Interrupted(dict[Permit, bool]):
    """What is out, in a thread that is interrupted right after it entered its permit."""

    def __setitem__(self, permit: Permit, out: bool) -> None:
        super().__setitem__(permit, out)
        raise KeyboardInterrupt


def test_an_interrupted_attempt_gives_its_permit_back():
    permits = Permits(1, now=0.0)
    permits._generation.out = Interrupted()
    with pytest.raises(KeyboardInterrupt):
        permits.take(0.0, 10.0)
    permits._generation.out = dict(permits._generation.out)
    taken(permits, now=1.0)


@pytest.fixture
def _eager_switching() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("_eager_switching")
def test_twenty_threads_at_once_never_hold_more_than_the_limit_and_lose_none():
    limit = 3
    permits = Permits(limit, now=0.0)
    start = threading.Barrier(20)
    holding: dict[int, bool] = {}
    too_many: list[int] = []
    granted: list[int] = []

    def worker(name: int) -> None:
        start.wait()
        for _ in range(500):
            permit = permits.take(0.0, 10.0)
            if permit is None:
                continue
            holding[name] = True
            if len(holding) > limit:
                too_many.append(len(holding))
            granted.append(name)
            del holding[name]
            permits.give_back(permit)

    threads = [threading.Thread(target=worker, args=(name,)) for name in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert granted
    assert not too_many
    assert permits.in_flight == 0
