"""The quorum's rules, case by case."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from degrade.core.enums import Mode, Phase
from degrade.core.quorum import Count, Decision, active_flags, cap, decide, live_instances
from degrade.core.records import FlagReport, FleetVerdict, InstanceReport, Vote

NOW = 1_700_000_000.0


def ids(count: int) -> list[str]:
    return [f"i{number}" for number in range(count)]


def votes(*instances: str, cause: str = "p99", recovering: bool = False) -> dict[str, Vote]:
    return dict.fromkeys(instances, Vote(cause=cause, recovering=recovering))


def verdict(**changes: object) -> FleetVerdict:
    return FleetVerdict(id=7, at=NOW - 60, cause="p99", voters=2, live=4).model_copy(update=changes)


def decided(
    said: dict[str, dict[str, Vote]],
    *,
    live: Iterable[str],
    active: dict[str, list[str]] | None = None,
    standing: dict[str, FleetVerdict] | None = None,
    declared: int = 20,
    now: float = NOW,
    not_before: float = 0.0,
) -> Decision:
    """Decide; every live instance has calls of every flag unless `active` says otherwise."""
    live = list(live)
    standing = standing or {}
    return decide(
        now=now,
        not_before=not_before,
        live=live,
        active=dict.fromkeys({*said, *standing}, live) if active is None else active,
        votes=said,
        standing=standing,
        declared=declared,
        epoch=42,
    )


# ------------------------------------------------------------------------------ the quorum


@pytest.mark.parametrize(
    ("voters", "live", "holds"),
    [
        (0, 0, False),
        (1, 1, False),  # a lone voter is an outlier, even alone in the world
        (1, 2, False),
        (2, 2, True),
        (2, 3, True),
        (2, 4, True),  # exactly half
        (2, 5, False),
        (3, 5, True),
        (3, 6, True),
        (3, 7, False),
        (25, 50, True),
        (24, 50, False),
    ],
)
def test_at_least_two_and_at_least_half_of_the_live_make_a_verdict(
    voters: int, live: int, holds: bool
):
    decision = decided({"feed": votes(*ids(voters))}, live=ids(live))
    assert bool(decision.begun) is holds
    assert Count(voters=voters, live=live).holds is holds


def test_a_verdict_says_what_made_it():
    decision = decided({"feed": votes("i0", "i1", "i2")}, live=ids(5))
    expected = FleetVerdict(id=42, at=NOW, cause="p99", voters=3, live=5)
    assert decision == Decision(
        begun={"feed": expected}, over=(), capped=(), counts={"feed": Count(voters=3, live=5)}
    )
    assert not expected.recovering
    assert expected.retry_at == 0


def test_instances_without_calls_of_the_flag_do_not_dilute_its_votes():
    said = {"feed": votes("i0", "i1")}
    active = {"feed": ["i0", "i1", "i2"], "mail": ids(10)}
    decision = decided(said, live=ids(10), active=active)
    assert decision.begun["feed"].live == 3


def test_a_voter_had_calls_whatever_its_heartbeat_says():
    said = {"feed": votes("i0", "i1", "i2")}
    decision = decided(said, live=ids(6), active={"feed": ["i2", "i3", "i4", "i5"]})
    assert decision.counts["feed"] == Count(voters=3, live=6)
    assert decided(said, live=ids(6), active={}).counts["feed"] == Count(voters=3, live=3)


def test_the_dead_neither_vote_nor_count_as_live():
    said = {"feed": votes("i0", "gone", "lost")}
    active = {"feed": ["i0", "i1", "gone", "lost"]}
    decision = decided(said, live=["i0", "i1"], active=active)
    assert decision.counts["feed"] == Count(voters=1, live=2)
    assert not decision.begun


def test_a_flag_with_only_dead_voters_is_not_counted():
    assert decided({"feed": votes("gone"), "mail": {}}, live=ids(3)).counts == {}


def test_the_cause_is_that_of_most_voters_and_of_equals_the_first():
    said = {"feed": votes("i0", "i2") | votes("i1", cause="errors")}
    assert decided(said, live=ids(3)).begun["feed"].cause == "p99"
    said = {"feed": votes("i0") | votes("i1", cause="errors")}
    assert decided(said, live=ids(3)).begun["feed"].cause == "errors"


# ------------------------------------------------------------------- beginning, standing, over


def test_a_verdict_comes_once():
    standing = {"feed": verdict()}
    decision = decided({"feed": votes("i0", "i1")}, live=ids(4), standing=standing)
    assert (decision.begun, decision.over, decision.capped) == ({}, (), ())
    assert decision.counts["feed"].holds


@pytest.mark.parametrize(
    ("sick", "recovering", "live", "begins"),
    [
        (2, 1, 4, True),
        (1, 1, 4, False),  # three votes would do, two of them of instances that come back
        (1, 9, 10, False),
        (2, 1, 5, False),  # half of the live ones are needed of those that do not recover
        (3, 7, 10, False),
        (5, 5, 10, True),
        (0, 2, 2, False),
    ],
)
def test_voters_that_recover_keep_a_verdict_and_begin_none(
    sick: int, recovering: int, live: int, begins: bool
):
    names = ids(sick + recovering)
    said = {"feed": votes(*names[:sick]) | votes(*names[sick:], recovering=True)}
    decision = decided(said, live=ids(live))
    assert bool(decision.begun) is begins
    assert decision.capped == ()
    standing = {"feed": verdict()}
    assert decided(said, live=ids(live), standing=standing).over == ()


@pytest.mark.parametrize(
    ("voters", "live"),
    [(["i0"], 2), ([], 4), (["i0", "i1"], 5), (["i0", "gone"], 2), ([], 0)],
)
def test_a_verdict_is_over_when_the_quorum_no_longer_holds(voters: list[str], live: int):
    standing = {"feed": verdict(recovering=True)}
    decision = decided({"feed": votes(*voters)}, live=ids(live), standing=standing)
    assert decision.over == ("feed",)
    assert decision.begun == {}


def test_a_verdict_without_any_vote_left_is_over_and_counted():
    decision = decided({}, live=ids(3), standing={"feed": verdict(), "ads": verdict()})
    assert decision.over == ("ads", "feed")
    assert decision.counts["feed"] == Count(voters=0, live=3)


def test_nothing_begins_and_nothing_is_over_before_the_stated_time():
    said = {"feed": votes("i0", "i1")}
    standing = {"mail": verdict()}
    early = decided(said, live=ids(2), standing=standing, not_before=NOW + 0.001, declared=0)
    assert (early.begun, early.over, early.capped) == ({}, (), ())
    assert early.counts["feed"].holds
    in_time = decided(said, live=ids(2), standing=standing, not_before=NOW)
    assert list(in_time.begun) == ["feed"]
    assert in_time.over == ("mail",)


# --------------------------------------------------------------------------------- the cap


@pytest.mark.parametrize(
    ("declared", "most"), [(0, 4), (1, 4), (8, 4), (9, 4), (10, 5), (11, 5), (100, 50)]
)
def test_half_of_the_declared_flags_but_always_four_may_stand(declared: int, most: int):
    assert cap(declared) == most
    said = {f"f{number:03}": votes("i0", "i1") for number in range(60)}
    decision = decided(said, live=ids(2), declared=declared)
    assert list(decision.begun) == sorted(said)[:most]
    assert decision.capped == tuple(sorted(said)[most:])


def test_verdicts_that_stand_take_room_and_those_that_are_over_give_it():
    standing = {f"old{number}": verdict() for number in range(4)}
    said = {"feed": votes("i0", "i1"), **{flag: votes("i0", "i1") for flag in standing}}
    assert decided(said, live=ids(2), standing=standing, declared=8).capped == ("feed",)
    del said["old2"]
    decision = decided(said, live=ids(2), standing=standing, declared=8)
    assert decision.over == ("old2",)
    assert list(decision.begun) == ["feed"]


def test_the_cap_ends_no_verdict_that_stands():
    standing = {f"old{number}": verdict() for number in range(6)}
    said = {"feed": votes("i0", "i1"), **{flag: votes("i0", "i1") for flag in standing}}
    decision = decided(said, live=ids(2), standing=standing, declared=1)
    assert (decision.begun, decision.over, decision.capped) == ({}, (), ("feed",))


def test_room_goes_to_the_greatest_share_then_to_the_most_voters_then_by_name():
    active = {
        "half": ids(8), "all of few": ["i0", "i1"], "b of three": ["i0", "i1", "i2"],
        "a of three": ["i0", "i1", "i2"], "all of many": ids(8), "most": ids(8),
    }  # fmt: skip
    said = {
        "half": votes(*ids(4)), "all of few": votes("i0", "i1"), "b of three": votes("i0", "i1"),
        "a of three": votes("i0", "i1"), "all of many": votes(*ids(8)), "most": votes(*ids(7)),
    }  # fmt: skip
    decision = decided(said, live=ids(8), active=active, declared=0)
    assert list(decision.begun) == ["all of many", "all of few", "most", "a of three"]
    assert decision.capped == ("b of three", "half")


# ----------------------------------------------------------------------------- why, in words


@pytest.mark.parametrize(
    ("voters", "live", "text"),
    [
        (1, 2, "1 of 2 live instances with calls vote so; 1 more vote would make a quorum"),
        (1, 6, "1 of 6 live instances with calls vote so; 2 more votes would make a quorum"),
        (3, 5, "3 of 5 live instances with calls vote so; with fewer than 3 the quorum is lost"),
        (9, 9, "9 of 9 live instances with calls vote so; with fewer than 5 the quorum is lost"),
    ],
)
def test_the_count_says_its_numbers_and_what_would_change_the_outcome(
    voters: int, live: int, text: str
):
    assert Count(voters=voters, live=live).text == text


@pytest.mark.parametrize(
    ("voters", "recovering", "text"),
    [
        (3, 2, "3 of 4 live instances with calls vote so, 2 of them recovering; that keeps a"),
        (4, 1, "4 of 4 live instances with calls vote so, 1 of them recovering; with fewer than 2"),
        (1, 1, "1 of 4 live instances with calls vote so, 1 of them recovering; 1 more vote"),
    ],
)
def test_the_count_says_how_many_of_its_voters_recover(voters: int, recovering: int, text: str):
    assert Count(voters=voters, live=4, recovering=recovering).text.startswith(text)


# -------------------------------------------------------------------------------- who is live


def heartbeat(instance: str, *, at: float = NOW, **active: bool) -> InstanceReport:
    flags = {
        name: FlagReport(
            phase=Phase.STEADY, mode=Mode.NORMAL, dial=0, since=0, reason="", active=value
        )
        for name, value in active.items()
    }
    return InstanceReport(
        id=instance, host="h", pid=1, version="1", started=0, at=at, epoch=0, flags=flags
    )


def test_an_instance_is_live_for_thirty_seconds_after_its_heartbeat():
    reports = [
        heartbeat("new"),
        heartbeat("ahead", at=NOW + 5),
        heartbeat("just", at=NOW - 30.0),
        heartbeat("gone", at=NOW - 30.001),
    ]
    assert live_instances(reports, NOW) == {"new", "ahead", "just"}


def test_each_flag_has_the_instances_that_say_they_had_calls_of_it():
    reports = [heartbeat("a", feed=True, mail=False), heartbeat("b", feed=True), heartbeat("c")]
    assert active_flags(reports) == {"feed": {"a", "b"}}


def test_an_instance_heard_twice_counts_once():
    reports = [heartbeat("a", at=NOW - 1, feed=True), heartbeat("a", feed=True)]
    decision = decided(
        {"feed": votes("a")},
        live=live_instances(reports, NOW),
        active={flag: list(found) for flag, found in active_flags(reports).items()},
    )
    assert decision.counts["feed"] == Count(voters=1, live=1)
