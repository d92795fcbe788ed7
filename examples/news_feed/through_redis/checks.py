"""What must hold of a run on the fleet; each check names its figure, and any of them can fail."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from examples.news_feed.answers import Answer
from examples.news_feed.classify import DEGRADED, Kind
from examples.news_feed.judging import (
    RANKING,
    Check,
    Judge,
    Run,
    born,
    counted,
    headers,
    judged,
    no_failure,
    nothing_from_before,
    short,
)
from examples.news_feed.through_redis.phases import Phase, Ranker, compared
from examples.news_feed.through_redis.script import Wipe

__all__ = ("POLL_S", "RATIOS", "FleetRun", "judge")

POLL_S: Final = 1.2
"""One poll with its jitter: the longest that a change may be unknown to a process."""
_MOST: Final = 1.3
_RESTORED_S: Final = 5.0
_COLD_S: Final = 2.0
_COLD_SHARE: Final = 0.5
"""What a cold process must do while Redis answers it within the 20 ms that a call waits at most, as
it does far below saturation. Every process sends a reader's stories once in 30 seconds, so nearly
all readers that it is asked for have been sent by one of the other three."""
_STEADY_S: Final = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetRun(Run):
    """A run on the fleet.

    Attributes:
        ports: Of all feed processes.
        cold_port: Of the one that was killed and started again.
        phases: With and without a fault of Redis.
        wipes: Each time that Redis lost everything.
        said: What the command line said of the order to turn the ranking off.
    """

    ports: tuple[int, ...]
    cold_port: int
    phases: Sequence[Phase]
    wipes: Sequence[Wipe]
    said: str


def judge(run: FleetRun) -> list[Check]:
    """Return every check; what cannot be judged, because it never happened, has failed."""
    return judged(run, _CHECKS)


def _load(run: FleetRun) -> tuple[bool, str]:
    seconds = run.answers[-1].due - run.answers[0].due
    rate = len(run.answers) / seconds
    readers = len({answer.reader for answer in run.answers})
    ports = Counter(answer.port for answer in run.answers)
    even = set(ports) == set(run.ports) and min(ports.values()) >= 0.15 * len(run.answers)
    figure = f"{rate:.0f} a second from {readers} readers to {len(ports)} processes"
    return rate >= 100 and readers >= 500 and even and len(run.ports) == 4, figure


def _ratio(ranker: Ranker) -> Judge[FleetRun]:
    def check(run: FleetRun) -> tuple[bool, str]:
        found = compared(run.phases, run.answers, ranker)
        faults, calms = found.faults, found.calms
        figure = (
            f"ratio {found.ratio:.2f}: {faults.p99 * 1e3:.1f} ms in {faults.phases} faults "
            f"({faults.requests:,} requests, {faults.lasted_s:.0f} s), {calms.p99 * 1e3:.1f} ms in "
            f"{calms.phases} calms ({calms.requests:,}, {calms.lasted_s:.0f} s); "
            f"by the p99 of each, on average, {found.mean_ratio:.2f}"
        )
        return found.ratio <= _MOST, figure

    return check


def _by_hand(run: FleetRun) -> tuple[bool, str]:
    return _arrived(run, "hand", "hand_seen", lambda answer: not answer.looks.viewed)


def _by_command(run: FleetRun) -> tuple[bool, str]:
    return _arrived(run, "off", "off_seen", lambda answer: answer.kind is Kind.DEFAULT)


def _arrived(
    run: FleetRun, order: str, seen: str, obeys: Callable[[Answer], bool]
) -> tuple[bool, str]:
    """Judge after how long each process obeys: the first answer of those that all obey."""
    start, end = run.marks[order], run.marks[seen]
    after = []
    for port in run.ports:
        sent = sorted(
            (answer.sent, obeys(answer))
            for answer in run.answers
            if answer.port == port and start <= answer.sent < end
        )
        if not sent or not sent[-1][1]:
            return False, f"it never reached the process on port {port}"
        against = max((at for at, obeyed in sent if not obeyed), default=start)
        after.append(min(at for at, obeyed in sent if obeyed and at >= against) - start)
    figure = f"after {', '.join(f'{each * 1e3:.0f}' for each in sorted(after))} ms"
    return max(after) <= POLL_S and len(after) == 4, figure


def _known(run: FleetRun) -> tuple[bool, str]:
    start, end = run.marks["off_known"], run.marks["off_end"]
    under = [answer for answer in run.answers if answer.sent >= start and answer.done <= end]
    against = sum(answer.kind is not Kind.DEFAULT for answer in under)
    figure = f"{start - run.marks['off']:.1f} s after the order; {against} of {len(under):,} later"
    return not against and bool(under), figure


def _off(run: FleetRun) -> tuple[bool, str]:
    start, end = run.marks["off"] + POLL_S, run.marks["off_end"]
    under = [answer for answer in run.answers if answer.sent >= start and answer.done <= end]
    kinds = Counter(answer.kind for answer in under)
    figure = (
        f"{kinds[Kind.SNAPSHOT]} snapshots and {kinds[Kind.FULL]} rankings among {len(under):,}"
    )
    return kinds[Kind.DEFAULT] == len(under) > 0, figure


def _in_force(run: FleetRun) -> tuple[bool, str]:
    """Judge every answer since the orders had arrived, over all faults, until their release."""
    hand = [
        answer.looks.viewed
        for answer in run.answers
        if answer.sent >= run.marks["hand"] + POLL_S and answer.done <= run.marks["hand_end"]
    ]
    figure = f"{sum(hand)} of {len(hand):,} answers had analytics, over {len(run.wipes)} wipes"
    return not any(hand) and bool(hand) and bool(run.wipes), figure


def _restored(run: FleetRun) -> tuple[bool, str]:
    times = [None if wipe.restored is None else wipe.restored - wipe.empty for wipe in run.wipes]
    if not times:
        raise LookupError("a wipe")
    figure = ", ".join("never" if each is None else f"{each:.2f}" for each in times)
    ok = all(each is not None and each <= _RESTORED_S for each in times)
    return ok, f"after {figure} s"


def _snapshots(run: FleetRun) -> tuple[bool, str]:
    """Judge answers while the ranker was dead: newest first, most of them from snapshots."""
    start, end = run.marks["ranker_dead"], run.marks["ranker_back"]
    kinds = Counter(answer.kind for answer in run.answers if start <= answer.sent < end)
    total = sum(kinds[kind] for kind in DEGRADED)
    if not total:
        raise LookupError("degraded answers")
    share = kinds[Kind.SNAPSHOT] / total
    return share >= 0.5, f"{share:.0%} of {total:,} degraded answers"


def _cold(run: FleetRun) -> tuple[bool, str]:
    up, end = run.marks["cold_up"], run.marks["cold_seen"]
    kinds = Counter[Kind]()
    first: float | None = None
    sources = born(run)
    others = 0
    for answer in run.answers:
        if answer.port != run.cold_port or not up <= answer.sent < end:
            continue
        kinds[answer.kind] += 1
        if answer.kind is Kind.SNAPSHOT:
            first = answer.done if first is None else min(first, answer.done)
            source = sources.get(answer.looks.nonce)
            others += source is not None and source.port != run.cold_port
    if first is None:
        return False, f"no snapshot among {kinds.total()} answers"
    share = kinds[Kind.SNAPSHOT] / kinds.total()
    figure = (
        f"the first after {first - up:.2f} s, {share:.0%} of {kinds.total()} answers in "
        f"{end - up:.0f} s, {others} made by other processes"
    )
    return first - up <= _COLD_S and share >= _COLD_SHARE and others > 0, figure


def _genuine(run: FleetRun) -> tuple[bool, str]:
    sources = born(run)
    snapshots = [answer for answer in run.answers if answer.kind is Kind.SNAPSHOT]
    strange = shared = 0
    for answer in snapshots:
        source = sources.get(answer.looks.nonce)
        strange += source is None or source.reader != answer.reader
        shared += source is not None and source.port != answer.port
    figure = f"{strange} of {len(snapshots):,} from elsewhere, {shared:,} made by another process"
    return not strange and bool(snapshots), figure


def _not_sent_back(run: FleetRun) -> tuple[bool, str]:
    """Judge the log since the ranker is back: no verdict of the fleet, over the wipe in between."""
    back, wiped = run.marks["ranker_back"], run.marks["recovery_wiped"]
    last = [wipe for wipe in run.wipes if wiped <= wipe.killed]
    verdicts = [
        event.at
        for event in run.events
        if event.type == "fleet_degraded" and event.flag == RANKING and event.at > back
    ]
    figure = f"{len(verdicts)} verdicts in {run.ended - back:.0f} s"
    return not verdicts and bool(last), f"{figure}, over {len(last)} wipe while it recovered"


def _steady(run: FleetRun) -> tuple[bool, str]:
    took_s = run.marks["steady"] - run.marks["off_end"]
    return took_s <= _STEADY_S, f"{took_s:.1f} s after the release"


_WELL: Final = "p99 in Redis faults at most 1.3 times that between them, the ranker well"
_DEAD: Final = "p99 in Redis faults at most 1.3 times that between them, the ranker dead"
RATIOS: Final = (_WELL, _DEAD)
"""The checks that need many seconds of load to say something."""

_CHECKS: Final[Mapping[str, Judge[FleetRun]]] = {
    "at least 100 requests a second from 500 readers to four processes": _load,
    "no request failed": no_failure,
    _WELL: _ratio(Ranker.WELL),
    _DEAD: _ratio(Ranker.DEAD),
    "a word of redis-cli reaches all four within one poll (1.2 s)": _by_hand,
    "an order of the command line reaches all four within one poll (1.2 s)": _by_command,
    "when `--wait 99%` has returned, every answer obeys": _known,
    "under off nothing but the newest stories, also after a wipe": _off,
    "the hold by hand stays in force over every wipe": _in_force,
    "the holds are back in Redis within 5 s of each wipe": _restored,
    "while the ranker is dead, half of the answers are snapshots": _snapshots,
    "a process that starts cold then serves snapshots of the others": _cold,
    "every snapshot is a last good answer to the same reader": _genuine,
    "no snapshot from before the end of off is served later": nothing_from_before,
    "headers agree with bodies on every answer": headers,
    "the counters of the processes that lived through add up to the answers": counted,
    "once the ranker is back, a wipe sends nobody back": _not_sent_back,
    "steady within 60 s of the release": _steady,
    "under four minutes": short,
}
