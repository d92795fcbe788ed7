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


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.when == "call":
        item.stash[PASSED] = report.passed
    return report
