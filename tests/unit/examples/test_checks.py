from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from examples.news_feed.answers import Answer, Kind, Says, read, read_after
from examples.news_feed.checks import CHECKS, FLEET_CHECKS, RATIOS
from examples.news_feed.judging import Run, judged
from examples.news_feed.report import spans_of
from examples.news_feed.script import ANALYTICS, RANKING, Fault
from tests.unit.examples.runs import (
    COLD,
    between,
    changed,
    event,
    first,
    good_fleet_run,
    good_run,
)  # fmt: skip

GOOD, FLEET = good_run(), good_fleet_run()
FULL, SNAPSHOT, DEFAULT = Kind.FULL, Kind.SNAPSHOT, Kind.DEFAULT
PLAIN = Says(rung=None, age_s=None, aged=False, unaged=True)
BREACH = {"from": "steady", "to": "degraded"}
COUNTED = "the counters of both processes add up to the answers"
IN_FORCE = "the hold by hand stays in force over every wipe"
RESTORED = "the holds are back in Redis within 5 s of each wipe"
SENT_BACK = "once the ranker is back, a wipe sends nobody back"


def failed(run: Run) -> set[str]:
    checks = CHECKS if run.cold_port is None else FLEET_CHECKS
    return {check.name for check in judged(run, checks) if not check.ok}


def figure(run: Run, name: str) -> str:
    return next(check.figure for check in judged(run, FLEET_CHECKS) if check.name == name)


@pytest.mark.parametrize("checks", [CHECKS, FLEET_CHECKS])
def test_a_run_in_which_nothing_was_recorded_fails_every_check_but_that_of_its_length(checks):
    nothing = Run(marks={}, processes={}, counters={})
    assert [check.name for check in judged(nothing, checks) if check.ok] == ["under four minutes"]


@pytest.mark.parametrize("run", [GOOD, FLEET])
def test_a_good_run_passes_every_check(run):
    assert failed(run) == set()


def without(gone: int, **said: object) -> Run:
    """Return the good run less its `gone`-th transition of such a kind, of those after a fault."""
    found = [
        e
        for e in GOOD.events
        if all(getattr(e, k, e.evidence.get(k)) == v for k, v in said.items())
    ]
    return replace(GOOD, events=[each for each in GOOD.events if each is not found[gone]])


def frozen(one_in: int, late: float) -> Run:
    phase = next(each for each in FLEET.phases if each.fault is Fault.FROZEN)
    return changed(FLEET, between(phase.start, phase.end, one_in=one_in), late=late)


