from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, NamedTuple

import aiohttp.web
import falcon
import flask
import pytest
import starlette.responses
from django.http import JsonResponse
from pydantic import BaseModel, ConfigDict

from degrade.clock import ManualClock
from degrade.core.enums import RungKind
from degrade.errors import UsageError
from degrade.fallback.ladder import snapshot
from degrade.fallback.rung import Answer, Call, Target
from degrade.fallback.snapshots.memory_tier import UNDECODED, MemoryTier
from degrade.fallback.snapshots.snapshot_rung import BoundSnapshot


@dataclass
class Story:
    id: int
    tags: list[str]


def feed(user_id: Any, limit: int = 3) -> list[Story]:
    return []


def untyped(user_id: str): ...


def stream(user_id: str) -> Iterator[int]:
    yield 1


async def stream_later(user_id: str):
    yield 1


class Feed:
    def ranked(self, user_id: str) -> list[Story]:
        return []


class SlowClock(ManualClock):
    """Every reading takes a while, as if encoding did."""

    def monotonic(self) -> float:
        self.advance(0.03)
        return super().monotonic()


class Bench:
    """A snapshot rung with a tier and a clock, used as the runtime uses it."""

    def __init__(self, clock: ManualClock, fn: Any = feed, **settings: Any) -> None:
        self.clock = clock
        self.tier = MemoryTier(clock=clock)
        rung = snapshot(**{"max_age": "1h", **settings}).bind(Target.of(fn, "feed"))
        assert isinstance(rung, BoundSnapshot)
        self.rung = rung
        self.rung.attach(self.tier)

    def wanted(self, *args: Any, subject: str | None = None, **kwargs: Any) -> Any:
        return self.rung.wanted(args, kwargs, subject, self.clock.monotonic())

    def capture(self, key: Any, value: object) -> Any:
        return self.rung.capture(
            key, value, admitted_s=self.clock.monotonic(), wall_s=self.clock.wall(), epoch=1
        )

    def keep(self, value: object, *args: Any, subject: str | None = None, **kwargs: Any) -> bool:
        key = self.wanted(*args, subject=subject, **kwargs)
        made = None if key is None else self.capture(key, value)
        return made is not None and self.tier.insert(made)

    def serve(self, *args: Any, subject: str | None = None, **kwargs: Any) -> Answer | None:
        now, wall = self.clock.monotonic(), self.clock.wall()
        return self.rung.serve(Call(args, kwargs, subject, now, wall))


def test_a_healthy_result_is_served_later_with_its_age(clock: ManualClock):
    bench = Bench(clock)
    assert bench.serve("u1") is None
    assert bench.keep([Story(1, ["a"])], "u1")
    clock.advance(312)
    assert bench.serve("u1", limit=3) == Answer([Story(1, ["a"])], 312.0)
    assert bench.serve("u2") is None
    assert (bench.rung.kind, bench.rung.static) == (RungKind.SNAPSHOT, False)


def test_a_snapshot_is_served_until_it_is_too_old_and_not_a_moment_longer(clock: ManualClock):
    bench = Bench(clock, max_age=60)
    bench.keep([], "u1")
    clock.advance(59.999)
    assert bench.serve("u1") is not None
    clock.advance(0.001)
    assert bench.serve("u1") is None


def test_age_counts_from_admission_and_does_not_care_for_the_wall_clock(clock: ManualClock):
    bench = Bench(clock, max_age=60)
    key = bench.wanted("u1")
    admitted = clock.monotonic()
    clock.advance(50)
    made = bench.rung.capture(key, [], admitted_s=admitted, wall_s=clock.wall(), epoch=1)
    assert made is not None
    bench.tier.insert(made)
    clock.jump_wall(-1_000_000)
    assert bench.serve("u1") == Answer([], 50.0)
    clock.advance(10)
    assert bench.serve("u1") is None


def test_changing_a_result_after_it_was_returned_changes_nothing_served(clock: ManualClock):
    bench = Bench(clock)
    result = [Story(1, ["a"])]
    key = bench.wanted("u1")
    made = bench.capture(key, result)
    result[0].tags.append("changed")
    result.append(Story(2, []))
    bench.tier.insert(made)
    result.clear()
    assert bench.serve("u1") == Answer([Story(1, ["a"])], 0.0)


class FrozenModel(BaseModel):
    model_config = ConfigDict(frozen=True)

    id: int
    tags: tuple[str, ...] = ()
    more: Any = None


