"""What must hold of a run; each check names its figure, and any of them can fail.

Everything is judged from three independent records: the answers as the load saw them, the log of
events in the store, and the counters that the feed processes expose.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from degrade.core.records import Event
from degrade.core.words import CallClass, Phase
from examples.news_feed.answers import Answer
from examples.news_feed.classify import DEGRADED, Kind
from examples.news_feed.stats import nearest_rank

__all__ = ("ANALYTICS", "FAULTS", "RANKING", "Check", "Counters", "Run", "judge")

RANKING = "feed.ranking"
ANALYTICS = "feed.analytics"

FAULTS = (("freeze", "thaw"), ("kill", "back"))
"""The marks at which each outage begins and ends."""

_LIMIT_S = 0.250
_DETECTED_S = 3.0
_STEADY_S = 60.0
_REACHED_S = 0.5
_LONGEST_S = 240.0
_AGE_SLACK_S = 2.0
_LEVEL_S = 1.0

Counters = Mapping[tuple[str, str], int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """Everything recorded of a run; times are Unix seconds.

    Attributes:
        started, ended: When the demo began, and when the load ended.
        answers: In the order in which they came.
        events: The log of the store.
        processes: Instance ids to ports.
        marks: What was done, by name, and when.
        counters: What the processes counted together, by flag and class.
        pages: What they counted for pages that somebody looked at meanwhile.
    """

    started: float
    ended: float
    answers: Sequence[Answer]
    events: Sequence[Event]
    processes: Mapping[str, int]
    marks: Mapping[str, float]
    counters: Counters
    pages: Counters


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One thing that must hold: its name, whether it does, and the figure that says so."""

    name: str
    ok: bool
    figure: str


def judge(run: Run) -> list[Check]:
    """Return every check; what cannot be judged, because it never happened, has failed."""
    found = []
    for name, check in _CHECKS.items():
        try:
            ok, figure = check(run)
        except LookupError as missing:
            ok, figure = False, f"did not happen: {missing}"
        found.append(Check(name=name, ok=ok, figure=figure))
    return found


def _load(run: Run) -> tuple[bool, str]:
    seconds = run.answers[-1].due - run.answers[0].due
    rate = len(run.answers) / seconds
    readers = len({answer.reader for answer in run.answers})
    ports = Counter(answer.port for answer in run.answers)
    even = len(ports) == 2 and min(ports.values()) >= 0.4 * len(run.answers)
    figure = f"{rate:.0f} a second from {readers} readers to {len(ports)} processes"
    return rate >= 150 and readers >= 500 and even, figure


def _no_failure(run: Run) -> tuple[bool, str]:
    bad = [answer for answer in run.answers if answer.kind in (Kind.FAILED, Kind.WRONG)]
    figure = f"{len(bad)} of {len(run.answers):,} requests"
    return not bad and bool(run.answers), figure + (
        f", the first: {bad[0].looks.problem}" if bad else ""
    )


def _degraded(run: Run) -> tuple[bool, str]:
    kinds = Counter(answer.kind for answer in run.answers)
    snapshots, defaults = kinds[Kind.SNAPSHOT], kinds[Kind.DEFAULT]
    total = snapshots + defaults
    if not total:
        return False, "there was no degraded answer"
    ok = kinds[Kind.WRONG] == 0 and snapshots / total >= 0.5
    return ok, f"{total:,} newest first, {snapshots / total:.0%} of them from snapshots"


def _genuine(run: Run) -> tuple[bool, str]:
    born = _born(run)
    snapshots = [answer for answer in run.answers if answer.kind is Kind.SNAPSHOT]
    strange = 0
    for answer in snapshots:
        source = born.get(answer.looks.nonce)
        if source is None or (source.reader, source.port) != (answer.reader, answer.port):
            strange += 1
    return not strange and bool(snapshots), f"{strange} of {len(snapshots):,} from elsewhere"


def _headers(run: Run) -> tuple[bool, str]:
    born = _born(run)
    wrong = sum(not _agrees(answer, born) for answer in run.answers)
    return not wrong and bool(run.answers), f"{wrong} of {len(run.answers):,} disagree"


