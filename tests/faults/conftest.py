"""What the tests under faults share: an application, and a place for what they measure."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Iterator

import pytest

from tests.faults.application import Application
from tests.faults.figures import Figures


@pytest.fixture
def application() -> Iterator[Callable[..., Application]]:
    """Start an application by calling it; it ends with the test."""
    with contextlib.ExitStack() as stack:
        yield lambda *args, **options: stack.enter_context(Application(*args, **options))


@pytest.fixture
def figures(request: pytest.FixtureRequest) -> Iterator[Figures]:
    """A place for what the test measures; kept when it passes."""
    measured = Figures()
    yield measured
    if request.node.stash.get(PASSED, False):
        measured.write()


PASSED = pytest.StashKey[bool]()
QUICK = {"test_t03_cold_start", "test_t26_hostile_snapshot", "test_t27_disk"}


def pytest_itemcollected(item: pytest.Item) -> None:
    """Mark the tests of this folder as slow, but for those of a few files."""
    if item.path.stem not in QUICK:
        item.add_marker("slow")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.when == "call":
        item.stash[PASSED] = report.passed
    return report
