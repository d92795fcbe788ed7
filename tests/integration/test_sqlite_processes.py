"""One SQLite store, several real processes: who changes, who sees it, and who is killed."""

from __future__ import annotations

import json
import subprocess
import sys
import time

import pytest

from degrade.stores.sqlite import SQLiteStore
from degrade.stores.state_changes import broken_links
from degrade.testing.store_records import change, hold, standing

pytestmark = [pytest.mark.real]

SEEN_WITHIN_S = 0.25
PATIENCE_S = 20.0

WATCHER = """
import json, sys, threading, time
from degrade.stores.sqlite import SQLiteStore
store = SQLiteStore(sys.argv[1])
pause = threading.Event()
print(json.dumps({"epoch": store.read().epoch}), flush=True)
while True:
    if store.changed():
        state = store.read()
        print(json.dumps({"epoch": state.epoch, "at": time.monotonic(),
                          "holds": {name: hold.mode for name, hold in state.holds.items()}}),
              flush=True)
        if "stop" in state.holds:
            break
    pause.wait(0.1)
store.close()
"""

WRITER = """
import sys
from degrade.stores.sqlite import SQLiteStore
from degrade.testing.store_records import change, draft, hold, report
store = SQLiteStore(sys.argv[1], busy="20s")
for number in range(int(sys.argv[3])):
    store.change(change("hold", {f"{sys.argv[2]}.{number}": hold()}))
    store.append([draft()])
    store.report(report(sys.argv[2]))
    print(number, flush=True)
store.close()
"""

FORKER = """
import json, os, sys
from degrade.stores.sqlite import SQLiteStore
from degrade.testing.store_records import change, hold, standing
store = SQLiteStore(sys.argv[1])
store.change(change(parent=hold()))
read, write = os.pipe()
go, start = os.pipe()
child = os.fork()
if child == 0:
    os.close(start)
    first = standing(store.read())
    os.read(go, 1)  # until the parent has closed its connection and opened another
    store.change(change(child=hold()))
    os.write(write, json.dumps([first, standing(store.read())]).encode())
    store.close()
    os._exit(0)
os.close(write)
store.change(change(after=hold("off")))
store.close()
again = SQLiteStore(sys.argv[1])
again.change(change(again=hold()))
os.write(start, b"x")
answer = b""
while chunk := os.read(read, 65536):
    answer += chunk
os.waitpid(child, 0)
again.close()
print(answer.decode())
"""


def start(code: str, *words: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: subprocess.Popen[str]) -> str:
    out, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0, err
    return out


@pytest.fixture
def path(tmp_path):
    return tmp_path / "store.db"


def test_a_change_is_seen_by_every_other_process_within_250_ms(path):
    store = SQLiteStore(path)
    store.read()
    watchers = [start(WATCHER, path) for _ in range(3)]
    delays: list[float] = []
    try:
        for watcher in watchers:
            assert watcher.stdout is not None
            assert json.loads(watcher.stdout.readline()) == {"epoch": 0}
        for number, name in enumerate(["feed", "search", "ads", "stop"], 1):
            store.change(change("hold", {name: hold("off")}))
            written = time.monotonic()
            for watcher in watchers:
                assert watcher.stdout is not None
                seen = json.loads(watcher.stdout.readline())
                assert seen["epoch"] == number
                assert seen["holds"][name] == "off"
                delays.append(seen["at"] - written)
        for watcher in watchers:
            finish(watcher)
    finally:
        for watcher in watchers:
            watcher.kill()
            watcher.communicate()
        store.close()
    # the machine may be busy with other tests, so one of the changes may take longer
    assert sorted(delays)[-len(watchers) - 1] < SEEN_WITHIN_S, delays


def test_writers_at_the_same_time_lose_nothing(path):
    writers = [start(WRITER, path, name, 15) for name in "abc"]
    for writer in writers:
        finish(writer)
    store = SQLiteStore(path)
    state = store.read()
    assert (state.epoch, len(state.holds)) == (45, 45)
    assert len(store.events()) == 90
    assert broken_links(store.events()) == []
    assert sorted(item.id for item in store.instances()) == ["a", "b", "c"]
    store.close()


