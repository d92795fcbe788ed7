"""What must hold of a run of the demo; each check names its figure, and any of them can fail."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from typing import Final

from degrade.core.records import Event
from degrade.core.words import Phase
from examples.news_feed.classify import Kind
from examples.news_feed.judging import (
    ANALYTICS,
    RANKING,
    Check,
    Judge,
    Run,
    born,
    counted,
    event_of,
    headers,
    judged,
    no_failure,
    nothing_from_before,
    short,
)
from examples.news_feed.stats import nearest_rank

__all__ = ("FAULTS", "judge")

FAULTS = (("freeze", "thaw"), ("kill", "back"))
"""The marks at which each outage begins and ends."""

_LIMIT_S = 0.250
_DETECTED_S = 3.0
_STEADY_S = 60.0
_REACHED_S = 0.5
_LEVEL_S = 1.0


def judge(run: Run) -> list[Check]:
    """Return every check; what cannot be judged, because it never happened, has failed."""
    return judged(run, _CHECKS)


def _load(run: Run) -> tuple[bool, str]:
    seconds = run.answers[-1].due - run.answers[0].due
    rate = len(run.answers) / seconds
    readers = len({answer.reader for answer in run.answers})
    ports = Counter(answer.port for answer in run.answers)
    even = len(ports) == 2 and min(ports.values()) >= 0.4 * len(run.answers)
    figure = f"{rate:.0f} a second from {readers} readers to {len(ports)} processes"
    return rate >= 150 and readers >= 500 and even, figure


def _degraded(run: Run) -> tuple[bool, str]:
    kinds = Counter(answer.kind for answer in run.answers)
    snapshots, defaults = kinds[Kind.SNAPSHOT], kinds[Kind.DEFAULT]
    total = snapshots + defaults
    if not total:
        return False, "there was no degraded answer"
    ok = kinds[Kind.WRONG] == 0 and snapshots / total >= 0.5
    return ok, f"{total:,} newest first, {snapshots / total:.0%} of them from snapshots"


def _genuine(run: Run) -> tuple[bool, str]:
    sources = born(run)
    snapshots = [answer for answer in run.answers if answer.kind is Kind.SNAPSHOT]
    strange = 0
    for answer in snapshots:
        source = sources.get(answer.looks.nonce)
        if source is None or (source.reader, source.port) != (answer.reader, answer.port):
            strange += 1
    return not strange and bool(snapshots), f"{strange} of {len(snapshots):,} from elsewhere"


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
    start, end = event_of(run, "level", None).at, event_of(run, "level_released", None).at
    under = [a for a in run.answers if a.sent >= start + _LEVEL_S and a.done <= end]
    if not under:
        raise LookupError("answers under the level")
    viewed = sum(answer.looks.viewed for answer in under)
    full = sum(answer.kind is Kind.FULL for answer in under)
    figure = f"of {len(under):,} answers {viewed} had analytics, {full / len(under):.1%} a ranking"
    return not viewed and full >= 0.99 * len(under), figure


def _off(run: Run) -> tuple[bool, str]:
    start, end = event_of(run, "hold", RANKING).at, event_of(run, "released", RANKING).at
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


_CHECKS: Final[Mapping[str, Judge[Run]]] = {
    "at least 150 requests a second from 500 readers": _load,
    "no request failed": no_failure,
    "degraded answers are newest first, half of them snapshots": _degraded,
    "every snapshot is a last good answer to the same reader": _genuine,
    "headers agree with bodies on every answer": headers,
    "each fault detected within 3 s": _detected,
    "p99 at most 250 ms in each second of an outage": _outage_p99,
    "steady within 60 s of each repair": _steady,
    "no breach but those of the two faults": _no_other_breach,
    "level 3 takes analytics, and leaves the ranking": _level,
    "off reaches both processes within 500 ms, no snapshot under it": _off,
    "no snapshot from before the end of off is served later": nothing_from_before,
    "the counters of both processes add up to the answers": counted,
    "under four minutes": short,
}


def _both(run: Run) -> Mapping[str, int]:
    """Return the two processes; with any other number of them nothing could be judged."""
    if len(run.processes) != 2:
        raise LookupError(f"two processes, but {len(run.processes)}")
    return run.processes


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
