"""What every test starts from: a manual clock, and Hypothesis without deadlines of wall time."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from degrade import context
from degrade.clock import ManualClock
from degrade.runtime import current_runtime
from degrade.runtime.calls.registry import registry

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # so a shell leaves it that starts the tests in the background, and the programs that the
    # tests start and interrupt would inherit that
    signal.signal(signal.SIGINT, signal.default_int_handler)

pytest_plugins = ["tests.servers.fixtures", "tests.time_limit"]

_COMMON = settings(
    deadline=None,  # a loaded machine is no defect
    suppress_health_check=[HealthCheck.too_slow],
    print_blob=True,
)
settings.register_profile("default", _COMMON)
settings.register_profile("thorough", _COMMON, max_examples=2_000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))


@pytest.fixture
def clock() -> ManualClock:
    """A clock that moves only when the test says so."""
    return ManualClock()


@pytest.fixture(autouse=True)
def forget_subjects() -> Iterator[None]:
    """Let no test depend on whether another one has opened a request with a subject."""
    before, context.OUTSIDE.who = context.OUTSIDE.who, None
    yield
    context.OUTSIDE.who = before


@pytest.fixture
def forget_flags() -> Iterator[None]:
    """Forget the flags that a test declares, and its runtime: names of other tests are not taken."""
    before, runtime = dict(registry.flags), current_runtime.existing()
    registry.flags.clear()
    yield
    registry.flags.clear()
    registry.flags.update(before)
    if current_runtime.existing() is not runtime:
        current_runtime.swap(runtime)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Refuse names that differ from process to process, and let the longest tests begin first.

    Parallel runs need the same names in all processes. A long test that comes last would run
    alone, while the other processes have nothing left to do. The tests with the longest timeouts
    are taken for the longest.
    """
    changing = [item.nodeid for item in items if " at 0x" in item.nodeid]
    if changing:
        raise pytest.UsageError("give these parameters ids of their own: " + ", ".join(changing))
    items.sort(key=_timeout_s, reverse=True)


def _timeout_s(item: pytest.Item) -> float:
    mark = item.get_closest_marker("timeout")
    return float(mark.args[0]) if mark else 0.0