def test_a_killed_writer_leaves_a_whole_store(path):
    store = SQLiteStore(path)
    for _ in range(3):
        writer = start(WRITER, path, "x", 100_000)
        assert writer.stdout is not None
        for _ in range(5):
            assert writer.stdout.readline()
        writer.kill()
        writer.communicate()
        state, events = store.read(), store.events(limit=100_000)
        assert broken_links(events) == []
        changes = [event for event in events if event.type == "hold"]
        assert state.epoch == len(changes)
        assert {event.flag for event in changes} == set(state.holds)
    assert store.change(change(after=hold("normal")))
    store.close()


def test_a_forked_child_has_a_connection_of_its_own_that_outlives_the_parents(path):
    first, last = json.loads(finish(start(FORKER, path)))
    assert first["parent"] == "degraded"
    assert last == {"parent": "degraded", "after": "off", "again": "degraded", "child": "degraded"}
    store = SQLiteStore(path)
    assert standing(store.read()) == last
    assert broken_links(store.events()) == []
    store.close()


APPLICATION = """
import sys, threading
import degrade
from degrade import default, degradable
degrade.configure(store=sys.argv[1], local=sys.argv[2])
@degradable("feed", fallback=default("fallback"))
def feed():
    return "full"
pause, served = threading.Event(), None
while True:
    now = feed()
    if now != served:
        print(now, flush=True)
    served = now
    pause.wait(0.005)
"""


def unlinked(path):
    for file in path.parent.glob("store.db*"):
        file.unlink()


def only_the_file_unlinked(path):
    path.unlink()


def renamed(path):
    path.rename(path.with_name("moved.db"))


def emptied(path):
    path.write_bytes(b"")


def replaced_by_another_store(path):
    other = SQLiteStore(path.with_name("other.db"))
    other.change(change(search=hold()))
    other.close()
    unlinked(path)
    other.path.rename(path)


def made_again_by_an_order_that_forces_it(path):
    unlinked(path)
    command(path, "--create", "hold", "search", "degraded", "--for", "1h", "-r", "x", "--force")


def command(path, *words: str) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-m", "degrade.cli", "--store", f"sqlite:///{path}", *words],
        cwd=path.parent, capture_output=True, text=True, timeout=PATIENCE_S, check=False,
    )  # fmt: skip
    assert "Traceback" not in done.stderr
    return done.returncode, done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    "lose",
    [
        unlinked, only_the_file_unlinked, renamed, emptied, replaced_by_another_store,
        made_again_by_an_order_that_forces_it,
    ],
)  # fmt: skip
def test_a_store_that_vanishes_under_processes_is_back_within_seconds_and_no_order_lapses(
    path, lose
):
    url = f"sqlite:///{path}"
    serving = [start(APPLICATION, url, path.parent / "local") for _ in range(3)]
    try:
        for process in serving:
            assert process.stdout is not None
            assert process.stdout.readline() == "full\n"
        end = time.monotonic() + PATIENCE_S
        while command(path, "why", "feed")[0] and time.monotonic() < end:
            pass  # it is not declared yet
        held = ("hold", "feed", "degraded", "--for", "1h", "-r", "x", "--wait", "100%")
        assert "3 of 3 instances" in command(path, *held)[1]
        lose(path)
        code, said = command(path, "status")
        while code and time.monotonic() < end:
            assert (code, "no such file" in said or "is empty" in said) == (4, True), said
            code, said = command(path, "status")
        assert code == 0
        looking = SQLiteStore(path, create=False)
        while "feed" not in looking.read().holds and time.monotonic() < end:
            pass  # that of another store is merged within a poll
        state = looking.read()
        assert state.holds["feed"].mode == "degraded"
        assert state.epoch > 1
        others = {"search"} if "other" in lose.__name__ or "order" in lose.__name__ else set()
        assert set(state.holds) == {"feed"} | others
        lives = [event.id for event in looking.events() if event.type == "restored"]
        assert len(lives) == 1, "all continue the life that the first of them wrote"
        looking.close()
        code, said = command(path, "release", "feed", "-r", "x", "--now", "--wait", "100%")
        assert (code, "feed is released from degraded" in said) == (0, True), said
        assert "3 of 3 instances" in said
        for process in serving:
            process.kill()
            assert process.communicate()[0].split() == ["fallback", "full"]
    finally:
        for process in serving:
            process.kill()
            process.communicate()


