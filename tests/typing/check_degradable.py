"""The types of guarded functions: parameters stay, results are `T | F`; never run."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from functools import partial
from typing import Any, assert_type

from degrade import SLA, Flag, Recovery, default, degradable, omit, simplified, snapshot


@dataclass
class Story:
    title: str


def newest(user_id: str) -> list[Story]:
    raise NotImplementedError


async def newest_later(user_id: str) -> list[Story]:
    raise NotImplementedError


def prepared(user_id: str) -> tuple[Story, ...]:
    raise NotImplementedError


async def prepared_later(user_id: str) -> tuple[Story, ...]:
    raise NotImplementedError


# ---------------------------------------------------------------------- functions


@degradable("no-ladder")
def no_ladder(user_id: str) -> list[Story]:
    raise NotImplementedError


@degradable("snapshot-alone", fallback=snapshot(max_age="1h"))
def snapshot_alone(user_id: str) -> list[Story]:
    raise NotImplementedError


@degradable("snapshot-in-a-list", fallback=[snapshot(max_age="1h", transform=reversed)])
def snapshot_in_a_list(user_id: str) -> list[Story]:
    raise NotImplementedError


@degradable(
    "everything-given",
    sla=SLA(p99="250ms", errors="5%", over="30s"),
    fallback=[snapshot(max_age="1h"), default(newest)],
    level=2,
    owner="team-feed",
    message="Newest stories first",
    recovery=Recovery(step_time="3s"),
    failures=(OSError, ValueError),
    ignore=lambda error: isinstance(error, KeyError),
    accept=bool,
)
def same_type(user_id: str) -> list[Story]:
    raise NotImplementedError


@degradable("empty-list", fallback=[snapshot(max_age="1h"), simplified(newest), default([])])
def empty_list(user_id: str) -> list[Story]:
    raise NotImplementedError


@degradable("other-type", fallback=[snapshot(max_age="1h"), default(prepared)])
def other_type(user_id: str) -> list[Story]:
    raise NotImplementedError


@degradable("constant", fallback=[snapshot(max_age="1h"), default(0), omit()])
def constant(user_id: str) -> str:
    raise NotImplementedError


@degradable("omitted", fallback=omit())
def omitted(user_id: str) -> int:
    raise NotImplementedError


@degradable("bare-function", fallback=prepared)
def bare_function(user_id: str) -> list[Story]:
    raise NotImplementedError


@degradable("bare-function-in-a-list", fallback=[prepared])
def bare_function_in_a_list(user_id: str) -> list[Story]:
    raise NotImplementedError


@degradable("a-lambda", fallback=lambda user_id: [Story(user_id)])
def a_lambda(user_id: str) -> list[Story]:
    raise NotImplementedError


assert_type(no_ladder("ana"), list[Story])
assert_type(snapshot_alone("ana"), list[Story])
assert_type(snapshot_in_a_list("ana"), list[Story])
assert_type(same_type("ana"), list[Story])
assert_type(empty_list("ana"), list[Story])
assert_type(other_type("ana"), list[Story] | tuple[Story, ...])
assert_type(constant("ana"), str | int | None)
assert_type(omitted("ana"), int | None)
assert_type(bare_function("ana"), list[Story] | tuple[Story, ...])
assert_type(bare_function_in_a_list("ana"), list[Story] | tuple[Story, ...])
assert_type(a_lambda("ana"), list[Story])

# A rung and a bare function in one list: mypy sees `list[object]` and gives up on F, pyright
# does not; both take it, and both keep the function's own type in the result.


@degradable("mixed", fallback=[snapshot(max_age="1h"), newest])
def mixed(user_id: str) -> list[Story]:
    raise NotImplementedError


titles = [story.title for story in mixed("ana")]


# ---------------------------------------------------------------------- parameters


@degradable("parameters", fallback=omit())
def parameters(a: int, /, b: str = "", *more: bytes, c: float, **options: bool) -> int:
    raise NotImplementedError


assert_type(parameters(1, "b", b"x", b"y", c=0.5, d=True), int | None)
same_signature: Callable[[int, str], int | None] = lambda a, b: parameters(a, b, c=1.0)  # noqa: E731 - only a type


# ---------------------------------------------------------------------- coroutine functions


@degradable("later", deadline="180ms")
async def later(user_id: str) -> list[Story]:
    raise NotImplementedError


@degradable("later-omitted", fallback=[snapshot(max_age="1h"), omit()], deadline=0.5, late="keep")
async def later_omitted(user_id: str, *, limit: int = 3) -> list[Story]:
    raise NotImplementedError


@degradable("later-simplified", fallback=[simplified(prepared_later)])
async def later_simplified(user_id: str) -> list[Story]:
    raise NotImplementedError


@degradable("later-bare", fallback=prepared_later)
async def later_bare(user_id: str) -> list[Story]:
    raise NotImplementedError


@degradable("later-bare-in-a-list", fallback=[prepared_later])
async def later_bare_in_a_list(user_id: str) -> list[Story]:
    raise NotImplementedError


@degradable("later-from-a-function", fallback=prepared)
async def later_from_a_function(user_id: str) -> list[Story]:
    raise NotImplementedError


async def coroutines() -> None:
    assert_type(await later("ana"), list[Story])
    assert_type(await later_omitted("ana", limit=2), list[Story] | None)
    assert_type(await later_simplified("ana"), list[Story] | tuple[Story, ...])
    assert_type(await later_bare("ana"), list[Story] | tuple[Story, ...])
    assert_type(await later_bare_in_a_list("ana"), list[Story] | tuple[Story, ...])
    assert_type(await later_from_a_function("ana"), list[Story] | tuple[Story, ...])


as_given_to_others: Callable[[str], Coroutine[Any, Any, list[Story] | None]] = later_omitted


# ---------------------------------------------------------------------- methods, and others


class Feed:
    @degradable("feed.ranked", fallback=[snapshot(max_age="1h", key=("user_id",)), default([])])
    def ranked(self, user_id: str) -> list[Story]:
        raise NotImplementedError

    @degradable("feed.hidden", fallback=omit())
    def hidden(self) -> int:
        raise NotImplementedError

    @degradable("feed.later", fallback=[omit()])
    async def later(self, user_id: str) -> list[Story]:
        raise NotImplementedError

    @staticmethod
    @degradable("feed.shared", fallback=omit())
    def shared(user_id: str) -> int:
        raise NotImplementedError

    @classmethod
    @degradable("feed.made", fallback=omit())
    def made(cls, user_id: str) -> int:
        raise NotImplementedError

    @property
    @degradable("feed.size", fallback=default(0))
    def size(self) -> int:
        raise NotImplementedError


assert_type(Feed().ranked("ana"), list[Story])
assert_type(Feed().hidden(), int | None)
assert_type(Feed.shared("ana"), int | None)
assert_type(Feed.made("ana"), int | None)
assert_type(Feed().size, int)


async def methods() -> None:
    assert_type(await Feed().later("ana"), list[Story] | None)


class Ranker:
    def __call__(self, user_id: str) -> list[Story]:
        raise NotImplementedError


assert_type(degradable("callable", fallback=omit())(Ranker())("ana"), list[Story] | None)
assert_type(degradable("partial")(partial(newest, "ana"))(), list[Story])
assert_type(degradable(Flag("declared"), fallback=omit())(newest)("ana"), list[Story] | None)
