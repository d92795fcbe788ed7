"""Real processes and the state file: started while the store is away, and ended just after a change."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from degrade.core.enums import HoldMode
from degrade.core.records import ControlState, Hold
from degrade.stores.state_file import Saved, SavedState
from tests.integration.children import run

pytestmark = [pytest.mark.real]

SLACK_S = 0.7
"""What the end of an interpreter may take on a busy machine, beside what is ours."""

DEAD = """
from pathlib import Path
from degrade.errors import StoreError
from degrade.stores.memory import MemoryStore
from degrade.stores.state_file import SavedState

kind, = sys.argv[1:]

class Away(MemoryStore):
    shared = kind != "memory"

    def _check(self):
        if kind == "refused":
            raise StoreError("nobody listens there")
        while kind == "frozen":
            time.sleep(0.05)

@degradable("feed", fallback=[default("stale")])
def feed() -> str:
    return "fresh"

saved = None if kind == "memory" else SavedState("default", "redis://server", directory=Path.cwd())
runtime = Runtime(Away(), saved=saved).__enter__()
begun = time.perf_counter()
first = feed()
took = time.perf_counter() - begun
tell(first=first, took=took, age=runtime.state_age_s(), over=time.monotonic())
"""


def kept(home: Path) -> None:
    """Leave what a process left that ended a minute ago."""
    now = time.time()
    hold = Hold(mode=HoldMode.OFF, actor="ana", reason="bad model", at=now - 70, epoch=4)
    state = ControlState(incarnation="life", epoch=4, now=now - 60, holds={"feed": hold})
    SavedState("default", "redis://server", directory=home).write(
        Saved(at=now - 60, state=state), watched=()
    )


def started(kind: str, home: Path) -> dict[str, Any]:
    done = run(DEAD, home, kind)
    assert done.code == 0, done.stderr
    assert done.stderr == ""
    assert done.ended_at - done.all["over"] < 1.0 + SLACK_S
    return done.all


@pytest.mark.parametrize("kind", ["refused", "frozen"])
def test_the_first_call_of_a_process_obeys_the_file_while_the_store_is_away(
    kind: str, tmp_path: Path
):
    kept(tmp_path)
    told = started(kind, tmp_path)
    assert told["first"] == "stale"
    assert 60 <= told["age"] < 100


@pytest.mark.parametrize("kind", ["refused", "frozen"])
def test_a_store_that_is_away_delays_the_first_call_by_at_most_50_ms(kind: str, tmp_path: Path):
    kept(tmp_path)
    alone = min(started("memory", tmp_path)["took"] for _ in range(3))
    away = min(started(kind, tmp_path)["took"] for _ in range(3))
    assert away - alone < 0.05


LAST = """
from pathlib import Path
from degrade.stores.memory import MemoryStore
from degrade.stores.state_file import SavedState

store = MemoryStore()
file = SavedState("default", "redis://server", directory=Path.cwd())
runtime = Runtime(store, saved=file).__enter__()
feed = degrade.Flag("feed")
runtime.wait_ready("20s")
until(lambda: file.read() is not None)
Control(store, actor="ana").hold("feed", "off", for_=None, reason="bad model")
tell(held=list(file.read().state.holds))
"""


def test_what_changed_just_before_the_end_of_a_process_is_saved(tmp_path: Path):
    done = run(LAST, tmp_path)
    assert done.code == 0, done.stderr
    assert done.all["held"] == [], "the process ended before it was time to save"
    saved = SavedState("default", "redis://server", directory=tmp_path).read()
    assert saved is not None
    assert set(saved.state.holds) == {"feed"}


READY = """
from degrade.errors import StoreError
from degrade.stores.memory import MemoryStore

class Frozen(MemoryStore):
    shared = True
    frozen = True

    def _check(self):
        while self.frozen:
            time.sleep(0.005)

store = Frozen()
runtime = Runtime(store).__enter__()
begun = time.monotonic()
answers = [runtime.wait_ready("50ms")]
took = time.monotonic() - begun
threading.Timer(0.1, lambda: setattr(store, "frozen", False)).start()
answers.append(runtime.wait_ready("20s"))
tell(answers=answers, took=took, known=runtime.orders.known, all=time.monotonic() - begun)
"""


def test_waiting_ends_when_the_store_was_read_or_the_time_is_over(tmp_path: Path):
    done = run(READY, tmp_path)
    assert done.code == 0, done.stderr
    assert done.all["answers"] == [False, True]
    assert 0.05 <= done.all["took"] < 1.0
    assert done.all["all"] < 10.0
