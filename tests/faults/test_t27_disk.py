"""T27 disk: writers of the state file are killed, its disk is full or read-only, its format is newer."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from tests.faults.figures import Figures
from tests.integration.children import PREAMBLE, environment, run

KILLED = """
import random
from pathlib import Path
from degrade.core.records import ControlState
from degrade.errors import StoreError
from degrade.stores.private_file import PrivateFile
from degrade.stores.state_file import Saved, SavedState
from degrade.testing.store_records import hold

file = SavedState("default", "redis://server", directory=Path.cwd())
raw = PrivateFile("the saved state", file.path.name, directory=Path.cwd())
rng = random.Random(7)

def state(name, size):
    holds = {f"flag-{index}": hold() for index in range(size)}
    return Saved(at=1.0, state=ControlState(incarnation=name, epoch=1, now=1.0, holds=holds))

def body(number):
    file.write(state(f"body-{number}", 10 * number), watched=())
    return file.path.read_bytes()

bodies = [body(number) for number in range(20)]

def slowly():
    for number in range(10**9):
        file.write(state(f"slow-{number}", number % 100), watched=())

def quickly():
    for number in range(10**9):
        raw.replace(bodies[number % 20], sync=False)

def writer(work):
    child = os.fork()
    if child == 0:
        try:
            work()
        finally:
            os._exit(1)
    return child

other = writer(slowly)
torn, seen = [], set()
for _ in range(200):
    victim = writer(quickly)
    time.sleep(rng.uniform(0.001, 0.006))
    os.kill(victim, signal.SIGKILL)
    os.waitpid(victim, 0)
    try:
        seen.add(file.read().state.incarnation)
    except StoreError as error:
        torn.append(str(error))
os.kill(other, signal.SIGKILL)
tell(torn=torn, seen=len(seen), left=len(list(Path.cwd().glob(".default*"))))
"""


@pytest.mark.real
def test_no_reader_sees_a_torn_file_however_often_writers_are_killed(
    tmp_path: Path, figures: Figures
):
    done = run(KILLED, tmp_path)
    assert done.code == 0, done.stderr
    assert done.all["torn"] == []
    assert done.all["seen"] > 10, "the file changed all the time"
    assert done.all["left"] > 10, "many were killed while writing"
    figures.about("T27 disk", "Processes that write the state file are killed 200 times")
    figures.note("torn files", len(done.all["torn"]), "0")
    figures.note("writers killed in the middle of a file", done.all["left"])


DISK = """
import logging, subprocess
from pathlib import Path
from degrade.clock import ManualClock
from degrade.runtime.fleet.state_persistence import SAVE_S
from degrade.stores.memory import MemoryStore
from degrade.stores.state_file import SavedState

disk = Path.cwd() / "disk"
disk.mkdir()

def mount(*options):
    subprocess.run(["mount", *options, "-t", "tmpfs", "none", str(disk)], check=True)

class Lines(logging.Handler):
    def emit(self, record):
        lines.append(record.getMessage())

lines = []
logging.getLogger("degrade").addHandler(Lines())
mount("-o", "size=16k")
clock = ManualClock()
store = MemoryStore(clock=clock)
file = SavedState("default", "redis://server", directory=disk / "state")
runtime = Runtime(store, clock=clock, threads="manual", saved=file).__enter__()
control = Control(store, actor="ana", clock=clock)
feed = degradable("feed")(lambda: "fresh")
answers = set()

def minute(why):
    before, mark = file.read(), len(lines)
    for number in range(20):
        control.hold("feed", "observe", for_=None, reason=f"{why} {number}")
        clock.advance(SAVE_S)
        runtime.tick()
        answers.add(feed())
    after = file.read()
    told = [line for line in lines[mark:] if "state_file" in line]
    kept = after.state.holds["feed"].reason if "feed" in after.state.holds else ""
    tell(**{why: {"kept": kept, "same": before == after, "lines": len(told)}})

runtime.tick()
minute("sound")
filler = disk / "filler"
with filler.open("wb", buffering=0) as filled:
    try:
        while True:
            filled.write(b"x" * 1024)
    except OSError as error:
        tell(filled=error.strerror)
minute("full")
mount("-o", "remount,ro")
minute("readonly")
mount("-o", "remount,rw")
filler.unlink()
clock.advance(60)
minute("again")
tell(answers=sorted(answers), left=[path.name for path in file.path.parent.iterdir()],
     troubles=runtime.internal_errors.counts["state_file"], name=file.path.name)
"""


@pytest.mark.faults
def test_a_full_or_read_only_disk_costs_a_log_line_a_minute(tmp_path: Path, figures: Figures):
    done = subprocess.run(
        ["unshare", "--map-root-user", "--mount", sys.executable, "-c",
         PREAMBLE + textwrap.dedent(DISK)],
        check=False, capture_output=True, text=True, cwd=tmp_path, timeout=50,
        env=environment(tmp_path),
    )  # fmt: skip
    assert done.returncode == 0, f"are mount namespaces allowed here? {done.stderr}"
    told = {
        key: value for line in done.stdout.splitlines() for key, value in json.loads(line).items()
    }
    assert told["filled"] == "No space left on device"
    assert told["sound"] == {"kept": "sound 19", "same": False, "lines": 0}
    assert told["full"] == {"kept": "sound 19", "same": True, "lines": 1}
    assert told["readonly"] == {"kept": "sound 19", "same": True, "lines": 1}
    assert told["again"] == {"kept": "again 19", "same": False, "lines": 0}
    assert told["answers"] == ["fresh"]
    assert told["left"] == [told["name"]], "nothing half written stays"
    figures.about("T27 disk full", "The disk of the state file is full, then read-only")
    figures.note("calls that noticed", 0, "0")
    figures.note("log lines in a minute", told["full"]["lines"], "1")