NO_ROOM = """
import logging, os, sys, threading
import degrade
from degrade import default, degradable
runtime = degrade.configure(store=sys.argv[1], local=sys.argv[2])
@degradable("feed", fallback=default("fallback"))
def feed():
    return "full"
feed()
assert runtime.wait_ready("10s")
pause, folder = threading.Event(), os.path.dirname(sys.argv[3])
while feed() == "full":
    pause.wait(0.01)
import resource
limits = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[4]), limits[1]))  # as on a full disk
for name in os.listdir(folder):
    if name.startswith("store.db"):
        os.unlink(os.path.join(folder, name))
before = runtime.internal_errors.counts["store"]
while runtime.internal_errors.counts["store"] < before + 5:
    assert feed() == "fallback"
    pause.wait(0.01)
resource.setrlimit(resource.RLIMIT_FSIZE, limits)
print("still", feed(), flush=True)
while feed() == "fallback":
    pause.wait(0.01)
"""


@pytest.mark.parametrize("room", [0, 4096, 20_000])
def test_a_store_that_vanishes_on_a_full_disk_is_restored_once_there_is_room(path, room):
    process = start(NO_ROOM, f"sqlite:///{path}", path.parent / "local", path, room)
    end = time.monotonic() + PATIENCE_S
    try:
        held = ("hold", "feed", "degraded", "--for", "1h", "-r", "x", "--force")
        while command(path, *held)[0] and time.monotonic() < end:
            pass
        assert process.stdout is not None
        assert process.stdout.readline() == "still fallback\n"
        released = ("release", "feed", "-r", "x", "--now")
        while command(path, *released)[0] and time.monotonic() < end:
            pass
        assert finish(process) == ""
    finally:
        process.kill()
        process.communicate()


FULL_DISK = """
import resource, sys
from degrade.errors import StoreError
from degrade.stores.sqlite import SQLiteStore
from degrade.testing.store_records import change, draft, hold
store = SQLiteStore(sys.argv[1])
store.change(change(feed=hold("off")))
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
try:
    while True:
        store.append([draft("x" * 1000) for _ in range(20)])
except StoreError as error:
    print(error)
print(store.read().holds["feed"].mode)
"""


def test_a_full_disk_is_explained_and_what_was_ordered_can_still_be_read(path):
    out = finish(start(FULL_DISK, path)).splitlines()
    assert "full" in out[0]
    assert out[1] == "off"


BUSY_FORKER = """
import os, sys, threading
from degrade.settings import open_store
from degrade.testing.store_records import change, draft, hold
stores = [open_store("memory://"), open_store(f"sqlite:///{sys.argv[1]}")]
ended = threading.Event()
def work():
    while not ended.is_set():
        for store in stores:
            store.append([draft()])
threads = [threading.Thread(target=work) for _ in range(3)]
for thread in threads:
    thread.start()
for number in range(10):
    child = os.fork()
    if child == 0:
        for store in stores:
            store.change(change("hold", {f"child{number}": hold()}))
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
ended.set()
for thread in threads:
    thread.join()
print(*[len(store.read().holds) for store in stores])
"""


def test_children_forked_while_other_threads_write_are_never_stuck(path):
    assert finish(start(BUSY_FORKER, path)).split() == ["0", "10"]
