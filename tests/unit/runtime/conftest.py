"""A runtime that does nothing by itself, and a registry of flags that forgets them after each test."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from degrade import Runtime
from degrade.clock import ManualClock
from degrade.control import Control
from degrade.runtime import flags, slot


@pytest.fixture(autouse=True)
def forget_flags() -> Iterator[None]:
    """Let every test declare what it likes: names of other tests are not taken."""
    before, runtime = dict(flags._registry.flags), slot.existing()
    flags._registry.flags.clear()
    yield
    flags._registry.flags.clear()
    flags._registry.flags.update(before)
    if slot.existing() is not runtime:
        slot.swap(runtime)


@pytest.fixture
def runtime(clock: ManualClock, forget_flags: None) -> Iterator[Runtime]:
    """The runtime of the process, moved by `runtime.tick()` alone."""
    with Runtime(clock=clock, threads="manual", rng=random.Random(7)) as runtime:
        yield runtime


@pytest.fixture
def control(runtime: Runtime, clock: ManualClock) -> Control:
    """The operator of that runtime's store."""
    return Control(runtime.store, actor="ana", clock=clock)
