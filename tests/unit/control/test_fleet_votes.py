"""What the fleet says of a flag, what was written by hand in vain, and what to do then."""

from __future__ import annotations

import pytest

from degrade.control.advice import advise
from degrade.control.fleet_votes import fold_fleet
from degrade.control.status import fold_status
from degrade.core.enums import HoldMode, Mode, Phase
from degrade.core.records import (
    ControlState,
    FlagInfo,
    FlagReport,
    FleetVerdict,
    Hold,
    InstanceReport,
    Vote,
)

NOW = 1_000.0
VERDICT = FleetVerdict(id=4, at=900.0, cause="errors 31 %", voters=3, live=4)


def report(name, mode="normal", *, at=NOW, epoch=7, flag="feed"):
    said = FlagReport(
        phase=Phase.STEADY if mode == "normal" else Phase.DEGRADED,
        mode=Mode(mode),
        dial=0.0 if mode == "normal" else 1.0,
        since=950.0,
        reason="the fleet: errors 31 %",
    )
    return InstanceReport(
        id=name, host=f"host-{name}", pid=7, version="1", started=0, at=at, epoch=epoch,
        flags={flag: said},
    )  # fmt: skip


def state(**more):
    return ControlState(incarnation="i", epoch=7, now=NOW, **more)


def status_of(shown, reports=(), votes=None, *, flags=("feed",), restored=None):
    return fold_status(
        shown,
        flags={name: FlagInfo(name=name) for name in flags},
        reports=reports,
        local={},
        store="redis://h",
        namespace="shop",
        fleet=fold_fleet(shown, votes or {}, reports),
        restored=restored,
    )


def commands(advice):
    return [" ".join(command.words) for command in advice.commands]


def test_votes_are_counted_as_the_fleet_counts_them():
    reports = [report("a"), report("b"), report("c"), report("d", at=NOW - 31)]
    views = fold_fleet(
        state(), {"feed": {"a": Vote(cause="errors 9 %"), "d": Vote(cause="errors 8 %")}}, reports
    )
    view = views["feed"]
    assert (view.voters, view.live, view.verdict, view.capped) == (1, 3, None, False)
    assert view.votes == {"a": "errors 9 %"}, "the silent do not vote"
    assert "1 more vote would make a quorum" in view.count


def test_a_flag_nobody_votes_on_has_no_view():
    assert fold_fleet(state(), {}, [report("a")]) == {}


def test_a_verdict_is_told_as_the_fleets_with_its_voters_and_what_would_change_it():
    shown = state(verdicts={"feed": VERDICT})
    votes = {"feed": {"a": Vote(cause="errors 9 %"), "b": Vote(cause="errors 8 %")}}
    reports = [report(name, "degraded") for name in ("a", "b", "c")]
    (advice,) = status_of(shown, reports, votes).advice
    assert (advice.by, advice.reason) == ("the fleet", "3 of 4 instances: errors 31 %")
    assert advice.since == VERDICT.at
    assert "2 of 3 live instances" in advice.note
    assert "the quorum is lost" in advice.note
    assert "once one instance has tried the first step" in advice.ends
    assert commands(advice)[0] == "why feed"


def test_a_recovering_verdict_says_so():
    shown = state(verdicts={"feed": VERDICT.model_copy(update={"recovering": True})})
    (advice,) = status_of(shown, [report("a", "degraded")]).advice
    assert "comes back on every instance" in advice.ends


def test_a_lone_voter_is_the_automation_of_one_instance_with_the_count_beside_it():
    reports = [report("a", "degraded"), report("b"), report("c")]
    (advice,) = status_of(state(), reports, {"feed": {"a": Vote(cause="errors 9 %")}}).advice
    assert (advice.by, advice.degraded, advice.instances) == ("automation", 1, 3)
    assert "1 of 3 live instances" in advice.note


def test_a_capped_flag_is_left_to_the_operator_and_the_advice_says_so():
    standing = {f"f{number}": VERDICT for number in range(4)}
    shown = state(verdicts=standing, capped=("feed",))
    reports = [report("a"), report("b")]
    status = status_of(shown, reports, {"feed": {"a": Vote(cause="x"), "b": Vote(cause="y")}})
    (advice,) = [item for item in status.advice if item.subject == "feed"]
    assert (advice.state, advice.by) == ("over the cap", "the fleet")
    assert "4 flags already" in advice.ends
    assert commands(advice)[1].startswith("hold feed degraded")


@pytest.mark.parametrize(
    ("name", "text", "says", "count"),
    [
        ("feed", "degradd", "'degradd' is no order", 1),
        ("*", "{", "'{' is no order", 1),
        ("feed", '{"mode":"off","for":"3x"}', "for='3x' is not a duration", 1),
        ("feed", '{"mode":"off","for":"30"}', "write 30s for seconds", 1),
        ("feed", '{"mode":"of"}', "mode='of' is none of normal, degraded, off, observe", 1),
        ("feed", '{"mod":"off"}', "mode=None is none of", 1),
        ("feed", '{"mode":"off","dial":0.5}', "dial=0.5 belongs to degraded alone", 1),
        ("feed", '{"mode":"degraded","dial":"25%"}', "'25%' is no number above 0", 1),
        ("feed", '{"mode":"degraded","dial":0}', "dial=0 is no number above 0", 1),
        ("feed", '{"mode":"degraded","dial":25}', "dial=25 is not a ratio", 1),
        ("feed", '{"mode":"off","until":"noon"}', "until='noon' is no time", 1),
        ("feed", '{"mode":["off"]}', "mode=['off'] is none of", 1),
        ("feed", "[" * 80, "is no order", 1),
        ("a b", "off", "'a b' cannot be the name of a flag", 0),
    ],
)
def test_nonsense_is_shown_with_what_to_write_instead(name, text, says, count):
    (advice,) = status_of(state(nonsense={name: text})).advice
    assert (advice.subject, advice.state, advice.by) == (name, "not understood", "hand")
    assert says in advice.reason
    assert advice.ends.startswith("changes nothing; write ")
    assert len(advice.commands) == count


def test_nonsense_does_not_hide_the_hold_that_stands():
    hold = Hold(mode=HoldMode.OFF, actor="ana", reason="x", at=1.0, epoch=3)
    first, second = status_of(state(holds={"feed": hold}, nonsense={"feed": "of"})).advice
    assert (first.state, second.state, second.by) == ("not understood", "off", "ana")


def test_a_hold_on_a_name_that_nobody_declares_asks_what_was_meant():
    hold = Hold(mode=HoldMode.OFF, actor="redis-cli", reason="none given", at=1.0)
    status = status_of(state(holds={"fed": hold}), flags=("feed", "search"))
    (advice,) = status.advice
    assert advice.note == "No process has declared this flag; did you mean 'feed'?"
    (known,) = status_of(state(holds={"feed": hold})).advice
    assert known.note == ""


def test_instances_that_are_silent_or_behind_are_named():
    reports = [
        report("good"),
        report("late", epoch=6),
        report("gone", at=NOW - 31),
    ]
    late, gone = status_of(state(), reports).behind
    assert (late.id, late.epoch, late.silent) == ("late", 6, False)
    assert (gone.id, gone.silent, gone.heard_s) == ("gone", True, 31.0)


def test_the_pause_after_a_new_life_is_shown_while_it_lasts():
    assert status_of(state(not_before=NOW + 9)).not_before == NOW + 9
    assert status_of(state(not_before=NOW)).not_before is None


def test_without_a_fleet_there_is_nothing_to_add():
    assert advise([], level=None, everyone=None) == ()
