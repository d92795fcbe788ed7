"""How a run is judged: what is recorded of it, and the checks that every scenario has.

Everything is judged from independent records: the answers as the load saw them, the log of events
in the store, and the counters that the feed processes expose. What visitors got who looked at the
feed meanwhile, say with a browser, is told by the processes: it is counted, but not judged.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TypeVar

from degrade.core.records import Event
from degrade.core.words import CallClass
from examples.news_feed.answers import Answer
from examples.news_feed.classify import DEGRADED, Kind

__all__ = (
    "ANALYTICS",
    "RANKING",
    "Check",
    "Counters",
    "Judge",
    "Run",
    "born",
    "counted",
    "event_of",
    "headers",
    "judged",
    "no_failure",
    "nothing_from_before",
    "short",
)

RANKING = "feed.ranking"
ANALYTICS = "feed.analytics"

_LONGEST_S = 240.0
_AGE_SLACK_S = 2.0

Counters = Mapping[tuple[str, str], int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """Everything recorded of a run; times are Unix seconds.

    Attributes:
        started, ended: When the demo began, and when the load ended.
        answers: In the order in which they came.
        events: The log of the store.
        processes: Instance ids to ports, of the processes that lived from beginning to end.
        marks: What was done, by name, and when.
        counters: What these processes counted together, by flag and class.
        visits: What all processes answered to others than the load.
    """

    started: float
    ended: float
    answers: Sequence[Answer]
    events: Sequence[Event]
    processes: Mapping[str, int]
    marks: Mapping[str, float]
    counters: Counters
    visits: Sequence[Answer] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One thing that must hold: its name, whether it does, and the figure that says so."""

    name: str
    ok: bool
    figure: str


AnyRun = TypeVar("AnyRun", bound=Run)
Judge = Callable[[AnyRun], tuple[bool, str]]


def judged(run: AnyRun, checks: Mapping[str, Judge[AnyRun]]) -> list[Check]:
    """Return every check; what cannot be judged, because it never happened, has failed."""
    found = []
    for name, check in checks.items():
        try:
            ok, figure = check(run)
        except LookupError as missing:
            ok, figure = False, f"did not happen: {missing}"
        found.append(Check(name=name, ok=ok, figure=figure))
    return found


def no_failure(run: Run) -> tuple[bool, str]:
    """No request failed, and none got a page that is neither ranked nor degraded."""
    bad = [answer for answer in run.answers if answer.kind in (Kind.FAILED, Kind.WRONG)]
    figure = f"{len(bad)} of {len(run.answers):,} requests"
    return not bad and bool(run.answers), figure + (
        f", the first: {bad[0].looks.problem}" if bad else ""
    )


def headers(run: Run) -> tuple[bool, str]:
    """The headers of every answer say what its body shows."""
    sources = born(run)
    wrong = sum(not _agrees(answer, sources) for answer in run.answers)
    return not wrong and bool(run.answers), f"{wrong} of {len(run.answers):,} disagree"


def _agrees(answer: Answer, sources: Mapping[str | None, Answer]) -> bool:
    says = answer.says
    if says is None or answer.kind in (Kind.FAILED, Kind.WRONG):
        return False
    if answer.kind is not Kind.SNAPSHOT:
        rung = None if answer.kind is Kind.FULL else "default"
        return says.rung == rung and says.unaged and says.age_s is None
    source = sources.get(answer.looks.nonce)
    if says.rung != "snapshot" or not says.aged or says.age_s is None or source is None:
        return False
    return abs(answer.done - source.done - says.age_s) <= _AGE_SLACK_S


def nothing_from_before(run: Run) -> tuple[bool, str]:
    """No snapshot served after an `off` ended is older than its end."""
    end = event_of(run, "released", RANKING).at
    sources = born(run)
    after = [a for a in run.answers if a.sent >= end and a.kind is Kind.SNAPSHOT]
    old = sum(sources[answer.looks.nonce].done < end for answer in after)
    return not old, f"{old} of {len(after):,} snapshots served later are older than its end"


def counted(run: Run) -> tuple[bool, str]:
    """The processes have counted every answer that the load and visitors got, and no other."""
    ports = set(run.processes.values())
    seen: Counter[tuple[str, str]] = Counter()
    visits = [visit for visit in run.visits if visit.port in ports]
    for answer in chain((a for a in run.answers if a.port in ports), visits):
        ranking = CallClass.DEGRADED if answer.kind in DEGRADED else CallClass.FULL
        analytics = CallClass.FULL if answer.looks.viewed else CallClass.DEGRADED
        seen[RANKING, ranking] += 1
        seen[ANALYTICS, analytics] += 1
    keys = [(flag, kind.value) for flag in (RANKING, ANALYTICS) for kind in CallClass]
    missed = sum(abs(run.counters.get(k, 0) - seen[k]) for k in keys)
    total = sum(run.counters.get(key, 0) for key in keys)
    figure = f"{total:,} calls counted, {missed} apart"
    return not missed and total > 0, figure + (f", {len(visits):,} visits" if visits else "")


def short(run: Run) -> tuple[bool, str]:
    """It took less than four minutes."""
    seconds = run.ended - run.started
    return seconds < _LONGEST_S, f"{seconds:.0f} s"


def born(run: Run) -> dict[str | None, Answer]:
    """Return the full answer in which each nonce was first seen, by the load or a visitor."""
    return {a.looks.nonce: a for a in chain(run.visits, run.answers) if a.kind is Kind.FULL}


def event_of(run: Run, kind: str, flag: str | None) -> Event:
    """Return the first event of a type and a flag.

    Raises:
        LookupError: There is none.
    """
    for event in run.events:
        if event.type == kind and event.flag == flag:
            return event
    raise LookupError(f"no event {kind!r} of {flag or 'a level'}")
