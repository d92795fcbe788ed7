"""What must hold whatever happens to Redis, checked after every fault.

    - no exception of ours reaches a caller, no thread of ours dies, nothing is printed
    - a call takes as long as without a fault: p99 at most 1.5 times that of the calm phases of the
      same run, and no call as long as a timeout of Redis
    - at most two connections a process
    - at most ten lines a minute in the log of a process

A process without the library runs beside the others. Where it was slowed down itself, the machine
was busy, and the limits grow by as much.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ("Kept", "answers", "check", "most_in_a_minute", "quantile")

RATIO = 1.5
REDIS_TIMEOUT_S = 0.3
LINES_A_MINUTE = 10
_MINUTE_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """The figures behind the standing promises.

    Attributes:
        ratio: p99 of guarded calls, faulty to calm phases.
        machine: The same of the process without the library.
        calm_s, fault_s: Those p99.
        added_s: p99 of what guarded calls took beyond the bare ones beside them, under faults.
        worst_s: The longest guarded call of all phases.
        sockets, threads, lines: The most of a process (lines of a minute).
        lag_s: The most by which an event loop was late under faults, and without.
        calls: Guarded calls under faults.
    """

    ratio: float
    machine: float
    calm_s: float
    fault_s: float
    added_s: float
    worst_s: float
    worst_without_s: float
    sockets: int
    threads: int
    lines: int
    lag_s: float
    calm_lag_s: float
    calls: int


def check(
    reports: Sequence[dict[str, Any]],
    *,
    calm: Sequence[str] = ("calm",),
    fault: Sequence[str] = ("fault",),
    sockets: int = 2,
    timeout_s: float = REDIS_TIMEOUT_S,
    ratio: float = RATIO,
) -> Kept:
    """Compare what was recorded with every standing promise, and return the figures.

    Args:
        reports: From `Application.reports()`, the control's among them.
        calm: Names of the phases without a fault.
        fault: Names of those with one.
        sockets: The most that one process may hold.
        timeout_s: The shortest timeout of Redis.
        ratio: The most by which calls may be slower.
    """
    ours = [report for report in reports if report["kind"] != "control"]
    alone = [report for report in reports if report["kind"] == "control"]
    for report in ours:
        assert not report["errors"], f"reached a caller: {report['errors'][0]}"
        assert not report["thread_errors"], report["thread_errors"]
        assert not report["stderr"], report["stderr"]
    everything = [name for name in _names(ours) if name != "warm"]
    calm_s, fault_s = (quantile(_all(ours, phases, "guarded"), 0.99) for phases in (calm, fault))
    machine = 1.0
    worst_without_s = 0.0
    if alone:
        machine = max(1.0, _p99(alone, fault) / _p99(alone, calm))
        worst_without_s = max(_all(alone, everything, "guarded"), default=0.0)
    added = [
        guarded - bare
        for guarded, bare in zip(
            _all(ours, fault, "guarded"), _all(ours, fault, "bare"), strict=False
        )
    ]
    kept = Kept(
        ratio=fault_s / calm_s,
        machine=machine,
        calm_s=calm_s,
        fault_s=fault_s,
        added_s=quantile(added, 0.99),
        worst_s=max(_all(ours, everything, "guarded")),
        worst_without_s=worst_without_s,
        sockets=int(max(_most(report, "sockets") for report in ours)),
        threads=int(max(_most(report, "threads") for report in ours)),
        lines=max(most_in_a_minute(report["log"]) for report in ours),
        lag_s=max(_all(ours, fault, "lag"), default=0.0),
        calm_lag_s=max(_all(ours, calm, "lag"), default=0.0),
        calls=len(added),
    )
    assert kept.ratio <= ratio * machine, f"calls became slower: {kept}"
    assert kept.worst_s < timeout_s + worst_without_s, f"a call waited: {kept}"
    assert kept.sockets <= sockets, f"too many connections: {kept}"
    assert kept.lines <= LINES_A_MINUTE, [report["log"] for report in ours]
    return kept


def answers(reports: Sequence[dict[str, Any]], phases: Sequence[str], flag: str) -> Counter[str]:
    """Return how often a flag was answered how in some phases, over all processes."""
    found: Counter[str] = Counter()
    for report in reports:
        for phase in phases:
            for name, count in report["phases"].get(phase, {}).get("classes", {}).items():
                of, _, answer = name.rpartition("=")
                if of == flag:
                    found[answer] += count
    return found


def quantile(values: Sequence[float], share: float) -> float:
    """Return the smallest value that at least this share of the values does not exceed."""
    if not values:
        raise AssertionError("nothing was measured")
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


def most_in_a_minute(lines: Sequence[Sequence[Any]]) -> int:
    """Return how many lines came within the worst minute."""
    times = sorted(float(line[0]) for line in lines)
    most, first = 0, 0
    for last, at in enumerate(times):
        while at - times[first] > _MINUTE_S:
            first += 1
        most = max(most, last - first + 1)
    return most


def _all(reports: Sequence[dict[str, Any]], phases: Sequence[str], what: str) -> list[float]:
    return [
        value
        for report in reports
        for phase in phases
        for value in report["phases"].get(phase, {}).get(what, [])
    ]


def _p99(reports: Sequence[dict[str, Any]], phases: Sequence[str]) -> float:
    return quantile(_all(reports, phases, "guarded"), 0.99)


def _names(reports: Sequence[dict[str, Any]]) -> list[str]:
    return sorted({name for report in reports for name in report["phases"]})


def _most(report: dict[str, Any], what: str) -> float:
    return max((phase["most"].get(what, 0.0) for phase in report["phases"].values()), default=0.0)
