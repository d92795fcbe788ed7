"""T30 overhead: what a call costs with many threads, while Redis answers and while it is frozen."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.faults import promises
from tests.faults.figures import Figures
from tests.faults.steps import FLAGS, FOLLOWED, HELD, hold_one
from tests.integration.children import start
from tests.servers.redis_server import RedisServer

pytestmark = [pytest.mark.real, pytest.mark.faults, pytest.mark.timeout(120)]

THREADS = (1, 8, 64)
MORE_WHEN_FROZEN = 1.5
NOISE_US = 0.2
"""How much a busy machine may spoil the figure; a look at a socket takes several times as long."""
CONVOY_S = 0.15

PROGRAM = """
from degrade.settings import open_store

CALLS, ROUNDS, STALL_S = 64_000, 5, 0.1

@degradable("feed", sla=SLA(errors="5%", p99="1s", over="10s"), fallback=[default("stale")])
def feed() -> str:
    return "fresh"

@degradable("slow", sla=SLA(errors="5%", p99="1s", over="10s"), fallback=[default("stale")])
def slow() -> str:
    time.sleep(STALL_S)
    return "fresh"

def bare() -> str:
    return "fresh"

def bare_slow() -> str:
    time.sleep(STALL_S)
    return "fresh"

def together(fn, number, calls):
    gate = threading.Barrier(number + 1)

    def work():
        gate.wait()
        for _ in range(calls):
            fn()
        gate.wait()

    threads = [threading.Thread(target=work) for _ in range(number)]
    for thread in threads:
        thread.start()
    gate.wait()
    began, used = time.perf_counter(), time.process_time()
    gate.wait()
    took = time.perf_counter() - began, time.process_time() - used
    for thread in threads:
        thread.join()
    return took

def measured():
    cost = {}
    for number in map(int, sys.argv[2].split(",")):
        plain, guarded = (
            min(together(fn, number, CALLS // number)[1] for _ in range(ROUNDS))
            for fn in (bare, feed)
        )
        cost[number] = (guarded - plain) / CALLS * 1e6
    stalls = [(together(bare_slow, 20, 1), together(slow, 20, 1)) for _ in range(ROUNDS)]
    return {"us": cost, "convoy_s": min(one[0] for _, one in stalls),
            "bare_s": min(one[0] for one, _ in stalls), "age_s": current().state_age_s()}

with Runtime(open_store(sys.argv[1], namespace="shop")):
    feed(), slow()
    until(lambda: current().orders.known)
    measured()
    for line in sys.stdin:
        tell(**measured())
    tell(classes=[classes("feed"), classes("slow")])
"""


def test_no_thread_waits_for_another_nor_for_redis(
    redis_server: RedisServer, tmp_path: Path, figures: Figures
):
    figures.about(
        "T30 overhead", "64,000 calls by 1, 8 and 64 threads, and the same on a frozen Redis"
    )
    with start(PROGRAM, tmp_path, redis_server.url, ",".join(map(str, THREADS))) as child:
        try:
            assert child.stdin is not None
            assert child.stdout is not None

            def measured():
                child.stdin.write("again\n")
                child.stdin.flush()
                line = child.stdout.readline()
                assert line, child.communicate()
                return json.loads(line)

            calm, frozen = [], []
            for _ in range(3):
                calm.append(measured())
                redis_server.freeze()
                frozen.append(measured())
                redis_server.thaw()
            _, stderr = child.communicate(timeout=30.0)
        finally:
            child.kill()
    assert stderr == ""
    for number in map(str, THREADS):
        least, worst = (min(one["us"][number] for one in some) for some in (calm, frozen))
        figures.note(f"processor time added to a call, {number} threads", f"{least:.2f} us")
        figures.note(
            f"the same on a frozen Redis, {number} threads", f"{worst:.2f} us",
            f"{MORE_WHEN_FROZEN * least + NOISE_US:.2f} us",
        )  # fmt: skip
        assert worst <= MORE_WHEN_FROZEN * least + NOISE_US
    convoys = [min(one["convoy_s"] for one in some) for some in (calm, frozen)]
    bare_s = min(one["bare_s"] for one in (*calm, *frozen))
    for name, convoy_s in zip(("20 threads of 0.1 s", "the same, frozen"), convoys, strict=True):
        figures.note(name, convoy_s, "150 ms", unit="s")
        assert convoy_s <= max(CONVOY_S, bare_s + CONVOY_S - 0.1)
    assert max(one["age_s"] for one in frozen) > 1.0, "it was frozen"


def test_sixty_four_threads_keep_the_promises_on_a_frozen_redis(application, redis_server, figures):
    figures.about("T30 threads", "64 threads of each process call while Redis is frozen")
    app = application(
        redis_server.url, flags=FLAGS, ports=[redis_server.port], threads=64, rate=1.5
    )
    a_second = 64 * 3 // 2 * len(FLAGS)
    hold_one(redis_server, app)
    app.gather("calm", calls=4 * a_second)
    redis_server.freeze()
    app.gather("fault", calls=6 * a_second)
    redis_server.thaw()
    app.await_fresh()
    app.gather("calm", calls=2 * a_second)
    reports = app.reports()
    figures.keep(promises.check(reports))
    assert set(promises.answers(reports, ["calm", "fault"], HELD)) == {"degraded"}
    assert set(promises.answers(reports, ["calm", "fault"], FOLLOWED)) == {"full"}
