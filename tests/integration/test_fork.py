"""Forks: a child has an identity, locks, threads and figures of its own, and no orders less."""

from __future__ import annotations

import os
import re
import signal
import sys
import urllib.request
from pathlib import Path

import pytest

from degrade.control import Control
from degrade.stores.sqlite import SQLiteStore
from tests.integration.children import environment, run
from tests.servers.ports import free_port
from tests.servers.process import ServerProcess
from tests.servers.redis_server import RedisServer
from tests.servers.waiting import until

pytestmark = [pytest.mark.real]

FORK = """
def in_a_child(body):
    "Fork, run the body in the child, and wait for it; an exception or a hang is told."
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            signal.alarm(15)
            body()
            code = 0
        except BaseException as error:
            import traceback
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    _, status = os.waitpid(pid, 0)
    if status:
        raise SystemExit(f"the child ended with {status}")
"""

REPORTS = """
def child():
    feed()
    until(lambda: [item.id for item in current().store.instances()][:1] == [current().instance])
    tell(reported=True)

in_a_child(child)
"""

FEED = (
    FORK
    + """
def ours():
    return sorted(t.name for t in threading.enumerate() if t.name.startswith("degrade"))

sick = False

@degradable("feed", sla=SLA(errors="5%"), recovery=Recovery(cooldown="1m"),
            fallback=[default("stale")])
def feed() -> str:
    if sick:
        raise OSError("down")
    return "fresh"

for _ in range(10):
    feed()
until(lambda: len(ours()) == 2)
"""
)


def test_a_child_has_its_own_identity_threads_and_figures(tmp_path: Path):
    done = run(
        FEED
        + """
parent = current().instance

def child():
    tell(same=current().instance == parent, before=ours(), calls=classes())
    for _ in range(3):
        assert feed() == "fresh"
    until(lambda: len(ours()) == 2)
    tell(after=ours(), child=classes())

in_a_child(child)
tell(kept=current().instance == parent, parent=classes(), still=ours())
""",
        tmp_path,
    )
    assert done.code == 0, done.stderr
    assert done.stderr == ""
    assert done.all == {
        "same": False, "before": [], "calls": {},
        "after": ["degrade-io", "degrade-ticker"], "child": {"full": 3},
        "kept": True, "parent": {"full": 10}, "still": ["degrade-io", "degrade-ticker"],
    }  # fmt: skip


def test_a_child_judges_for_itself_and_keeps_the_orders(tmp_path: Path):
    done = run(
        FEED
        + """
other = degradable("other", fallback=[default("stale")])(lambda: "fresh")
Control(current().store, actor="ana").hold("other", "off", for_=None, reason="drill")

def child():
    global sick
    assert other() == "stale", "the order of the parent stands"
    sick = True
    for _ in range(5):
        feed()
    until(lambda: figures().phase == "degraded")
    Control(current().store, actor="ana").release("other", reason="over", now=True)
    assert other() == "fresh"

in_a_child(child)
assert other() == "stale"
tell(phase=figures().phase)
""",
        tmp_path,
    )
    assert done.code == 0, done.stderr
    assert done.all == {"phase": "steady"}


def test_a_child_of_a_degraded_parent_starts_degraded(tmp_path: Path):
    done = run(
        FEED
        + """
sick = True
for _ in range(20):
    feed()
until(lambda: figures().phase == "degraded")
sick = False

def child():
    assert feed() == "stale"
    tell(phase=figures().phase)

in_a_child(child)
""",
        tmp_path,
    )
    assert done.code == 0, done.stderr
    assert done.all == {"phase": "degraded"}