SPOILT = {
    "no request failed": [
        changed(GOOD, first(GOOD, 5.0), kind=Kind.FAILED), changed(GOOD, first(GOOD, 5.0), kind=Kind.WRONG),
        changed(FLEET, first(FLEET, 5.0), kind=Kind.WRONG),
    ],
    "at least 150 requests a second from 500 readers": [
        replace(GOOD, answers=[each for n, each in enumerate(GOOD.answers) if n % 10]),
        replace(GOOD, answers=[replace(each, reader=each.reader[:-1]) for each in GOOD.answers]),
        changed(GOOD, lambda _: True, port=8001),
    ],
    "at least 100 requests a second from 500 readers to four processes": [
        changed(FLEET, between(0, 90, 8003), port=8001),
    ],
    "degraded answers are newest first, half of them snapshots": [
        changed(GOOD, lambda a: a.kind is SNAPSHOT and int(a.due * 160) % 8 > 1, kind=DEFAULT),
    ],
    "every snapshot is a last good answer to the same reader": [
        changed(GOOD, first(GOOD, 15.0), reader="x"), changed(GOOD, first(GOOD, 15.0), port=8003),
        changed(GOOD, first(GOOD, 15.0), nonce="unheard"), changed(FLEET, first(FLEET, 40.0), reader="x"),
    ],
    "headers agree with bodies on every answer": [
        *(changed(GOOD, first(GOOD, at), says=says) for at in (5.0, 15.0, 62.0) for says in (
            None, replace(PLAIN, rung="x"), replace(PLAIN, unaged=at > 9, rung=None if at < 9 else "snapshot"),
            Says(rung="snapshot", age_s=300, aged=True, unaged=False))),
        changed(FLEET, first(FLEET, 5.0), says=None),
    ],
    "each fault detected within 3 s": [
        without(1, to="degraded", flag=RANKING, at=10.5), without(0, to="degraded", flag=ANALYTICS, at=30.5),
    ],
    "p99 at most 250 ms in each second of an outage": [
        changed(GOOD, lambda a: 15.6 <= a.due < 15.62, late=0.3),
        replace(GOOD, answers=[each for each in GOOD.answers if not 15 <= each.due < 17]),
    ],
    "steady within 60 s of each repair": [
        without(0, to="steady", flag=RANKING, at=46.0), without(1, to="steady", flag=ANALYTICS, at=46.0),
    ],
    "no breach but those of the two faults": [
        replace(GOOD, events=[*GOOD.events, event("transition", at, flag, **BREACH)])
        for at in (5.0, 27.0, 52.0, 62.0) for flag in (RANKING, ANALYTICS)
    ],
    "level 3 takes analytics, and leaves the ranking": [
        changed(GOOD, first(GOOD, 53.0), viewed=True), changed(GOOD, between(52, 54), kind=SNAPSHOT),
    ],
    "off reaches both processes within 500 ms, no snapshot under it": [
        changed(GOOD, between(60, 60.6, 8002), kind=FULL), changed(GOOD, between(60, 65, 8002), kind=FULL),
        changed(GOOD, first(GOOD, 60.3), kind=SNAPSHOT), changed(GOOD, first(GOOD, 64.0), kind=SNAPSHOT),
    ],
    "no snapshot from before the end of off is served later": [
        changed(GOOD, first(GOOD, 67.0), kind=SNAPSHOT, nonce=GOOD.answers[59 * 160].nonce),
    ],
    COUNTED: [
        replace(GOOD, counters=GOOD.counters + Counter([(RANKING, kind)]))
        for kind in ("full", "degraded", "failed", "ignored", "abandoned")
    ],
    "the counters of the processes that lived through add up to the answers": [
        replace(FLEET, counters=FLEET.counters + Counter([(RANKING, "failed")])),
    ],
    "under four minutes": [replace(GOOD, started=-170.0), replace(FLEET, started=-160.0)],
    RATIOS[0]: [
        frozen(25, 0.0035), frozen(1, 0.0055), changed(FLEET, between(18.5, 19), late=0.1),
        replace(FLEET, answers=[each for each in FLEET.answers if not 16 <= each.due < 19]),
        replace(FLEET, phases=[each for each in FLEET.phases if each.fault is not Fault.CALM]),
    ],
    RATIOS[1]: [changed(FLEET, between(42, 45, one_in=25), late=0.0035)],
    "a word of redis-cli reaches all four within one poll (1.2 s)": [
        changed(FLEET, between(10, end, 8003), viewed=True) for end in (11.3, 70)
    ],
    "an order of the command line reaches all four within one poll (1.2 s)": [
        changed(FLEET, between(56, 57.3, 8002), kind=FULL),
    ],
    "when `--wait 99%` has returned, every answer obeys": [changed(FLEET, first(FLEET, 60.0), kind=FULL)],
    "under off nothing but the newest stories, also after a wipe": [
        changed(FLEET, first(FLEET, 63.0), kind=kind) for kind in (SNAPSHOT, FULL)
    ],
    IN_FORCE: [changed(FLEET, first(FLEET, 24.5, COLD), viewed=True), replace(FLEET, wipes=[])],
    RESTORED: [
        *(replace(FLEET, wipes=[replace(w, restored=late) for w in FLEET.wipes]) for late in (None, 99.0)),
        replace(FLEET, wipes=[]),
    ],
    "while the ranker is dead, half of the answers are snapshots": [
        changed(FLEET, lambda a: a.kind is SNAPSHOT and int(a.due * 120) % 8 > 2, kind=DEFAULT),
    ],
    "a process that starts cold then serves snapshots of the others": [
        changed(FLEET, between(34, 39, COLD), kind=DEFAULT), changed(FLEET, between(34, 38.9, COLD), kind=DEFAULT),
        changed(FLEET, between(0, 30), port=COLD),
    ],
    SENT_BACK: [
        replace(FLEET, wipes=FLEET.wipes[:1]),
        replace(FLEET, events=[*FLEET.events, event("fleet_degraded", 75.0, RANKING)]),
    ],
    "steady within 60 s of the release": [
        replace(FLEET, marks={name: at for name, at in FLEET.marks.items() if name != "steady"}),
        replace(FLEET, marks={**FLEET.marks, "steady": 126.0}),
    ],
}  # fmt: skip


