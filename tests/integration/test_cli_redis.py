"""The command line over a real Redis: with a fleet of real processes, and with a server that is away."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from degrade.cli.session import Session
from degrade.control import Control
from degrade.core.records import FlagInfo, Vote
from degrade.errors import StoreError
from degrade.settings import Settings, open_store
from degrade.testing.store_records import report
from tests.command_line import call
from tests.servers.certificates import make_certificates
from tests.servers.fixtures import Servers
from tests.servers.redis_server import RedisServer
from tests.servers.waiting import until

pytestmark = [pytest.mark.real, pytest.mark.timeout(120)]

PATIENCE_S = 40.0
HOLD = ("hold", "feed.ranking", "off", "--for", "30m", "--reason", "bad model")
SERVICE = """
import time
import degrade
from degrade import default, degradable

degrade.configure()

@degradable("feed.ranking", level=2, fallback=[default("front page")])
def ranked():
    return "ranked"

while True:
    ranked()
    time.sleep(0.02)
"""

FLEETS = {"sentinel": "shared_sentinel_trio", "cluster": "shared_cluster"}

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def env(tmp_path: Path, redis_server: RedisServer) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("DEGRADE_")}
    return kept | {
        "DEGRADE_STORE": redis_server.url,
        "DEGRADE_LOCAL": str(tmp_path / "local"),
        "DEGRADE_ACTOR": "ana",
        "PYTHONWARNINGS": "error",
        "COLUMNS": "200",
    }


@pytest.fixture
def degrade(env: dict[str, str], tmp_path: Path) -> Run:
    def run(*words: str, code: int = 0, **changes: str) -> subprocess.CompletedProcess[str]:
        done = call(words, env | changes, tmp_path)
        assert done.returncode == code, (done.returncode, done.stdout, done.stderr)
        assert "Traceback" not in done.stderr
        return done

    return run


@pytest.fixture
def services(env: dict[str, str], tmp_path: Path) -> Iterator[list[subprocess.Popen[str]]]:
    """Three processes of a service."""
    started = [
        subprocess.Popen([sys.executable, "-c", SERVICE], env=env, cwd=tmp_path, text=True)
        for _ in range(3)
    ]
    yield started
    for process in started:
        process.kill()
        process.wait()


def heard(degrade: Run, count: int) -> bool:
    return f"{count} processes heard" in degrade("status").stdout


@pytest.mark.slow
def test_an_order_is_known_to_have_arrived_or_who_has_not_got_it_is_named(
    degrade: Run, services: list[subprocess.Popen[str]]
) -> None:
    until(lambda: heard(degrade, 3), within_s=PATIENCE_S, every_s=0.2)
    until(lambda: "0 of 3 degraded" in degrade("status").stdout, within_s=PATIENCE_S, every_s=0.2)
    done = degrade(*HOLD, "--wait", "99%", "--timeout", "20s")
    assert re.search(r"3 of 3 instances have applied it after [\d.]+m?s", done.stdout)
    assert "3 of 3 degraded" in degrade("status").stdout

    frozen = services[1]
    frozen.send_signal(signal.SIGSTOP)
    try:
        back = ("release", "feed.ranking", "--reason", "repaired", "--wait", "99%")
        done = degrade(*back, "--timeout", "4s", code=6)
        assert "2 of 3 instances have applied it after 4s, less than the 99% asked" in done.stdout
        assert re.search(
            rf"\S+ pid {frozen.pid}: heard \S+ ago; has applied epoch 1, not 2", done.stdout
        )
        named = re.findall(r"pid (\d+)", done.stdout)
        assert named == [str(frozen.pid)], "nobody else is named"
        told = json.loads(
            degrade(*HOLD, "--wait", "99%", "--timeout", "1ms", "--json", code=6).stdout
        )
        assert told["arrived"]["enough"] is False
        assert frozen.pid in [item["pid"] for item in told["arrived"]["missing"]]
        again = degrade(*HOLD, "--wait", "60%", "--timeout", "20s").stdout
        assert "2 of 3 instances have applied it" in again
    finally:
        frozen.send_signal(signal.SIGCONT)
    done = degrade(*HOLD, "--wait", "100%", "--timeout", "20s")
    assert "3 of 3 instances have applied it" in done.stdout
    services[0].send_signal(signal.SIGINT)
    services[0].wait(PATIENCE_S)
    until(lambda: heard(degrade, 2), within_s=PATIENCE_S, every_s=0.2, what="a goodbye")


def test_without_any_process_nothing_has_arrived_and_that_is_said(degrade: Run) -> None:
    done = degrade(*HOLD, "--force", "--wait", "99%", "--timeout", "500ms", code=6)
    assert "feed.ranking is held off" in done.stdout
    assert "no process has been heard in the last ten minutes" in done.stdout
    degrade("release", "feed.ranking", "-r", "x", "--wait", "1%", "--timeout", "1ms", code=6)
    released = degrade("release", "*", "-r", "x", "--wait", "1%")
    assert "nothing was released" in released.stdout, (
        "where nothing is changed there is nothing to wait for"
    )


def verbs(control: Control) -> dict[str, Callable[[], object]]:
    return {
        "status": control.status,
        "why": lambda: control.why("feed.ranking"),
        "events": control.events,
        "hold": lambda: control.hold("feed.ranking", "off", for_="1m", reason="x", force=True),
        "release": lambda: control.release("feed.ranking", reason="x"),
        "level": lambda: control.order_level(3, for_="1m", reason="x"),
        "level release": lambda: control.release_level(reason="x"),
    }


@pytest.mark.parametrize("state", ["frozen", "killed"])
def test_a_server_that_is_away_is_told_within_a_second_and_holds_nobody_up(
    redis_server: RedisServer, tmp_path: Path, state: str
) -> None:
    settings = Settings(store=redis_server.url, local=tmp_path, actor="ana")
    control = Session(settings=settings, given=()).control()
    control.hold("feed.ranking", "off", for_="1m", reason="x", force=True)
    if state == "frozen":
        redis_server.freeze()
    else:
        redis_server.kill()
    fresh = Session(settings=settings, given=()).control()
    for operator in (control, fresh):
        for name, verb in verbs(operator).items():
            begun = time.monotonic()
            with pytest.raises(StoreError):
                verb()
            assert time.monotonic() - begun < 1.0, name
        begun = time.monotonic()
        assert operator.hold("feed.ranking", "off", for_="1m", reason="x", local=True).local
        assert operator.release("feed.ranking", reason="x", local=True).holds
        assert time.monotonic() - begun < 1.0
    arrived = control.wait_applied(1, timeout="300ms")
    assert (arrived.enough, arrived.trouble is None) == (False, False)


def test_a_dead_server_is_one_clear_message_that_points_to_local_holds(
    degrade: Run, redis_server: RedisServer
) -> None:
    url = f"redis://:s3cret@127.0.0.1:{redis_server.port}/0"
    redis_server.kill()
    for words in (("status",), HOLD, ("events",)):
        done = degrade(*words, code=4, DEGRADE_STORE=url)
        first, second = done.stderr.splitlines()
        assert "cannot be reached; check that it runs" in first
        assert second.endswith("degrade hold FLAG MODE --for 30m --reason REASON --local")
        assert "s3cret" not in done.stderr
        assert "***" in first
    held = degrade(*HOLD, "--local", DEGRADE_STORE=url)
    assert "on this host" in held.stdout
    error = json.loads(degrade("status", "--json", code=4, DEGRADE_STORE=url).stdout)["error"]
    assert error["code"] == "store"


def test_what_was_written_by_hand_is_obeyed_or_explained(
    degrade: Run, redis_server: RedisServer
) -> None:
    degrade("status")
    key = "degrade:{default}:holds"
    redis_server.cli("HSET", key, "feed.ranking", "degraded", "feed.analytics", "of")
    out = degrade("status").stdout
    assert "feed.ranking is degraded since" in out
    assert "by redis-cli: none given" in out
    assert "No process has declared this flag" in out
    assert "feed.analytics is not understood, by hand: 'of' is no order" in out
    assert "write degraded, off, normal or observe" in out
    assert redis_server.cli("HGET", key, "feed.analytics") == "of", "left for who wrote it"
    told = json.loads(degrade("status", "--json").stdout)
    assert told["nonsense"] == {"feed.analytics": "of"}
    end = next(line for line in out.splitlines() if "order what was meant: " in line)
    words = end.partition("degrade ")[2].replace("MODE", "off").split()
    degrade(*words, "--force")
    assert "not understood" not in degrade("status").stdout
    redis_server.cli("HDEL", key, "feed.ranking")
    assert "feed.ranking is" not in degrade("status").stdout
    events = degrade("events").stdout
    assert re.search(r"released  feed.ranking  degraded  by redis-cli: none given", events)


def test_a_store_that_was_emptied_and_restored_says_so(
    degrade: Run, redis_server: RedisServer, env: dict[str, str], tmp_path: Path
) -> None:
    settings = Settings(store=redis_server.url, local=tmp_path, actor="ana")
    witness = Session(settings=settings, given=()).control()
    witness.hold("feed.ranking", "off", for_="30m", reason="bad model", force=True)
    redis_server.cli("FLUSHALL")
    witness.status()
    out = degrade("status").stdout
    assert re.search(r"The store was emptied \S+ ago; what was in force was restored", out)
    assert re.search(r"the fleet judges no flag yet, but in \d+s", out)
    assert "feed.ranking is off" in out
    assert json.loads(degrade("status", "--json").stdout)["restored"]["type"] == "restored"


def test_a_verdict_of_the_fleet_is_told_with_its_votes_and_what_would_change_it(
    degrade: Run, redis_server: RedisServer
) -> None:
    store = open_store(redis_server.url)
    fleet = store.fleet
    assert fleet is not None
    store.declare([FlagInfo(name="feed", level=2)])
    store.read()
    redis_server.cli("HSET", "degrade:{default}:control", "not_before", "0")
    for name, votes in (("i0", {"feed": Vote(cause="p99 too high")}), ("i1", {}), ("i2", {})):
        fleet.beat(report(name), votes)
    out = degrade("status", "feed").stdout
    assert "by automation" in out
    assert "Now 1 of 3 live instances with calls vote so; 1 more vote would make a quorum" in out
    fleet.beat(report("i1"), {"feed": Vote(cause="errors too many")})
    until(lambda: fleet.decide("i0"), every_s=0.2, what="a verdict")
    out = degrade("status").stdout
    assert re.search(r"feed is partly degraded since .*, by the fleet: 2 of 3 instances: ", out)
    assert "with fewer than 2 the quorum is lost" in out
    out = degrade("why", "feed").stdout
    assert re.search(r"degraded by its verdict since \S+ \(\S+ ago\): 2 of 3 instances", out)
    assert "one instance tries the first recovery step for all" in out
    assert "h pid 7: errors too many" in out
    told = json.loads(degrade("why", "feed", "--json").stdout)["flag"]["fleet"]
    assert (told["voters"], told["live"], told["verdict"]["recovering"]) == (2, 3, False)
    assert told["votes"] == {"i0": "p99 too high", "i1": "errors too many"}
    store.close()


@pytest.mark.parametrize(
    "kind",
    ["unix", "tls", *(pytest.param(kind, marks=pytest.mark.slow) for kind in FLEETS)],
)
def test_every_kind_of_address_can_be_operated(
    degrade: Run, servers: Servers, tmp_path: Path, kind: str, request: pytest.FixtureRequest
) -> None:
    if kind == "unix":
        url = servers.redis(unix=True).url
    elif kind == "tls":
        url = servers.redis(tls=make_certificates(tmp_path)).url
    else:
        url = request.getfixturevalue(FLEETS[kind]).url
    patient = f"{url}{'&' if '?' in url else '?'}timeout=10s"
    degrade(*HOLD, "--force", DEGRADE_STORE=patient)
    assert "feed.ranking is off since" in degrade("status", DEGRADE_STORE=patient).stdout
    degrade("release", "feed.ranking", "-r", "repaired", DEGRADE_STORE=patient)
    events = degrade("events", DEGRADE_STORE=patient).stdout
    assert re.findall(r"(hold|released)  feed.ranking  off  by ana", events) == ["hold", "released"]


def test_the_commands_to_go_on_with_show_no_password(
    degrade: Run, redis_server: RedisServer
) -> None:
    redis_server.cli("ACL", "SETUSER", "ops", "on", ">hunter2", "~*", "&*", "+@all")
    store = ("--store", redis_server.url.replace("redis://", "redis://ops:hunter2@"))
    held = degrade(*store, *HOLD, "--force").stdout
    assert "redis://ops:***@" in held
    assert "hunter2" not in held + degrade(*store, "status").stdout