@pytest.mark.parametrize("lock", ["runtime", "slot", "flags", "tier", "store"])
def test_no_lock_of_a_thread_of_the_parent_is_held_in_the_child(lock: str, tmp_path: Path):
    done = run(
        FEED
        + """
from degrade.runtime.calls.registry import registry
from degrade.runtime import current_runtime
locks = {
    "runtime": lambda: current()._lock, "slot": lambda: current_runtime._slot.lock,
    "flags": lambda: registry.lock, "tier": lambda: current().tier._lock,
    "store": lambda: current().store._lock,
}
held, go = threading.Event(), threading.Event()

def holder():
    with locks[sys.argv[1]]():
        held.set()
        go.wait(0.3 if sys.argv[1] == "store" else 20)  # a fork waits for the store's own

threading.Thread(target=holder, daemon=True).start()
held.wait()

def child():
    assert feed() == "fresh"

    @degradable("new", fallback=[snapshot(max_age="1h", copy=False), default("stale")])
    def new() -> str:
        return "new"

    assert [new() for _ in range(3)] == ["new"] * 3
    until(lambda: len(current().tier) == 1)
    Control(current().store, actor="ana").hold("new", "degraded", for_=None, reason="drill")
    assert new() == "new", "from its snapshot"
    with Runtime(threads="manual"):
        assert new() == "new"
    tell(fine=classes("new"))

in_a_child(child)
go.set()
""",
        tmp_path,
        lock,
    )
    assert done.code == 0, done.stderr
    assert done.all == {"fine": {"full": 3, "degraded": 1}}


def test_a_child_of_a_parent_whose_io_worker_is_importing_follows_its_orders(tmp_path: Path):
    """An import that a thread of the parent had begun would never end in the child."""
    done = run(
        """
importing = threading.Event()

class Slow:
    def find_spec(self, name, path=None, target=None):
        if threading.current_thread().name == "degrade-io" and not importing.is_set():
            importing.set()
            time.sleep(0.2)

sys.meta_path.insert(0, Slow())
"""
        + FEED
        + """
feed()
assert importing.wait(10), "nothing is imported late any more: this test has no object"
"""
        + REPORTS,
        tmp_path,
    )
    assert done.code == 0, done.stderr
    assert done.all == {"reported": True}


def test_a_child_of_a_parent_whose_io_worker_is_building_a_model_follows_its_orders(tmp_path: Path):
    """What pydantic holds while it builds a model would be held in the child for good."""
    done = run(
        """
from degrade.core.records import FlagInfo
building = threading.Event()

def slow(cls, source, handler):
    if threading.current_thread().name == "degrade-io" and not building.is_set():
        building.set()
        time.sleep(0.2)
    return handler(source)

FlagInfo.__get_pydantic_core_schema__ = classmethod(slow)
"""
        + FEED
        + """
feed()
assert building.wait(10), "nothing is built late any more: this test has no object"
"""
        + REPORTS,
        tmp_path,
    )
    assert done.code == 0, done.stderr
    assert done.all == {"reported": True}


def test_a_child_has_all_places_of_a_rung_that_the_parent_was_using(tmp_path: Path):
    done = run(
        FEED
        + """
inside, go = threading.Event(), threading.Event()

def cheaper() -> str:
    if threading.current_thread() is not threading.main_thread():
        inside.set()
        go.wait(20)
    return "cheaper"

def down() -> str:
    raise OSError

guarded = degradable("rung", fallback=[simplified(cheaper, limit=1), default("last")])(down)
threading.Thread(target=guarded, daemon=True).start()
inside.wait()
assert guarded() == "last", "the only place is taken"

def child():
    tell(served=guarded())

in_a_child(child)
go.set()
""",
        tmp_path,
    )
    assert done.code == 0, done.stderr
    assert done.all == {"served": "cheaper"}


@pytest.mark.parametrize("degraded", [False, True])
def test_a_fork_in_the_middle_of_a_guarded_call_harms_neither(degraded: bool, tmp_path: Path):
    done = run(
        FEED
        + """
def forking() -> str:
    def child():
        assert feed() == "fresh"
        assert classes() == {"full": 1}

    in_a_child(child)
    return "forked"

whole = degradable("whole", fallback=[simplified(forking)])(forking)
if sys.argv[1] == "True":
    Control(current().store, actor="ana").hold("whole", "degraded", for_=None, reason="drill")
assert whole() == "forked"
tell(**classes("whole"))
""",
        tmp_path,
        str(degraded),
    )
    assert done.code == 0, done.stderr
    assert done.all == ({"degraded": 1} if degraded else {"full": 1})


