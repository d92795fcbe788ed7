"""A limit of time for each test that is not slow, so that `make test` stays short.

Under CI, a test without the mark `slow` (or another that keeps it out of `make test`) fails when
it takes more than `time_limit` of pyproject.toml, fixtures included. The time in which the machine
kept any process waiting for a core does not count, so that a busy machine makes no test fail; the
kernel tells it in /proc/pressure/cpu. Processor time would be no better: on a busy machine the
same work takes up to three times as much of it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Generator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

__all__ = ("Stopwatch",)

_PRESSURE = Path("/proc/pressure/cpu")
_EXEMPT = ("slow", "faults", "types")


def _stalled_s() -> float:
    """Return for how long some process has waited for a core since the machine was started."""
    try:
        some = _PRESSURE.read_text("ascii").splitlines()[0]
    except OSError:
        return 0.0
    return int(some.rpartition("total=")[2]) / 1e6


@dataclass(frozen=True, slots=True)
class Stopwatch:
    """Measures from when it is made."""

    began: float = field(default_factory=time.monotonic)
    stalled_s: float = field(default_factory=_stalled_s)

    def took_s(self) -> float:
        """Return the time since then in which no process waited for a core."""
        return time.monotonic() - self.began - (_stalled_s() - self.stalled_s)


_STOPWATCH = pytest.StashKey[Stopwatch]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addini("time_limit", "seconds that a test may take under CI without the mark slow")


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    item.stash[_STOPWATCH] = Stopwatch()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Fail a test that has passed, but took too long."""
    report = yield
    limit = item.config.getini("time_limit")
    if not (limit and os.environ.get("CI") and report.when == "teardown" and report.passed):
        return report
    took_s = item.stash[_STOPWATCH].took_s()
    if took_s > float(limit) and not any(map(item.get_closest_marker, _EXEMPT)):
        report.outcome = "failed"
        report.longrepr = (
            f"{item.nodeid} took {took_s:.1f} s, and a test that is not marked slow may take "
            f"{limit} s: make it cheaper, or mark it with pytest.mark.slow, so that "
            "`make test-slow` runs it and `make test` does not"
        )
    return report
