from __future__ import annotations

import json
from dataclasses import replace
from unittest.mock import ANY

import pytest

from degrade.core.enums import HoldMode
from degrade.core.records import ControlState, FleetVerdict
from degrade.stores.redis.state.hash_codec import (
    BY_HAND,
    INCARNATION,
    StateView,
    after_changes,
    changes,
    commands_of,
    view,
)
from degrade.stores.redis.state.repair import adopted, begun, in_force, restored
from degrade.stores.state_changes import LogHead, Written, apply_change
from degrade.testing.store_records import change, hold, order, standing

NOW = 1_700_000_000.0
EMPTY = view({}, {}, now=NOW)


def raw(fields) -> dict[bytes, bytes]:
    return {name.encode(): body for name, body in fields.items()}


def seen(holds, control) -> StateView:
    return view(raw(holds), raw(control), now=NOW)


def stored(before: StateView, written: Written, lineage=None) -> StateView:
    """Return the view of the hashes after a change was written to them."""
    desk, kept = changes(before, written.state, written.head, lineage=lineage)
    return seen(after_changes(before.holds, desk), after_changes(before.control, kept))


def a_life(*asked) -> StateView:
    found = stored(EMPTY, begun(EMPTY, "I", now=NOW), lineage={})
    for one in asked:
        found = stored(found, apply_change(found.state, found.head, one, now=NOW))
    return found


def test_what_is_written_is_read_back():
    found = a_life(
        change("level", level=order(2, until=NOW + 60), feed=hold("off"), b=hold(dial=0.5)),
        change("released", feed=None, level=None, now=True),
        change("hold", {"*": hold("observe", until=NOW + 9)}),
    )
    assert standing(found.state) == {"b": "degraded", "*": "observe"}
    assert found.state.released["feed"].now
    assert found.state.off_ended == {"feed": NOW}
    assert found.state.level_released is not None
    assert found.state.level is None
    assert (found.state.epoch, found.state.incarnation, found.life.whole) == (3, "I", True)
    assert found.head.seq == 6  # one event a part
    assert (found.by_hand, found.unreadable, found.state.nonsense) == ({}, frozenset(), {})


def test_the_desk_shows_what_is_in_force():
    found = a_life(change(feed=hold("off")))
    assert found.holds["feed"] == found.control["hold:feed"]
    assert json.loads(found.holds["feed"])["mode"] == "off"
    gone = stored(
        found, apply_change(found.state, found.head, change("released", feed=None), now=NOW)
    )
    assert "feed" not in gone.holds
    assert "hold:feed" not in gone.control


def test_of_what_stays_the_same_nothing_is_written():
    found = a_life(change(feed=hold("off"), b=hold()))
    desk, kept = changes(found, found.state, found.head)
    assert (desk, kept) == ({}, {})
    more = apply_change(found.state, found.head, change(c=hold()), now=NOW)
    desk, kept = changes(found, more.state, more.head)
    assert set(desk) == {"c"}
    assert set(kept) == {"hold:c", "epoch", "change", "head", "trail"}


# ------------------------------------------------------------------ written by hand


@pytest.mark.parametrize("word", ["degraded", "off", "normal", "observe", " OFF\n", "Degraded"])
def test_a_bare_word_is_a_hold_until_released(word):
    life = a_life()
    found = seen({**life.holds, "feed.ranking": word.encode()}, life.control)
    hold_ = found.by_hand["feed.ranking"]
    assert hold_ is not None
    assert hold_.mode.value == word.strip().lower()
    assert (hold_.actor, hold_.reason, hold_.until, hold_.at) == (BY_HAND, "none given", None, NOW)
    assert standing(found.state) == {}  # not before somebody adopts it


def test_json_says_more():
    life = a_life()
    written = {"mode": "degraded", "dial": 0.1, "for": "30m", "actor": "ana", "reason": "load"}
    found = seen({**life.holds, "feed": json.dumps(written).encode()}, life.control)
    hold_ = found.by_hand["feed"]
    assert hold_ is not None
    assert (hold_.dial, hold_.until, hold_.actor, hold_.reason) == (0.1, NOW + 1800, "ana", "load")
    until = seen({**life.holds, "feed": b'{"mode":"off","until":1700000009}'}, life.control)
    assert until.by_hand["feed"] is not None
    assert until.by_hand["feed"].until == NOW + 9


@pytest.mark.parametrize(
    "body",
    [
        b"", b"on fire", b"degradedd", b"{", b"[]", b"null", b"1", b'{"mode":"on fire"}',
        b'{"mode":"degraded","dial":0}', b'{"mode":"degraded","dial":2}', b'{"mode":"off","dial":0.5}',
        b'{"mode":"off","until":1e999}', b'{"mode":"off","for":"soon"}', b"\xff\xfe", b"x" * 100_000, b"[" * 10_000,
        b'{"mode":"off","until":-1}', b'{"mode":"off","until":1700000000000}', b'{"mode":"off","for":1e300}',
        b'{"mode":"off","for":"5300w"}',
    ],
    ids=range(20),
)  # fmt: skip
def test_nonsense_changes_nothing_and_is_shown(body):
    life = a_life(change(feed=hold("off")))
    found = seen({**life.holds, "feed": body, "b": body}, life.control)
    assert standing(found.state) == {"feed": "off"}
    assert found.by_hand == {}
    assert set(found.state.nonsense) == {"feed", "b"}
    assert all(len(text) <= 400 for text in found.state.nonsense.values())


