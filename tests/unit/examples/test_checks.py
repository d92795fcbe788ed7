from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import pytest

from degrade.core.records import Event
from examples.news_feed.answers import Answer, read, read_after
from examples.news_feed.checks import judge
from examples.news_feed.classify import DEGRADED, Kind, Looks, Says
from examples.news_feed.judging import ANALYTICS, RANKING, Run

RATE = 160
MARKS = {
    "freeze": 10.0, "thaw": 20.0, "kill": 30.0, "back": 40.0, "level": 50.0, "level_end": 55.0,
    "off": 60.0, "off_end": 65.0, "done": 70.0,
}  # fmt: skip
OUTAGES = ((10.0, 26.0), (30.0, 46.0))
PORTS = {"i-1": 8001, "i-2": 8002}


def event(
    kind: str, at: float, flag: str | None, *, instance: str = "i-1", **evidence: str
) -> Event:
    return Event.model_validate(
        {
            "id": f"{kind}-{flag}-{instance}-{at}", "at": at, "instance": instance, "flag": flag,
            "type": kind, "actor": "automation", "cause": "breach", "evidence": evidence,
            "epoch": 1, "prev": "",
        }
    )  # fmt: skip


def transition(at: float, flag: str, instance: str, source: str, target: str) -> Event:
    return event("transition", at, flag, instance=instance, **{"from": source, "to": target})


def events() -> list[Event]:
    found = [
        event("level", 50.0, None), event("level_released", 55.0, None),
        event("hold", 60.0, RANKING), event("released", 65.0, RANKING),
    ]  # fmt: skip
    for flag in (RANKING, ANALYTICS):
        for instance in PORTS:
            for start, end in OUTAGES:
                found += [
                    transition(start + 0.5, flag, instance, "steady", "degraded"),
                    transition(start + 11, flag, instance, "degraded", "recovering"),
                    transition(end, flag, instance, "recovering", "steady"),
                ]
    return sorted(found, key=lambda each: each.at)


def kind_at(due: float) -> Kind:
    if any(start <= due < end for start, end in OUTAGES):
        return Kind.SNAPSHOT
    return Kind.DEFAULT if 60.1 <= due < 65.0 else Kind.FULL


def answers() -> list[Answer]:
    found = []
    last: dict[str, Answer] = {}
    for number in range(70 * RATE):
        due = number / RATE
        reader = f"r-{number % 600}"
        kind = kind_at(due)
        viewed = kind is not Kind.SNAPSHOT and not 49.9 <= due < 55
        nonce, says = f"n-{number}", Says(rung=None, age_s=None, aged=False, unaged=True)
        if kind is Kind.SNAPSHOT:
            nonce = last[reader].looks.nonce
            age_s = int(due - last[reader].due)
            says = Says(rung="snapshot", age_s=age_s, aged=True, unaged=False)
        if kind is Kind.DEFAULT:
            nonce, says = None, replace(says, rung="default")
        answer = Answer(
            due=due, sent=due, done=due + 0.01, port=8001 + number % 2, reader=reader,
            looks=Looks(kind=kind, nonce=nonce, viewed=viewed), says=says,
        )  # fmt: skip
        if kind is Kind.FULL:
            last[reader] = answer
        found.append(answer)
    return found


def counters(run_answers: list[Answer]) -> dict[tuple[str, str], int]:
    counted: Counter[tuple[str, str]] = Counter()
    for answer in run_answers:
        counted[RANKING, "degraded" if answer.kind in DEGRADED else "full"] += 1
        counted[ANALYTICS, "full" if answer.looks.viewed else "degraded"] += 1
    return counted


@pytest.fixture(scope="module")
def good() -> Run:
    found = answers()
    return Run(
        started=-3.0, ended=70.0, answers=found, events=events(), processes=PORTS,
        marks={**MARKS, "healthy": 0.0}, counters=counters(found),
    )  # fmt: skip


def failed(run: Run) -> set[str]:
    return {check.name for check in judge(run) if not check.ok}


def with_answer(run: Run, at: float, change: Callable[[Answer], Answer]) -> Run:
    """Change the first answer that was due at a time or later."""
    index = next(i for i, answer in enumerate(run.answers) if answer.due >= at)
    changed = list(run.answers)
    changed[index] = change(changed[index])
    return replace(run, answers=changed)


def as_kind(kind: Kind) -> Callable[[Answer], Answer]:
    return lambda answer: replace(answer, looks=replace(answer.looks, kind=kind))


def slow(answer: Answer) -> Answer:
    return replace(answer, done=answer.due + 0.3)


def without(run: Run, unwanted: Callable[[Event], bool]) -> Run:
    return replace(run, events=[each for each in run.events if not unwanted(each)])


def test_a_good_run_passes_every_check(good):
    assert [check for check in judge(good) if not check.ok] == []


