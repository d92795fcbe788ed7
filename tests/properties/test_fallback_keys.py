"""The law of keys: the same key means the same bound arguments, by type and value."""

from __future__ import annotations

import inspect
from decimal import Decimal
from typing import Any

from hypothesis import assume, example, given
from hypothesis import strategies as st

from degrade.fallback.rung import Target
from degrade.fallback.snapshots.keys import KeyMaker
from tests.properties.strategies import arguments, subjects


def feed(first: Any, second: Any = 3, *, third: Any = None) -> None: ...
def many(first: Any, *rest: Any, **options: Any) -> None: ...


FEED, MANY = (KeyMaker(Target.of(fn, "feed"), None, everyone=False) for fn in (feed, many))
SHARED = KeyMaker(Target.of(feed, "feed"), None, everyone=True)


def same(one: Any, other: Any) -> bool:
    """Whether no function could tell two arguments apart, said without any key."""
    if type(one) is not type(other):
        return False
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, (set, frozenset)):
        return len(one) == len(other) and all(any(same(a, b) for b in other) for a in one)
    if isinstance(one, dict):
        return len(one) == len(other) and all(
            any(same(a, b) and same(one[a], other[b]) for b in other) for a in one
        )
    return bool(one == other) and repr(one) == repr(other)


def inline(maker: KeyMaker, fn: Any, args: Any, kwargs: Any, subject: str | None) -> Any:
    """What a generated wrapper looks up for a call."""
    bound = inspect.signature(fn).bind(*args, **kwargs)
    bound.apply_defaults()
    expression = maker.fast_expression(subject="_subject")
    assert expression is not None
    return eval(expression, {"_subject": subject}, dict(bound.arguments))  # noqa: S307 - our own expression


@given(arguments, arguments, subjects, subjects)
@example(1, True, None, None)
@example(0.0, -0.0, None, None)
@example((1,), (True,), None, None)
@example(Decimal("1.0"), Decimal("1.00"), None, None)
def test_two_calls_share_a_key_exactly_when_they_are_the_same(
    one: Any, other: Any, who: str | None, whom: str | None
):
    first, second = FEED.key((one,), {}, who), FEED.key((other,), {}, whom)
    assert first is not None
    assert second is not None
    alike = same(one, other) and who == whom
    assert (first == second) is alike
    assert (FEED.text(first) == FEED.text(second)) is alike


@given(arguments, arguments, subjects, subjects)
@example(1, True, None, None)
@example(-0.0, 0.0, None, None)
@example((1,), (True,), None, None)
def test_a_lookup_by_raw_arguments_finds_an_equal_call_or_nothing(
    stored: Any, asked: Any, who: str | None, whom: str | None
):
    book = {FEED.key((stored,), {}, who): "stored"}
    raw = inline(FEED, feed, (asked,), {}, whom)
    try:
        found = raw in book
    except TypeError:
        return  # unhashable: the wrapper takes the slow way
    if found:
        assert same(stored, asked)
        assert who == whom


@given(st.lists(arguments, max_size=3), st.lists(arguments, max_size=3), subjects)
@example([1, True], [True, 1], None)
def test_star_arguments_keep_the_same_law(one: list[Any], other: list[Any], who: str | None):
    assume(one)
    assume(other)
    first, second = MANY.key(tuple(one), {}, who), MANY.key(tuple(other), {}, who)
    assert first is not None
    assert second is not None
    assert (first == second) is same(one, other)
    assert (MANY.text(first) == MANY.text(second)) is same(one, other)
    try:
        found = inline(MANY, many, other, {}, who) in {first: "stored"}
    except TypeError:
        return
    assert not found or same(one, other)


@given(
    st.dictionaries(st.sampled_from(["a", "b", "c"]), arguments, max_size=2),
    st.dictionaries(st.sampled_from(["a", "b", "c"]), arguments, max_size=2),
)
def test_free_keywords_keep_the_same_law(one: dict[str, Any], other: dict[str, Any]):
    first, second = MANY.key((0,), one, None), MANY.key((0,), other, None)
    assert (first == second) is same(one, other)
    assert MANY.key((0,), dict(reversed(one.items())), None) == first


@given(arguments, arguments, arguments, st.integers(0, 2), st.randoms(), subjects)
def test_keyword_order_and_spelled_out_defaults_never_matter(
    first: Any, second: Any, third: Any, by_position: int, rng: Any, who: str | None
):
    values = {"first": first, "second": second, "third": third}
    expected = FEED.key((first, second), {"third": third}, who)
    names = list(values)[by_position:]
    rng.shuffle(names)
    args = tuple(values[name] for name in list(values)[:by_position])
    assert FEED.key(args, {name: values[name] for name in names}, who) == expected is not None
    assert FEED.key((first,), {}, who) == FEED.key((first, 3), {"third": None}, who)


@given(arguments, subjects, subjects)
def test_two_subjects_never_share_a_key_unless_told_so(
    argument: Any, who: str | None, whom: str | None
):
    assert (FEED.key((argument,), {}, who) == FEED.key((argument,), {}, whom)) is (who == whom)
    assert SHARED.key((argument,), {}, who) == SHARED.key((argument,), {}, whom) is not None


@given(st.text(), st.text(), st.text(), subjects)
def test_no_text_in_an_argument_can_pass_for_another_argument_or_subject(
    one: str, other: str, third: str, who: str | None
):
    plain = FEED.text(FEED.key((one, other), {"third": third}, who) or "")
    nested = FEED.text(FEED.key(([one], other), {"third": third}, who) or "")
    assert plain != nested
    forged = f"{one}', second='{other}', third='{third}'; subject='{who}"
    assert FEED.text(FEED.key((forged,), {}, None) or "") != plain
