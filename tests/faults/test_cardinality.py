"""T28 cardinality: a million different keys, and no file descriptor left; calls go on."""

from __future__ import annotations

import resource
import time
from contextlib import closing
from pathlib import Path

import pytest

from tests.faults import promises
from tests.faults.figures import Figures
from tests.faults.steps import A_SECOND, FLAGS, FOLLOWED, HELD, by_hand, followed, hold_one
from tests.integration.children import run
from tests.servers.redis_server import RedisServer

pytestmark = [pytest.mark.real, pytest.mark.faults, pytest.mark.timeout(120)]

HEALED_S = 3.0
KEYS = 1_000_000
DEGRADED = 50_000
CAP_MB = 1
MORE_MB = 20
"""What the process may grow by: the cap, the queue to Redis (16 MB), and what is no snapshot."""

PROGRAM = """
from pathlib import Path
from degrade.settings import open_store
from degrade.telemetry.prometheus import alone, scrape

url, (keys, more, cap) = sys.argv[1], map(int, sys.argv[2:])

@degradable("feed", fallback=[snapshot(max_age="1h"), default("nothing")])
def feed(user: int) -> str:
    return "x" * 2_000

def rss_mb():
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6

def series():
    return len(scrape(alone(runtime), "text/plain")[0].splitlines())

store = open_store(url, namespace="shop")
with Runtime(store, snapshot_bytes=cap) as runtime:
    feed(0)
    until(lambda: runtime.orders.known)
    for user in range(20_000):
        feed(user)
    until(lambda: sum(classes().values()) >= 20_001)
    until(lambda: figures().sharing)  # its series come with the first that is shared
    before, lines = rss_mb(), series()
    healthy_s, made = 0.0, sum(classes().values())
    for batch in range(0, keys, 50_000):  # and no faster than they are counted, which takes memory
        began = time.monotonic()
        for user in range(batch, batch + 50_000):
            feed(user)
        healthy_s += time.monotonic() - began
        made += 50_000
        until(lambda: sum(classes().values()) >= made)
    Control(store, actor="ana").hold("feed", "degraded", for_=None, reason="a test", force=True)
    until(lambda: figures().mode.value == "degraded")
    began = time.monotonic()
    answers = {feed(user)[:7] for user in range(keys, keys + more)}
    degraded_s = time.monotonic() - began
    until(lambda: sum(classes().values()) >= keys + more + 20_001)
    tell(grown_mb=rss_mb() - before, kept_bytes=runtime.tier.bytes, snapshots=len(runtime.tier),
         healthy_us=healthy_s / keys * 1e6, degraded_us=degraded_s / more * 1e6,
         answers=sorted(answers), series=[lines, series()], classes=classes())
"""


def test_a_million_keys_take_no_more_memory_than_allowed(
    redis_server: RedisServer, tmp_path: Path, figures: Figures
):
    figures.about(
        "T28 cardinality", "a million users, each asks once; 50,000 others while degraded"
    )
    numbers = map(str, (KEYS, DEGRADED, CAP_MB * 1024 * 1024))
    done = run(PROGRAM, tmp_path, redis_server.url, *numbers)
    assert done.code == 0, done.stderr
    assert done.stderr == ""
    told = done.all
    figures.note("the process grew by", f"{told['grown_mb']:.0f} MB", f"{MORE_MB} MB")
    figures.note(
        "snapshots in memory",
        f"{told['kept_bytes'] / 2**20:.2f} MB ({told['snapshots']:,})", f"{CAP_MB} MB",
    )  # fmt: skip
    figures.note("a healthy call, a degraded one",
                 f"{told['healthy_us']:.1f} us, {told['degraded_us']:.1f} us")  # fmt: skip
    assert told["answers"] == ["nothing"]
    assert told["classes"] == {"full": KEYS + 20_001, "degraded": DEGRADED}
    assert 0 < told["kept_bytes"] <= CAP_MB * 1024 * 1024
    assert told["snapshots"] > 100
    assert told["grown_mb"] < MORE_MB
    assert told["series"][0] == told["series"][1], "no label is made of what callers send"


def test_without_a_file_descriptor_left_calls_go_on(application, redis_server, figures):
    figures.about("T28 descriptors", "RLIMIT_NOFILE is 3, and every connection is cut")
    app = application(redis_server.url, flags=FLAGS, ports=[redis_server.port])
    hold_one(redis_server, app)
    app.gather("calm", calls=3 * A_SECOND)
    limits = {
        worker.pid: resource.prlimit(worker.pid, resource.RLIMIT_NOFILE) for worker in app.workers
    }
    for pid, (_, most) in limits.items():
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (3, most))
    app.mark("fault")
    with closing(redis_server.client()) as client:
        client.execute_command("CLIENT", "KILL", "SKIPME", "yes")
    app.gather("fault", calls=5 * A_SECOND)
    by_hand(redis_server, app, FOLLOWED, "degraded")
    app.gather("fault", calls=2 * A_SECOND)
    states = app.states()
    for pid, limit in limits.items():
        resource.prlimit(pid, resource.RLIMIT_NOFILE, limit)
    app.mark("healed")
    healed = time.monotonic()
    healed_s = max(app.await_answer(FOLLOWED, "degraded")) - healed
    app.gather("calm", calls=2 * A_SECOND)
    assert followed(redis_server, app, after=time.monotonic(), word="normal") < HEALED_S
    reports = app.reports()
    figures.keep(promises.check(reports))
    figures.note("caught up once there were some again", healed_s, f"{HEALED_S:g} s", unit="s")
    assert all(state["flags"][FOLLOWED]["answer"] == "full" for state in states)
    assert all(state["state_age_s"] > 3.0 for state in states), "nobody could connect"
    assert healed_s < HEALED_S
    assert set(promises.answers(reports, ["calm", "fault", "healed"], HELD)) == {"degraded"}