def test_a_run_in_which_nothing_was_recorded_fails():
    nothing = Run(
        started=0.0, ended=1.0, answers=[], events=[], processes={}, marks={}, counters={}
    )
    assert {check.name for check in judge(nothing)} - failed(nothing) == {"under four minutes"}


@pytest.mark.parametrize("kind", [Kind.FAILED, Kind.WRONG])
def test_one_bad_answer_fails_the_run(good, kind):
    assert "no request failed" in failed(with_answer(good, 5.0, as_kind(kind)))


def test_too_little_load_fails(good):
    thinned = [answer for number, answer in enumerate(good.answers) if number % 10]
    assert "at least 150 requests a second from 500 readers" in failed(
        replace(good, answers=thinned)
    )


def test_too_few_readers_fail(good):
    few = [replace(each, reader=f"r-{int(each.reader[2:]) % 400}") for each in good.answers]
    assert "at least 150 requests a second from 500 readers" in failed(replace(good, answers=few))


def test_load_on_one_process_alone_fails(good):
    one = [replace(answer, port=8001) for answer in good.answers]
    assert "at least 150 requests a second from 500 readers" in failed(replace(good, answers=one))


def test_more_defaults_than_snapshots_fail(good):
    changed = [
        as_kind(Kind.DEFAULT)(answer) if answer.kind is Kind.SNAPSHOT and number % 8 else answer
        for number, answer in enumerate(good.answers)
    ]
    assert "degraded answers are newest first, half of them snapshots" in failed(
        replace(good, answers=changed)
    )


@pytest.mark.parametrize("change", [{"reader": "somebody-else"}, {"port": 8003}])
def test_a_snapshot_of_somebody_else_fails(good, change):
    run = with_answer(good, 15.0, lambda answer: replace(answer, **change))
    assert "every snapshot is a last good answer to the same reader" in failed(run)


def test_a_snapshot_of_unknown_origin_fails(good):
    run = with_answer(
        good, 15.0, lambda answer: replace(answer, looks=replace(answer.looks, nonce="unheard"))
    )
    assert "every snapshot is a last good answer to the same reader" in failed(run)


def says(**change: object) -> Callable[[Answer], Answer]:
    return lambda answer: replace(answer, says=replace(answer.says, **change))


@pytest.mark.parametrize(
    ("at", "change"),
    [
        (5.0, says(rung="snapshot")),
        (5.0, says(unaged=False)),
        (15.0, says(rung=None)),
        (15.0, says(rung="default")),
        (15.0, says(aged=False)),
        (15.0, says(age_s=30)),
        (62.0, says(rung=None)),
        (62.0, says(rung="snapshot")),
        (5.0, lambda answer: replace(answer, says=None)),
    ],
)
def test_one_answer_whose_headers_disagree_with_its_body_fails(good, at, change):
    run = with_answer(good, at, change)
    assert failed(run) == {"headers agree with bodies on every answer"}


def test_a_fault_detected_late_fails(good):
    late = [
        each.model_copy(update={"at": 13.2})
        if each.at == 10.5 and (each.flag, each.instance) == (RANKING, "i-2")
        else each
        for each in good.events
    ]
    assert failed(replace(good, events=late)) == {"each fault detected within 3 s"}


def test_a_fault_that_one_process_never_detects_fails(good):
    run = without(
        good, lambda each: (each.flag, each.instance) == (RANKING, "i-1") and 30 < each.at < 31
    )
    assert "each fault detected within 3 s" in failed(run)


def test_two_slow_answers_in_a_second_of_an_outage_fail(good):
    once = with_answer(good, 15.6, slow)
    assert failed(once) == set()
    assert failed(with_answer(once, 15.8, slow)) == {
        "p99 at most 250 ms in each second of an outage"
    }


def test_a_second_of_an_outage_without_requests_fails(good):
    quiet = [answer for answer in good.answers if not 15.0 <= answer.due < 17.0]
    assert "p99 at most 250 ms in each second of an outage" in failed(replace(good, answers=quiet))


@pytest.mark.parametrize("flag", [RANKING, ANALYTICS])
def test_a_flag_that_does_not_come_back_fails(good, flag):
    run = without(
        good,
        lambda each: each.flag == flag and each.evidence.get("to") == "steady" and each.at > 40,
    )
    assert failed(run) == {"steady within 60 s of each repair"}


@pytest.mark.parametrize("flag", [RANKING, ANALYTICS])
@pytest.mark.parametrize("at", [5.0, 27.0, 52.0, 62.0])
def test_a_breach_without_a_fault_fails(good, flag, at):
    extra = transition(at, flag, "i-1", "steady", "degraded")
    run = replace(good, events=sorted([*good.events, extra], key=lambda each: each.at))
    assert failed(run) == {"no breach but those of the two faults"}


def test_a_level_that_leaves_analytics_running_fails(good):
    run = with_answer(
        good, 53.0, lambda answer: replace(answer, looks=replace(answer.looks, viewed=True))
    )
    assert "level 3 takes analytics, and leaves the ranking" in failed(run)


