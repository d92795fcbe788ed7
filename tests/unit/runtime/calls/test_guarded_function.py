"""A guarded call: who answers it, how it counts, and what is kept of it."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
import gc
import logging
import signal
from collections.abc import Callable
from contextlib import nullcontext, suppress
from typing import Any

import pytest
from pydantic import BaseModel, model_serializer

import degrade
from degrade import (
    SLA,
    Flag,
    Runtime,
    UnavailableError,
    default,
    degradable,
    omit,
    simplified,
    snapshot,
)
from degrade.clock import ManualClock
from degrade.control import Control
from degrade.runtime.calls.guarded_function import GuardedFunction
from tests.unit.runtime.doing import (
    Boom,
    Sick,
    call_quietly,
    classes_of,
    outcomes_of,
    pass_time,
    stats_of,
    watch_of,
)

KEPT = snapshot(max_age="1h", refresh="1s", copy=False)


def run(fn: Callable[..., Any], *args: Any) -> Any:
    """Call a function, or run a coroutine function."""
    result = fn(*args)
    return asyncio.run(result) if asyncio.iscoroutine(result) else result


@pytest.fixture(params=["sync", "async"])
def guard(request: pytest.FixtureRequest) -> Callable[..., Any]:
    """Guard a plain function as it is, or as a coroutine function."""

    def decorate(fn: Callable[..., Any], **properties: Any) -> Callable[..., Any]:
        if request.param == "sync":
            return degradable("feed", **properties)(fn)

        async def afn(*args: Any) -> Any:
            await asyncio.sleep(0)
            return fn(*args)

        return degradable("feed", **properties)(afn)

    return decorate


def nothing() -> list[int]:
    return []


# ------------------------------------------------------------------ outcomes and classes


def test_a_healthy_call_is_full(runtime: Runtime, guard):
    guarded = guard(lambda: 5)
    assert [run(guarded) for _ in range(3)] == [5, 5, 5]
    runtime.tick()
    assert classes_of(runtime, "feed") == {"full": 3}
    assert outcomes_of(runtime, "feed") == {"success": 3}


def test_a_failed_call_without_a_ladder_gives_its_own_exception(runtime: Runtime, guard):
    mine = Boom("mine")

    def fails() -> None:
        raise mine

    guarded = guard(fails)
    for _ in range(3):
        with pytest.raises(Boom) as caught:
            run(guarded)
        assert caught.value is mine
    runtime.tick()
    assert classes_of(runtime, "feed") == {"failed": 3}
    assert outcomes_of(runtime, "feed") == {"failure": 3}


def test_a_failed_call_with_a_ladder_is_answered_at_once(runtime: Runtime, guard):
    sick = Sick()
    guarded = guard(sick, fallback=[default("stale")])
    sick.ill = True
    assert [run(guarded) for _ in range(2)] == ["stale", "stale"]
    runtime.tick()
    assert classes_of(runtime, "feed") == {"degraded": 2}
    assert outcomes_of(runtime, "feed") == {"failure": 2}
    assert stats_of(runtime, "feed").rungs["default"] == 2


def test_the_exception_is_the_functions_own_when_every_rung_fails(runtime: Runtime, guard):
    def fails() -> None:
        raise Boom("mine")

    def rung() -> None:
        raise KeyError("rung")

    guarded = guard(fails, fallback=[simplified(rung), default(rung)])
    for _ in range(3):
        with pytest.raises(Boom, match="mine"):
            run(guarded)
    runtime.tick()
    assert classes_of(runtime, "feed") == {"failed": 3}
    assert stats_of(runtime, "feed").drops == {"rung_simplified": 3, "rung_default": 3}


def test_a_refusal_passes_untouched_and_counts_for_no_verdict(runtime: Runtime, guard):
    refusal = PermissionError("not yours")

    def refuses() -> None:
        raise refusal

    guarded = guard(refuses, fallback=[default("never")], sla=SLA(errors="5%"))
    for _ in range(50):
        with pytest.raises(PermissionError) as caught:
            run(guarded)
        assert caught.value is refusal
    runtime.tick()
    assert classes_of(runtime, "feed") == {"ignored": 50}
    assert outcomes_of(runtime, "feed") == {"ignored": 50}
    assert stats_of(runtime, "feed").phase == "steady"


def test_an_exception_that_is_no_failure_passes_untouched(runtime: Runtime, guard):
    def missing() -> None:
        raise LookupError("none")

    guarded = guard(missing, fallback=[default("never")], failures=(Boom, OSError))
    for _ in range(2):
        with pytest.raises(LookupError):
            run(guarded)
    runtime.tick()
    assert classes_of(runtime, "feed") == {"ignored": 2}


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit, GeneratorExit])
def test_what_is_no_exception_is_abandoned(runtime: Runtime, kind: type[BaseException]):
    def stops() -> None:
        raise kind

    guarded = degradable("feed", fallback=[default("never")], sla=SLA(errors="5%"))(stops)
    for _ in range(20):
        with pytest.raises(kind):
            guarded()
    runtime.tick()
    assert classes_of(runtime, "feed") == {"abandoned": 20}
    assert outcomes_of(runtime, "feed") == {"abandoned": 20}
    assert stats_of(runtime, "feed").phase == "steady"


@pytest.mark.parametrize("ladder_first", [True, False], ids=["while degraded", "after a failure"])
def test_a_call_interrupted_in_its_ladder_is_abandoned(
    runtime: Runtime, control: Control, guard, ladder_first: bool
):
    def interrupted() -> None:
        raise KeyboardInterrupt

    sick = Sick()
    sick.ill = True
    guarded = guard(sick, fallback=[simplified(interrupted)])
    runtime.tick()
    if ladder_first:
        control.hold("feed", "degraded", for_=None, reason="drill")
    with pytest.raises(KeyboardInterrupt):
        run(guarded)
    runtime.tick()
    assert classes_of(runtime, "feed") == {"abandoned": 1}
    assert watch_of(runtime, "feed").permits.in_flight == 0


def test_a_cancelled_coroutine_is_abandoned(runtime: Runtime):
    @degradable("feed", fallback=[default("never")], sla=SLA(errors="5%"))
    async def waits() -> None:
        await asyncio.Event().wait()

    async def main() -> None:
        for _ in range(10):
            task = asyncio.create_task(waits())
            await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    asyncio.run(main())
    runtime.tick()
    assert classes_of(runtime, "feed") == {"abandoned": 10}
    assert stats_of(runtime, "feed").phase == "steady"


def test_a_coroutine_that_is_dropped_half_way_is_abandoned(runtime: Runtime):
    @degradable("feed", fallback=[default("never")])
    async def waits() -> None:
        await asyncio.sleep(0)

    for _ in range(2):
        coroutine = waits()
        coroutine.send(None)
        del coroutine
        gc.collect()
    runtime.tick()
    assert classes_of(runtime, "feed") == {"abandoned": 2}
    assert watch_of(runtime, "feed")._tally.in_flight == 0


def test_a_rejected_result_is_a_failure_that_the_ladder_answers(runtime: Runtime, guard):
    guarded = guard(nothing, accept=bool, fallback=[default([1])])
    assert [run(guarded) for _ in range(3)] == [[1]] * 3
    runtime.tick()
    assert classes_of(runtime, "feed") == {"degraded": 3}
    assert outcomes_of(runtime, "feed") == {"failure": 3}


def test_a_rejected_result_is_better_than_nothing(runtime: Runtime, guard):
    guarded = guard(nothing, accept=bool)
    assert [run(guarded) for _ in range(2)] == [[], []]
    runtime.tick()
    assert outcomes_of(runtime, "feed") == {"failure": 2}


def test_the_classes_add_up_to_the_calls_that_ended(runtime: Runtime, control: Control):
    ends: list[BaseException | None] = [
        None, Boom(), PermissionError(), KeyboardInterrupt(), None, OSError(), SystemExit(),
    ]  # fmt: skip

    @degradable("feed", fallback=[simplified(lambda i: 1 / (i % 2))])
    def mixed(i: int) -> int:
        end = ends[i % len(ends)]
        if end is not None:
            raise end
        return i

    for i in range(700):
        if i == 350:
            control.hold("feed", "degraded", for_=None, dial=0.5, reason="drill")
        with suppress(UnavailableError, *(type(end) for end in ends if end is not None)):
            mixed(i)
        if i % 50 == 0:
            runtime.tick()
    runtime.tick()
    assert sum(classes_of(runtime, "feed").values()) == 700


# ------------------------------------------------------------------ the ladder while degraded


def test_a_degraded_call_does_not_run_the_function(runtime: Runtime, control: Control, guard):
    sick = Sick()
    guarded = guard(sick, fallback=[default("stale")])
    control.hold("feed", "degraded", for_=None, reason="drill")
    assert [run(guarded) for _ in range(3)] == ["stale"] * 3
    assert sick.runs == 0
    runtime.tick()
    assert classes_of(runtime, "feed") == {"degraded": 3}
    assert outcomes_of(runtime, "feed") == {}


def test_the_ladder_is_walked_until_a_rung_can_serve(runtime: Runtime, control: Control, guard):
    def broken() -> None:
        raise KeyError("rung")

    guarded = guard(Sick(), fallback=[KEPT, broken, omit()])
    control.hold("feed", "degraded", for_=None, reason="drill")
    assert run(guarded) is None
    runtime.tick()
    assert stats_of(runtime, "feed").rungs == {"omit": 1}


def test_an_async_rung_is_awaited(runtime: Runtime, control: Control):
    async def cheaper(a: int) -> int:
        await asyncio.sleep(0)
        return -a

    @degradable("feed", fallback=[cheaper])
    async def dear(a: int) -> int:
        raise Boom

    assert asyncio.run(dear(3)) == -3
    control.hold("feed", "degraded", for_=None, reason="drill")
    assert asyncio.run(dear(4)) == -4


def test_without_a_rung_that_serves_the_call_is_unavailable(
    runtime: Runtime, control: Control, clock: ManualClock, guard
):
    guarded = guard(Sick(), fallback=[KEPT])
    control.hold("feed", "degraded", for_="90s", reason="bad model")
    since = clock.wall()
    clock.advance(30)
    with pytest.raises(UnavailableError) as caught:
        run(guarded)
    error = caught.value
    assert error.flag == "feed"
    assert error.since == since
    assert error.retry_after_s == pytest.approx(60)
    assert "bad model" in error.cause
    assert error.__cause__ is None
    assert error.__context__ is None
    runtime.tick()
    assert classes_of(runtime, "feed") == {"failed": 1}


def test_unavailable_says_when_the_machine_tries_again(runtime: Runtime, clock: ManualClock, guard):
    sick = Sick()
    sick.ill = True
    guarded = guard(sick, sla=SLA(errors="5%"))
    call_quietly(lambda: run(guarded), times=3)
    runtime.tick()
    with pytest.raises(UnavailableError) as caught:
        run(guarded)
    assert sick.runs == 3
    assert 5 <= caught.value.retry_after_s <= 6
    assert "errors" in caught.value.cause


def test_simplified_gets_the_arguments_of_the_call(runtime: Runtime, control: Control):
    @degradable("feed", fallback=[lambda a, /, b=2, *rest, c, **more: (a, b, rest, c, more)])
    def fn(a, /, b=2, *rest, c, **more):
        raise Boom

    for _ in range(2):
        assert fn(1, c=3, d=4) == (1, 2, (), 3, {"d": 4})
        assert fn(1, 7, 8, c=3) == (1, 7, (8,), 3, {})
    control.hold("feed", "degraded", for_=None, reason="drill")
    assert fn(1, 7, 8, c=3) == (1, 7, (8,), 3, {})


# ------------------------------------------------------------------ snapshots


def captured(runtime: Runtime, flag: str = "feed") -> list[Any]:
    """Return the values kept of a flag."""
    books = [book for book in runtime.tier.books() if book.flag == flag]
    return [entry.value for book in books for entry in book.entries.values()]


def test_a_healthy_result_answers_later_calls(
    runtime: Runtime, control: Control, clock: ManualClock, guard
):
    sick = Sick("good")
    guarded = guard(sick, fallback=[KEPT, default("last")])
    assert run(guarded) == "good"
    runtime.tick()
    clock.advance(60)
    sick.ill = True
    with degrade.request():
        assert run(guarded) == "good"
        assert [(s.rung, s.age_s) for s in degrade.served()] == [("snapshot", 60)]
    control.hold("feed", "degraded", for_=None, reason="drill")
    for _ in range(3):  # undecoded, then decoded
        assert run(guarded) == "good"
    runtime.tick()
    figures = stats_of(runtime, "feed")
    assert (figures.age_count, figures.age_sum_s, figures.oldest_age_s) == (4, 240, 60)
    clock.advance(3_541)
    assert run(guarded) == "last"


def test_a_snapshot_is_refreshed_only_when_it_is_due(runtime: Runtime, clock: ManualClock, guard):
    values = iter(range(100))
    guarded = guard(lambda: next(values), fallback=[snapshot(max_age="1h", copy=False)])
    for expected in (0, 0, 0):
        run(guarded)
        runtime.tick()
        assert captured(runtime) == [expected]
    clock.advance(30)
    run(guarded)
    runtime.tick()
    assert captured(runtime) == [3]


def test_changing_a_result_changes_nothing_that_is_served_later(runtime: Runtime, control: Control):
    @degradable("feed", fallback=[snapshot(max_age="1h")])
    def feed() -> list[int]:
        return [1, 2]

    feed().append(3)
    runtime.tick()
    control.hold("feed", "degraded", for_=None, reason="drill")
    assert feed() == [1, 2]


def test_transform_runs_at_each_serving(runtime: Runtime, control: Control):
    @degradable("feed", fallback=[snapshot(max_age="1h", transform=sorted)])
    def feed() -> list[int]:
        return [3, 1, 2]

    assert feed() == [3, 1, 2]
    runtime.tick()
    control.hold("feed", "degraded", for_=None, reason="drill")
    for _ in range(3):
        served = feed()
        assert served == [1, 2, 3]
        served.append(9)


def cheaper(user: str) -> str:
    raise Boom


@pytest.mark.parametrize(
    "ladder",
    [
        [snapshot(max_age="1h", copy=False)],
        [cheaper, snapshot(max_age="1h", copy=False)],
        [snapshot(max_age="1h", copy=False, key=lambda user: user.lower())],
        [snapshot(max_age="1h", copy=False, transform=str.upper)],
    ],
    ids=["first", "after a cheaper one", "key of a function", "with a transform"],
)
def test_a_healthy_result_is_kept_wherever_its_rung_stands_and_however_its_key_is_made(
    runtime: Runtime, clock: ManualClock, control: Control, ladder: list[Any]
):
    @degradable("feed", fallback=ladder)
    def feed(user: str) -> str:
        return f"for {user} at {clock.monotonic():.0f}"

    runtime.adopt_all()
    for _ in range(3):
        feed("ana")
        clock.advance(31)
        runtime.tick()
    control.hold("feed", "degraded", for_=None, reason="drill")
    assert feed("ana").lower() == "for ana at 1062"


@pytest.mark.parametrize("settings", [{}, {"transform": list}], ids=str)
@pytest.mark.parametrize("held", [True, False], ids=["held", "failing"])
def test_what_page_code_does_to_a_served_result_reaches_no_other_caller(
    runtime: Runtime, control: Control, held: bool, settings: dict[str, Any], guard
):
    fn = Sick([{"title": "one"}, {"title": "two"}])

    def top(limit: int) -> list[dict[str, str]]:
        found: list[dict[str, str]] = fn()
        return found

    feed = guard(top, fallback=[snapshot(max_age="1h", everyone=True, **settings), default([])])

    def view(user: str) -> list[str]:
        with degrade.request(subject=user):
            stories = run(feed, 2)
            stories[0]["title"] += f" for {user}"
            stories.insert(0, {"title": f"hello {user}"})
            return [story["title"] for story in stories]

    run(feed, 2)
    runtime.tick()
    fn.ill = True
    if held:
        control.hold("feed", "degraded", for_=None, reason="drill")
    for user in ("ana", "ben", "cem"):
        assert view(user) == [f"hello {user}", f"one for {user}", "two"]


def test_what_nobody_can_change_is_answered_on_the_spot(
    runtime: Runtime, control: Control, monkeypatch: pytest.MonkeyPatch
):
    @degradable("feed", fallback=[snapshot(max_age="1h"), default(())])
    def feed(user: str) -> tuple[str, ...]:
        return ("a", "b")

    feed("ana")
    runtime.tick()
    control.hold("feed", "degraded", for_=None, reason="drill")
    first = feed("ana")  # decodes it
    monkeypatch.setattr(GuardedFunction, "call", None)  # the long way would break
    assert feed("ana") is first


def test_a_function_whose_results_can_never_be_kept_takes_no_snapshot_from_others(
    runtime: Runtime, clock: ManualClock
):
    class Slow(BaseModel):
        """Takes two milliseconds to encode, and comes back from JSON as something else."""

        @model_serializer
        def encode(self) -> dict[str, int]:
            clock.advance(0.002)
            return {"n": 1}

    @degradable("noisy", fallback=[snapshot(max_age="1h"), default({})])
    def noisy(n: int) -> dict[str, Any]:
        return {"rows": Slow()}

    @degradable("quiet", fallback=[snapshot(max_age="1h"), default([])])
    def quiet(user: str) -> list[str]:
        return ["x"]

    asked = 0
    for n in range(15_000):
        noisy(n)
        if n % 50 == 0:
            asked += 1
            quiet(f"user {n}")
        clock.advance(0.002)
        if n % 100 == 0:
            runtime.tick()
    runtime.tick()
    kept = [len(book.entries) for book in runtime.tier.books() if book.flag == "quiet"]
    assert kept == [asked]
    skipped = {name: stats_of(runtime, name).captures_skipped for name in ("noisy", "quiet")}
    assert skipped["noisy"]["encode"] == 10
    assert skipped["noisy"]["refused"] == 15_000 - 10
    assert not any(skipped["quiet"].values())


def test_a_fallbacks_value_is_never_captured(
    runtime: Runtime, control: Control, clock: ManualClock, guard
):
    sick = Sick()
    guarded = guard(sick, fallback=[KEPT, default("fallback")])
    sick.ill = True
    for _ in range(3):
        assert run(guarded) == "fallback"
        pass_time(runtime, clock, 2)
    control.hold("feed", "degraded", for_=None, reason="drill")
    assert run(guarded) == "fallback"
    runtime.tick()
    assert captured(runtime) == []


def test_a_rejected_result_is_never_captured(runtime: Runtime, guard):
    guarded = guard(lambda: "bad", accept=lambda result: result != "bad", fallback=[KEPT])
    assert run(guarded) == "bad"
    runtime.tick()
    assert captured(runtime) == []


def in_the_body(part: Callable[[], Any]) -> Any:
    return part()


def in_a_request_of_its_own(part: Callable[[], Any]) -> Any:
    with degrade.request():
        return part()


def in_a_request_within_a_request(part: Callable[[], Any]) -> Any:
    with degrade.request():
        return in_a_request_of_its_own(part)


def in_a_child_task(part: Callable[[], Any]) -> Any:
    async def main() -> Any:
        async def child() -> Any:
            return part()

        return (await asyncio.gather(child()))[0]

    return asyncio.run(main())


def in_a_thread_with_the_context(part: Callable[[], Any]) -> Any:
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        return pool.submit(contextvars.copy_context().run, part).result()


PLACES = [
    in_the_body, in_a_request_of_its_own, in_a_request_within_a_request, in_a_child_task,
    in_a_thread_with_the_context,
]  # fmt: skip


def served(extra: Flag, part_of: Callable[[], Any]) -> Any:
    return part_of()


def asked(extra: Flag, part_of: Callable[[], Any]) -> Any:
    return "without" if extra.degraded else "with"


def branching(extra: Flag, part_of: Callable[[], Any]) -> Any:
    with extra.call() as call:
        return "without" if call.degraded else "with"


def branching_by_an_exception(extra: Flag, part_of: Callable[[], Any]) -> Any:
    with suppress(Boom):
        with extra.call() as call:
            if call.degraded:
                raise Boom
        return "with"
    return "without"


def unavailable(extra: Flag, part_of: Callable[[], Any]) -> Any:
    with suppress(UnavailableError):
        return part_of()
    return "nothing"


DEFAULT, SNAPSHOT = [default("stale")], [KEPT, default("stale")]
PARTS = {
    "held": (served, DEFAULT),
    "failing": (served, DEFAULT),
    "from a snapshot": (served, SNAPSHOT),
    "asked": (asked, ()),
    "branch": (branching, ()),
    "branch left by an exception": (branching_by_an_exception, ()),
    "unavailable": (unavailable, ()),
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("outside", ["in a request", "without one"])
@pytest.mark.parametrize("how", PARTS)
def test_a_result_built_on_a_degraded_part_is_never_captured(
    runtime: Runtime, control: Control, place, how: str, outside: str
):
    sick, extra = Sick("part"), Flag("extra")
    use, rungs = PARTS[how]
    part_of = degradable("part", fallback=rungs)(sick)

    @degradable("feed", fallback=[KEPT])
    def feed() -> Any:
        return ("feed", place(lambda: use(extra, part_of)))

    def call() -> Any:
        with degrade.request() if outside == "in a request" else nullcontext():
            return feed()

    part_of()
    runtime.tick()
    sick.ill = how == "failing"
    if not sick.ill:
        for name in ("part", "extra"):
            control.hold(name, "degraded", for_=None, reason="drill")
    assert call()[0] == "feed"
    runtime.tick()
    assert captured(runtime) == []
    sick.ill = False
    for name in ("part", "extra"):
        control.release(name, reason="drill over", now=True)
    whole = call()
    runtime.tick()
    assert captured(runtime) == [whole], "once its parts are whole, it is captured"


def test_calls_that_take_long_do_not_hide_each_others_degraded_parts(
    runtime: Runtime, control: Control
):
    """Two calls at once on one loop: only the one with the degraded part is tainted."""
    part = degradable("part", fallback=[default("stale")])(Sick())
    control.hold("part", "degraded", for_=None, reason="drill")

    @degradable("feed", fallback=[snapshot(max_age="1h", copy=False)])
    async def feed(degraded: bool) -> str:
        await asyncio.sleep(0)
        text = part() if degraded else "whole"
        await asyncio.sleep(0)
        return text

    async def main() -> list[str]:
        return await asyncio.gather(feed(True), feed(False), feed(True))

    assert asyncio.run(main()) == ["stale", "whole", "stale"]
    runtime.tick()
    assert captured(runtime) == ["whole"]


def test_off_serves_no_snapshot_and_none_from_before_it_afterwards(
    runtime: Runtime, control: Control, clock: ManualClock, guard
):
    sick = Sick("wrong")
    guarded = guard(sick, fallback=[KEPT, default("static")])
    run(guarded)
    runtime.tick()
    assert captured(runtime) == ["wrong"]
    clock.advance(1)
    control.hold("feed", "off", for_=None, reason="wrong content")
    assert [run(guarded) for _ in range(3)] == ["static"] * 3
    clock.advance(1)
    control.release("feed", reason="deployed")
    runtime.tick()
    assert captured(runtime) == []
    control.hold("feed", "degraded", for_=None, reason="drill")
    assert run(guarded) == "static"
    assert sick.runs == 1


def test_off_without_a_static_last_rung_is_unavailable(runtime: Runtime, control: Control, guard):
    guarded = guard(Sick("wrong"), fallback=[KEPT, simplified(lambda: "computed")])
    run(guarded)
    runtime.tick()
    control.hold("feed", "off", for_=None, reason="wrong content")
    with pytest.raises(UnavailableError, match="wrong content"):
        run(guarded)


def test_a_call_admitted_before_off_leaves_nothing(
    runtime: Runtime, control: Control, clock: ManualClock
):
    def order_off() -> str:
        clock.advance(1)
        control.hold("feed", "off", for_=None, reason="wrong content")
        clock.advance(1)
        return "wrong"

    feed = degradable("feed", fallback=[KEPT, default("static")])(order_off)
    assert feed() == "wrong"
    clock.advance(1)
    control.release("feed", reason="deployed", now=True)
    runtime.tick()
    assert captured(runtime) == []


# ------------------------------------------------------------------ what is logged


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records]


def test_the_first_exception_of_each_type_is_logged_with_its_traceback_one_a_minute(
    runtime: Runtime, clock: ManualClock, caplog: pytest.LogCaptureFixture, guard
):
    kinds = [Boom, OSError, Boom, OSError, ValueError, Boom]

    def fails(i: int) -> None:
        raise kinds[i % len(kinds)](f"secret {i}")

    guarded = guard(fails, fallback=[default(None)])

    def logged() -> list[logging.LogRecord]:
        return [record for record in caplog.records if record.name == "degrade.runtime"]

    for minute in range(4):
        for i in range(60):
            run(guarded, i)
        assert len(logged()) == min(minute + 1, 3)
        clock.advance(60)
    assert [type(record.exc_info[1]) for record in logged()] == [Boom, OSError, ValueError]
    assert all(record.levelno == logging.WARNING for record in logged())
    assert all("feed" in record.getMessage() for record in logged())


def test_an_exception_is_logged_anew_in_the_next_episode(
    runtime: Runtime, clock: ManualClock, caplog: pytest.LogCaptureFixture, guard
):
    trouble: list[OSError] = []

    def feed() -> str:
        if trouble:
            raise trouble[0]
        return "full"

    guarded = guard(feed, sla=SLA(errors="5%"), fallback=[default(None)])

    def outage(reason: str) -> None:
        trouble.append(OSError(reason))
        for _ in range(20):
            run(guarded)
            pass_time(runtime, clock, 0.25)
        trouble.clear()
        for _ in range(1_000):
            run(guarded)
            pass_time(runtime, clock, 0.25)
        assert stats_of(runtime, "feed").phase.value == "steady"

    outage("disk full")
    outage("no route to host")
    told = [str(record.exc_info[1]) for record in caplog.records if record.exc_info]
    assert told == ["disk full", "no route to host"]


def test_an_exception_is_logged_anew_after_ten_minutes_without_it_though_nothing_tripped(
    runtime: Runtime, clock: ManualClock, caplog: pytest.LogCaptureFixture, guard
):
    def feed() -> str:
        raise OSError("disk full")

    guarded = guard(feed, fallback=[default(None)])
    for pause_s in (300, 599, 601):
        run(guarded)
        clock.advance(pause_s)
    assert len(lines(caplog)) == 1
    run(guarded)
    assert len(lines(caplog)) == 2


def test_a_broken_rung_is_logged_even_when_the_function_breaks_alike(
    runtime: Runtime, caplog: pytest.LogCaptureFixture, guard
):
    def fails() -> None:
        raise Boom

    def rung() -> None:
        raise Boom("rung")

    guarded = guard(fails, fallback=[rung, default(None)])
    for _ in range(5):
        run(guarded)
    assert len(lines(caplog)) == 2
    assert "simplified" in lines(caplog)[1]


@pytest.mark.parametrize("which", ["accept", "ignore"])
def test_a_broken_predicate_is_told_once_and_harms_no_call(
    runtime: Runtime, caplog: pytest.LogCaptureFixture, guard, which: str
):
    def broken(_: object) -> bool:
        raise KeyError("predicate")

    sick = Sick()
    sick.ill = which == "ignore"
    guarded = guard(sick, fallback=[default("stale")], **{which: broken})
    for _ in range(50):
        assert run(guarded) == ("stale" if sick.ill else "fresh")
    told = [line for line in lines(caplog) if f"{which}=" in line]
    assert len(told) == 1


def test_arguments_and_results_are_in_no_log_line(
    runtime: Runtime, caplog: pytest.LogCaptureFixture
):
    caplog.set_level(logging.DEBUG)

    @degradable("feed", fallback=[snapshot(max_age="1h", copy=False), default(None)])
    def feed(token: object) -> str:
        raise Boom

    feed("hunter2")
    feed(object())
    runtime.tick()
    assert caplog.records
    assert not [line for line in lines(caplog) if "hunter2" in line]


# ------------------------------------------------------------------ nothing of ours


def test_a_bug_of_ours_in_admitting_lets_the_call_run(
    runtime: Runtime, caplog: pytest.LogCaptureFixture, guard
):
    guarded = guard(lambda: 5, fallback=[default(0)])
    run(guarded)
    watch = watch_of(runtime, "feed")
    watch.gate.shut = True
    watch.resolved = None  # what no code of ours should ever do
    assert run(guarded) == 5
    assert runtime.internal_errors.counts["admit"] == 1


@pytest.mark.parametrize("way", ["slow", "fast"])
def test_a_signal_in_the_function_leaves_nothing_behind(runtime: Runtime, way: str):
    @degradable("feed", sla=SLA(errors="5%"))
    def raises_in_a_handler() -> None:
        signal.raise_signal(signal.SIGUSR1)

    def handler(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGUSR1, handler)
    try:
        watch_of_feed = runtime._watches["feed"]
        watch_of_feed.gate.shut = way == "slow"
        with pytest.raises(KeyboardInterrupt):
            raises_in_a_handler()
    finally:
        signal.signal(signal.SIGUSR1, before)
    runtime.tick()
    assert classes_of(runtime, "feed") == {"abandoned": 1}
    assert watch_of_feed._tally.in_flight == 0
