"""Who asks, and what was served: the context that travels with a request."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Iterator

import pytest

import degrade
from degrade import Runtime, Served, default, degradable, omit, request, served, snapshot
from degrade.clock import ManualClock
from degrade.control import Control
from degrade.runtime.provenance import MOST_NOTES, Scope, context, subject
from tests.unit.runtime.doing import Boom, Sick

KEPT = snapshot(max_age="1h", refresh="1s", copy=False)


def flags() -> list[str]:
    return [answer.flag for answer in served()]


@pytest.fixture
def held(runtime: Runtime, control: Control):
    """A function whose flag is degraded by hand."""
    feed = degradable("feed", fallback=[default("stale")])(Sick())
    control.hold("feed", "degraded", for_=None, reason="bad model")
    return feed


def test_outside_a_request_nothing_is_collected(held):
    held()
    assert served() == ()
    assert subject() is None
    assert context() is None


def test_what_was_served_is_told_in_full(runtime: Runtime, control: Control, clock: ManualClock):
    feed = degradable("feed", fallback=[KEPT, omit()])(Sick())
    other = degradable("other", fallback=[omit()])(Sick())
    feed()
    runtime.tick()
    clock.advance(300)
    control.hold("feed", "degraded", for_=None, reason="bad model")
    since = clock.wall()
    clock.advance(12)
    control.hold("other", "off", for_=None, reason="wrong")
    with request() as current:
        for _ in range(3):
            feed()
        other()
        first, second, third, last = served()
        assert first == second == third
        assert first == Served(flag="feed", rung="snapshot", age_s=312, since=since,
                               reason="hold by ana: bad model")  # fmt: skip
        assert last == Served(flag="other", rung="omit", age_s=None, since=clock.wall(),
                              reason="hold by ana: wrong")  # fmt: skip
        assert current.served == served()
    assert served() == ()


def test_a_full_answer_is_not_told(runtime: Runtime):
    feed = degradable("feed", fallback=[default("stale")])(Sick())
    with request():
        for _ in range(3):
            feed()
        assert served() == ()


def test_a_failed_call_says_so_and_has_no_since(runtime: Runtime):
    sick = Sick()
    feed = degradable("feed", fallback=[default("stale")])(sick)
    sick.ill = True
    with request():
        feed()
        (answer,) = served()
    assert answer.reason == "failed call: Boom"
    assert answer.since is None


def test_a_rejected_result_says_so(runtime: Runtime):
    feed = degradable("feed", accept=bool, fallback=[default("stale")])(Sick(0))
    with request():
        feed()
        assert [answer.reason for answer in served()] == ["result rejected"]


def test_requests_are_kept_apart(held):
    with request(subject="a"):
        held()
        with request(subject="b"):
            assert subject() == "b"
            assert served() == ()
            held()
            held()
            assert len(served()) == 2
        assert subject() == "a"
        assert len(served()) == 1
    with request():
        assert served() == ()


def test_a_request_closes_when_its_body_raises(held):
    with pytest.raises(Boom), request(subject="a"):
        raise Boom
    assert subject() is None


def test_child_tasks_are_collected(held):
    async def child(n: int) -> None:
        await asyncio.sleep(0)
        for _ in range(n):
            held()

    async def main() -> list[str]:
        with request(subject="a"):
            await asyncio.gather(child(1), child(2), asyncio.create_task(child(3)))
            return flags()

    assert asyncio.run(main()) == ["feed"] * 6


def test_requests_of_tasks_at_once_are_kept_apart(held):
    async def serve(n: int) -> int:
        with request(subject=str(n)):
            for _ in range(n):
                await asyncio.sleep(0)
                held()
            assert subject() == str(n)
            return len(served())

    async def main() -> list[int]:
        return await asyncio.gather(*(serve(n) for n in range(8)))

    assert asyncio.run(main()) == list(range(8))


def test_a_thread_that_copies_the_context_is_collected(held):
    with request(subject="a"):
        thread = threading.Thread(target=contextvars.copy_context().run, args=(held,))
        thread.start()
        thread.join(10)
        assert flags() == ["feed"]


def test_a_thread_without_the_context_is_outside(held):
    with request(subject="a"):
        thread = threading.Thread(target=held)
        thread.start()
        thread.join(10)
        assert flags() == []


def test_asyncio_to_thread_is_collected(held):
    async def main() -> list[str]:
        with request():
            await asyncio.to_thread(held)
            return flags()

    assert asyncio.run(main()) == ["feed"]


def test_parts_of_a_captured_result_are_collected_inside_and_after(
    runtime: Runtime, control: Control
):
    part = degradable("part", fallback=[default("stale")])(Sick())
    control.hold("part", "degraded", for_=None, reason="drill")
    inside: list[list[str]] = []

    @degradable("feed", fallback=[KEPT])
    def feed() -> str:
        part()
        inside.append(flags())
        return "built"

    @degradable("page", fallback=[KEPT])
    def page() -> str:
        part()
        return feed()

    with request():
        page()
        assert inside == [["part", "part"]], "two scopes deep, in order"
        assert flags() == ["part", "part"]


def test_a_captured_call_that_fails_still_tells_of_its_parts(runtime: Runtime, control: Control):
    part = degradable("part", fallback=[default("stale")])(Sick())
    control.hold("part", "degraded", for_=None, reason="drill")

    @degradable("feed", fallback=[KEPT, default("none")])
    def feed() -> str:
        part()
        raise Boom

    with request():
        assert feed() == "none"
        assert flags() == ["part", "feed"]


@pytest.mark.parametrize("rung", ["default", "snapshot on the spot"])
def test_an_endless_request_keeps_the_newest_answers(runtime: Runtime, control: Control, rung: str):
    feed = degradable("feed", fallback=[KEPT, default("stale")])(Sick())
    if rung == "snapshot on the spot":
        feed()
        runtime.tick()
    control.hold("feed", "degraded", for_=None, reason="drill")
    last = degradable("last", fallback=[default("stale")])(Sick())
    control.hold("last", "degraded", for_=None, reason="drill")
    with request() as current:
        for _ in range(MOST_NOTES + 500):
            feed()
        assert len(current.notes) == len(current.served) == MOST_NOTES
        last()
        answers = served()
    assert len(answers) <= MOST_NOTES
    assert answers[-1].flag == "last"


def test_parts_of_an_endless_call_are_bounded_too(held):
    with request() as current:
        for _ in range(MOST_NOTES):
            held()
        with Scope() as scope:
            for _ in range(MOST_NOTES):
                held()
            assert scope.tainted
            assert len(served()) == MOST_NOTES
        assert len(current.notes) == MOST_NOTES


# ------------------------------------------------------------------ entered here, left there


def test_a_request_may_be_left_in_another_context():
    """As a generator does that a framework starts in one thread and ends in another."""

    def dependency() -> Iterator[str]:
        with request(subject="a"):
            yield "value"

    generator = dependency()
    assert contextvars.copy_context().run(next, generator) == "value"
    with pytest.raises(StopIteration):
        contextvars.copy_context().run(next, generator)
    assert subject() is None


def test_a_scope_may_be_left_in_another_context(runtime: Runtime):
    @degradable("feed", fallback=[KEPT])
    async def feed() -> str:
        await asyncio.sleep(0)
        return "fresh"

    coroutine = feed()
    contextvars.copy_context().run(coroutine.send, None)
    with pytest.raises(StopIteration) as done:
        contextvars.copy_context().run(coroutine.send, None)
    assert done.value.value == "fresh"


def test_a_scope_knows_the_subject_around_it():
    with request(subject="a"), Scope() as scope:
        assert subject() == "a"
        assert not scope.tainted
    with Scope():
        assert subject() is None


def test_subjects_keep_their_snapshots_apart(runtime: Runtime, control: Control):
    @degradable("feed", fallback=[snapshot(max_age="1h"), default("none")])
    def feed() -> str:
        return f"for {subject()}"

    for who in ("a", "b", None):
        with request(subject=who):
            feed()
    runtime.tick()
    control.hold("feed", "degraded", for_=None, reason="drill")
    for _ in range(2):
        for who in ("a", "b", None):
            with request(subject=who):
                assert feed() == f"for {who}"
        with request(subject="c"):
            assert feed() == "none"


def test_a_request_says_what_it_is():
    assert repr(degrade.request(subject="a")) == "<request subject='a' served=0>"