def test_a_level_that_takes_the_ranking_too_fails(good):
    changed = [
        as_kind(Kind.SNAPSHOT)(answer) if 52 <= answer.due < 54 else answer
        for answer in good.answers
    ]
    assert "level 3 takes analytics, and leaves the ranking" in failed(
        replace(good, answers=changed)
    )


OFF = "off reaches both processes within 500 ms, no snapshot under it"


def test_off_that_comes_late_to_a_process_fails(good):
    changed = [
        as_kind(Kind.FULL)(answer) if 60 <= answer.due < 60.6 and answer.port == 8002 else answer
        for answer in good.answers
    ]
    assert OFF in failed(replace(good, answers=changed))


def test_off_that_never_comes_to_a_process_fails(good):
    changed = [
        as_kind(Kind.FULL)(answer) if 60 <= answer.due < 65 and answer.port == 8002 else answer
        for answer in good.answers
    ]
    assert OFF in failed(replace(good, answers=changed))


@pytest.mark.parametrize("at", [60.3, 64.0])
def test_one_snapshot_under_off_fails(good, at):
    assert OFF in failed(with_answer(good, at, as_kind(Kind.SNAPSHOT)))


def test_a_snapshot_from_before_off_served_after_it_fails(good):
    old = next(answer for answer in good.answers if answer.due >= 59)
    run = with_answer(
        good, 67.0, lambda answer: replace(answer, looks=replace(old.looks, kind=Kind.SNAPSHOT))
    )
    assert "no snapshot from before the end of off is served later" in failed(run)


@pytest.mark.parametrize("kind", ["full", "degraded", "failed", "ignored", "abandoned"])
def test_one_call_counted_too_many_fails(good, kind):
    one_more = Counter(good.counters)
    one_more[RANKING, kind] += 1
    assert failed(replace(good, counters=one_more)) == {
        "the counters of both processes add up to the answers"
    }


def visit(at: float, kind: Kind, *, nonce: str | None = None, viewed: bool = True) -> Answer:
    looks = Looks(kind=kind, nonce=nonce, viewed=viewed)
    return Answer(due=at, sent=at, done=at, port=8001, reader="r-7", looks=looks, says=None)


COUNTED = "the counters of both processes add up to the answers"


@pytest.mark.parametrize(
    ("kind", "viewed", "calls"),
    [
        (Kind.FULL, True, ["full", "full"]),
        (Kind.SNAPSHOT, False, ["degraded", "degraded"]),
        (Kind.DEFAULT, True, ["degraded", "full"]),
    ],
)
def test_a_visit_counts_as_what_it_was_and_as_nothing_else(good, kind, viewed, calls):
    counted = Counter(good.counters) + Counter(zip((RANKING, ANALYTICS), calls, strict=True))
    seen = replace(good, counters=counted, visits=[visit(5.0, kind, viewed=viewed)])
    assert failed(seen) == set()
    assert failed(replace(seen, visits=[])) == {COUNTED}
    assert failed(replace(seen, counters=good.counters)) == {COUNTED}


def test_a_visit_to_a_process_that_is_gone_is_not_compared(good):
    assert failed(replace(good, visits=[replace(visit(5.0, Kind.FULL), port=8003)])) == set()


def test_the_load_may_be_served_what_was_ranked_for_a_visitor(good):
    index = next(i for i, each in enumerate(good.answers) if each.kind is Kind.SNAPSHOT)
    served = good.answers[index]
    born = served.done - served.says.age_s
    seen = replace(visit(born, Kind.FULL, nonce="visited"), reader=served.reader, port=served.port)
    answers = list(good.answers)
    answers[index] = replace(served, looks=replace(served.looks, nonce="visited"))
    counted = Counter(good.counters) + Counter([(RANKING, "full"), (ANALYTICS, "full")])
    run = replace(good, answers=answers, visits=[seen], counters=counted)
    assert failed(run) == set()
    assert "headers agree with bodies on every answer" in failed(replace(run, visits=[]))


def test_a_nonce_that_a_visitor_got_first_is_a_former_one(tmp_path):
    path = tmp_path / "answers.jsonl"
    first, other = visit(6.0, Kind.FULL, nonce="a"), visit(6.0, Kind.FULL, nonce="b")
    path.write_text("".join(each.line() + "\n" for each in (first, other)))
    seen = [visit(5.0, Kind.FULL, nonce="a"), visit(5.5, Kind.SNAPSHOT, nonce="b")]
    assert [each.kind for each in read_after(path, seen)] == [Kind.SNAPSHOT, Kind.FULL]


def test_a_run_of_four_minutes_fails(good):
    assert failed(replace(good, started=-170.0)) == {"under four minutes"}


def test_a_record_reads_back_as_it_was_written(good, tmp_path):
    some = [good.answers[0], good.answers[15 * RATE], replace(good.answers[1], says=None)]
    path = tmp_path / "answers.jsonl"
    path.write_text("".join(answer.line() + "\n" for answer in some))
    assert list(read(path)) == some
