"""Real processes over a real Redis: what one captured, another serves that never saw it."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from degrade.control import Control
from degrade.settings import open_store
from tests.integration.children import Done, run
from tests.servers.redis_server import RedisServer

pytestmark = [pytest.mark.real]

APP = """
import os, time
import degrade
from degrade import default, degradable, request, snapshot
from degrade.runtime import current

degrade.configure(store=os.environ["STORE"], namespace="shop")
ran = []

@degradable("feed", fallback=[snapshot(max_age="1h"), default(["nothing"])])
def feed(user: str) -> list[str]:
    ran.append(user)
    return [f"for {user}"]

@degradable("feed.later", fallback=[snapshot(max_age="1h"), default(["nothing"])])
async def feed_later(user: str) -> list[str]:
    ran.append(user)
    return [f"for {user}"]
"""

READY = """
current().adopt_all()
feed("warm")
until(lambda: current().orders.known)
current().fetcher.wait_s = 10.0  # with the timeout in the URL: however busy the machine is
"""

SENDS = """
with request("ana"):
    feed("u1")
    asyncio.run(feed_later("u1"))
until(lambda: figures("feed").sharing.get("sent", 0) >= 1
      and figures("feed.later").sharing.get("sent", 0) >= 1)
tell(ran=ran)
"""

SERVES = """
def sharing():
    return {how.value: n for how, n in figures("feed").sharing.items() if n}

ran.clear()
with request("ana") as current_request:
    got = feed("u1")
    tell(got=got, later=asyncio.run(feed_later("u1")), again=feed("u1"))
    tell(served=[[note.rung.value, note.age_s] for note in current_request.served])
with request("ben"):
    tell(ben=feed("u1"))
tell(anybody=feed("u1"), ran=ran, sharing=sharing())
"""


def program(server: RedisServer, home: Path, text: str, **env: str) -> Done:
    env |= {"STORE": f"{server.url}?timeout=10s", "PYTHONPATH": str(home)}
    done = run("import asyncio\n" + text, home, **env)
    assert done.code == 0, done.stderr
    return done


def hold(server: RedisServer, mode: str) -> Control:
    control = Control(open_store(server.url, namespace="shop"), actor="ana")
    control.hold("feed", mode, for_=None, reason="drill")
    control.hold("feed.later", mode, for_=None, reason="drill")
    return control


def test_a_cold_process_serves_what_another_captured_for_the_same_subject_alone(
    redis_server: RedisServer, tmp_path: Path
):
    program(redis_server, tmp_path, APP + READY + SENDS)
    hold(redis_server, "degraded")
    done = program(redis_server, tmp_path, APP + READY + SERVES)
    assert done.all["got"] == done.all["again"] == done.all["later"] == ["for u1"]
    assert done.all["ben"] == done.all["anybody"] == ["nothing"]
    assert done.all["ran"] == []
    assert [rung for rung, _ in done.all["served"]] == ["snapshot"] * 3
    assert all(0 < age_s < 60 for _, age_s in done.all["served"])
    assert done.all["sharing"]["hit"] == 1


def test_a_program_and_those_who_import_it_share(redis_server: RedisServer, tmp_path: Path):
    (tmp_path / "shop.py").write_text(APP)
    program(redis_server, tmp_path, "from shop import *\n" + READY + SENDS)
    hold(redis_server, "degraded")
    script = "import runpy\nsys.argv = ['shop.py']\n" + APP + READY + SERVES
    script = f"import __main__\n__main__.__file__ = {str(tmp_path / 'shop.py')!r}\n" + script
    assert program(redis_server, tmp_path, script).all["got"] == ["for u1"]


def test_nothing_from_before_an_off_ended_is_served_by_a_process_that_never_saw_it(
    redis_server: RedisServer, tmp_path: Path
):
    program(redis_server, tmp_path, APP + READY + SENDS)
    control = hold(redis_server, "off")
    control.release("feed", reason="fixed", now=True)
    control.release("feed.later", reason="fixed", now=True)
    hold(redis_server, "degraded")
    done = program(redis_server, tmp_path, APP + READY + SERVES)
    assert done.all["got"] == done.all["later"] == ["nothing"]
    assert done.all["sharing"]["refused"] == 1


def test_under_off_nobody_asks(redis_server: RedisServer, tmp_path: Path):
    program(redis_server, tmp_path, APP + READY + SENDS)
    hold(redis_server, "off")
    done = program(redis_server, tmp_path, APP + READY + SERVES)
    assert done.all["got"] == done.all["later"] == ["nothing"]
    assert done.all["sharing"] == {}


def test_a_process_that_ends_sends_what_it_still_has(redis_server: RedisServer, tmp_path: Path):
    last = 'for i in range(20):\n    feed(f"v{i}")\n'
    program(redis_server, tmp_path, APP + READY + last)
    names = redis_server.cli("KEYS", "degrade:snap:shop:feed:*").split()
    assert len(names) == 20


SIGNED = {"DEGRADE_SNAPSHOTS_KEY": "env:SECRET", "SECRET": "0123456789abcdef" * 4}


@pytest.mark.parametrize("env", [{}, SIGNED], ids=["without a key", "with a key"])
def test_what_somebody_edits_into_the_snapshot_of_another_subject_is_served_only_without_a_key(
    redis_server: RedisServer, tmp_path: Path, env: dict[str, str]
):
    program(redis_server, tmp_path, APP + READY + SENDS, **env)
    with redis_server.client() as client:
        for name in client.keys("degrade:snap:shop:feed:*"):
            body = client.get(name).replace("subject='ana'", "subject='ben'")
            key = json.loads(body[body.index("{") : body.index("\n[[")])["key"]
            digest = hashlib.blake2b(key.encode(), digest_size=16).hexdigest()
            client.set(f"degrade:snap:shop:feed:{digest}", body)
            assert ("hmac-sha256:" in body) is bool(env)
    hold(redis_server, "degraded")
    done = program(redis_server, tmp_path, APP + READY + SERVES, **env)
    assert done.all["got"] == done.all["later"] == ["for u1"]
    assert done.all["ben"] == (["nothing"] if env else ["for u1"])
    assert done.all["sharing"].get("refused", 0) == bool(env)


@pytest.mark.parametrize("writer", [{}, SIGNED], ids=["unsigned", "signed"])
def test_processes_with_a_key_and_those_without_serve_nothing_of_each_other(
    redis_server: RedisServer, tmp_path: Path, writer: dict[str, str]
):
    program(redis_server, tmp_path, APP + READY + SENDS, **writer)
    hold(redis_server, "degraded")
    reader = {} if writer else SIGNED
    logged = "import logging\nlogging.basicConfig()\n" + APP + READY + SERVES
    done = program(redis_server, tmp_path, logged, **reader)
    assert done.all["got"] == done.all["later"] == ["nothing"]
    assert done.all["sharing"]["refused"] == 1
    assert done.stderr.count("refused a snapshot of feed") == 1
    assert SIGNED["SECRET"] not in done.stderr