def test_each_check_has_runs_that_it_fails():
    assert set(SPOILT) == set(CHECKS) | set(FLEET_CHECKS)


@pytest.mark.parametrize(
    ("name", "run"), [(name, run) for name, runs in SPOILT.items() for run in runs]
)
def test_a_run_that_is_spoilt_fails_the_check_of_it(name, run):
    assert name in failed(run)


def test_what_is_within_the_limits_passes():
    assert failed(changed(GOOD, first(GOOD, 15.6), late=0.3)) == set()
    assert failed(frozen(25, 0.0025)) == set()
    before = event("fleet_degraded", 30.5, RANKING)  # the one of the ranker's death
    assert failed(replace(FLEET, events=[*FLEET.events, before])) == set()
    assert failed(changed(FLEET, between(0, 30), late=0.1)) == set(), (
        "the ranker well and dead mixed"
    )


def test_the_figures_say_how_it_was():
    assert figure(FLEET, list(FLEET_CHECKS)[4]) == "after 300, 308, 317, 325 ms"
    assert figure(FLEET, list(FLEET_CHECKS)[5]) == "after 100, 108, 117, 125 ms"
    shown = figure(frozen(25, 0.0035), RATIOS[0])
    assert shown.startswith("ratio 1.35: 13.5 ms in 2 faults (720 requests, 6 s), 10.0 ms")
    assert shown.endswith("on average, 1.17"), "one bad fault of two is averaged away"


def visit(at: float, kind: Kind, **more: object) -> Answer:
    return Answer(
        **{"due": at, "sent": at, "done": at, "port": 8001, "reader": "r", "kind": kind, **more}
    )


@pytest.mark.parametrize(
    ("kind", "viewed", "calls"),
    [
        (FULL, True, ["full", "full"]),
        (SNAPSHOT, False, ["degraded", "degraded"]),
        (DEFAULT, True, ["degraded", "full"]),
    ],
)
def test_a_visit_counts_as_what_it_was_and_as_nothing_else(kind, viewed, calls):
    counted = GOOD.counters + Counter(zip((RANKING, ANALYTICS), calls, strict=True))
    seen = replace(GOOD, counters=counted, visits=[visit(5.0, kind, viewed=viewed)])
    assert failed(seen) == set()
    assert failed(replace(seen, visits=[])) == {COUNTED}
    assert failed(replace(seen, counters=GOOD.counters)) == {COUNTED}


def test_a_visit_to_a_process_that_is_gone_is_not_compared():
    assert failed(replace(GOOD, visits=[visit(5.0, FULL, port=8003)])) == set()


def test_the_load_may_be_served_what_was_ranked_for_a_visitor():
    served = next(each for each in GOOD.answers if each.kind is SNAPSHOT)
    seen = visit(
        served.done - served.says.age_s, FULL, nonce="v", reader=served.reader, port=served.port
    )
    counted = GOOD.counters + Counter([(RANKING, "full"), (ANALYTICS, "degraded")])
    run = replace(changed(GOOD, lambda a: a is served, nonce="v"), visits=[seen], counters=counted)
    assert failed(run) == set()
    assert "headers agree with bodies on every answer" in failed(replace(run, visits=[]))


def test_a_record_reads_back_as_it_was_written_but_a_nonce_that_a_visitor_got_first_is_a_former_one(
    tmp_path,
):
    path = tmp_path / "answers.jsonl"
    some = [GOOD.answers[0], GOOD.answers[15 * 160], replace(GOOD.answers[1], says=None)]
    path.write_text("".join(answer.line() for answer in some))
    assert list(read(path)) == some
    seen = [visit(1.0, FULL, nonce=some[0].nonce), visit(1.0, SNAPSHOT, nonce=some[2].nonce)]
    assert [each.kind for each in read_after(path, seen)] == [SNAPSHOT, SNAPSHOT, FULL]


def test_the_picture_shows_faults_outages_and_orders():
    assert [span.name for span in spans_of(GOOD)] == [
        "ranker frozen",
        "ranker killed",
        "level 3",
        "ranking off",
    ]
    spans = spans_of(FLEET)
    assert [span.kind for span in spans] == ["store"] * 7 + ["outage", "order", "order"]
    assert [span.shaded for span in spans] == [True] * 4 + [False] * 2 + [True, True, True, False]
    assert [span.name for span in spans if span.name][2] == "Redis wiped"
