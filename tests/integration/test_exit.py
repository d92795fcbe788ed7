"""The end of an interpreter: within a second, silent, and with the exit code of the program."""

from __future__ import annotations

import signal
import sqlite3
import time
from pathlib import Path

import pytest

from tests.integration.children import run, start

pytestmark = [pytest.mark.real]

SOON_S = 1.0
SLACK_S = 0.7
"""What the end of an interpreter may take on a busy machine, beside what is ours."""

FEED = """
@degradable("feed", sla=SLA(errors="5%"), fallback=[snapshot(max_age="1h"), default(["stale"])])
def feed() -> list[str]:
    return ["fresh"]

for _ in range(10):
    feed()
"""

TRIP = """
def fails() -> list[str]:
    raise OSError("down")

sick = degradable("sick", sla=SLA(errors="5%"), fallback=[default(0)])(fails)
for _ in range(20):
    sick()
until(lambda: figures("sick").phase == "degraded")
"""

TRIPPED = FEED + TRIP

BLOCKED = """
from degrade.stores.memory import MemoryStore

class Frozen(MemoryStore):
    shared = True
    frozen = False

    def _check(self):
        while self.frozen:
            time.sleep(0.05)

store = Frozen()
runtime = Runtime(store).__enter__()
""" + (
    FEED
    + """
until(lambda: runtime.orders.known)
store.frozen = True
"""
)

BROKEN = (
    """
from degrade.stores.memory import MemoryStore

class Broken(MemoryStore):
    shared = True

    def _check(self):
        raise RuntimeError("a bug of the store")

runtime = Runtime(Broken()).__enter__()
"""
    + FEED
)

HUNG = (
    FEED
    + """
def hangs() -> None:
    threading.Event().wait()

slow = degradable("slow", fallback=[omit()])(hangs)
threading.Thread(target=slow, daemon=True).start()
"""
)

BUSY = (
    FEED
    + """
def busily() -> None:
    while True:
        feed()

for _ in range(3):
    threading.Thread(target=busily, daemon=True).start()
time.sleep(0.5)
"""
)

AT_EXIT = """
import atexit

@degradable("feed", fallback=[default("stale")])
def feed() -> str:
    return "fresh"

atexit.register(lambda: [feed() for _ in range(3)])
"""

END = """
tell(over=time.monotonic())
"""


@pytest.mark.parametrize(
    "program",
    [FEED, TRIPPED, BLOCKED, BROKEN, HUNG, BUSY, AT_EXIT, "degrade.Flag('feed')\n"],
    ids=["calls", "tripped", "store frozen", "store broken", "hung call", "busy threads",
         "first call at exit", "never called"],
)  # fmt: skip
def test_a_program_ends_within_a_second_and_says_nothing(program: str, tmp_path: Path):
    done = run(program + END, tmp_path)
    assert done.code == 0, done.stderr
    assert done.stderr == ""
    assert done.ended_at - done.all["over"] < SOON_S + SLACK_S


@pytest.mark.parametrize(
    ("end", "code"),
    [("sys.exit(3)", 3), ("raise SystemExit('bye')", 1), ("raise KeyError('mine')", 1),
     ("os.kill(os.getpid(), signal.SIGTERM); time.sleep(30)", -signal.SIGTERM)],
)  # fmt: skip
def test_the_exit_code_is_the_programs_own(end: str, code: int, tmp_path: Path):
    done = run(TRIPPED + END + end, tmp_path)
    assert done.code == code
    assert done.ended_at - done.all["over"] < SOON_S + SLACK_S
    assert "degrade" not in done.stderr


def test_control_c_ends_a_program_that_waits_in_a_guarded_call(tmp_path: Path):
    program = """
    @degradable("slow", fallback=[default("never")])
    def slow() -> str:
        tell(waiting=True)
        time.sleep(30)
        return "late"

    slow()
    """
    child = start(program, tmp_path)
    try:
        assert child.stdout is not None
        child.stdout.readline()
        child.send_signal(signal.SIGINT)
        at = time.monotonic()
        _, stderr = child.communicate(timeout=10)
    finally:
        child.kill()
        child.wait()
    assert time.monotonic() - at < SOON_S + SLACK_S
    assert child.returncode == -signal.SIGINT
    assert stderr.strip().endswith("KeyboardInterrupt")


UNWRITTEN = (
    TRIP
    + """
until(lambda: current()._io_worker._backlog.failed)
"""
)


@pytest.mark.parametrize("left", ["", UNWRITTEN], ids=["nothing left", "an event left"])
def test_a_locked_database_does_not_delay_the_end(tmp_path: Path, left: str):
    program = FEED + """
until(lambda: current().orders.known)
tell(ready=True)
until(lambda: os.path.exists("locked"))
""" + left + END  # fmt: skip
    path = tmp_path / "state.db"
    child = start(program, tmp_path, DEGRADE_STORE=f"sqlite:///{path}")
    locker = None
    try:
        assert child.stdout is not None
        child.stdout.readline()
        locker = sqlite3.connect(path, isolation_level=None, timeout=10)
        locker.execute("BEGIN EXCLUSIVE")
        (tmp_path / "locked").touch()
        stdout, stderr = child.communicate(timeout=20)
        ended = time.monotonic()
    finally:
        child.kill()
        child.wait()
        if locker is not None:
            locker.close()
    over = float(stdout.split(":")[1].strip(" }\n"))
    assert child.returncode == 0
    assert stderr == ""
    assert ended - over < SOON_S + SLACK_S


def test_what_was_queued_is_delivered_before_the_end(tmp_path: Path):
    """A transition of the last moment is in the log of a store that outlives the process."""
    path = tmp_path / "state.db"
    done = run(TRIPPED + END, tmp_path, DEGRADE_STORE=f"sqlite:///{path}")
    assert done.code == 0, done.stderr
    check = run(
        """
        from degrade.settings import open_store
        store = open_store(sys.argv[1])
        tell(types=[(e.flag, e.type) for e in store.events()], instances=len(store.instances()))
        store.close()
        """,
        tmp_path,
        f"sqlite:///{path}",
    )
    assert check.all == {"types": [["sick", "transition"]], "instances": 0}, check.stderr


INSTANCES = """
from degrade.settings import open_store
store = open_store(sys.argv[1])
tell(instances=[(item.id, sorted(item.flags)) for item in store.instances()])
store.close()
"""

LATE = """
import atexit
atexit.register(lambda: [(time.sleep(0.6), feed()) for _ in range(3)])
"""


@pytest.mark.parametrize("late", ["", LATE], ids=["at once", "with calls at exit"])
@pytest.mark.parametrize("threads", ["background", "inline"])
def test_a_process_that_ended_is_no_instance_any_more(threads: str, late: str, tmp_path: Path):
    store = f"sqlite:///{tmp_path}/state.db"
    program = (
        late + FEED + INSTANCES.replace("tell", "until(lambda: feed() and store.instances())\ntell")
    )
    done = run(program + END, tmp_path, store, DEGRADE_STORE=store, DEGRADE_THREADS=threads)
    assert (done.code, done.stderr) == (0, "")
    assert [flags for _, flags in done.all["instances"]] == [["feed"]]
    assert run(INSTANCES, tmp_path, store).all == {"instances": []}
