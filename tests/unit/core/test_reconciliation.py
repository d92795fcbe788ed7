from __future__ import annotations

import pytest

from degrade.core.reconciliation import (
    LINEAGE_CAP,
    TRAIL_CAP,
    StoreAssessment,
    StoreIdentity,
    change_id,
    contains,
    judged,
    lineage_of,
    merged,
    trail_of,
    went_apart,
)
from degrade.core.records import ControlState, FleetVerdict, LevelOrder, Release
from degrade.testing.store_records import hold as hold_of
from degrade.testing.store_records import order, standing


def life(first="I", second="I", epoch=5, lineage=None, empty=False) -> StoreIdentity:
    return StoreIdentity(markers=(first, second), epoch=epoch, lineage=lineage or {}, empty=empty)


NOTHING = life(None, None, None, empty=True)


@pytest.mark.parametrize(
    ("known", "shown", "expected"),
    [
        (None, NOTHING, StoreAssessment.BEGIN),
        (None, life(None, None, None), StoreAssessment.RESTORE),  # words of a hand, and no life
        (None, life(None, None, 3, empty=True), StoreAssessment.RESTORE),
        (None, life(), StoreAssessment.TAKE),
        (None, life("I", None), StoreAssessment.RESTORE),
        (None, life(None, "I", None), StoreAssessment.RESTORE),
        (None, life("I", "J"), StoreAssessment.RESTORE),
        (None, life("I", "I", None), StoreAssessment.RESTORE),
        (("I", 5), life(), StoreAssessment.TAKE),
        (("I", 4), life(), StoreAssessment.TAKE),
        (("I", 6), life(), StoreAssessment.BACK),
        (("I", 5), NOTHING, StoreAssessment.RESTORE),
        (("I", 5), life("J", "J"), StoreAssessment.RESTORE),
        (("I", 5), life("J", "J", lineage={"I": 5}), StoreAssessment.TAKE),
        (("I", 5), life("J", "J", lineage={"I": 9}), StoreAssessment.TAKE),
        (("I", 5), life("J", "J", lineage={"I": 4}), StoreAssessment.RESTORE),
        (("I", 5), life("J", "J", lineage={"K": 9}), StoreAssessment.RESTORE),
        (("I", 5), life("I", None, 9), StoreAssessment.RESTORE),
    ],
)
def test_what_is_shown_is_judged_by_what_is_known(known, shown, expected):
    assert judged(known, shown) is expected


SHOWN = ("4-aa", "5-bb", "6-cc")


@pytest.mark.parametrize(
    ("known", "shown", "apart"),
    [
        ((), SHOWN, False),
        (("5-bb",), (), False),
        (("4-aa", "5-bb"), SHOWN, False),
        (("5-xx",), SHOWN, True),
        (("5-xx", "6-cc"), SHOWN, True),  # a hint of the other way came after what was read here
        (("4-xx",), SHOWN, False),  # at the cut end
        (("3-xx", "4-aa"), SHOWN, False),  # beyond it
        (("7-xx",), SHOWN, True),
    ],
)
def test_two_ways_part_where_a_known_change_is_missing(known, shown, apart):
    assert went_apart(known, shown) is apart


@pytest.mark.parametrize(
    ("known", "shown", "expected"),
    [
        (("I", 6), StoreIdentity(markers=("I", "I"), epoch=6, trail=SHOWN), StoreAssessment.RESTORE),
        (("I", 7), StoreIdentity(markers=("I", "I"), epoch=6, trail=SHOWN), StoreAssessment.BACK),
        (("H", 5), StoreIdentity(markers=("I", "I"), epoch=6, trail=SHOWN, lineage={"H": 5}), StoreAssessment.RESTORE),
    ],
)  # fmt: skip
def test_a_store_that_went_another_way_is_restored_whatever_its_epoch(known, shown, expected):
    assert judged(known, shown, trail=("5-xx",)) is expected


def test_a_trail_with_the_newest_change_of_another_contains_it():
    assert contains(SHOWN, ("3-xx", "5-bb"))
    assert not contains(SHOWN, ("5-bb", "6-xx"))
    assert not contains(SHOWN, ())


def test_a_trail_is_of_the_newest_changes_of_all():
    assert trail_of(SHOWN, ("10-dd", "5-xx"), ()) == ("4-aa", "5-bb", "5-xx", "6-cc", "10-dd")
    long = [change_id(number, f"{number:064x}") for number in range(1, TRAIL_CAP + 5)]
    assert trail_of(long) == tuple(long[-TRAIL_CAP:])
    assert change_id(7, "0123456789abcdef") == "7-01234567"


