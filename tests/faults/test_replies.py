"""T24 reply_mixup: replies are late and calls cancelled by the hundred; nobody gets another's answer."""

from __future__ import annotations

import json

import pytest

from tests.faults import promises
from tests.faults.steps import A_SECOND, FLAGS, HELD, hold_one
from tests.integration.children import start

pytestmark = [pytest.mark.real, pytest.mark.faults, pytest.mark.timeout(120)]

LATE_S = 0.1

STORM = """
import asyncio, random
from collections import Counter
from degrade.core.enums import Sharing
from degrade.settings import open_store

USERS = [f"u{number}" for number in range(300)]
near, far, namespace = sys.argv[1:]
draw = random.Random(7)
over = threading.Event()
ended, waits = Counter(), []

@degradable("feed", fallback=[snapshot(max_age="1h"), default(None)])
async def feed(user: str) -> list[str] | None:
    return [f"for {user}"]

@degradable("count", fallback=[snapshot(max_age="1h"), default(None)])
async def count(user: str) -> dict[str, int] | None:
    return {user: len(user)}

def right(fn, user, answer):
    return answer == ([f"for {user}"] if fn is feed else {user: len(user)})

def shared(how):
    return sum(stats.sharing.get(how, 0) for stats in current().stats())

async def capture_all():
    while shared(Sharing.SENT) < 2 * len(USERS):
        for user in USERS:
            await feed(user), await count(user)
        await asyncio.sleep(0.05)

async def impatient():
    while not over.is_set():
        fn, user = draw.choice([feed, count]), draw.choice(USERS)
        began = time.monotonic()
        try:
            answer = await asyncio.wait_for(fn(user), draw.uniform(0.001, 0.4))
        except TimeoutError:
            ended["cancelled"] += 1
        else:
            kind = "nothing" if answer is None else "right" if right(fn, user, answer) else "wrong"
            ended[kind] += 1
            waits.append(time.monotonic() - began)
        await asyncio.sleep(0.002)

async def storm():
    await asyncio.gather(*(impatient() for _ in range(40)))

store = open_store(near, namespace=namespace)
with Runtime(store):
    asyncio.run(feed("first"))
    until(lambda: current().orders.known)
    asyncio.run(capture_all())
for name in ("feed", "count"):
    Control(store, actor="ana").hold(name, "degraded", for_=None, reason="a storm", force=True)
with Runtime(open_store(far, namespace=namespace), snapshot_wait_s=0.35):
    asyncio.run(feed("first"))
    until(lambda: all(stats.mode.value == "degraded" for stats in current().stats()))
    tell(ready=True)
    sys.stdin.readline()
    threading.Thread(target=lambda: (sys.stdin.read(), over.set()), daemon=True).start()
    asyncio.run(storm())
    tell(ended=ended, worst_s=max(waits), hits=shared(Sharing.HIT), late=shared(Sharing.LATE),
         troubles=current().internal_errors.counts)
"""


def test_no_call_gets_the_answer_of_another(application, redis_server, proxy, figures, tmp_path):
    figures.about(
        "T24 reply_mixup",
        "replies are 100 to 400 ms late, and callers of snapshots give up after 1 to 400 ms",
    )
    far = redis_server.url.replace(str(redis_server.port), str(proxy.port))
    app = application(far, flags=FLAGS, ports=[proxy.port])
    hold_one(redis_server, app)
    with start(STORM, tmp_path, redis_server.url, far, "storm") as storm:
        try:
            assert storm.stdin is not None
            assert storm.stdout is not None
            line = storm.stdout.readline()
            assert line, storm.stderr and storm.stderr.read()
            app.gather("calm", calls=3 * A_SECOND)
            for turn, times in enumerate((1, 2, 4, 1, 1, 2)):
                proxy.delay_s = times * LATE_S / 2  # in both directions
                if turn == 0:
                    storm.stdin.write("begin\n")
                    storm.stdin.flush()
                app.gather("fault", calls=2 * A_SECOND)
            proxy.heal()
            app.gather("calm", calls=A_SECOND)
            told, errors = storm.communicate("", timeout=30.0)
        finally:
            storm.kill()
    assert errors == ""
    said = json.loads(told)
    reports = app.reports()
    ended = {"cancelled": 0, "nothing": 0, "right": 0, "wrong": 0, **said["ended"]}
    figures.keep(promises.check(reports))
    figures.note("answers of another call", ended["wrong"], "0")
    figures.note("right answers from shared snapshots", f"{ended['right']:,}")
    figures.note("fetched from Redis, and too late", f"{said['hits']}, {said['late']}")
    figures.note("calls cancelled", f"{ended['cancelled']:,}")
    assert ended["wrong"] == 0
    assert ended["right"] > 100
    assert ended["cancelled"] > 50
    assert said["hits"] > 5
    assert set(promises.answers(reports, ["calm", "fault"], HELD)) == {"degraded"}
