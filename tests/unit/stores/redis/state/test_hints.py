from __future__ import annotations

import json

import pytest

from degrade.clock import ManualClock
from degrade.core.records import ControlState
from degrade.stores.redis.state.hash_codec import view
from degrade.stores.redis.state.hints import (
    _OURS,
    MOST_BYTES,
    Hint,
    HintedState,
    applied,
    hint_of,
    parsed,
)
from degrade.stores.state_changes import LogHead, apply_change
from degrade.testing.store_records import change, hold, order, standing

NOW = 1_700_000_000.0


def state(**parts) -> ControlState:
    return ControlState(incarnation="i" * 32, epoch=4, now=NOW, **parts)


def told(before: ControlState, asked) -> tuple[bytes, ControlState]:
    written = apply_change(before, LogHead(), asked, now=NOW)
    return hint_of(written.state, written.events), written.state


@pytest.mark.parametrize(
    "asked",
    [
        change(feed=hold("degraded", dial=0.25)),
        change(feed=hold("off", until=NOW + 60)),
        change("released", feed=None),
        change("released", feed=None, now=True),
        change("hold", {"*": hold("normal")}),
        change("extended", feed=hold("off", until=NOW + 999)),
    ],
    ids=lambda asked: f"{asked.type}-{asked.now}-{'-'.join(asked.holds)}",
)
def test_a_hint_is_enough_to_obey_a_change_of_one_hold(asked):
    before = state(holds={"feed": hold("off", until=NOW + 9)})
    body, after = told(before, asked)
    assert len(body) <= MOST_BYTES
    hint = parsed(body)
    assert hint is not None
    found = applied(before, hint, now=NOW)
    assert found is not None
    assert standing(found) == standing(after)
    assert {flag: (one.dial, one.until) for flag, one in found.holds.items()} == {
        flag: (one.dial, one.until) for flag, one in after.holds.items()
    }
    assert {flag: end.now for flag, end in found.released.items()} == {
        flag: end.now for flag, end in after.released.items()
    }
    assert found.off_ended == after.off_ended
    assert (found.epoch, found.incarnation) == (5, after.incarnation)


@pytest.mark.parametrize(
    "asked",
    [change("level", level=order()), change(feed=hold(), search=hold())],
    ids=["level", "two flags"],
)
def test_other_changes_are_only_announced(asked):
    body, after = told(state(), asked)
    hint = parsed(body)
    assert hint is not None
    assert (hint.epoch, hint.incarnation, hint.flag) == (after.epoch, after.incarnation, None)
    assert applied(state(), hint, now=NOW) is None


def test_a_name_too_long_for_a_hint_is_only_announced():
    body, _ = told(state(), change("hold", {"f" * 100: hold("degraded", dial=0.25, until=NOW)}))
    assert len(body) <= MOST_BYTES
    assert json.loads(body).keys() == {"v", "incarnation", "epoch", "change"}


@pytest.mark.parametrize(
    "change_of",
    [
        {"epoch": 4}, {"epoch": 6}, {"incarnation": "other"}, {"flag": None},
        {"until": NOW * 1_000}, {"until": -1.0}, {"until": float("inf")},
    ],
    ids=[
        "old", "not the next one", "of another life", "without a flag",
        "until the end of time", "before there was time", "for ever",
    ],
)  # fmt: skip
def test_a_hint_is_obeyed_only_as_the_next_change(change_of):
    body, _ = told(state(), change(feed=hold()))
    hint = parsed(body)
    assert hint is not None
    assert applied(state(), hint._replace(**change_of), now=NOW) is None


@pytest.mark.parametrize(
    "message",
    [
        b"", b"degraded", b"\xff\x80", b"[]", b"{}", b'{"v":2,"incarnation":"i","epoch":5}',
        b'{"v":1,"incarnation":"i","epoch":"x"}', b"[" * 900, b"x" * 1_000_000,
        b'{"v":1,"incarnation":"i","epoch":5,"flag":"a","mode":"on fire"}',
        b'{"v":1,"incarnation":"i","epoch":5,"flag":"a","mode":"degraded","dial":7}',
    ],
    ids=range(11),
)  # fmt: skip
def test_what_is_no_hint_says_nothing(message):
    assert parsed(message) is None


def test_a_hint_of_a_newer_release_keeps_its_meaning():
    hint = parsed(b'{"v":1,"incarnation":"i","epoch":5,"color":"red"}')
    assert hint is not None
    assert hint.epoch == 5


def test_an_off_that_is_replaced_has_ended():
    clock = ManualClock(wall_s=NOW)
    before = state(holds={"feed": hold("off")})
    body, _ = told(before, change(feed=hold("degraded")))
    hint = parsed(body)
    assert hint is not None
    found = applied(before, hint, now=clock.wall())
    assert found is not None
    assert found.off_ended == {"feed": NOW}


def test_a_hold_that_is_extended_stays_that_of_who_ordered_it():
    before = state(holds={"feed": hold("off", until=NOW + 9)})
    body, after = told(before, change("extended", feed=hold("off", until=NOW + 999)))
    hint = parsed(body)
    assert hint is not None
    found = applied(before, hint, now=NOW)
    assert found is not None
    assert found.holds["feed"] == after.holds["feed"]


@pytest.mark.parametrize(
    "asked",
    [
        change(feed=hold("degraded", dial=0.25)),
        change(feed=hold("observe", dial=1.0)),
        change(feed=hold("degraded", dial=1e-7)),
        change(feed=hold("off", until=NOW + 60.125)),
        change("released", feed=None, now=True),
        change("hold", {"*": hold("normal")}),
        change("level", level=order()),
    ],
    ids=range(7),
)
def test_a_hint_read_at_once_means_what_it_means_when_it_is_validated(asked):
    body, _ = told(state(holds={"feed": hold("off", until=NOW + 9)}), asked)
    spaced = json.dumps(json.loads(body)).encode()
    assert _OURS.fullmatch(spaced) is None
    assert parsed(body) == parsed(spaced) is not None


@pytest.mark.parametrize("dial", ["0.25", "0.0", "1.0", "0", "-0.5", "1.5", "0.1e1", "00.5"])
@pytest.mark.parametrize("until", ["1700000000.5", "0.5", "1e9", "1700000000", "017.0"])
def test_numbers_are_read_as_they_are_validated(dial, until):
    body = b'{"v":1,"incarnation":"ab","epoch":5,"flag":"a","mode":"degraded","dial":%b,"until":%b}'
    message = body % (dial.encode(), until.encode())
    assert parsed(message) == parsed(message.replace(b",", b", "))


def test_the_trail_of_hints_is_that_of_their_changes():
    read = view({}, {b"trail": b"3-aaaaaaaa 4-bbbbbbbb"}, now=NOW)
    heard = HintedState(read)
    for epoch, digest in ((5, "c" * 8), (6, None), (7, "d" * 8)):
        heard.take(Hint("i", epoch, digest), state(), NOW)
    assert heard.view.life.trail == ("3-aaaaaaaa", "4-bbbbbbbb", "5-cccccccc", "7-dddddddd")