@pytest.mark.parametrize("name", ["", "a b", "-x", "x" * 101, "é", "_incarnation\n", "_feed"])
def test_a_word_for_what_cannot_be_a_flag_is_nonsense(name):
    life = a_life()
    found = seen({**life.holds, name: b"off"}, life.control)
    assert (found.by_hand, set(found.state.nonsense)) == ({}, {name})


@pytest.mark.parametrize("name", ["_incarnation", "_feed"])
def test_an_order_of_such_a_name_in_the_control_hash_is_not_in_force_and_is_left_alone(name):
    life = a_life(change(feed=hold("off")))
    body = life.control["hold:feed"]
    found = seen({"_feed": body, **life.holds}, {**life.control, f"hold:{name}": body})
    assert standing(found.state) == {"feed": "off"}
    assert set(found.state.nonsense) == {"_feed"}
    after = stored(found, apply_change(found.state, found.head, change(feed=None), now=NOW))
    assert after.control[f"hold:{name}"] == body
    assert (after.holds["_feed"], after.life) == (body, replace(life.life, epoch=2, trail=ANY))


def test_no_state_however_it_came_about_writes_over_the_life_of_the_store():
    life = a_life(change(feed=hold("off")))
    heard = life.state.model_copy(update={"holds": {**life.state.holds, INCARNATION: hold("off")}})
    desk, kept = changes(life, heard, life.head, lineage={"I": 1})
    assert desk[INCARNATION] == heard.incarnation
    assert f"hold:{INCARNATION}" not in kept


def test_nonsense_stays_on_the_desk_until_somebody_repairs_it():
    life = a_life(change(feed=hold("off")))
    messy = seen({**life.holds, "feed": b"blah"}, life.control)
    after = stored(messy, apply_change(messy.state, messy.head, change(b=hold()), now=NOW))
    assert after.holds["feed"] == b"blah"
    assert standing(after.state) == {"feed": "off", "b": "degraded"}
    mended = stored(after, apply_change(after.state, after.head, change(feed=hold()), now=NOW))
    assert standing(mended.state) == {"feed": "degraded", "b": "degraded"}
    assert mended.state.nonsense == {}


def test_a_field_that_is_gone_was_released_by_hand():
    life = a_life(change(feed=hold("off"), b=hold()))
    rest = {name: body for name, body in life.holds.items() if name != "feed"}
    found = seen(rest, life.control)
    assert found.by_hand == {"feed": None}
    assert standing(found.state) == {"feed": "off", "b": "degraded"}


def test_what_a_hand_wrote_is_adopted_with_events_and_tombstones():
    life = a_life(change(feed=hold("off"), b=hold()))
    desk = {name: body for name, body in life.holds.items() if name != "feed"}
    found = seen({**desk, "b": b"off", "c": b"degraded"}, life.control)
    written = adopted(found.state, found.head, found.by_hand, writer="host/1", now=NOW)
    kinds = {(event.type, event.flag, event.actor) for event in written.events}
    assert kinds == {
        ("hold", "b", BY_HAND), ("hold", "c", BY_HAND), ("released", "feed", BY_HAND),
    }  # fmt: skip
    after = stored(found, written)
    assert standing(after.state) == {"b": "off", "c": "degraded"}
    assert (after.by_hand, set(after.state.released)) == ({}, {"feed"})
    assert after.state.epoch == 4
    assert "feed" in after.state.off_ended


# ------------------------------------------------------------------ lives


def test_a_store_that_lost_one_of_its_hashes_is_mended_from_the_other():
    life = a_life(change(feed=hold("off"), b=hold()))
    without_desk = seen({}, life.control)
    assert (without_desk.by_hand, standing(without_desk.state)) == (
        {}, {"feed": "off", "b": "degraded"},
    )  # fmt: skip
    without_control = seen(life.holds, {})
    assert (without_control.by_hand, standing(without_control.state)) == (
        {}, {"feed": "off", "b": "degraded"},
    )  # fmt: skip
    for broken in (without_desk, without_control):
        written, lineage = restored(
            life, broken, LogHead(9, "x"), incarnation="J", writer="h/1", now=NOW
        )
        mended = stored(broken, written, lineage=lineage)
        assert mended.life.whole
        assert standing(mended.state) == {"feed": "off", "b": "degraded"}
        assert (mended.by_hand, mended.state.nonsense) == ({}, {})
        assert mended.life.lineage["I"] == 1
        assert mended.head.seq == 10  # after all that the stream has
        assert mended.state.not_before == NOW + 15