def _agrees(answer: Answer, born: Mapping[str | None, Answer]) -> bool:
    says = answer.says
    if says is None or answer.kind in (Kind.FAILED, Kind.WRONG):
        return False
    if answer.kind is not Kind.SNAPSHOT:
        rung = None if answer.kind is Kind.FULL else "default"
        return says.rung == rung and says.unaged and says.age_s is None
    source = born.get(answer.looks.nonce)
    if says.rung != "snapshot" or not says.aged or says.age_s is None or source is None:
        return False
    return abs(answer.done - source.done - says.age_s) <= _AGE_SLACK_S


def _detected(run: Run) -> tuple[bool, str]:
    slowest = 0.0
    for fault, repair in FAULTS:
        for flag in (RANKING, ANALYTICS):
            slowest = max(slowest, _detection(run, flag, fault, repair) - run.marks[fault])
    return slowest <= _DETECTED_S, f"{slowest:.2f} s at the latest"


def _outage_p99(run: Run) -> tuple[bool, str]:
    worst, seconds = 0.0, 0
    for fault, repair in FAULTS:
        start, end = _detection(run, RANKING, fault, repair), run.marks[repair]
        bins: dict[int, list[float]] = defaultdict(list)
        for answer in run.answers:
            if start <= answer.due < end:
                bins[int(answer.due - start)].append(answer.latency_s)
        whole = [bins[second] for second in range(int(end - start))]
        if not whole or not all(whole):
            return False, f"no requests in a second of the outage that began with {fault!r}"
        worst = max(worst, *(nearest_rank(latencies, 0.99) or 0.0 for latencies in whole))
        seconds += len(whole)
    figure = f"{worst * 1e3:.0f} ms in the worst of {seconds} seconds"
    return worst <= _LIMIT_S, figure


def _steady(run: Run) -> tuple[bool, str]:
    slowest = 0.0
    for _, repair in FAULTS:
        at = run.marks[repair]
        for flag in (RANKING, ANALYTICS):
            for instance in _both(run):
                back = _first(_transitions(run, flag, instance), after=at, target=Phase.STEADY)
                slowest = max(slowest, back - at)
    return slowest <= _STEADY_S, f"{slowest:.1f} s at the latest"


def _no_other_breach(run: Run) -> tuple[bool, str]:
    outages = [(run.marks[fault], run.marks[repair]) for fault, repair in FAULTS]
    expected, others = 0, []
    for flag in (RANKING, ANALYTICS):
        for instance in _both(run):
            for event in _transitions(run, flag, instance):
                if event.evidence["from"] != Phase.STEADY or event.evidence["to"] != Phase.DEGRADED:
                    continue
                if any(start <= event.at <= end for start, end in outages):
                    expected += 1
                else:
                    others.append(event)
    figure = f"{expected} of the two faults, {len(others)} others"
    return not others, figure + (f", the first: {others[0].cause}" if others else "")


def _level(run: Run) -> tuple[bool, str]:
    start, end = _event(run, "level", None).at, _event(run, "level_released", None).at
    under = [a for a in run.answers if a.sent >= start + _LEVEL_S and a.done <= end]
    if not under:
        raise LookupError("answers under the level")
    viewed = sum(answer.looks.viewed for answer in under)
    full = sum(answer.kind is Kind.FULL for answer in under)
    figure = f"of {len(under):,} answers {viewed} had analytics, {full / len(under):.1%} a ranking"
    return not viewed and full >= 0.99 * len(under), figure


def _off(run: Run) -> tuple[bool, str]:
    start, end = _event(run, "hold", RANKING).at, _event(run, "released", RANKING).at
    under = [answer for answer in run.answers if answer.sent >= start and answer.done <= end]
    reached = 0.0
    for port in _both(run).values():
        kinds = [(answer.sent, answer.kind) for answer in under if answer.port == port]
        late = [sent - start for sent, kind in kinds if kind is not Kind.DEFAULT]
        if len(late) == len(kinds):
            return False, f"it never reached the process on port {port}"
        reached = max(reached, *late, 0.0)
    snapshots = sum(answer.kind is Kind.SNAPSHOT for answer in under)
    figure = f"after {reached * 1e3:.0f} ms in both, {snapshots} snapshots among {len(under):,}"
    return reached <= _REACHED_S and not snapshots, figure


