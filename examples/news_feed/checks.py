"""What must hold of a run; each check names its figure, and any of them can fail.

That faults of Redis cost at most 1.3 times the p99 of the calms between them is read like this:

    ranker well   |calm|killed|calm|killed| ... |calm|frozen|calm|
    ranker dead   |calm|frozen|calm|killed| ... |calm|

- The p99 is that of all requests that were due in a fault, pooled, against that of all that were
  due in a calm. An average over phases would give a calm one as much weight as a bad one; it is
  only shown. The time in which the processes find Redis again counts as part of the fault.
- Between the phases nothing changes but Redis. Where the ranker is dead, answers come from memory
  and are faster by far; pooled with the others they could hide any wait for a frozen Redis. So
  there are two comparisons, each with calms of its own, each to hold.
- A machine has moods that last for seconds. So phases are short, as many and as long with a fault
  as without, and each fault lies between two calms, which share its moods.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from statistics import fmean
from typing import Final

from degrade.core.enums import CallClass
from examples.news_feed.answers import DEGRADED, Answer, Kind, nearest_rank
from examples.news_feed.judging import Judge, Run
from examples.news_feed.script import ANALYTICS, RANKING, Fault, Phase, Ranker

FAULTS: Final = (("freeze", "thaw"), ("kill", "back"))
"""The marks at which each outage begins and ends."""
_AGE_SLACK_S: Final = 2.0
_POLL_S: Final = 1.2
"""One poll with its jitter: the longest that a change may be unknown to a process."""
_COLD_SHARE: Final = 0.5
"""What a cold process must do while Redis answers it within the 20 ms that a call waits at most, as
it does far below saturation. Every process sends a reader's stories once in 30 seconds, so nearly
all readers that it is asked for have been sent by one of the other three."""


def _load(least: float, *, processes: int, share: float) -> Judge:
    def check(run: Run) -> tuple[bool, str]:
        rate = len(run.answers) / (run.answers[-1].due - run.answers[0].due)
        readers = len({answer.reader for answer in run.answers})
        ports = Counter(answer.port for answer in run.answers)
        even = set(ports) == set(run.ports) and min(ports.values()) >= share * len(run.answers)
        figure = f"{rate:.0f} a second from {readers} readers to {len(ports)} processes"
        return rate >= least and readers >= 500 and even and len(ports) == processes, figure

    return check


def _no_failure(run: Run) -> tuple[bool, str]:
    bad = [answer for answer in run.answers if answer.kind in (Kind.FAILED, Kind.WRONG)]
    first = f", the first: {bad[0].problem}" if bad else ""
    return not bad and bool(run.answers), f"{len(bad)} of {len(run.answers):,} requests{first}"


def _headers(run: Run) -> tuple[bool, str]:
    wrong = sum(not _agrees(answer, run.born.get(answer.nonce)) for answer in run.answers)
    return not wrong and bool(run.answers), f"{wrong} of {len(run.answers):,} disagree"


def _agrees(answer: Answer, source: Answer | None) -> bool:
    says = answer.says
    if says is None or answer.kind in (Kind.FAILED, Kind.WRONG):
        return False
    if answer.kind is not Kind.SNAPSHOT:
        rung = None if answer.kind is Kind.FULL else "default"
        return says.rung == rung and says.unaged and says.age_s is None
    if says.rung != "snapshot" or not says.aged or says.age_s is None or source is None:
        return False
    return abs(answer.done - source.done - says.age_s) <= _AGE_SLACK_S


def _genuine(run: Run) -> tuple[bool, str]:
    """Judge whose the snapshots are; only through Redis may they be those of another process."""
    snapshots = [answer for answer in run.answers if answer.kind is Kind.SNAPSHOT]
    sources = [run.born.get(answer.nonce) for answer in snapshots]
    pairs = list(zip(snapshots, sources, strict=True))
    strange = sum(source is None or source.reader != each.reader for each, source in pairs)
    shared = sum(source is not None and source.port != each.port for each, source in pairs)
    figure = f"of {len(snapshots):,} from elsewhere"
    if run.cold_port is None:
        return not strange + shared and bool(snapshots), f"{strange + shared} {figure}"
    return not strange and bool(
        snapshots
    ), f"{strange} {figure}, {shared:,} made by another process"


def _nothing_from_before(run: Run) -> tuple[bool, str]:
    end = run.event("released", RANKING).at
    after = [each for each in run.answers if each.sent >= end and each.kind is Kind.SNAPSHOT]
    old = sum(run.born[answer.nonce].done < end for answer in after)
    return not old, f"{old} of {len(after):,} snapshots served later are older than its end"


def _counted(run: Run) -> tuple[bool, str]:
    """Judge that processes have counted every answer that the load and visitors got, and no other."""
    ports = set(run.processes.values())
    visits = sum(visit.port in ports for visit in run.visits)
    seen = Counter[tuple[str, str]]()
    for answer in chain(run.answers, run.visits):
        if answer.port in ports:
            seen[RANKING, "degraded" if answer.kind in DEGRADED else "full"] += 1
            seen[ANALYTICS, "full" if answer.viewed else "degraded"] += 1
    counts = [
        (run.counters.get((flag, kind.value), 0), seen[flag, kind.value])
        for flag in (RANKING, ANALYTICS)
        for kind in CallClass
    ]
    missed, total = sum(abs(a - b) for a, b in counts), sum(count for count, _ in counts)
    figure = f"{total:,} calls counted, {missed} apart"
    return not missed and total > 0, figure + (f", {visits:,} visits" if visits else "")


def _short(run: Run) -> tuple[bool, str]:
    return run.ended - run.started < 240.0, f"{run.ended - run.started:.0f} s"


def _degraded(run: Run) -> tuple[bool, str]:
    kinds = Counter(answer.kind for answer in run.answers)
    total = sum(kinds[kind] for kind in DEGRADED)
    if not total:
        raise LookupError("a degraded answer")
    share = kinds[Kind.SNAPSHOT] / total
    ok = kinds[Kind.WRONG] == 0 and share >= 0.5
    return ok, f"{total:,} newest first, {share:.0%} of them from snapshots"


def _reached(run: Run, flag: str, fault: str, target: str) -> float:
    """Return when the last of the two processes had this phase after a mark."""
    at, reached = run.marks[fault], run.marks[fault]
    for events in run.changes(flag):
        times = [each.at for each in events if each.at >= at and each.evidence["to"] == target]
        if not times:
            raise LookupError(f"no change of {flag} to {target} after {fault!r}")
        reached = max(reached, times[0])
    return reached


def _detection(run: Run, flag: str, fault: str, repair: str) -> float:
    at = _reached(run, flag, fault, "degraded")
    if at > run.marks[repair]:
        raise LookupError(f"{flag} degraded between {fault!r} and {repair!r}")
    return at


def _detected(run: Run) -> tuple[bool, str]:
    slowest = max(
        _detection(run, flag, fault, repair) - run.marks[fault]
        for fault, repair in FAULTS
        for flag in (RANKING, ANALYTICS)
    )
    return slowest <= 3.0, f"{slowest:.2f} s at the latest"


def _outage_p99(run: Run) -> tuple[bool, str]:
    found = []
    for fault, repair in FAULTS:
        start, end = _detection(run, RANKING, fault, repair), run.marks[repair]
        bins: dict[int, list[float]] = defaultdict(list)
        for answer in run.answers:
            if start <= answer.due < end:
                bins[int(answer.due - start)].append(answer.latency_s)
        found += [nearest_rank(bins[second], 0.99) for second in range(int(end - start))]
    worst = [each for each in found if each is not None]
    if not worst or len(worst) < len(found):
        raise LookupError("requests in each second of an outage")
    return max(worst) <= 0.250, f"{max(worst) * 1e3:.0f} ms in the worst of {len(worst)} seconds"


def _steady(run: Run) -> tuple[bool, str]:
    slowest = max(
        _reached(run, flag, repair, "steady") - run.marks[repair]
        for _, repair in FAULTS
        for flag in (RANKING, ANALYTICS)
    )
    return slowest <= 60.0, f"{slowest:.1f} s at the latest"


def _no_other_breach(run: Run) -> tuple[bool, str]:
    outages = [(run.marks[fault], run.marks[repair]) for fault, repair in FAULTS]
    breaches = [
        event
        for flag in (RANKING, ANALYTICS)
        for event in chain.from_iterable(run.changes(flag))
        if (event.evidence["from"], event.evidence["to"]) == ("steady", "degraded")
    ]
    others = [
        each for each in breaches if not any(start <= each.at <= end for start, end in outages)
    ]
    figure = f"{len(breaches) - len(others)} of the two faults, {len(others)} others"
    return not others, figure + (f", the first: {others[0].cause}" if others else "")


def _level(run: Run) -> tuple[bool, str]:
    start, end = run.event("level", None).at, run.event("level_released", None).at
    under = run.within(start + 1.0, end)
    if not under:
        raise LookupError("answers under the level")
    viewed = sum(answer.viewed for answer in under)
    full = sum(answer.kind is Kind.FULL for answer in under)
    figure = f"of {len(under):,} answers {viewed} had analytics, {full / len(under):.1%} a ranking"
    return not viewed and full >= 0.99 * len(under), figure


def _off(run: Run) -> tuple[bool, str]:
    start = run.event("hold", RANKING).at
    under = run.within(start, run.event("released", RANKING).at)
    reached = 0.0
    for port in run.processes.values():
        kinds = [(answer.sent, answer.kind) for answer in under if answer.port == port]
        late = [sent - start for sent, kind in kinds if kind is not Kind.DEFAULT]
        if len(late) == len(kinds):
            return False, f"it never reached the process on port {port}"
        reached = max(reached, *late, 0.0)
    snapshots = sum(answer.kind is Kind.SNAPSHOT for answer in under)
    figure = f"after {reached * 1e3:.0f} ms in both, {snapshots} snapshots among {len(under):,}"
    return reached <= 0.5 and not snapshots and len(run.processes) == 2, figure


CHECKS: Final[Mapping[str, Judge]] = {
    "at least 150 requests a second from 500 readers": _load(150, processes=2, share=0.4),
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


class _Requests:
    """The requests of some phases: how many, and their p99, pooled and by phase."""

    def __init__(self, latencies: Mapping[Phase, Sequence[float]]) -> None:
        if not latencies or not all(latencies.values()):
            raise LookupError("phases with and without faults, each with requests")
        pooled = list(chain.from_iterable(latencies.values()))
        self.p99 = nearest_rank(pooled, 0.99) or 0.0
        self.mean = fmean(nearest_rank(each, 0.99) or 0.0 for each in latencies.values())
        self.lasted_s = sum(phase.end - phase.start for phase in latencies)
        self.phases, self.count = len(latencies), len(pooled)


def _ratio(ranker: Ranker) -> Judge:
    def check(run: Run) -> tuple[bool, str]:
        latencies: dict[Phase, list[float]] = {p: [] for p in run.phases if p.ranker is ranker}
        for answer in run.answers:
            for phase, found in latencies.items():
                if phase.start <= answer.due < phase.end:
                    found.append(answer.latency_s)
        calms = _Requests({p: each for p, each in latencies.items() if p.fault is Fault.CALM})
        faults = _Requests({p: each for p, each in latencies.items() if p.fault is not Fault.CALM})
        ratio = faults.p99 / calms.p99
        return ratio <= 1.3, (
            f"ratio {ratio:.2f}: {faults.p99 * 1e3:.1f} ms in {faults.phases} faults "
            f"({faults.count:,} requests, {faults.lasted_s:.0f} s), {calms.p99 * 1e3:.1f} ms in "
            f"{calms.phases} calms ({calms.count:,}, {calms.lasted_s:.0f} s); "
            f"by the p99 of each, on average, {faults.mean / calms.mean:.2f}"
        )

    return check


def _arrives(order: str, seen: str, obeys: Callable[[Answer], bool]) -> Judge:
    """Judge after how long each process obeys: the first answer of those that all obey."""

    def check(run: Run) -> tuple[bool, str]:
        start, after = run.marks[order], []
        for port in run.ports:
            sent = sorted(
                (answer.sent, obeys(answer))
                for answer in run.answers
                if answer.port == port and start <= answer.sent < run.marks[seen]
            )
            if not sent or not sent[-1][1]:
                return False, f"it never reached the process on port {port}"
            against = max((at for at, obeyed in sent if not obeyed), default=start)
            after.append(min(at for at, obeyed in sent if obeyed and at >= against) - start)
        figure = f"after {', '.join(f'{each * 1e3:.0f}' for each in sorted(after))} ms"
        return len(after) == 4 and max(after) <= _POLL_S, figure

    return check


def _known(run: Run) -> tuple[bool, str]:
    start = run.marks["off_known"]
    under = run.within(start, run.marks["off_end"])
    against = sum(answer.kind is not Kind.DEFAULT for answer in under)
    figure = f"{start - run.marks['off']:.1f} s after the order; {against} of {len(under):,} later"
    return not against and bool(under), figure


def _fleet_off(run: Run) -> tuple[bool, str]:
    under = run.within(run.marks["off"] + _POLL_S, run.marks["off_end"])
    kinds = Counter(answer.kind for answer in under)
    figure = f"{kinds[Kind.SNAPSHOT]} snapshots and {kinds[Kind.FULL]} rankings"
    return kinds[Kind.DEFAULT] == len(under) > 0, f"{figure} among {len(under):,}"


def _in_force(run: Run) -> tuple[bool, str]:
    under = run.within(run.marks["hand"] + _POLL_S, run.marks["hand_end"])
    viewed = sum(answer.viewed for answer in under)
    figure = f"{viewed} of {len(under):,} answers had analytics, over {len(run.wipes)} wipes"
    return not viewed and bool(under) and bool(run.wipes), figure


def _restored(run: Run) -> tuple[bool, str]:
    times = [None if wipe.restored is None else wipe.restored - wipe.empty for wipe in run.wipes]
    figure = ", ".join("never" if each is None else f"{each:.2f}" for each in times)
    ok = all(each is not None and each <= 5.0 for each in times)
    return ok and bool(times), f"after {figure} s"


def _snapshots(run: Run) -> tuple[bool, str]:
    start, end = run.marks["ranker_dead"], run.marks["ranker_back"]
    kinds = Counter(answer.kind for answer in run.answers if start <= answer.sent < end)
    total = sum(kinds[kind] for kind in DEGRADED)
    if not total:
        raise LookupError("degraded answers")
    share = kinds[Kind.SNAPSHOT] / total
    return share >= 0.5, f"{share:.0%} of {total:,} degraded answers"


def _cold(run: Run) -> tuple[bool, str]:
    up, end = run.marks["cold_up"], run.marks["cold_seen"]
    cold = [a for a in run.answers if a.port == run.cold_port and up <= a.sent < end]
    snapshots = [answer for answer in cold if answer.kind is Kind.SNAPSHOT]
    if not snapshots:
        return False, f"no snapshot among {len(cold)} answers"
    sources = [run.born[answer.nonce] for answer in snapshots if answer.nonce in run.born]
    others = sum(source.port != run.cold_port for source in sources)
    first, share = min(answer.done for answer in snapshots) - up, len(snapshots) / len(cold)
    return first <= 2.0 and share >= _COLD_SHARE and others > 0, (
        f"the first after {first:.2f} s, {share:.0%} of {len(cold)} answers in {end - up:.0f} s, "
        f"{others} made by other processes"
    )


def _not_sent_back(run: Run) -> tuple[bool, str]:
    back, wiped = run.marks["ranker_back"], run.marks["recovery_wiped"]
    last = sum(wiped <= wipe.killed for wipe in run.wipes)
    of_fleet = [
        each for each in run.events if (each.type, each.flag) == ("fleet_degraded", RANKING)
    ]
    verdicts = sum(event.at > back for event in of_fleet)
    figure = f"{verdicts} verdicts in {run.ended - back:.0f} s, over {last} wipe while it recovered"
    return not verdicts and last > 0, figure


def _fleet_steady(run: Run) -> tuple[bool, str]:
    took_s = run.marks["steady"] - run.marks["off_end"]
    return took_s <= 60.0, f"{took_s:.1f} s after the release"


_WELL: Final = "p99 in Redis faults at most 1.3 times that between them, the ranker well"
_DEAD: Final = "p99 in Redis faults at most 1.3 times that between them, the ranker dead"
RATIOS: Final = (_WELL, _DEAD)
"""The checks that need many seconds of load to say something."""
_BY_HAND: Final = _arrives("hand", "hand_seen", lambda answer: not answer.viewed)
_BY_COMMAND: Final = _arrives("off", "off_seen", lambda answer: answer.kind is Kind.DEFAULT)
_FOUR: Final = _load(100, processes=4, share=0.15)

FLEET_CHECKS: Final[Mapping[str, Judge]] = {
    "at least 100 requests a second from 500 readers to four processes": _FOUR,
    "no request failed": _no_failure,
    _WELL: _ratio(Ranker.WELL),
    _DEAD: _ratio(Ranker.DEAD),
    "a word of redis-cli reaches all four within one poll (1.2 s)": _BY_HAND,
    "an order of the command line reaches all four within one poll (1.2 s)": _BY_COMMAND,
    "when `--wait 99%` has returned, every answer obeys": _known,
    "under off nothing but the newest stories, also after a wipe": _fleet_off,
    "the hold by hand stays in force over every wipe": _in_force,
    "the holds are back in Redis within 5 s of each wipe": _restored,
    "while the ranker is dead, half of the answers are snapshots": _snapshots,
    "a process that starts cold then serves snapshots of the others": _cold,
    "every snapshot is a last good answer to the same reader": _genuine,
    "no snapshot from before the end of off is served later": _nothing_from_before,
    "headers agree with bodies on every answer": _headers,
    "the counters of the processes that lived through add up to the answers": _counted,
    "once the ranker is back, a wipe sends nobody back": _not_sent_back,
    "steady within 60 s of the release": _fleet_steady,
    "under four minutes": _short,
}
