"""T09 thread_limits_exit: threads that cannot start or die, and an end while Redis is frozen."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from tests.integration.children import run, start
from tests.servers.redis_server import RedisServer

pytestmark = [pytest.mark.real, pytest.mark.faults, pytest.mark.timeout(120)]

LATER_S = 1.0
"""By so much may a frozen Redis delay the end of an interpreter."""

REVIVED_S = 7.5
"""Each looks after the other every five seconds, at a poll that comes up to 1.2 s later."""

NO_THREADS = """
import resource

feed = degradable("feed", fallback=[default("stale")])(lambda: "fresh")

threading.stack_size(1 << 30)
with open("/proc/self/statm") as statm:
    used = int(statm.read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + (256 << 20), resource.RLIM_INFINITY))
try:
    threading.Thread(target=print).start()
except RuntimeError:
    pass
else:
    raise SystemExit("a thread could be started")

def calls(answer, until_s):
    end, worst, made = time.monotonic() + until_s, 0.0, 0
    while time.monotonic() < end:
        began = time.monotonic()
        assert feed() == answer
        worst, made = max(worst, time.monotonic() - began), made + 1
        time.sleep(0.005)
    tell(**{answer: made, answer + "_worst_s": worst})

feed()
until(lambda: feed() and current().orders.known)
calls("fresh", 1.0)
Control(current().store, actor="ana").hold("feed", "degraded", for_=None, reason="drill")
until(lambda: feed() == "stale")
calls("stale", 1.0)
tell(threads=[t.name for t in threading.enumerate()], troubles=dict(current().internal_errors.counts))
"""

INJECTED = """
import ctypes

feed = degradable("feed", fallback=[default("stale")])(lambda: "fresh")
feed()
until(lambda: current().orders.known)
for victim in ("_ticker", "_io_worker"):
    worker = getattr(current(), victim)
    until(lambda: feed() and worker.alive)
    dead = worker._thread
    ctypes.pythonapi.PyThreadState_SetAsyncExc(
        ctypes.c_ulong(dead.ident), ctypes.py_object(SystemExit))
    until(lambda: feed() and not dead.is_alive())
    died = time.monotonic()
    until(lambda: feed() and worker.alive and worker._thread is not dead)
    tell(**{victim: time.monotonic() - died})
Control(current().store, actor="ana").hold("feed", "degraded", for_=None, reason="drill")
until(lambda: feed() == "stale")
tell(obeys=True)
"""

ENDS = """
sick = False

@degradable("feed", sla=SLA(errors="5%"), fallback=[default("stale")])
def feed() -> str:
    if sick:
        raise OSError("down")
    return "fresh"

feed()
until(lambda: current().orders.known)
tell(ready=True)
sys.stdin.readline()
sick = True
until(lambda: feed() and figures().phase == "degraded")  # there is news, and nobody to take it
tell(over=time.monotonic())
sys.exit(3)
"""


def test_where_no_thread_can_start_guarded_calls_work_with_redis(
    redis_server: RedisServer, tmp_path: Path, figures
):
    figures.about("T09 no_threads", "RLIMIT_AS leaves no room for the stack of a thread")
    done = run(NO_THREADS, tmp_path, DEGRADE_STORE=redis_server.url)
    assert done.code == 0, done.stderr
    assert done.stderr == ""
    told = done.all
    figures.note("calls answered as ordered", f"{told['fresh'] + told['stale']:,}", "all")
    worst_s = max(told["fresh_worst_s"], told["stale_worst_s"])
    figures.note("worst call, which does the work itself", worst_s, "300 ms", unit="s")
    assert told["threads"] == ["MainThread"]
    assert told["troubles"] == {"no_thread": 1}
    assert worst_s < 0.3


def test_background_threads_that_died_are_revived_and_follow_redis(
    redis_server: RedisServer, tmp_path: Path, figures
):
    figures.about("T09 injected", "SystemExit is thrown into each background thread")
    done = run(INJECTED, tmp_path, DEGRADE_STORE=redis_server.url)
    assert done.code == 0, done.stderr
    assert done.stderr == ""
    for victim in ("_ticker", "_io_worker"):
        revived_s = done.all[victim]
        figures.note(f"{victim[1:]} alive again after", revived_s, f"{REVIVED_S} s", unit="s")
        assert revived_s < REVIVED_S
    assert done.all["obeys"]


def ends_after_s(store: str, tmp_path: Path, *, freeze: RedisServer | None) -> float:
    """Run a program to its end, its store frozen before; return what the end took, seconds."""
    child = start(ENDS, tmp_path, DEGRADE_STORE=store)
    try:
        assert child.stdout is not None
        assert "ready" in child.stdout.readline()
        if freeze is not None:
            freeze.freeze()
        stdout, stderr = child.communicate("go\n", timeout=40)
        ended = time.monotonic()
    finally:
        child.kill()
        child.wait()
        if freeze is not None:
            freeze.thaw()
    assert child.returncode == 3, stderr
    assert stderr == ""
    took_s: float = ended - json.loads(stdout)["over"]
    return took_s


def test_a_frozen_redis_does_not_delay_the_end_of_an_interpreter(
    redis_server: RedisServer, tmp_path: Path, figures
):
    figures.about("T09 exit", "SIGSTOP, then a program ends that has something to tell")
    # the better of two each: a busy machine only adds to it
    alone_s = min(ends_after_s("memory://", tmp_path, freeze=None) for _ in range(2))
    frozen_s = min(ends_after_s(redis_server.url, tmp_path, freeze=redis_server) for _ in range(2))
    figures.note("end of the program, Redis frozen", frozen_s, unit="s")
    figures.note("the same with a store in memory", alone_s, unit="s")
    figures.note("later by", frozen_s - alone_s, f"{LATER_S} s", unit="s")
    figures.note("exit code and stderr", "kept, empty", "kept, empty")
    assert frozen_s - alone_s < LATER_S