def _nothing_from_before(run: Run) -> tuple[bool, str]:
    end = _event(run, "released", RANKING).at
    born = _born(run)
    after = [a for a in run.answers if a.sent >= end and a.kind is Kind.SNAPSHOT]
    old = sum(born[answer.looks.nonce].done < end for answer in after)
    return not old, f"{old} of {len(after):,} snapshots served later are older than its end"


def _counted(run: Run) -> tuple[bool, str]:
    seen: Counter[tuple[str, str]] = Counter()
    for answer in run.answers:
        ranking = CallClass.DEGRADED if answer.kind in DEGRADED else CallClass.FULL
        analytics = CallClass.FULL if answer.looks.viewed else CallClass.DEGRADED
        seen[RANKING, ranking] += 1
        seen[ANALYTICS, analytics] += 1
    keys = [(flag, kind.value) for flag in (RANKING, ANALYTICS) for kind in CallClass]
    missed = sum(abs(run.counters.get(k, 0) - run.pages.get(k, 0) - seen[k]) for k in keys)
    total = sum(run.counters.get(key, 0) for key in keys)
    return not missed and total > 0, f"{total:,} calls counted, {missed} apart"


def _short(run: Run) -> tuple[bool, str]:
    seconds = run.ended - run.started
    return seconds < _LONGEST_S, f"{seconds:.0f} s"


_CHECKS: Mapping[str, Callable[[Run], tuple[bool, str]]] = {
    "at least 150 requests a second from 500 readers": _load,
    "no request failed": _no_failure,
    "degraded answers are newest first, half of them snapshots": _degraded,
    "every snapshot is a last good answer to the same reader": _genuine,
    "headers agree with bodies on every answer": _headers,
    "each fault detected within 3 s": _detected,
    "p99 at most 250 ms in each second of an outage": _outage_p99,
    "steady within 60 s of each repair": _steady,
    "no breach but those of the two faults": _no_other_breach,
    "level 3 takes analytics, and leaves the ranking": _level,
    "off reaches both processes within 500 ms, no snapshot under it": _off,
    "no snapshot from before the end of off is served later": _nothing_from_before,
    "the counters of both processes add up to the answers": _counted,
    "under four minutes": _short,
}


def _both(run: Run) -> Mapping[str, int]:
    """Return the two processes; with any other number of them nothing could be judged."""
    if len(run.processes) != 2:
        raise LookupError(f"two processes, but {len(run.processes)}")
    return run.processes


def _born(run: Run) -> dict[str | None, Answer]:
    """Return the full answer in which each nonce was first seen."""
    return {a.looks.nonce: a for a in run.answers if a.kind is Kind.FULL}


def _detection(run: Run, flag: str, fault: str, repair: str) -> float:
    """Return when the last of the processes left STEADY after a fault."""
    at = max(
        _first(_transitions(run, flag, instance), after=run.marks[fault], target=Phase.DEGRADED)
        for instance in _both(run)
    )
    if at > run.marks[repair]:
        raise LookupError(f"{flag} degraded between {fault!r} and {repair!r}")
    return at


def _transitions(run: Run, flag: str, instance: str) -> Iterator[Event]:
    for event in run.events:
        if event.type == "transition" and event.flag == flag and event.instance == instance:
            yield event


def _first(events: Iterator[Event], *, after: float, target: Phase) -> float:
    for event in events:
        if event.at >= after and event.evidence["to"] == target:
            return event.at
    raise LookupError(f"no change to {target.value}")


def _event(run: Run, kind: str, flag: str | None) -> Event:
    for event in run.events:
        if event.type == kind and event.flag == flag:
            return event
    raise LookupError(f"no event {kind!r} of {flag or 'a level'}")