def test_a_lineage_names_every_life_with_the_last_epoch_known_of_it():
    found = lineage_of(("I", 5, {"H": 3}), ("J", 1, {"H": 2, "G": 8}), (None, 9, {}))
    assert found == {"H": 3, "G": 8, "I": 5, "J": 1}
    assert lineage_of(("I", 5, {"I": 7}), ("I", 6, {})) == {"I": 7}


def test_a_lineage_forgets_the_oldest_lives_first():
    before = {f"L{number:02}": number for number in range(LINEAGE_CAP + 4)}
    found = lineage_of(("L00", 1, before), ("new", 2, {}))
    assert len(found) == LINEAGE_CAP
    assert list(found)[-2:] == ["L00", "new"]  # an old life that was seen now is a new one
    assert "L01" not in found


def at(when: float, epoch: int = 1, mode: str = "degraded"):
    return hold_of(mode).model_copy(update={"at": when, "epoch": epoch})


def end(when: float, epoch: int = 1) -> Release:
    return Release(actor="ana", reason="fixed", at=when, epoch=epoch)


def expiry(when: float, of: tuple[float, int] | None, epoch: int = 1) -> Release:
    return end(when, epoch).model_copy(update={"expired": True, "of": of})


def state(incarnation="I", epoch=1, **parts) -> ControlState:
    return ControlState(incarnation=incarnation, epoch=epoch, now=100.0, **parts)


@pytest.mark.parametrize(
    ("known", "shown", "holds", "released"),
    [
        # only one side knows of the flag
        ({"holds": {"a": at(1)}}, {}, {"a": "degraded"}, set()),
        ({}, {"holds": {"a": at(1)}}, {"a": "degraded"}, set()),
        ({"released": {"a": end(1)}}, {}, {}, {"a"}),
        ({}, {"released": {"a": end(1)}}, {}, {"a"}),
        # the newer record wins, whichever side has it
        ({"holds": {"a": at(2, mode="off")}}, {"holds": {"a": at(1)}}, {"a": "off"}, set()),
        ({"holds": {"a": at(1, mode="off")}}, {"holds": {"a": at(2)}}, {"a": "degraded"}, set()),
        ({"released": {"a": end(2)}}, {"holds": {"a": at(1)}}, {}, {"a"}),
        ({"released": {"a": end(1)}}, {"holds": {"a": at(2)}}, {"a": "degraded"}, set()),
        ({"holds": {"a": at(2)}}, {"released": {"a": end(1)}}, {"a": "degraded"}, set()),
        ({"holds": {"a": at(1)}}, {"released": {"a": end(2)}}, {}, {"a"}),
        ({"released": {"a": end(2)}}, {"released": {"a": end(3)}}, {}, {"a"}),
        # at the same time the epoch decides, then what is known
        ({"holds": {"a": at(1, 2, "off")}}, {"holds": {"a": at(1, 1)}}, {"a": "off"}, set()),
        ({"holds": {"a": at(1, 1)}}, {"holds": {"a": at(1, 2, "off")}}, {"a": "off"}, set()),
        ({"holds": {"a": at(1, 1, "off")}}, {"holds": {"a": at(1, 1)}}, {"a": "off"}, set()),
    ],
)  # fmt: skip
def test_of_every_flag_the_newest_record_wins(known, shown, holds, released):
    found = merged(state(**known), state("J", **shown))
    assert standing(found) == holds
    assert set(found.released) == released


@pytest.mark.parametrize(
    ("order", "release", "stands"),
    [
        (at(10, 5), expiry(60, (10, 5)), False),  # that one expired
        (at(10, 8), expiry(60, (10, 5)), True),  # it was extended
        (at(50, 8), expiry(60, (10, 5)), True),  # ordered while the other one stood
        (at(9, 8), expiry(60, (10, 5)), False),
        (at(10, 8), expiry(60, None), False),  # written by another release
    ],
)
def test_an_expiry_ends_only_what_expired(order, release: Release, stands: bool):
    for known, shown in (
        (state(holds={"a": order}), state("J", released={"a": release})),
        (state(released={"a": release}), state("J", holds={"a": order})),
    ):
        found = merged(known, shown)
        assert ("a" in found.holds, "a" in found.released) == (stands, not stands)


def test_a_release_is_newer_than_the_expiry_of_what_came_before_it():
    one, other = end(55, 9), expiry(60, (10, 5), 9)
    for known, shown in ((one, other), (other, one)):
        found = merged(state(released={"a": known}), state("J", released={"a": shown}))
        assert found.released == {"a": one}


