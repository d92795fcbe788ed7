"""T26 hostile_snapshot: what lies in Redis in place of a snapshot is ignored, whatever it is."""

from __future__ import annotations

import json
import pickle
import re
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import redis

from degrade.control import Control
from degrade.settings import open_store
from tests.faults.figures import Figures
from tests.integration.children import run
from tests.servers.redis_server import RedisServer

pytestmark = pytest.mark.real

MB = 1024 * 1024
MOST_MB = 150.0
"""What a process may take for values of up to 4 MB; loading 100 MB, or a bomb, takes more."""

APP = """
import os, random
import degrade
from dataclasses import dataclass
from degrade.runtime import current

degrade.configure(store=os.environ["STORE"], namespace="shop")

@dataclass
class Story:
    id: int
    tags: list[str]

@degradable("feed", fallback=[snapshot(max_age="1h"), default([])])
def feed(what: str) -> list[Story]:
    return [Story(1, [what])]

@degradable("mixed", fallback=[snapshot(max_age="1h"), default([])])
def mixed(what: str) -> list[object]:
    return [1, [what]]

names = os.environ["NAMES"].split("|")
current().adopt_all()
feed("warm")
until(lambda: current().orders.known)
"""

CAPTURES = """
from degrade.fallback.snapshots.capture_budget import Account
for name in names:
    feed(name), mixed(name)
    current().tier.budget.spent(0.0, -1.0, Account())
until(lambda: all(figures(flag).sharing.get("sent", 0) == len(names) for flag in ("feed", "mixed")))
"""

SERVES = """
def peak():
    with open("/proc/self/status") as file:
        status = file.read()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024

late = []

def probe():
    while True:
        began = time.monotonic()
        time.sleep(0.002)
        late.append(time.monotonic() - began - 0.002)

current().fetcher.wait_s = 5.0  # every value shall be looked into, however slow the machine is
until(lambda: feed("good") != [] and mixed("good") != [])
threading.Thread(target=probe, daemon=True).start()
before, got = peak(), {}
for name in names:
    for fn in (feed, mixed):
        got[f"{fn.__name__} {name}"] = fn(name) != []
again = {f"{fn.__name__} {name}": fn(name) != [] for name in names for fn in (feed, mixed)}
tell(got=got, again=again, grew=peak() - before, late=max(late),
     refused=sum(figures(flag).sharing.get("refused", 0) for flag in ("feed", "mixed")),
     sharing=[{how.value: n for how, n in figures(flag).sharing.items()} for flag in ("feed", "mixed")],
     troubles=dict(current().internal_errors.counts), drops=dict(figures().drops))
"""


def headed(head: dict[str, Any], value: bytes, *, packed: int = 0) -> bytes:
    return json.dumps({**head, "packed": packed}).encode() + b"\n" + value


BOMB = zlib.compress(b"[[" + b" " * (64 * MB), 1)
DICTIONARY = zlib.compress(b'[{"' + b'k":1,"' * 600_000 + b'k":1}]', 1)

# What lies in place of a snapshot, made from its envelope and the good one of another key.
HOSTILE: dict[str, Callable[[dict[str, Any], bytes], bytes]] = {
    "pickle": lambda head, other: pickle.dumps({"anything": [1, 2, 3]}),
    "large": lambda head, other: b"x" * (100 * MB),
    "large and well begun": lambda head, other: headed(head, b"[[" + b" " * (100 * MB)),
    "deep": lambda head, other: headed(head, b"[" * (2 * MB)),
    "cut": lambda head, other: headed(head, b"[[[1,"),
    "of another key": lambda head, other: other,
    "bomb": lambda head, other: headed(head, BOMB, packed=1),
    "wide": lambda head, other: headed(head, b"[[" + b"7," * (MB + MB // 2) + b"7],7]"),
    "wide strings": lambda head, other: headed(head, b"[[" + b'"s",' * (MB * 3 // 4) + b"7],7]"),
    "packed and wrong": lambda head, other: headed(head, DICTIONARY, packed=1),
    "no text": lambda head, other: bytes(range(256)) * 16,
}


def test_hostile_values_are_ignored_and_counted_with_bounded_memory(
    redis_server: RedisServer, tmp_path: Path, figures: Figures
):
    figures.about("T26 hostile_snapshot", "pickle, 100 MB, bombs, deep and damaged JSON in Redis")
    names = [*HOSTILE, "hash"]
    env = {"STORE": f"{redis_server.url}?timeout=10s", "NAMES": "|".join([*names, "good"])}
    captured = run(APP + CAPTURES, tmp_path, **env)
    assert captured.code == 0, captured.stderr
    with redis.Redis.from_url(redis_server.url) as client:
        keys = {}
        for key in client.keys("degrade:snap:shop:*"):
            body = client.get(key)
            assert isinstance(body, bytes)
            flag, what = re.search(rb'"key":"\S*:(feed|mixed)\(what=\'(.+?)\';', body).groups()
            keys[flag.decode(), what.decode()] = (key, body)
        for (flag, what), (key, body) in keys.items():
            if what == "hash":
                client.delete(key)
                client.hset(key, "field", "value")
            elif what != "good":
                head = json.loads(body.partition(b"\n")[0])
                client.set(key, HOSTILE[what](head, keys[flag, "good"][1]))
    control = Control(open_store(redis_server.url, namespace="shop"), actor="ana")
    for flag in ("feed", "mixed"):
        control.hold(flag, "degraded", for_=None, reason="drill")
    env["NAMES"] = "|".join(names)
    served = run(APP + SERVES, tmp_path, **env)
    assert served.code == 0, served.stderr
    told = served.all
    wrong = [name for name, good in {**told["got"], **told["again"]}.items() if good]
    assert wrong == []
    assert told["refused"] == 2 * len(names), told
    assert told["troubles"] == {}
    assert told["drops"] == {}
    assert told["grew"] < MOST_MB, told
    figures.note("memory", f"{told['grew']:.0f} MB", f"{MOST_MB:.0f} MB")
    figures.note("longest wait of another thread", told["late"], unit="s")
    figures.note("values refused", str(told["refused"]))
