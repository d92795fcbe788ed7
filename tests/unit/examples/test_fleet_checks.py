from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from examples.news_feed.answers import Answer
from examples.news_feed.classify import Kind
from examples.news_feed.judging import RANKING
from examples.news_feed.through_redis.checks import RATIOS, FleetRun, judge
from examples.news_feed.through_redis.demo import spans_of
from examples.news_feed.through_redis.phases import Fault, Ranker, compared
from examples.news_feed.through_redis.script import Wipe
from tests.unit.examples.fleet_run import COLD, MARKS, PORTS, RATE, good_run, phases

WELL, DEAD = RATIOS


@pytest.fixture(scope="module")
def good() -> FleetRun:
    return good_run()


def failed(run: FleetRun) -> set[str]:
    return {check.name for check in judge(run) if not check.ok}


def figure(run: FleetRun, name: str) -> str:
    return next(check.figure for check in judge(run) if check.name == name)


def changed(
    run: FleetRun, which: Callable[[Answer], bool], change: Callable[[Answer], Answer]
) -> FleetRun:
    return replace(run, answers=[change(each) if which(each) else each for each in run.answers])


def first(run: FleetRun, at: float, port: int | None = None) -> Callable[[Answer], bool]:
    """Choose the first answer that was sent at a time or later, to a port."""
    chosen = next(a for a in run.answers if a.sent >= at and port in (None, a.port))
    return lambda answer: answer is chosen


def as_kind(kind: Kind) -> Callable[[Answer], Answer]:
    return lambda answer: replace(answer, looks=replace(answer.looks, kind=kind))


def viewed(answer: Answer) -> Answer:
    return replace(answer, looks=replace(answer.looks, viewed=True))


def slower(by_s: float) -> Callable[[Answer], Answer]:
    return lambda answer: replace(answer, done=answer.done + by_s)


def test_a_good_run_passes_every_check(good):
    assert [check for check in judge(good) if not check.ok] == []


def test_a_run_in_which_nothing_was_recorded_fails():
    nothing = FleetRun(
        started=0.0, ended=1.0, answers=[], events=[], processes={}, marks={}, counters={},
        ports=PORTS, cold_port=COLD, phases=[], wipes=[], said="",
    )  # fmt: skip
    assert {check.name for check in judge(nothing)} - failed(nothing) == {"under four minutes"}


@pytest.mark.parametrize("kind", [Kind.FAILED, Kind.WRONG])
def test_one_bad_answer_fails_the_run(good, kind):
    assert "no request failed" in failed(changed(good, first(good, 5.0), as_kind(kind)))


def test_load_that_does_not_reach_a_process_fails(good):
    three = changed(good, lambda a: a.port == 8003, lambda a: replace(a, port=8001))
    assert "at least 100 requests a second from 500 readers to four processes" in failed(three)


# ------------------------------------------------------------------ ratios


def in_faults(ranker: Ranker, share: int) -> Callable[[Answer], bool]:
    """Choose one in `share` requests of the faults."""
    chosen = [each for each in phases() if each.ranker is ranker and each.fault is not Fault.CALM]
    return lambda a: (
        any(p.start <= a.due < p.end for p in chosen) and int(a.due * RATE) % share == 0
    )


@pytest.mark.parametrize(("ranker", "name"), [(Ranker.WELL, WELL), (Ranker.DEAD, DEAD)])
def test_faults_that_slow_two_requests_in_a_hundred_by_a_third_fail(good, ranker, name):
    run = changed(good, in_faults(ranker, 50), slower(0.0035))
    assert failed(run) == {name}
    assert figure(run, name).startswith(
        "ratio 1.35: 13.5 ms in 2 faults (720 requests, 6 s), 10.0 ms"
    )


def test_faults_that_slow_by_a_quarter_pass(good):
    run = changed(good, in_faults(Ranker.WELL, 50), slower(0.0025))
    assert failed(run) == set()


