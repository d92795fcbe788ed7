"""A run of the news feed on a fleet in which everything was as it should be."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from degrade.core.records import Event
from examples.news_feed.answers import Answer
from examples.news_feed.classify import DEGRADED, Kind, Looks, Says
from examples.news_feed.judging import ANALYTICS, RANKING
from examples.news_feed.through_redis.checks import FleetRun
from examples.news_feed.through_redis.phases import Fault, Phase, Ranker
from examples.news_feed.through_redis.script import Wipe

RATE = 120
PORTS = (8001, 8002, 8003, 8004)
COLD = 8004
MARKS = {
    "healthy": 0.0, "hand": 10.0, "hand_seen": 13.0, "ranker_dead": 30.0, "cold_down": 32.0,
    "cold_up": 34.0, "cold_seen": 39.0, "ranker_back": 55.0, "off": 56.0, "off_known": 57.5,
    "off_seen": 59.0, "off_end": 65.0, "hand_end": 66.0, "recovery_wiped": 68.0, "steady": 80.0, "done": 82.0,
}  # fmt: skip
LAST = 82


def phases() -> list[Phase]:
    found = []
    for ranker, first in ((Ranker.WELL, 13.0), (Ranker.DEAD, 39.0)):
        for number, fault in enumerate(
            (Fault.CALM, Fault.FROZEN, Fault.CALM, Fault.KILLED, Fault.CALM)
        ):
            start = first + 3 * number
            found.append(Phase(fault=fault, ranker=ranker, start=start, end=start + 3))
    return found


def kind_at(due: float) -> Kind:
    if 30 <= due < 56.1:
        return Kind.SNAPSHOT
    return Kind.DEFAULT if 56.1 <= due < 66 else Kind.FULL


def answers() -> list[Answer]:
    found = []
    last: dict[str, Answer] = {}
    for number in range(LAST * RATE):
        due = number / RATE
        port, reader = PORTS[number % 4], f"r-{number % 601}"
        if port == COLD and 32 <= due < 34:
            port = PORTS[number % 3]
        kind = kind_at(due)
        viewed = not 10.3 <= due < 70
        nonce, says = f"n-{number}", Says(rung=None, age_s=None, aged=False, unaged=True)
        if kind is Kind.SNAPSHOT:
            source = last[reader]
            nonce = source.looks.nonce
            says = Says(rung="snapshot", age_s=int(due - source.due), aged=True, unaged=False)
        if kind is Kind.DEFAULT:
            nonce, says = None, replace(says, rung="default")
        answer = Answer(
            due=due, sent=due, done=due + 0.01, port=port, reader=reader,
            looks=Looks(kind=kind, nonce=nonce, viewed=viewed), says=says,
        )  # fmt: skip
        if kind is Kind.FULL:
            last[reader] = answer
        found.append(answer)
    return found


def counters(run_answers: list[Answer]) -> dict[tuple[str, str], int]:
    counted: Counter[tuple[str, str]] = Counter()
    for answer in run_answers:
        if answer.port != COLD:
            counted[RANKING, "degraded" if answer.kind in DEGRADED else "full"] += 1
            counted[ANALYTICS, "full" if answer.looks.viewed else "degraded"] += 1
    return counted


def good_run() -> FleetRun:
    """Return a run in which everything was as it should be."""
    found = answers()
    released = Event.model_validate(
        {
            "id": "1", "at": 65.0, "instance": "cli", "flag": RANKING, "type": "released",
            "actor": "ana", "cause": "", "evidence": {}, "epoch": 3, "prev": "",
        }
    )  # fmt: skip
    return FleetRun(
        started=-9.0, ended=82.0, answers=found, events=[released],
        processes={f"i-{port}": port for port in PORTS if port != COLD}, marks=MARKS,
        counters=counters(found), ports=PORTS, cold_port=COLD, phases=phases(),
        wipes=[
            Wipe(killed=22.0, empty=24.0, restored=24.2),
            Wipe(killed=68.0, empty=70.0, restored=70.2),
        ],
        said="4 of 4",
    )  # fmt: skip