def test_the_newest_order_of_a_level_wins_or_its_release():
    older, newer = order(2).model_copy(update={"at": 1.0}), order(3).model_copy(update={"at": 2.0})
    assert merged(state(level=newer), state("J", level=older)).level == newer
    ended = merged(state(level=older), state("J", level_released=end(2)))
    assert (ended.level, ended.level_released) == (None, end(2))
    stands = merged(state(level_released=end(1)), state("J", level=newer))
    assert isinstance(stands.level, LevelOrder)
    assert stands.level_released is None


def test_the_epoch_rises_above_both_and_no_end_of_an_off_is_forgotten():
    found = merged(
        state(epoch=4, off_ended={"a": 1.0, "b": 5.0}),
        state("J", epoch=9, off_ended={"b": 3.0, "c": 2.0}),
    )
    assert found.epoch == 10
    assert merged(state(epoch=9), state("J", epoch=4)).epoch == 10
    assert found.off_ended == {"a": 1.0, "b": 5.0, "c": 2.0}


OFF = {"a": at(10, mode="off")}


@pytest.mark.parametrize(
    ("holder", "other", "ended"),
    [
        ({"holds": OFF}, {"holds": {"a": at(20)}}, 100.0),
        ({"holds": OFF}, {"released": {"a": end(20)}}, 100.0),
        # the end is known
        ({"holds": OFF}, {"holds": {"a": at(20)}, "off_ended": {"a": 15.0}}, 15.0),
        # that was an earlier one, or before it went on
        ({"holds": OFF}, {"holds": {"a": at(20)}, "off_ended": {"a": 9.0}}, 100.0),
        (
            {"holds": OFF, "off_ended": {"a": 15.0}},
            {"holds": {"a": at(20)}, "off_ended": {"a": 15.0}},
            100.0,
        ),
        # the clock of another server was ahead
        (
            {"holds": OFF, "off_ended": {"a": 101.0}},
            {"holds": {"a": at(20)}, "off_ended": {"a": 101.0}},
            101.0,
        ),
        # it goes on
        ({"holds": OFF}, {"holds": {"a": at(9)}}, None),
        ({"holds": OFF}, {"holds": {"a": at(20, mode="off")}}, None),
        ({"holds": OFF}, {}, None),
        # it was none
        ({"holds": {"a": at(10)}}, {"released": {"a": end(20)}}, None),
    ],
)
def test_an_off_that_ends_by_a_merge_leaves_its_end(holder, other, ended: float | None):
    for known, shown in ((holder, other), (other, holder)):
        assert merged(state(**known), state("J", **shown)).off_ended.get("a") == ended


def verdict(number: int, **more: object) -> FleetVerdict:
    base = FleetVerdict(id=number, at=1.0, cause="p99", voters=2, live=3)
    return base.model_copy(update=more)


@pytest.mark.parametrize(
    ("known", "shown", "stands"),
    [
        ({"a": 1}, {}, {"a": 1}),  # lost
        ({}, {"a": 5}, {"a": 5}),  # came since
        ({}, {"a": 4}, {}),  # was over, at the latest when the known state was read
        ({"a": 1, "b": 2}, {"b": 7}, {"a": 1, "b": 7}),
        ({"a": 3}, {"a": 2}, {"a": 3}),
        ({"a": 2}, {"a": 3}, {"a": 3}),
    ],
)
def test_the_newest_verdict_stands_and_none_that_was_over(
    known: dict[str, int], shown: dict[str, int], stands: dict[str, int]
):
    found = merged(
        state(epoch=4, verdicts={flag: verdict(number) for flag, number in known.items()}),
        state("J", epoch=2, verdicts={flag: verdict(number) for flag, number in shown.items()}),
    )
    assert {flag: one.id for flag, one in found.verdicts.items()} == stands


def test_what_one_side_knows_of_a_verdict_is_kept():
    on, later = verdict(2, recovering=True, retry_at=3.0), verdict(2, retry_at=9.0)
    for known, shown in ((on, later), (later, on)):
        found = merged(state(epoch=4, verdicts={"a": known}), state("J", verdicts={"a": shown}))
        assert found.verdicts == {"a": verdict(2, recovering=True, retry_at=9.0)}


def test_time_and_place_are_those_of_what_is_shown():
    known = state(epoch=1).model_copy(update={"now": 50.0})
    shown = state("J", nonsense={"x": "blah"}, not_before=7.0)
    found = merged(known, shown)
    assert (found.now, found.nonsense, found.not_before) == (100.0, {"x": "blah"}, 7.0)