def test_the_ranker_well_and_the_ranker_dead_are_not_mixed(good):
    run = changed(good, lambda a: a.due < 30, slower(0.1))
    found = compared(run.phases, run.answers, Ranker.DEAD)
    assert found.faults.p99 == pytest.approx(0.01)
    assert compared(run.phases, run.answers, Ranker.WELL).ratio == pytest.approx(1.0)


def test_the_time_in_which_redis_is_found_again_belongs_to_the_fault(good):
    frozen = next(each for each in phases() if each.fault is Fault.FROZEN)
    late = changed(good, lambda a: frozen.end - 0.5 <= a.due < frozen.end, slower(0.1))
    assert WELL in failed(late)


def test_one_fault_that_is_bad_counts_by_its_requests_and_is_not_averaged_away(good):
    frozen = next(each for each in phases() if each.fault is Fault.FROZEN)
    run = changed(good, lambda a: frozen.start <= a.due < frozen.end, slower(0.0055))
    assert failed(run) == {WELL}
    found = compared(run.phases, run.answers, Ranker.WELL)
    assert (found.ratio, found.mean_ratio) == (pytest.approx(1.55), pytest.approx(1.275))


def test_one_calm_that_is_bad_excuses_no_fault(good):
    calm = next(each for each in phases() if each.fault is Fault.CALM)
    slow = changed(good, in_faults(Ranker.WELL, 50), slower(0.0055))
    run = changed(slow, lambda a: calm.start <= a.due < calm.start + 0.05, slower(0.1))
    assert failed(run) == {WELL}
    assert compared(run.phases, run.answers, Ranker.WELL).mean_ratio < 1


def test_a_phase_without_requests_cannot_be_compared(good):
    frozen = next(each for each in phases() if each.fault is Fault.FROZEN)
    quiet = [a for a in good.answers if not frozen.start <= a.due < frozen.end]
    assert WELL in failed(replace(good, answers=quiet))


def test_without_a_calm_between_nothing_can_be_compared(good):
    run = replace(good, phases=[each for each in phases() if each.fault is not Fault.CALM])
    assert failed(run) == set(RATIOS)


# ------------------------------------------------------------------ toggles

HAND = "a word of redis-cli reaches all four within one poll (1.2 s)"
ORDER = "an order of the command line reaches all four within one poll (1.2 s)"


def test_the_time_of_each_process_is_shown(good):
    assert figure(good, HAND) == "after 300, 308, 317, 325 ms"
    assert figure(good, ORDER) == "after 100, 108, 117, 125 ms"


def test_a_word_that_comes_late_to_one_process_fails(good):
    run = changed(good, lambda a: 10 <= a.sent < 11.3 and a.port == 8003, viewed)
    assert {HAND, "the hold by hand stays in force over every wipe"} <= failed(run)


def test_a_word_that_never_comes_to_a_process_fails(good):
    run = changed(good, lambda a: 10 <= a.sent < 70 and a.port == 8003, viewed)
    assert "it never reached the process on port 8003" in figure(run, HAND)
    assert HAND in failed(run)


def test_an_order_that_comes_late_to_one_process_fails(good):
    run = changed(good, lambda a: 56 <= a.sent < 57.3 and a.port == 8002, as_kind(Kind.FULL))
    assert ORDER in failed(run)


def test_one_answer_against_an_order_that_was_said_to_have_arrived_fails(good):
    run = changed(good, first(good, 60.0, 8003), as_kind(Kind.FULL))
    assert "when `--wait 99%` has returned, every answer obeys" in failed(run)


@pytest.mark.parametrize("kind", [Kind.SNAPSHOT, Kind.FULL])
def test_one_answer_under_off_that_is_not_the_newest_stories_fails(good, kind):
    run = changed(good, first(good, 63.0), as_kind(kind))
    assert "under off nothing but the newest stories, also after a wipe" in failed(run)


# ------------------------------------------------------------------ wipes


def test_one_view_after_a_wipe_fails(good):
    run = changed(good, first(good, 24.5, COLD), viewed)  # whose counters are not compared
    assert failed(run) == {"the hold by hand stays in force over every wipe"}


