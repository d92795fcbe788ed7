"""What must hold whatever happens to Redis, checked after every fault.

    - no exception of ours reaches a caller, no thread of ours dies, nothing is printed
    - a call takes as long as without a fault: p99 at most 1.5 times that of the calm phases of the
      same run, and no call as long as a timeout of Redis
    - a process uses no more of the processor than without a fault
    - at most two connections a process
    - at most ten lines a minute in the log of a process, of whatever kind

The machine is shared with whatever else runs, so a process without the library shows, in the same
phases of the same run, what it does meanwhile. When the calls of that one are slower under the
fault than guarded ones were without it, the machine is, and they are what is compared with. The
bare calls between guarded ones are no measure: a thread of ours that is in the way slows them, too.
Noise comes in bursts, so a p99 is the median of those of blocks of a hundred calls: two calls of
each hundred that wait show in it. Of fewer than three blocks nothing is said: one burst would be
all of them.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ("Kept", "answers", "check", "guarded", "late_without_s", "most_in_a_minute", "quantile")

RATIO = 1.5
REDIS_TIMEOUT_S = 0.3
LINES_A_MINUTE = 10
MORE_CPU = 0.02
_MINUTE_S = 60.0
_BLOCK = 100
_LEAST_BLOCKS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """The figures behind the standing promises.

    Attributes:
        ratio: p99 of guarded calls under faults to what was expected (see the module).
        expected_s: p99 of calls that no fault of ours can slow: the greater of that of guarded
            calls in calm phases, and of those of a process without the library under faults.
        calm_s, fault_s: p99 of guarded calls that ran the function.
        degraded_s: p99 of those that the ladder answered, under faults; 0 without any.
        calm_cpu, fault_cpu: Share of a core that a process uses.
        worst_s, worst_without_s: The longest call of all phases, and that without the library.
        sockets, threads, lines: The most of a process (lines of a minute).
        lines_limit: How many lines there may be.
        lag_s: p99 of how late event loops were under faults.
        worst_lag_s: The most of it.
        lag_without_s: p99 of it without the library.
        calls: Guarded calls under faults.
    """

    ratio: float
    expected_s: float
    calm_s: float
    fault_s: float
    degraded_s: float
    calm_cpu: float
    fault_cpu: float
    worst_s: float
    worst_without_s: float
    sockets: int
    threads: int
    lines: int
    lines_limit: int
    lag_s: float
    worst_lag_s: float
    lag_without_s: float
    calls: int


def check(
    reports: Sequence[dict[str, Any]],
    *,
    calm: Sequence[str] = ("calm",),
    fault: Sequence[str] = ("fault",),
    sockets: int = 2,
    timeout_s: float = REDIS_TIMEOUT_S,
    ratio: float = RATIO,
    changes: int = 0,
) -> Kept:
    """Compare what was recorded with every standing promise, and return the figures.

    Args:
        reports: From `Application.reports()`, the control's among them.
        calm: Names of the phases without a fault.
        fault: Names of those with one.
        sockets: The most that one process may hold.
        timeout_s: The shortest timeout of Redis.
        ratio: The most by which calls may be slower.
        changes: How often flags of a process change their phase in a minute of this test, beyond
            what ten lines can tell; each change has a line.
    """
    ours = guarded(reports)
    alone = [report for report in reports if report["control"]]
    for report in ours:
        assert not report["errors"], f"reached a caller: {report['errors'][0]}"
        assert not report["thread_errors"], report["thread_errors"]
        assert not report["stderr"], report["stderr"]
    everything = [name for name in _names(ours) if name != "warm"]
    for phases in (calm, fault):
        assert len(_blocks(ours, phases)) >= _LEAST_BLOCKS, f"too few calls in {phases} to judge"
    calm_s, fault_s = _p99(ours, calm), _p99(ours, fault)
    expected_s = calm_s
    worst_without_s = 0.0
    if alone:
        expected_s = max(expected_s, _p99(alone, fault))
        worst_without_s = max(_all(alone, everything, "guarded"), default=0.0)
    kept = Kept(
        ratio=fault_s / expected_s,
        expected_s=expected_s,
        calm_s=calm_s,
        fault_s=fault_s,
        degraded_s=_p99(ours, fault, "degraded") if _all(ours, fault, "degraded") else 0.0,
        calm_cpu=max(_cpu(report, calm) for report in ours),
        fault_cpu=max(_cpu(report, fault) for report in ours),
        worst_s=max(_all(ours, everything, "guarded") + _all(ours, everything, "degraded")),
        worst_without_s=worst_without_s,
        sockets=int(max(_most(report, "sockets") for report in ours)),
        threads=int(max(_most(report, "threads") for report in ours)),
        lines=max(most_in_a_minute(report["log"]) for report in ours),
        lines_limit=LINES_A_MINUTE + changes,
        lag_s=quantile(_all(ours, fault, "lag") or [0.0], 0.99),
        worst_lag_s=max(_all(ours, fault, "lag"), default=0.0),
        lag_without_s=quantile(_all(alone, fault, "lag") or [0.0], 0.99),
        calls=len(_all(ours, fault, "bare")),
    )
    assert kept.ratio <= ratio, f"calls became slower: {kept}"
    assert kept.fault_cpu <= ratio * kept.calm_cpu + MORE_CPU, f"busier than without: {kept}"
    assert kept.degraded_s <= ratio * expected_s, f"degraded calls are slower: {kept}"
    assert kept.worst_s < timeout_s + worst_without_s, f"a call waited: {kept}"
    assert kept.sockets <= sockets, f"too many connections: {kept}"
    assert kept.lines <= kept.lines_limit, [report["log"] for report in ours]
    return kept


def guarded(reports: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the reports of the processes that use the library."""
    return [report for report in reports if not report["control"]]