def test_a_child_that_returns_from_the_call_it_was_forked_in_holds_nothing(tmp_path: Path):
    done = run(
        """
        @degradable("feed", sla=SLA(errors="5%"))
        def feed() -> int:
            return os.fork()

        pid = feed()
        if pid == 0:
            feed_again = degradable("other")(lambda: 1)
            feed_again()
            until(lambda: classes("other") == {"full": 1})
            assert sum(classes().values()) <= 1
            assert current()._watches["feed"]._tally.in_flight == 0
            os._exit(0)
        assert os.waitpid(pid, 0)[1] == 0
        tell(**classes())
        """,
        tmp_path,
    )
    assert done.code == 0, done.stderr
    assert done.all == {"full": 1}


def test_children_follow_a_shared_store_under_their_own_names(tmp_path: Path):
    done = run(
        FEED
        + """
Control(current().store, actor="ana")
pids = []
for _ in range(3):
    pid = os.fork()
    if pid == 0:
        signal.alarm(20)
        feed()
        until(lambda: feed() == "stale")
        tell(child=current().instance)
        until(lambda: len(current().store.instances()) >= 4)
        os._exit(0)
    pids.append(pid)
feed()
until(lambda: len(current().store.instances()) == 4)
Control(current().store, actor="ana").hold("feed", "degraded", for_=None, reason="drill")
codes = [os.waitpid(pid, 0)[1] for pid in pids]
tell(codes=codes, parent=current().instance)
""",
        tmp_path,
        DEGRADE_STORE=f"sqlite:///{tmp_path}/state.db",
    )
    assert done.code == 0, done.stderr
    assert done.all["codes"] == [0, 0, 0]
    children = {line["child"] for line in done.told if "child" in line}
    assert len(children | {done.all["parent"]}) == 4


def test_children_draw_lots_of_their_own(redis_server: RedisServer, tmp_path: Path):
    """Else all workers of a preloaded server try again, and connect anew, at the same moments."""
    done = run(
        FORK
        + """
def drawn():
    store = current().store
    store.read()
    return {"jitter": current()._rng.random(), "id": store._ledger._rng.getrandbits(128),
            "age": store._link._made._oldest_s}

drawn()
for _ in range(3):
    in_a_child(lambda: tell(**drawn()))
tell(**drawn())
""",
        tmp_path,
        DEGRADE_STORE=redis_server.url,
    )
    assert done.code == 0, done.stderr
    for name in ("jitter", "id", "age"):
        assert len({line[name] for line in done.told}) == 4, name


def test_a_seed_that_was_given_is_kept_in_a_child(tmp_path: Path):
    done = run(
        FORK
        + """
import random

with Runtime(threads="manual", rng=random.Random(7)) as runtime:
    in_a_child(lambda: tell(child=runtime._rng.random()))
    tell(parent=runtime._rng.random())
""",
        tmp_path,
    )
    assert done.code == 0, done.stderr
    assert done.all["child"] == done.all["parent"]


SICK = """
import redis

@degradable("feed", sla=SLA(errors="5%"), recovery=Recovery(cooldown="1m"),
            fallback=[default("stale")])
def feed() -> str:
    raise OSError("down")

store = current().store
feed()
server = redis.Redis(port=int(sys.argv[1]))
until(lambda: server.hexists("degrade:{forked}:control", "not_before"))
server.hset("degrade:{forked}:control", "not_before", "0")  # votes count from the start

def counted():
    server.delete("degrade:{forked}:lease:count")
    until(lambda: server.exists("degrade:{forked}:lease:count"))

parent = current().instance
for _ in range(50):
    feed()
until(lambda: parent in store.fleet.votes().get("feed", {}))
ended, end = os.pipe()
pid = os.fork()
if pid == 0:
    signal.alarm(20)
    os.close(end)
    tell(child=feed())
    os.read(ended, 1)
    os._exit(0)
until(lambda: len(store.instances()) == 2)
for _ in range(3):
    counted()
tell(votes=list(store.fleet.votes()["feed"]) == [parent], verdicts=list(store.read().verdicts))
os.close(end)
tell(code=os.waitpid(pid, 0)[1])
"""


@pytest.mark.slow
def test_a_child_repeats_no_vote_of_its_parent(tmp_path: Path, redis_server: RedisServer):
    done = run(
        SICK, tmp_path, str(redis_server.port),
        DEGRADE_STORE=redis_server.url, DEGRADE_NAMESPACE="forked",
    )  # fmt: skip
    assert done.code == 0, done.stderr
    assert done.all == {"child": "stale", "votes": True, "verdicts": [], "code": 0}


