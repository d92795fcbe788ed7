"""Runs of the news feed in which everything was as it should be, and how to spoil them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace

from degrade.core.records import Event
from examples.news_feed.answers import DEGRADED, Answer, Kind, Says
from examples.news_feed.judging import Run
from examples.news_feed.script import ANALYTICS, RANKING, Fault, Phase, Ranker, Wipe

MARKS = {
    "freeze": 10.0, "thaw": 20.0, "kill": 30.0, "back": 40.0, "level": 50.0, "level_end": 55.0,
    "off": 60.0, "off_end": 65.0,
}  # fmt: skip
OUTAGES = ((10.0, 26.0), (30.0, 46.0))
FLEET_MARKS = {
    "hand": 10.0, "hand_seen": 13.0, "ranker_dead": 30.0, "cold_up": 34.0, "cold_seen": 39.0,
    "ranker_back": 55.0, "off": 56.0, "off_known": 57.5, "off_seen": 59.0, "off_end": 65.0,
    "hand_end": 66.0, "recovery_wiped": 68.0, "steady": 80.0,
}  # fmt: skip
COLD = 8004
Choice = Callable[[Answer], bool]


def event(kind: str, at: float, flag: str | None, instance: str = "i-8001", **said: str) -> Event:
    return Event.model_validate(
        {
            "id": f"{kind}-{flag}-{instance}-{at}", "at": at, "instance": instance, "flag": flag,
            "type": kind, "actor": "a", "cause": "", "evidence": said, "epoch": 1, "prev": "",
        }
    )  # fmt: skip


def changes(flag: str, instance: str) -> Iterator[Event]:
    steps = ("steady", "degraded", "recovering", "steady")
    for start, end in OUTAGES:
        for at, source, target in zip(
            (start + 0.5, start + 11, end), steps, steps[1:], strict=False
        ):
            yield event("transition", at, flag, instance, **{"from": source, "to": target})


def answers(
    rate: int, seconds: int, ports: list[int], kind_at: Callable[[float], tuple[Kind, bool]]
) -> list[Answer]:
    found: list[Answer] = []
    last: dict[str, Answer] = {}
    plain = Says(rung=None, age_s=None, aged=False, unaged=True)
    for number in range(seconds * rate):
        due, reader = number / rate, f"r-{number % 601}"
        kind, viewed = kind_at(due)
        answer = Answer(
            due=due, sent=due, done=due + 0.01, port=ports[number % len(ports)], reader=reader,
            kind=kind, nonce=f"n-{number}", viewed=viewed, says=plain,
        )  # fmt: skip
        if kind is Kind.FULL:
            last[reader] = answer
        if kind is Kind.SNAPSHOT:
            source = last[reader]
            if len(ports) == 2:
                answer = replace(answer, port=source.port)
            says = Says(rung="snapshot", age_s=int(due - source.due), aged=True, unaged=False)
            answer = replace(answer, nonce=source.nonce, says=says)
        if kind is Kind.DEFAULT:
            answer = replace(answer, nonce=None, says=replace(plain, rung="default"))
        found.append(answer)
    return found


def counters(found: list[Answer]) -> Counter[tuple[str, str]]:
    counted = Counter[tuple[str, str]]()
    for each in found:
        counted[RANKING, "degraded" if each.kind in DEGRADED else "full"] += 1
        counted[ANALYTICS, "full" if each.viewed else "degraded"] += 1
    return counted


def _kind_at(due: float) -> tuple[Kind, bool]:
    if any(start <= due < end for start, end in OUTAGES):
        return Kind.SNAPSHOT, False
    return Kind.DEFAULT if 60.1 <= due < 65 else Kind.FULL, not 49.9 <= due < 55


def _fleet_kind_at(due: float) -> tuple[Kind, bool]:
    viewed = not 10.3 <= due < 70
    if 30 <= due < 56.1:
        return Kind.SNAPSHOT, viewed
    return Kind.DEFAULT if 56.1 <= due < 66 else Kind.FULL, viewed


def good_run() -> Run:
    found = answers(160, 70, [8001, 8002], _kind_at)
    orders = [
        event("level", 50.0, None), event("level_released", 55.0, None),
        event("hold", 60.0, RANKING), event("released", 65.0, RANKING),
    ]  # fmt: skip
    processes = {"i-8001": 8001, "i-8002": 8002}
    moved = [each for flag in (RANKING, ANALYTICS) for i in processes for each in changes(flag, i)]
    return Run(
        ended=70.0, answers=found, events=sorted(orders + moved, key=lambda each: each.at),
        marks=MARKS, ports=[8001, 8002], processes=processes, counters=counters(found),
    )  # fmt: skip


def good_fleet_run() -> Run:
    ports = [8001, 8002, 8003, COLD]
    found = [
        replace(each, port=8001) if each.port == COLD and 32 <= each.due < 34 else each
        for each in answers(120, 82, ports, _fleet_kind_at)
    ]
    phases = [
        Phase(fault=fault, ranker=ranker, start=first + 3 * number, end=first + 3 * number + 3)
        for ranker, first in ((Ranker.WELL, 13.0), (Ranker.DEAD, 39.0))
        for number, fault in enumerate((Fault.CALM, Fault.FROZEN, Fault.CALM, Fault.KILLED, Fault.CALM))
    ]  # fmt: skip
    wipes = [Wipe(killed=at, empty=at + 2, restored=at + 2.2) for at in (22.0, 68.0)]
    return Run(
        ended=82.0, answers=found, events=[event("released", 65.0, RANKING)], marks=FLEET_MARKS,
        ports=ports, processes={f"i-{port}": port for port in ports[:3]}, cold_port=COLD,
        counters=counters([each for each in found if each.port != COLD]), phases=phases, wipes=wipes,
    )  # fmt: skip


def changed(run: Run, which: Choice, **to: object) -> Run:
    """Change the answers chosen; `late` adds to the time that they took."""
    late = to.pop("late", 0.0)
    return replace(
        run, answers=[replace(a, done=a.done + late, **to) if which(a) else a for a in run.answers]
    )


def first(run: Run, at: float, port: int | None = None) -> Choice:
    chosen = next(a for a in run.answers if a.sent >= at and port in (None, a.port))
    return lambda answer: answer is chosen


def between(start: float, end: float, port: int | None = None, one_in: int = 1) -> Choice:
    return lambda a: (
        start <= a.due < end and port in (None, a.port) and int(a.due * 120) % one_in == 0
    )
