"""Who asks, and what was served: the context that travels with a request."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
import threading
from collections.abc import Iterator

import pytest

import degrade
from degrade import (
    ConfigError,
    Runtime,
    Served,
    UsageError,
    default,
    degradable,
    identify,
    omit,
    request,
    served,
    snapshot,
)
from degrade.clock import ManualClock
from degrade.context import MOST_NOTES, UNKNOWN, CaptureScope, context, subject, who
from degrade.control import Control
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
        with CaptureScope() as scope:
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
    with request(subject="a"), CaptureScope() as scope:
        assert subject() == "a"
        assert not scope.tainted
    with CaptureScope():
        assert subject() is None


def test_subjects_keep_their_snapshots_apart(runtime: Runtime, control: Control):
    @degradable("feed", fallback=[snapshot(max_age="1h"), default("none")])
    def feed() -> str:
        return f"for {subject()}"

    for name in ("a", "b", None):
        with request(subject=name):
            feed()
    runtime.tick()
    control.hold("feed", "degraded", for_=None, reason="drill")
    for _ in range(2):
        for name in ("a", "b", None):
            with request(subject=name):
                assert feed() == f"for {name}"
        with request(subject="c"):
            assert feed() == "none"


def test_a_request_says_what_it_is():
    assert repr(degrade.request(subject="a")) == "<request subject='a' served=0>"


@pytest.mark.parametrize("bad", [42, b"ana", ("ana",), object])
def test_a_subject_is_text(bad: object):
    with pytest.raises(ConfigError, match="a subject is text") as caught:
        request(bad)  # type: ignore[arg-type]
    assert caught.value.code == "bad-subject"
    with request("ana") as current, pytest.raises(ConfigError, match="a subject is text") as caught:
        identify(bad)  # type: ignore[arg-type]
    assert caught.value.code == "bad-subject"
    assert current.subject == "ana"


def test_a_request_that_is_open_is_not_opened_again():
    shared = request("ana")
    for _ in range(2):  # one after the other is no mistake
        with shared, pytest.raises(UsageError, match="open already") as caught, shared:
            raise AssertionError
        assert caught.value.code == "request-reused"
    assert subject() is None


# ------------------------------------------------------------------ requests inside of requests


def test_what_an_inner_request_is_served_is_told_around_it_at_once(held):
    with request("a") as outer:
        with request("b") as inner, request("c"), CaptureScope():
            held()
            assert flags() == ["feed"]
            assert len(inner.served) == len(outer.served) == 1, "not only when it ends"
        held()
        assert len(inner.served) == 1
        assert len(served()) == len(outer.served) == 2


def test_an_inner_request_taints_what_is_built_around_it(held):
    with CaptureScope() as scope:
        with request("a"):
            assert not scope.tainted
            held()
        assert scope.tainted


def test_a_branch_taken_in_an_inner_request_taints_what_is_around_it(held):
    with request() as outer, request("a") as inner, CaptureScope() as scope:
        assert not any(each.tainted for each in (outer, inner, scope))
        assert degrade.flag("feed").degraded
    assert all(each.tainted for each in (outer, inner, scope))
    assert outer.served == ()


def test_an_inner_request_of_a_thread_is_told_around_it(held):
    def work() -> None:
        with request("b"):
            held()

    with request("a"):
        thread = threading.Thread(target=contextvars.copy_context().run, args=(work,))
        thread.start()
        thread.join(10)
        assert flags() == ["feed"]
        assert subject() == "a"


# ------------------------------------------------------------------ side effects


def test_a_side_effect_that_was_skipped_is_told_and_taints_nothing(
    runtime: Runtime, control: Control
):
    count = degradable("count", fallback=omit(side_effect=True))(Sick())
    part = degradable("part", fallback=omit())(Sick())
    for name in ("count", "part"):
        control.hold(name, "degraded", for_=None, reason="drill")
    with request() as outer, request() as inner, CaptureScope() as scope:
        assert count() is None
        assert [(answer.flag, answer.rung, answer.side_effect) for answer in served()] == [
            ("count", "omit", True)
        ]
        assert inner.served == outer.served
        assert not any(each.tainted for each in (outer, inner, scope))
        part()
        assert [answer.side_effect for answer in outer.served] == [True, False]
        assert all(each.tainted for each in (outer, inner, scope))


def test_a_page_without_its_side_effect_is_kept(runtime: Runtime, control: Control):
    count = degradable("count", fallback=omit(side_effect=True))(Sick())

    @degradable("page", fallback=[KEPT, default("none")])
    def page() -> str:
        count()
        return "whole"

    control.hold("count", "degraded", for_=None, reason="drill")
    page()
    runtime.tick()
    control.hold("page", "degraded", for_=None, reason="drill")
    assert page() == "whole"


def test_many_side_effects_do_not_make_one_forget_a_degraded_part(
    runtime: Runtime, control: Control
):
    count = degradable("count", fallback=omit(side_effect=True))(Sick())
    part = degradable("part", fallback=omit())(Sick())
    for name in ("count", "part"):
        control.hold(name, "degraded", for_=None, reason="drill")
    with request() as current, CaptureScope() as scope:
        part()
        for _ in range(MOST_NOTES + 1):
            count()
        assert current.tainted
        assert scope.tainted
        assert len(current.notes) == len(scope.notes) == MOST_NOTES


@pytest.mark.parametrize("bad", [None, 1, "yes"])
def test_a_side_effect_is_said_by_true(bad: object):
    with pytest.raises(ConfigError, match="side_effect="):
        omit(side_effect=bad)  # type: ignore[arg-type]


# ------------------------------------------------------------------ naming the open request


class Mailbox:
    """What one user may see; the arguments of its method do not tell whose it is."""

    up = True

    def __init__(self, user: str) -> None:
        self.user = user

    def read(self, page: int) -> list[str]:
        if not self.up:
            raise Boom
        return [f"mail of {self.user}"]


class AsyncMailbox(Mailbox):
    async def read(self, page: int) -> list[str]:  # type: ignore[override]
        await asyncio.sleep(0)
        return super().read(page)


LADDER = [snapshot(max_age="1h", key=("page",)), default([])]


@pytest.fixture
def mailbox(runtime: Runtime):
    """A guarded mailbox, closed again after the test."""
    read = degradable("inbox", fallback=LADDER)(Mailbox.read)

    def ask(user: str) -> list[str]:
        return read(Mailbox(user), 1)  # type: ignore[no-any-return]

    yield ask
    Mailbox.up = True


def test_identify_names_the_open_request():
    with request() as outer:
        with CaptureScope() as scope, CaptureScope():
            identify("ana")
            assert subject() == who() == "ana"
        assert outer.subject == scope.subject == "ana"
        identify("ben")
        assert subject() == "ben", "the last one counts"
        assert who() is UNKNOWN, "both may be served at once"
        identify(None)
        assert subject() is None
    assert subject() is None


def test_identify_names_the_innermost_request_alone():
    with request("a"):
        with request():
            identify("b")
            assert subject() == "b"
        assert subject() == "a"


def test_identify_reaches_the_request_from_a_thread_with_a_copy_of_its_context():
    with request():
        contextvars.copy_context().run(identify, "ana")
        assert subject() == who() == "ana"


def test_identify_without_a_request_says_what_to_do():
    with pytest.raises(UsageError, match="no request is open") as caught:
        identify("ana")
    assert caught.value.code == "no-request"
    with CaptureScope(), pytest.raises(UsageError, match="no request is open"):
        identify("ana")


def test_identify_after_the_end_of_the_request_names_nobody():
    with request() as current:
        late = contextvars.copy_context()
    late.run(identify, "ana")
    assert late.run(who) is current.who is None


def test_users_named_late_are_kept_apart(runtime: Runtime, mailbox):
    def ask(user: str) -> list[str]:
        with request():
            identify(user)
            return mailbox(user)  # type: ignore[no-any-return]

    assert ask("ana") == ["mail of ana"]
    assert ask("ben") == ["mail of ben"]
    runtime.tick()
    Mailbox.up = False
    assert ask("ana") == ["mail of ana"]
    assert ask("ben") == ["mail of ben"]
    assert ask("zoe") == []


def test_a_result_during_which_the_user_becomes_known_is_not_kept(runtime: Runtime):
    @degradable("page", fallback=[KEPT, default("none")])
    def page(user: str) -> str:
        identify(user)
        return f"page of {user}"

    with request():
        assert page("ana") == "page of ana"
    runtime.tick()
    assert len(runtime.tier) == 0


def test_a_late_result_is_kept_although_its_request_is_over(runtime: Runtime, clock: ManualClock):
    done = asyncio.Event()

    @degradable(
        "page", deadline="1ms", late="keep", fallback=[snapshot(max_age="1h"), default("no")]
    )
    async def page() -> str:
        await done.wait()
        return f"page of {subject()}"

    async def main() -> str:
        with request("ana"):
            assert await page() == "no"
        done.set()
        while len(runtime.tier) == 0:
            await asyncio.sleep(0)
            runtime.tick()
        with request("ana"):
            done.clear()
            return await page()

    assert asyncio.run(main()) == "page of ana"


# ------------------------------------------------------------------ outside of any request


def outside(runtime: Runtime) -> int:
    (figures,) = runtime.stats()
    return figures.captures_skipped["outside"]


def name_somebody() -> None:
    with request("somebody"):
        pass


def name_somebody_late() -> None:
    with request():
        identify("somebody")


NAMINGS = pytest.mark.parametrize("name", [name_somebody, name_somebody_late])


@NAMINGS
def test_outside_of_requests_nothing_is_kept_once_a_request_had_a_subject(
    runtime: Runtime, mailbox, name, caplog
):
    name()
    for user in ("ana", "ben", "ana"):
        assert mailbox(user) == [f"mail of {user}"]
    runtime.tick()
    assert len(runtime.tier) == 0
    assert outside(runtime) == 3
    told = [record for record in caplog.messages if "outside of any request" in record]
    assert len(told) == 1
    assert "everyone=True" in told[0]
    Mailbox.up = False
    assert mailbox("ben") == []


@NAMINGS
@pytest.mark.parametrize("decoded", [False, True])
@pytest.mark.parametrize("how", ["failing", "held"])
def test_outside_of_requests_nothing_is_served_once_a_request_had_a_subject(
    runtime: Runtime, control: Control, mailbox, name, how: str, decoded: bool
):
    mailbox("ana")
    runtime.tick()
    if how == "held":
        control.hold("inbox", "degraded", for_=None, reason="drill")
    Mailbox.up = False
    if decoded:  # from then on it is answered on the spot
        assert mailbox("ben") == ["mail of ana"], "nobody has a name here"
    name()
    assert mailbox("ben") == []
    with request():
        assert mailbox("ben") == ["mail of ana"], "an anonymous request is one of everybody"


def test_coroutines_outside_of_requests_are_held_to_the_same(runtime: Runtime):
    read = degradable("inbox", fallback=LADDER)(AsyncMailbox.read)
    name_somebody()
    asyncio.run(read(AsyncMailbox("ana"), 1))
    runtime.tick()
    assert len(runtime.tier) == 0
    assert outside(runtime) == 1


def test_what_is_everyones_is_kept_and_served_outside_of_requests(
    runtime: Runtime, control: Control
):
    news = degradable("news", fallback=[snapshot(max_age="1h", everyone=True, copy=False)])(Sick())
    name_somebody()
    news()
    runtime.tick()
    assert len(runtime.tier) == 1
    control.hold("news", "degraded", for_=None, reason="drill")
    for _ in range(2):
        assert news() == "fresh"


def test_a_process_that_names_nobody_needs_no_request(runtime: Runtime, control: Control):
    feed = degradable("feed", fallback=[KEPT])(Sick())
    with request():
        pass
    feed()
    runtime.tick()
    control.hold("feed", "degraded", for_=None, reason="drill")
    assert feed() == "fresh"


def test_a_thread_without_the_context_is_outside_of_the_request(runtime: Runtime, mailbox):
    def ask(user: str, *, pool: concurrent.futures.Executor) -> list[str]:
        with request(user):
            return pool.submit(mailbox, user).result(10)

    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        assert ask("ana", pool=pool) == ["mail of ana"]
        runtime.tick()
        Mailbox.up = False
        assert ask("ben", pool=pool) == []


def test_a_worker_that_outlives_the_request_that_started_it_is_outside(runtime: Runtime, mailbox):
    """As a task does that a queue starts at its first use, and that works for everybody then."""
    with request("ana"):
        worker = contextvars.copy_context()
        assert worker.run(mailbox, "ana") == ["mail of ana"]
    runtime.tick()
    Mailbox.up = False
    assert worker.run(mailbox, "ben") == []
    with request("ana"):
        assert mailbox("ana") == ["mail of ana"]


def open_named(user: str) -> None:
    request(user).__enter__()


def identify_inside(user: str) -> None:
    with request():
        identify(user)


@pytest.mark.parametrize("name", [open_named, identify_inside])
def test_an_anonymous_request_keeps_nothing_once_somebody_was_named_inside_of_it(
    runtime: Runtime, mailbox, name
):
    """As in a plain dependency with `yield`, which runs in a thread with a copy of the context."""

    def ask(user: str) -> list[str]:
        with request():
            with request():
                contextvars.copy_context().run(name, user)
                found = mailbox(user)
            assert who() is UNKNOWN, "the requests around it are in doubt, too"
            return found

    assert ask("ana") == ["mail of ana"]
    runtime.tick()
    assert (len(runtime.tier), outside(runtime)) == (0, 1)
    Mailbox.up = False
    assert ask("ben") == []


def test_an_anonymous_request_is_of_everybody_until_somebody_is_named_in_it_and_after(
    runtime: Runtime, mailbox
):
    with request():
        mailbox("anybody")
    runtime.tick()
    Mailbox.up = False
    with request() as asked:
        assert mailbox("ben") == ["mail of anybody"]
        with request("ben"):
            pass
        assert mailbox("ben") == []
        asked.identify(None)
        assert mailbox("ben") == ["mail of anybody"], "it was said to be anonymous"


def test_a_named_request_keeps_its_name_when_others_are_named_inside_of_it():
    with request("tenant"):
        with request("ana"):
            pass
        assert who() == "tenant"


def test_the_dial_knows_no_subject_outside_of_requests(runtime: Runtime, control: Control):
    feed = degradable("feed", fallback=[default("stale")])(Sick())
    name_somebody()
    control.hold("feed", "degraded", dial=0.5, for_=None, reason="drill")
    assert {feed() for _ in range(100)} == {"stale", "fresh"}
    assert subject() is None
    assert who() is UNKNOWN


def test_each_runtime_begins_without_names(clock: ManualClock):
    name_somebody()
    with Runtime(clock=clock, threads="manual"):
        assert who() is None
        with Runtime(clock=clock, threads="manual"):
            name_somebody()
        assert who() is None
    assert who() is UNKNOWN


def test_an_inner_request_keeps_the_subject_unless_it_is_given_one():
    with degrade.request(subject="ana"):
        with degrade.request() as inner:
            assert (inner.subject, subject()) == ("ana", "ana")
        with degrade.request(subject=None) as anonymous:
            assert (anonymous.subject, subject()) == (None, None)
        with degrade.request(subject="ben"):
            assert subject() == "ben"
    with degrade.request() as alone:
        assert alone.subject is None


def test_a_request_that_is_given_two_subjects_keeps_no_snapshots():
    with degrade.request() as current:
        degrade.identify("ana")
        degrade.identify("ana")
        assert current.who == "ana"
        degrade.identify("ben")
        assert (current.subject, current.who) == ("ben", UNKNOWN)
        for name in (None, "ben", "ana"):
            degrade.identify(name)
            assert current.who is UNKNOWN