@dataclass(frozen=True)
class FrozenStory:
    id: int
    tags: tuple[str, ...] = ()
    more: list[int] | None = None


class Place(NamedTuple):
    name: str
    tags: tuple[str, ...]


CHANGEABLE = [
    (list[str], ["a"]),
    (list[Story], [Story(1, ["a"])]),
    (list[dict[str, str]], [{"title": "one"}]),
    (dict[str, int], {"a": 1}),
    (set[int], {1}),
    (deque[int], deque([1])),
    (Story, Story(1, [])),
    (tuple[list[int], ...], ([1],)),
    (tuple[Any, ...], (1, "a", [1])),
    (FrozenModel, FrozenModel(id=1, more=[1])),
    (FrozenStory, FrozenStory(1, more=[1])),
    (tuple[FrozenStory, ...], (FrozenStory(1), FrozenStory(2, more=[1]))),
]
UNCHANGEABLE = [
    (str, "a" * 50),
    (Decimal, Decimal("1.5")),
    (datetime, datetime(2024, 1, 1, tzinfo=UTC)),
    (tuple[str, ...], ("a", "b")),
    (frozenset[str], frozenset({"a"})),
    (FrozenStory, FrozenStory(1, ("a",))),
    (tuple[FrozenModel, ...], (FrozenModel(id=1, tags=("a",)), FrozenModel(id=2))),
    (Place, Place("a", ("b",))),
    (dict[str, int] | None, None),
]


def returning(kind: Any) -> Any:
    def fn(user_id: str): ...

    fn.__annotations__["return"] = kind
    return fn


@pytest.mark.parametrize(("kind", "value"), CHANGEABLE, ids=repr)
def test_each_call_is_served_a_result_of_its_own_where_it_can_be_changed(
    clock: ManualClock, kind: Any, value: Any
):
    bench = Bench(clock, returning(kind))
    bench.keep(value, "u1")
    (made,) = bench.rung.book.entries.values()
    before = bench.tier.bytes
    served = [bench.serve("u1") for _ in range(3)]
    assert served == [Answer(value, 0.0)] * 3
    assert len({id(answer.value) for answer in served if answer is not None}) == 3
    assert made.value is UNDECODED
    assert bench.tier.bytes == before


@pytest.mark.parametrize(("kind", "value"), UNCHANGEABLE, ids=repr)
def test_a_result_that_nobody_can_change_is_decoded_once_and_shared(
    clock: ManualClock, kind: Any, value: Any
):
    bench = Bench(clock, returning(kind))
    bench.keep(value, "u1")
    (made,) = bench.rung.book.entries.values()
    assert made.value is UNDECODED
    one, other = bench.serve("u1"), bench.serve("u1")
    assert one == other == Answer(value, 0.0)
    assert one.value is other.value is made.value


def test_a_result_is_shared_where_the_author_promises_that_no_caller_changes_it(
    clock: ManualClock,
):
    bench = Bench(clock, share=True)
    bench.keep([Story(1, ["a"])], "u1")
    one, other = bench.serve("u1"), bench.serve("u1")
    assert one is not None
    assert other is not None
    assert one.value is other.value


def test_a_transform_may_change_what_it_gets(clock: ManualClock):
    def newest_first(stories: list[Story]) -> list[Story]:
        stories.sort(key=lambda story: -story.id)
        stories[0].tags.append("newest")
        return stories

    bench = Bench(clock, transform=newest_first)
    bench.keep([Story(1, []), Story(2, [])], "u1")
    for _ in range(3):
        assert bench.serve("u1") == Answer([Story(2, ["newest"]), Story(1, [])], 0.0)


def test_a_key_is_captured_again_only_when_it_is_due(clock: ManualClock):
    bench = Bench(clock, refresh=30)
    assert bench.keep([Story(1, [])], "u1")
    clock.advance(29.9)
    assert bench.wanted("u1") is None
    assert bench.wanted("u2") is not None
    clock.advance(0.1)
    assert bench.keep([Story(2, [])], "u1")
    assert bench.serve("u1") == Answer([Story(2, [])], 0.0)


def test_a_refresh_is_at_most_half_of_the_age_that_is_served(clock: ManualClock):
    bench = Bench(clock, max_age=10, refresh="30s")
    bench.keep([], "u1")
    clock.advance(5)
    assert bench.wanted("u1") is not None


