"""A runtime that does nothing by itself, and a registry of flags that forgets them after each test."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from degrade import Runtime
from degrade.clock import ManualClock
from degrade.control import Control


@pytest.fixture(autouse=True)
def in_every_test(forget_flags: None) -> None:
    """Let every test declare what it likes."""


@pytest.fixture
def runtime(clock: ManualClock, forget_flags: None) -> Iterator[Runtime]:
    """The runtime of the process, moved by `runtime.tick()` alone."""
    with Runtime(clock=clock, threads="manual", rng=random.Random(7)) as runtime:
        yield runtime


@pytest.fixture
def control(runtime: Runtime, clock: ManualClock) -> Control:
    """The operator of that runtime's store."""
    return Control(runtime.store, actor="ana", clock=clock)
