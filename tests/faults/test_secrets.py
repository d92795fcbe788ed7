"""T25 keys: nobody is served another's snapshot, and what is secret is found nowhere."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.faults.figures import Figures
from tests.integration.children import start
from tests.servers.redis_server import RedisServer

pytestmark = [pytest.mark.real, pytest.mark.faults, pytest.mark.timeout(120)]

PASSWORD = "planted-password"  # noqa: S105 - looked for afterwards
PLANTED = (PASSWORD, "planted-token", "planted-subject", "planted-result", "planted-term")

PROGRAM = """
import logging, random
from degrade.core.enums import Sharing
from degrade.telemetry.prometheus import alone, scrape

logging.basicConfig(level=logging.DEBUG, filename="everything.log")
url, namespace = sys.argv[1:]
USERS = ["ana", "ben"]
rungs = [snapshot(max_age="1h"), default(None)]
runtime = degrade.configure(store=url, namespace=namespace)

@degradable("plain", fallback=rungs)
def plain(user: str, limit: int = 10, *, token: str = "none") -> list[str] | None:
    return [user, "planted-result", str(limit), token]

@degradable("search", fallback=rungs)
def search(terms: list[str], where: dict[str, str]) -> list[str] | None:
    return [where["user"], "planted-result", *terms]

@degradable("mine", fallback=rungs)
def mine() -> list[str] | None:
    return [acting.user, "planted-result"]

@degradable("odd", fallback=rungs)
def odd(thing: object, user: str) -> list[str] | None:
    return [user]

class Shop:
    @degradable("method", fallback=[snapshot(max_age="1h", key=("user",)), default(None)])
    def feed(self, user: str) -> list[str] | None:
        return [user, "planted-result"]

acting = threading.local()
shop = Shop()
NAMES = ["plain", "search", "mine", "odd", "method"]

def calls(user):
    token = "planted-token-" + user
    yield "plain", lambda: plain(user, token=token)
    yield "plain", lambda: plain(limit=10, token=token, user=user)
    yield "plain", lambda: plain(token=token, user=user)
    yield "search", lambda: search(["planted-term", "x"], {"user": user, "in": "shop"})
    yield "search", lambda: search(["planted-term", "x"], {"in": "shop", "user": user})
    yield "mine", lambda: mine()
    yield "odd", lambda: odd(object(), user)
    yield "method", lambda: shop.feed(user)
    yield "method", lambda: Shop().feed(user=user)

counts = {"right": 0, "nothing": 0, "leaked": 0}

def everything(rounds):
    for _ in range(rounds):
        for user in random.sample(USERS, len(USERS)):
            acting.user = user
            with request("planted-subject-" + user):
                for name, call in calls(user):
                    answer = call()
                    how = "nothing" if answer is None else "right" if answer[0] == user else "leaked"
                    counts[how] += 1

def together():
    threads = [threading.Thread(target=everything, args=(50,)) for _ in range(8)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]

def sent():
    return {stats.name: stats.sharing.get(Sharing.SENT, 0) for stats in runtime.stats()}

odd(object(), "ana")
until(lambda: runtime.orders.known)  # what is captured before is for this process alone

def all_are_sent():
    everything(1)
    return all(n >= len(USERS) for name, n in sent().items() if name != "odd")

until(all_are_sent)
control = Control(runtime.store, actor="ana")
for name in NAMES:
    control.hold(name, "degraded", for_=None, reason="a test", force=True)
until(lambda: all(stats.mode.value == "degraded" for stats in runtime.stats()))
together()
warm = dict(counts)
told = [repr(control.status()), repr([control.why(name) for name in NAMES]), repr(control.events())]
told.append(scrape(alone(runtime), "text/plain")[0].decode())
told += [repr(runtime), repr(runtime.store), repr(degrade.flag("plain")), repr(rungs)]

runtime = degrade.configure(store=url, namespace=namespace)  # like a process that knows nothing
everything(1)
until(lambda: all(stats.mode.value == "degraded" for stats in runtime.stats()))

def found():
    return sum(stats.sharing.get(Sharing.HIT, 0) for stats in runtime.stats())

def all_are_found():
    everything(1)
    return found() >= 4 * len(USERS)

until(all_are_found)
together()
told.append(scrape(alone(runtime), "text/plain")[0].decode())
tell(warm=warm, both=counts, hits=found())
tell(ready=True)
sys.stdin.readline()  # meanwhile the password is changed
before = runtime.internal_errors.counts["store"]
until(lambda: runtime.internal_errors.counts["store"] > before + 1)
tell(told=told, troubles=dict(runtime.internal_errors.counts))
"""


def in_redis(server: RedisServer) -> Iterator[tuple[str, str]]:
    """Yield every name, and everything that is kept for control, as it can be read there."""
    with closing(server.client()) as client:
        names = sorted(client.keys("*"))
        yield "names of keys", "\n".join(names)
        yield "names of clients", repr(client.client_list())
        for name in names:
            kind = client.type(name)
            if name.startswith("degrade:snap:"):
                continue  # what a function returned is kept there, and its arguments
            if kind == "hash":
                yield name, repr(client.hgetall(name))
            elif kind == "stream":
                yield name, repr(client.xrange(name))
            elif kind == "zset":
                yield name, repr(client.zrange(name, 0, -1))
            else:
                yield name, repr(client.get(name))


def on_disk(home: Path) -> Iterator[tuple[str, str]]:
    for path in sorted(home.rglob("*")):
        if path.is_file():
            yield path.name, path.name + path.read_bytes().decode("utf-8", errors="replace")


def test_no_snapshot_reaches_another_user_and_no_secret_gets_out(
    servers, tmp_path: Path, figures: Figures
):
    figures.about(
        "T25 keys", "two users, and five secrets in arguments, subjects, results and the URL"
    )
    server = servers.redis(password=PASSWORD)
    with start(PROGRAM, tmp_path, server.url, "shop") as child:
        try:
            assert child.stdin is not None
            assert child.stdout is not None
            counted = json.loads(child.stdout.readline() or child.communicate()[1])
            json.loads(child.stdout.readline())
            seen = dict(in_redis(server))
            server.cli("CONFIG", "SET", "requirepass", PASSWORD + "-2")
            server.password = PASSWORD + "-2"
            server.cli("CLIENT", "KILL", "SKIPME", "yes")
            said, stderr = child.communicate("go on\n", timeout=40.0)
        finally:
            child.kill()
    assert child.returncode == 0, stderr
    told = json.loads(said)
    seen |= dict(on_disk(tmp_path))
    seen |= {f"told {number}": text for number, text in enumerate(told["told"])}
    found = [
        (place, secret) for place, text in seen.items() for secret in PLANTED if secret in text
    ]
    figures.note("answers of another user", counted["both"]["leaked"], "0")
    figures.note("answers from snapshots, by key", f"{counted['both']['right']:,}")
    figures.note("secrets found", len(found), "0")
    figures.note("places looked at (log, files, metrics, Redis, words to operators)", len(seen))
    assert stderr == ""
    assert found == []
    assert counted["both"]["leaked"] == 0
    assert counted["warm"]["right"] > 1_000
    assert counted["both"]["right"] - counted["warm"]["right"] > 1_000
    assert counted["hits"] >= 8
    assert "cannot be used" in seen["everything.log"], "what went wrong was told"