def test_many_forks_leave_nothing_behind(tmp_path: Path):
    done = run(
        FEED
        + """
def open_files():
    return len(os.listdir("/proc/self/fd"))

files, threads = open_files(), threading.active_count()
for _ in range(25):
    in_a_child(feed)
tell(files=open_files() - files, threads=threading.active_count() - threads)
""",
        tmp_path,
    )
    assert done.code == 0, done.stderr
    assert done.all == {"files": 0, "threads": 0}


def test_a_runtime_to_come_back_to_works_in_a_child(tmp_path: Path):
    """A fork within `with Runtime()`: the one around it lives on in the child too."""
    done = run(
        FEED
        + """
outer = current()
inner = Runtime()
inner.__enter__()
feed()

def child():
    assert feed() == "fresh"
    inner.__exit__(None, None, None)
    assert current() is outer
    feed()
    until(lambda: len(ours()) == 2)
    tell(**classes())

in_a_child(child)
inner.__exit__(None, None, None)
""",
        tmp_path,
    )
    assert done.code == 0, done.stderr
    assert done.all == {"full": 1}


def test_the_end_of_a_child_is_clean_also_by_sys_exit(tmp_path: Path):
    done = run(
        FEED
        + """
pid = os.fork()
if pid == 0:
    feed()
    sys.exit(7)
tell(code=os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
""",
        tmp_path,
    )
    assert (done.code, done.stderr) == (0, "")
    assert done.all == {"code": 7}


def test_multiprocessing_by_fork_works(tmp_path: Path):
    done = run(
        FEED
        + """
import multiprocessing

def work(n):
    return [feed() for _ in range(n)], current().instance

with multiprocessing.get_context("fork").Pool(2) as pool:
    results = pool.map(work, [1, 2, 3, 4], chunksize=2)
tell(answers=sum(len(found) for found, _ in results),
     parent=current().instance in {instance for _, instance in results})
""",
        tmp_path,
    )
    assert done.code == 0, done.stderr
    assert done.all == {"answers": 10, "parent": False}


PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "use-with-forking-servers.md"
NAMED = """

import os

shop = app

def app(environ, start_response):
    return [f"{os.getpid()} ".encode(), *shop(environ, start_response)]
"""


@pytest.mark.timeout(60)
@pytest.mark.parametrize("preload", [[], ["--preload"]])
def test_the_first_request_of_a_new_gunicorn_worker_obeys_an_order(
    tmp_path: Path, preload: list[str]
):
    code = re.search(r"<!-- file: shop.py -->\n```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert code is not None
    (tmp_path / "shop.py").write_text(code[1] + NAMED)
    port = free_port()
    command = [sys.executable, "-m", "gunicorn", "--workers", "2", *preload, "--chdir", str(tmp_path),
               "--bind", f"127.0.0.1:{port}", "--worker-tmp-dir", str(tmp_path), "shop:app"]  # fmt: skip
    first: dict[str, str] = {}

    def answer() -> str:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=10) as reply:
                pid, _, body = reply.read().decode().partition(" ")
        except OSError:  # no worker listens yet, or the one that did ends
            return ""
        return first.setdefault(pid, body)

    process = ServerProcess(command, log=tmp_path / "log", env=environment(tmp_path))
    store = SQLiteStore(tmp_path / "shop.db")
    control = Control(store, actor="ana")
    try:
        until(lambda: answer() and len(first) == 2, within_s=30.0, what="both workers")
        assert set(first.values()) == {"liked by ana"}
        until(
            lambda: len(store.instances()) == 2 + len(preload) and store.flags(),
            within_s=30.0,
            what="the heartbeats",
        )
        held = control.hold("feed.ranking", "off", for_="5m", reason="x", wait=1.0, timeout="20s")
        assert held.arrived is not None
        assert held.arrived.enough
        os.kill(process.pid, signal.SIGHUP)
        until(lambda: answer() and len(first) == 4, within_s=30.0, what="two new workers")
        assert list(first.values())[2:] == ["front page", "front page"]
    except AssertionError as error:
        error.add_note(process.tail())
        raise
    finally:
        process.stop()
        store.close()