@pytest.mark.parametrize("restored", [None, 29.5])
def test_holds_that_do_not_come_back_in_time_fail(good, restored):
    late = Wipe(killed=22.0, empty=24.0, restored=restored)
    assert failed(replace(good, wipes=[*good.wipes, late])) == {
        "the holds are back in Redis within 5 s of each wipe"
    }


def test_a_run_without_a_wipe_fails(good):
    assert failed(replace(good, wipes=[])) == {
        "the hold by hand stays in force over every wipe",
        "the holds are back in Redis within 5 s of each wipe",
        SENT_BACK,
    }


SENT_BACK = "once the ranker is back, a wipe sends nobody back"


def verdict(good: FleetRun, at: float) -> FleetRun:
    found = good.events[0].model_copy(update={"id": "2", "at": at, "type": "fleet_degraded"})
    return replace(good, events=[*good.events, found])


def test_a_verdict_after_the_wipe_of_a_fleet_that_recovers_fails(good):
    assert failed(verdict(good, 75.0)) == {SENT_BACK}
    assert failed(verdict(good, 30.5)) == set()  # the one of the ranker's death


def test_a_run_without_a_wipe_while_it_recovers_fails(good):
    assert failed(replace(good, wipes=good.wipes[:1])) == {SENT_BACK}


# ------------------------------------------------------------------ snapshots

COLD_START = "a process that starts cold then serves snapshots of the others"


def at_cold(answer: Answer) -> bool:
    return answer.port == COLD and 34 <= answer.sent < 39


def test_a_cold_process_that_serves_the_default_alone_fails(good):
    assert COLD_START in failed(changed(good, at_cold, as_kind(Kind.DEFAULT)))


def test_a_cold_process_that_takes_long_to_its_first_snapshot_fails(good):
    run = changed(good, lambda a: at_cold(a) and a.sent < 38.9, as_kind(Kind.DEFAULT))
    assert COLD_START in failed(run)


def test_a_cold_process_that_serves_only_what_it_made_itself_fails(good):
    run = changed(good, lambda a: a.due < 30, lambda a: replace(a, port=COLD))
    assert COLD_START in failed(run)


def test_a_snapshot_of_another_process_passes_and_one_of_another_reader_fails(good):
    name = "every snapshot is a last good answer to the same reader"
    assert figure(good, name).startswith("0 of 3,132 from elsewhere, ")
    assert not figure(good, name).endswith(" 0 made by another process")
    run = changed(good, first(good, 40.0), lambda a: replace(a, reader="somebody-else"))
    assert name in failed(run)


def test_few_snapshots_while_the_ranker_is_dead_fail(good):
    run = changed(
        good, lambda a: a.kind is Kind.SNAPSHOT and int(a.due * RATE) % 8 > 2, as_kind(Kind.DEFAULT)
    )
    assert "while the ranker is dead, half of the answers are snapshots" in failed(run)


# ------------------------------------------------------------------ the rest


def test_one_call_counted_too_many_fails(good):
    run = replace(good, counters={**good.counters, (RANKING, "failed"): 1})
    assert failed(run) == {"the counters of the processes that lived through add up to the answers"}


@pytest.mark.parametrize("steady", [None, 126.0])
def test_a_fleet_that_does_not_come_back_fails(good, steady):
    marks = {name: at for name, at in MARKS.items() if name != "steady"}
    run = replace(good, marks=marks | ({} if steady is None else {"steady": steady}))
    assert failed(run) == {"steady within 60 s of the release"}


def test_the_picture_shows_faults_outage_and_orders(good):
    spans = spans_of(good)
    assert [span.kind for span in spans] == ["store"] * 7 + ["outage", "order", "order"]
    assert [span.shaded for span in spans] == [True] * 4 + [False] * 2 + [True, True, True, False]
    assert [span.name for span in spans if span.name][2] == "Redis wiped"
    assert spans_of(replace(good, marks={}, phases=[], wipes=[])) == []