def test_one_capture_of_a_key_is_on_its_way_at_a_time(clock: ManualClock):
    bench = Bench(clock)
    key = bench.wanted("u1")
    first = bench.capture(key, [])
    assert first is not None
    assert bench.capture(key, []) is None
    assert bench.rung.skipped["pending"] == 1
    bench.tier.drop(first)
    assert bench.capture(key, []) is not None


def test_of_many_threads_one_captures_a_key(clock: ManualClock):
    bench = Bench(clock)
    key = bench.wanted("u1")
    barrier = threading.Barrier(8)
    made: list[Any] = []

    def capture() -> None:
        barrier.wait()
        made.append(bench.capture(key, []))

    threads = [threading.Thread(target=capture) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert len([capture for capture in made if capture is not None]) == 1
    assert len(made) == 8


def test_a_capture_that_was_lost_on_its_way_does_not_block_its_key_for_long(clock: ManualClock):
    bench = Bench(clock)
    key = bench.wanted("u1")
    assert bench.capture(key, []) is not None
    clock.advance(5)
    assert bench.capture(key, []) is not None


def test_captures_wait_in_bounded_number(clock: ManualClock):
    bench = Bench(clock)
    for number in range(1_100):
        bench.capture(bench.wanted(number), [])
    assert bench.rung.skipped["backlog"] == 100
    assert len(bench.rung.book.pending) == 1_000


def test_past_the_budget_captures_are_skipped_and_counted():
    clock = SlowClock()
    bench = Bench(clock)
    kept = [bench.keep([], number) for number in range(200)]
    assert 1 <= sum(kept) < 20
    assert bench.rung.skipped["budget"] == 200 - sum(kept)
    clock.advance(60)
    assert bench.keep([], "later")


def keeps_nothing(bench: Bench, number: int) -> bool:
    return bench.keep({"not": "a list"}, number)


def test_a_function_whose_results_are_refused_ten_times_in_a_row_is_tried_once_a_minute(
    clock: ManualClock,
):
    bench = Bench(clock)
    for number in range(100):
        assert not keeps_nothing(bench, number)
    assert (bench.rung.skipped["encode"], bench.rung.skipped["refused"]) == (10, 90)
    for number in range(600):
        clock.advance(1)
        assert not keeps_nothing(bench, number)
    assert bench.rung.skipped["encode"] == 20
    assert bench.rung.skipped["refused"] == 90 + 590


def test_a_result_that_is_kept_ends_that(clock: ManualClock):
    bench = Bench(clock)
    for number in range(10):
        keeps_nothing(bench, number)
    assert not bench.keep([], "u1")
    clock.advance(60)
    assert bench.keep([], "u1")
    assert bench.keep([], "u2")
    for number in range(9):
        keeps_nothing(bench, number)
    assert bench.keep([], "u3")
    assert bench.rung.skipped["refused"] == 1


def test_a_trial_whose_call_fails_is_the_only_one_of_its_minute(clock: ManualClock):
    bench = Bench(clock)
    for number in range(10):
        keeps_nothing(bench, number)
    clock.advance(60)
    assert bench.wanted("u1") is not None
    assert bench.wanted("u2") is None
    clock.advance(60)
    assert bench.wanted("u2") is not None


def test_what_is_refused_of_one_rung_says_nothing_of_another(clock: ManualClock):
    one, other = Bench(clock), Bench(clock)
    other.rung.attach(one.tier)
    other.tier = one.tier
    for number in range(20):
        keeps_nothing(one, number)
    assert other.keep([], "u1")


def test_one_function_leaves_half_of_the_budget_to_another_that_waits():
    clock = SlowClock()
    greedy, other = Bench(clock), Bench(clock)
    other.rung.attach(greedy.tier)
    other.tier = greedy.tier
    for number in range(3_000):
        greedy.keep([], number)
        other.keep([], number)
    kept = [len(bench.rung.book.entries) for bench in (greedy, other)]
    assert min(kept) > 0.4 * sum(kept)


def test_a_result_that_cannot_be_encoded_is_skipped_counted_and_told_once(
    clock: ManualClock, caplog: pytest.LogCaptureFixture
):
    bench = Bench(clock)
    with caplog.at_level(logging.WARNING, "degrade.fallback"):
        for _ in range(3):
            assert not bench.keep({"not": "a list"}, "u1")
    assert bench.rung.skipped["encode"] == 3
    assert not bench.rung.book.pending
    assert len(caplog.records) == 1


def test_a_call_without_a_stable_key_is_neither_captured_nor_served(clock: ManualClock):
    bench = Bench(clock)
    assert bench.wanted(object()) is None
    assert bench.rung.skipped["no-key"] == 1
    assert bench.serve(object()) is None


def test_arguments_that_the_function_changes_do_not_change_the_key(clock: ManualClock):
    bench = Bench(clock)
    words = ["a"]
    key = bench.wanted(words)
    words.append("b")
    bench.tier.insert(bench.capture(key, []))
    assert bench.serve(["a"]) is not None
    assert bench.serve(["a", "b"]) is None


def test_transform_runs_at_each_serving_and_its_errors_are_the_rungs(clock: ManualClock):
    shown = [3]

    def newest_first(stories: list[Story]) -> list[Story]:
        if not shown[0]:
            raise LookupError
        return sorted(stories, key=lambda story: -story.id)[: shown[0]]

    bench = Bench(clock, transform=newest_first)
    bench.keep([Story(1, []), Story(2, [])], "u1")
    assert bench.serve("u1") == Answer([Story(2, []), Story(1, [])], 0.0)
    shown[0] = 1
    assert bench.serve("u1") == Answer([Story(2, [])], 0.0)
    shown[0] = 0
    with pytest.raises(LookupError):
        bench.serve("u1")


def test_subjects_are_served_their_own_snapshot_only(clock: ManualClock):
    bench = Bench(clock)
    bench.keep([Story(1, [])], "u1", subject="ana")
    assert bench.serve("u1", subject="ana") is not None
    assert bench.serve("u1", subject="ben") is None
    assert bench.serve("u1") is None


def test_everyone_is_served_the_same_when_told_so(clock: ManualClock):
    bench = Bench(clock, everyone=True)
    bench.keep([Story(1, [])], "u1", subject="ana")
    assert bench.serve("u1", subject="ben") is not None


def test_after_void_nothing_of_before_is_captured_or_served(clock: ManualClock):
    bench = Bench(clock)
    bench.keep([], "u1")
    key = bench.wanted("u2")
    on_its_way = bench.capture(key, [])
    admitted = clock.monotonic()
    bench.tier.void("feed", clock.monotonic())
    assert bench.serve("u1") is None
    assert not bench.tier.insert(on_its_way)
    assert bench.rung.capture(key, [], admitted_s=admitted, wall_s=0.0, epoch=1) is None
    assert bench.rung.skipped["void"] == 1
    clock.advance(0.1)
    assert bench.keep([], "u1")
    assert bench.serve("u1") is not None


@pytest.mark.parametrize("blob", [b"", b"garbage", b'{"v":1}\n[[]]'])
def test_a_snapshot_that_does_not_decode_cannot_serve_and_goes(
    clock: ManualClock, caplog: pytest.LogCaptureFixture, blob: bytes
):
    bench = Bench(clock)
    bench.keep([], "u1")
    (made,) = bench.rung.book.entries.values()
    made.blob = blob
    with caplog.at_level(logging.WARNING, "degrade.fallback"):
        assert bench.serve("u1") is None
    assert not bench.rung.book.entries
    assert len(caplog.records) == 1


def test_the_snapshot_of_another_key_is_never_served(clock: ManualClock):
    bench = Bench(clock)
    bench.keep([Story(1, [])], "u1")
    bench.keep([Story(2, [])], "u2")
    entries = bench.rung.book.entries
    one, other = entries
    entries[one], entries[other] = entries[other], entries[one]
    assert bench.serve("u1") is None


def test_copy_false_keeps_the_object_itself_and_needs_no_annotation(clock: ManualClock):
    bench = Bench(clock, untyped, copy=False)
    value = object()
    assert bench.keep(value, "u1")
    answer = bench.serve("u1")
    assert answer is not None
    assert answer.value is value


def of_flask() -> flask.Response:
    with flask.Flask("shop").app_context():
        return flask.jsonify(stories=[])


RESPONSES = [
    JsonResponse({}, charset="utf-8"), of_flask(), starlette.responses.JSONResponse({}),
    aiohttp.web.Response(), falcon.Response(),
]  # fmt: skip


@pytest.mark.parametrize("response", RESPONSES, ids=lambda value: type(value).__name__)
def test_copy_false_keeps_no_response_and_says_once_what_to_do(
    clock: ManualClock, caplog: pytest.LogCaptureFixture, response: Any
):
    bench = Bench(clock, untyped, copy=False)
    for value in (response, (response, 503), [response], {"page": response}):
        assert not bench.keep(value, "u1")
    assert bench.serve("u1") is None
    assert bench.rung.skipped["encode"] == 4
    assert not bench.rung.book.pending
    (record,) = caplog.records
    assert type(response).__name__ in record.getMessage()
    assert "make the response from that" in record.getMessage()
    assert bench.keep("data", "u1")


@pytest.mark.parametrize("copy", [True, False])
@pytest.mark.parametrize("response", RESPONSES, ids=lambda value: type(value).__name__)
def test_a_function_that_says_that_it_returns_a_response_is_refused(response: Any, copy: bool):
    kind = type(response)
    for returns in (kind, kind | None, tuple[kind, int], dict[str, list[kind]]):
        with pytest.raises(UsageError, match=rf"'feed'.*{kind.__name__}.*from that") as caught:
            snapshot(max_age="1h", copy=copy).bind(Target.of(returning(returns), "feed"))
        assert caught.value.code == "snapshot-return-type"


def test_copy_false_takes_a_function_whose_annotation_means_nothing(clock: ManualClock):
    assert Bench(clock, returning("Nowhere"), copy=False).keep("data", "u1")


def test_without_a_tier_nothing_is_wanted_captured_or_served(clock: ManualClock):
    rung = snapshot(max_age="1h").bind(Target.of(feed, "feed"))
    assert isinstance(rung, BoundSnapshot)
    assert rung.wanted(("u1",), {}, None, 1.0) is None
    assert rung.capture(("u1",), [], admitted_s=1.0, wall_s=1.0, epoch=0) is None
    assert rung.serve(Call(("u1",), {}, None, 1.0, 1.0)) is None


def test_another_tier_starts_empty(clock: ManualClock):
    bench = Bench(clock)
    bench.keep([], "u1")
    first, second = bench.tier, MemoryTier(clock=clock)
    bench.rung.attach(second)
    assert bench.serve("u1") is None
    bench.rung.attach(first)
    assert bench.serve("u1") is not None


@pytest.mark.parametrize(
    ("fn", "settings", "code"),
    [
        (stream, {}, "snapshot-generator"),
        (stream, {"copy": False}, "snapshot-generator"),
        (stream_later, {"copy": False}, "snapshot-generator"),
        (untyped, {}, "snapshot-return-type"),
        (Feed.ranked, {}, "snapshot-method-key"),
        (Feed.ranked, {"everyone": True}, "snapshot-method-key"),
        (feed, {"key": ("nobody",)}, "snapshot-key"),
    ],
)
def test_a_function_that_snapshots_cannot_serve_is_refused(fn: Any, settings: Any, code: str):
    with pytest.raises(UsageError, match="'feed'") as caught:
        snapshot(max_age="1h", **settings).bind(Target.of(fn, "feed"))
    assert caught.value.code == code


# ------------------------------------------------------------------------------- lazy results


def rows(query: str) -> Sequence[int]:
    return []


def page(query: str) -> dict[str, Any]:
    return {}


def test_a_lazy_result_is_not_captured_which_is_said_once(
    clock: ManualClock, caplog: pytest.LogCaptureFixture
):
    for fn, make in ((rows, lambda: filter(None, [1])), (page, lambda: {"rows": iter([1])})):
        caplog.clear()
        bench = Bench(clock, fn)
        for _ in range(3):
            value = make()
            assert not bench.keep(value, "q")
            assert list(value["rows"] if isinstance(value, dict) else value) == [1]
        (record,) = caplog.records
        assert "return lists and dicts of what it yields" in record.getMessage()
        assert bench.rung.skipped["encode"] == 3
        assert bench.keep([] if fn is rows else {}, "q"), "it is tried again with the next result"


def test_an_object_that_is_kept_itself_must_be_readable_twice(
    clock: ManualClock, caplog: pytest.LogCaptureFixture
):
    bench = Bench(clock, untyped, copy=False)
    value = iter([1])
    assert not bench.keep([value], "u1")
    assert list(value) == [1]
    (record,) = caplog.records
    assert "list_iterator" in record.getMessage()
    assert bench.keep(object(), "u1")
    assert bench.keep({1: 2}.values(), "u2")


def test_what_looking_at_an_object_that_is_kept_costs_is_in_the_budget():
    clock = SlowClock()
    bench = Bench(clock, untyped, copy=False)
    kept = [bench.keep([1], number) for number in range(200)]
    assert 1 <= sum(kept) < 20
    assert bench.rung.skipped["budget"] == 200 - sum(kept)