def answers(reports: Sequence[dict[str, Any]], phases: Sequence[str], flag: str) -> Counter[str]:
    """Return how often a flag was answered how in some phases, over all processes."""
    found: Counter[str] = Counter()
    for report in guarded(reports):
        for phase in phases:
            for name, count in report["phases"].get(phase, {}).get("classes", {}).items():
                of, _, answer = name.rpartition("=")
                if of == flag:
                    found[answer] += count
    return found


def late_without_s(reports: Sequence[dict[str, Any]], phases: Sequence[str]) -> float:
    """Return how late a thread was at most in the process without the library, seconds."""
    (alone,) = (report for report in reports if report["control"])
    return max(alone["phases"][phase]["most"].get("behind_s", 0.0) for phase in phases)


def quantile(values: Sequence[float], share: float) -> float:
    """Return the smallest value that at least this share of the values does not exceed."""
    if not values:
        raise AssertionError("nothing was measured")
    return sorted(values)[max(0, math.ceil(len(values) * share - 1e-9) - 1)]


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


def _cpu(report: dict[str, Any], phases: Sequence[str]) -> float:
    """Return the share of a core that a process used in some phases."""
    found = [report["phases"][phase] for phase in phases if phase in report["phases"]]
    seconds: float = sum(phase["seconds"] for phase in found)
    return sum(phase["cpu_s"] for phase in found) / seconds if seconds else 0.0


def _p99(reports: Sequence[dict[str, Any]], phases: Sequence[str], what: str = "guarded") -> float:
    """Return the median of the p99 of blocks; without a whole one, the p99 of all calls."""
    blocks = _blocks(reports, phases, what) or [_all(reports, phases, what)]
    return quantile([quantile(block, 0.99) for block in blocks], 0.5)


def _blocks(
    reports: Sequence[dict[str, Any]], phases: Sequence[str], what: str = "guarded"
) -> list[list[float]]:
    """Return blocks of a hundred calls, each of one process and phase."""
    each = [report["phases"].get(phase, {}).get(what, []) for report in reports for phase in phases]
    return [
        calls[at : at + _BLOCK]
        for calls in each
        for at in range(0, len(calls) - _BLOCK + 1, _BLOCK)
    ]


def _names(reports: Sequence[dict[str, Any]]) -> list[str]:
    return sorted({name for report in reports for name in report["phases"]})


def _most(report: dict[str, Any], what: str) -> float:
    return max((phase["most"].get(what, 0.0) for phase in report["phases"].values()), default=0.0)