def test_words_of_a_hand_win_over_what_is_restored():
    life = a_life(change(feed=hold("off")))
    wiped = seen({"feed": b"degraded", "b": b"off"}, {})
    written, lineage = restored(life, wiped, LogHead(), incarnation="J", writer="h/1", now=NOW)
    mended = stored(wiped, written, lineage=lineage)
    assert standing(mended.state) == {"feed": "off"}
    assert {flag: one and one.mode for flag, one in mended.by_hand.items()} == {
        "feed": HoldMode.DEGRADED, "b": HoldMode.OFF,
    }  # fmt: skip
    after = stored(
        mended, adopted(mended.state, mended.head, mended.by_hand, writer="h/1", now=NOW)
    )
    assert standing(after.state) == {"feed": "degraded", "b": "off"}


def judged(before: StateView, **verdicts: FleetVerdict) -> StateView:
    """Return the view after the fleet came to these verdicts, and to no others."""
    state = before.state
    update = {"epoch": state.epoch + 1, "verdicts": verdicts}
    return stored(before, Written(state.model_copy(update=update), (), before.head))


def test_a_verdict_that_was_over_does_not_come_back_when_a_key_is_lost():
    known = judged(a_life(), feed=FleetVerdict(id=1, at=NOW, cause="p99", voters=2, live=3))
    over = judged(known)
    for found, stand in ((seen({}, over.control), set()), (seen(over.holds, {}), {"feed"})):
        written, _ = restored(known, found, LogHead(), incarnation="J", writer="h/1", now=NOW)
        assert written.state.verdicts.keys() == stand  # without its trail nothing can be told


@pytest.mark.parametrize(
    ("word", "ended"), [(None, {"feed": NOW}), (b"degraded", {"feed": NOW}), (b"off", {})]
)
def test_a_hand_that_ends_an_off_ends_it_also_where_nobody_could_adopt_that(word, ended):
    life = a_life(change(feed=hold("off")))
    desk = {name: body for name, body in life.holds.items() if name != "feed"}
    known = seen(desk if word is None else desk | {"feed": word}, life.control)
    assert in_force(known).off_ended == ended


# ------------------------------------------------------------------ other releases


def test_a_field_that_this_release_does_not_know_is_left_alone():
    life = a_life(change(feed=hold()))
    newer = seen(life.holds, {**life.control, "moon": b"full", "phase:feed": b"new"})
    after = stored(newer, apply_change(newer.state, newer.head, change(b=hold()), now=NOW))
    assert after.control["moon"] == b"full"
    assert after.control["phase:feed"] == b"new"


def test_unknown_fields_of_a_record_come_back_as_they_were():
    life = a_life(change(feed=hold()))
    body = json.dumps({**json.loads(life.holds["feed"]), "ticket": "OPS-1"}).encode()
    newer = seen({**life.holds, "feed": body}, {**life.control, "hold:feed": body})
    asked = change("extended", feed=hold(until=NOW + 60))
    after = stored(newer, apply_change(newer.state, newer.head, asked, now=NOW))
    assert json.loads(after.holds["feed"])["ticket"] == "OPS-1"


@pytest.mark.parametrize(
    "kind", ["hold:feed", "released:b", "level", "level_released", "verdict:c"]
)
def test_what_another_release_wrote_in_another_way_is_named_and_not_overwritten(kind):
    life = a_life()
    newer = {**life.control, kind: b'{"v":2,"what":"else"}'}
    found = seen(life.holds | ({"feed": newer[kind]} if kind == "hold:feed" else {}), newer)
    assert found.unreadable == {kind}
    assert found.by_hand == {}
    after = stored(found, apply_change(found.state, found.head, change(z=hold()), now=NOW))
    assert after.control[kind] == newer[kind]


@pytest.mark.parametrize(
    "control",
    [
        {"epoch": b"x"}, {"epoch": b"-1"}, {"epoch": b"9" * 30}, {"lineage": b"[]"},
        {"lineage": b"{"}, {"head": b"x y z"}, {"not_before": b"soon"}, {"off_ended:a": b"?"},
        {INCARNATION: b"\xff"}, {"capped": b"\xff"}, {"lineage": b"[" * 60_000},
        {"lineage": b'{"a":' * 60_000},
    ],
    ids=range(12),
)  # fmt: skip
def test_reading_never_raises_whatever_is_there(control):
    life = a_life(change(feed=hold()))
    assert isinstance(seen(life.holds, life.control | control).state, ControlState)
    assert isinstance(seen({}, control).state, ControlState)


def test_many_fields_are_written_in_portions():
    found = commands_of(
        "k", {f"f{n}": "v" for n in range(2_500)} | {f"g{n}": None for n in range(5)}
    )
    assert [(command[0], len(command)) for command in found] == [
        ("HSET", 2_002), ("HSET", 2_002), ("HSET", 1_002), ("HDEL", 7),
    ]  # fmt: skip
    assert commands_of("k", {}) == []
