"""An application that has made guarded calls, and is connected, before its process forks.

gunicorn --preload does that with whole workers, and a program of its own with our locks held by
the thread that does not fork. Every child follows what redis-cli says within two seconds, and no
connection has two users.
"""

from __future__ import annotations

import json
import os
import sys
import time
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import combinations
from pathlib import Path

import pytest

from tests.faults.recording import inodes_to
from tests.integration.children import environment, run
from tests.servers.ports import free_port
from tests.servers.process import ServerProcess
from tests.servers.redis_server import RedisServer
from tests.servers.waiting import until

pytestmark = [pytest.mark.real, pytest.mark.timeout(120)]

WORKERS = 4
FOLLOWED_S = 2.0
ROOT = Path(__file__).resolve().parents[2]

SHOP = """
import json, os, threading, time
from pathlib import Path

from degrade import default, degradable
from tests.faults.recording import sockets_to
from tests.servers.waiting import until

PORTS = frozenset({int(os.environ["SHOP_PORT"])})

@degradable("shop.ads", fallback=default("degraded"))
def ads():
    return "full"

def call_on():
    seen = ""
    while True:
        if (answer := ads()) != seen:
            seen = answer
            line = json.dumps({"answer": answer, "at": time.monotonic()})
            with Path("seen", str(os.getpid())).open("a") as out:
                out.write(line + "\\n")
        time.sleep(0.01)

ads()
until(lambda: sockets_to(PORTS) == 2, what="both connections of the master")

def app(environ, start_response):
    body = f"{os.getpid()} {ads()}".encode()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]
"""

CONFIGURED = """
import threading

def post_worker_init(worker):
    import shop
    threading.Thread(target=shop.call_on, daemon=True).start()
"""


@contextmanager
def preloaded(home: Path, server: RedisServer, namespace: str) -> Iterator[tuple[int, int]]:
    """Run gunicorn with the shop; yields the master's id, and the port it serves."""
    (home / "shop.py").write_text(SHOP, "utf-8")
    (home / "configured.py").write_text(CONFIGURED, "utf-8")
    (home / "seen").mkdir()
    port = free_port()
    env = environment(
        home, SHOP_PORT=str(server.port), DEGRADE_STORE=server.url, DEGRADE_NAMESPACE=namespace,
        PYTHONPATH=os.pathsep.join([str(home), str(ROOT)]),
    )  # fmt: skip
    command = [sys.executable, "-m", "gunicorn", "--preload", "--workers", str(WORKERS),
               "--bind", f"127.0.0.1:{port}", "--config", "configured.py", "--timeout", "90",
               "--worker-tmp-dir", str(home), "shop:app"]  # fmt: skip
    process = ServerProcess(command, log=home / "log", env=env)
    try:
        yield process.pid, port
    except AssertionError as error:
        error.add_note(process.tail())
        raise
    finally:
        process.stop()


def seen_by(home: Path) -> dict[int, dict[str, float]]:
    """Return when each worker first got each answer."""
    found: dict[int, dict[str, float]] = {}
    for file in (home / "seen").iterdir():
        lines = [json.loads(line) for line in file.read_text("utf-8").splitlines()]
        found[int(file.name)] = {line["answer"]: line["at"] for line in reversed(lines)}
    return found


def follow(home: Path, word: str, since: float) -> float:
    """Wait until all workers answer so, and return seconds from `since` to the last of them."""

    def all_do() -> list[float]:
        times = [answers.get(word, 0.0) for answers in seen_by(home).values()]
        return times if len(times) == WORKERS and all(times) else []

    return max(until(all_do, within_s=30.0, what=f"{word} in {WORKERS} workers")) - since


def test_preloaded_workers_follow_a_flag_over_sockets_of_their_own(tmp_path, redis_server, figures):
    figures.about("T07 fork_preload", "gunicorn --preload, 4 workers, forked while connected")
    namespace, ports = f"t{uuid.uuid4().hex[:10]}", frozenset({redis_server.port})
    with preloaded(tmp_path, redis_server, namespace) as (master, port):
        follow(tmp_path, "full", 0.0)
        everyone = [master, *seen_by(tmp_path)]

        def sockets() -> dict[int, set[str]]:
            return {pid: inodes_to(ports, of=pid) for pid in everyone}

        until(lambda: all(len(own) == 2 for own in sockets().values()),
              what="two connections of each process")  # fmt: skip
        for (one, its), (other, theirs) in combinations(sockets().items(), 2):
            assert not its & theirs, f"{one} and {other} share a connection"
        at = time.monotonic()
        redis_server.cli("HSET", f"degrade:{{{namespace}}}:holds", "shop.ads", "degraded")
        took_s = follow(tmp_path, "degraded", at)
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=10) as reply:
            pid, answer = reply.read().decode().split()
        assert (int(pid) in everyone[1:], answer) == (True, "degraded")
    figures.note("until the last worker followed", took_s, f"{FOLLOWED_S:g} s", unit="s")
    figures.note("connections in two processes", 0, "0")
    assert took_s < FOLLOWED_S


LOCKED = """
from degrade.runtime.calls.registry import registry
from degrade.runtime import current_runtime
from tests.faults.recording import inodes_to

PORTS = frozenset({int(sys.argv[1])})
feed = degradable("feed", fallback=[default("stale")])(lambda: "fresh")
feed()
until(lambda: len(inodes_to(PORTS)) == 2)
store = current().store
locks = [current_runtime._slot.lock, registry.lock, current()._lock, store._link._made._lock]
# not those for which a fork waits, since they are held for a moment only

def all_held():
    "Take all or none: their owners take them in an order of their own."
    held = [lock for lock in locks if lock.acquire(blocking=False)]
    for lock in held if len(held) < len(locks) else ():
        lock.release()
    return len(held) == len(locks)

def forked():
    pid = os.fork()
    if pid:
        return children.append(pid)
    signal.alarm(30)
    inherited = inodes_to(PORTS)
    feed()
    until(lambda: len(inodes_to(PORTS)) == 2)
    tell(inherited=len(inherited), shared=len(inodes_to(PORTS) & inodes_to(PORTS, of=os.getppid())))
    until(lambda: feed() == "stale")
    tell(followed=time.monotonic())
    os._exit(0)

until(all_held)
children = []
thread = threading.Thread(target=forked)
thread.start()
thread.join()
for lock in reversed(locks):
    lock.release()
until(lambda: len(current().store.instances()) == 2)
tell(said=time.monotonic())
Control(store, actor="ana").hold("feed", "degraded", for_=None, reason="drill")
tell(code=os.waitpid(children[0], 0)[1], parent=feed())
"""


def test_a_child_forked_in_a_thread_while_every_lock_is_held_follows_too(tmp_path, redis_server):
    done = run(
        LOCKED, tmp_path, str(redis_server.port),
        DEGRADE_STORE=redis_server.url, DEGRADE_NAMESPACE="forked", PYTHONPATH=str(ROOT),
    )  # fmt: skip
    assert done.code == 0, done.stderr
    told = done.all
    took_s = told.pop("followed") - told.pop("said")
    assert told == {"inherited": 0, "shared": 0, "code": 0, "parent": "stale"}
    assert took_s < FOLLOWED_S
