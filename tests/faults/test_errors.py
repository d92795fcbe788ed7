"""Every way in which a Redis that answers can refuse: counted, told once, and recovered from."""

from __future__ import annotations

import contextlib
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

import pytest

from tests.faults import promises
from tests.faults.application import Application
from tests.faults.steps import A_SECOND, FLAGS, FOLLOWED, HELD, by_hand, followed, hold_one, holds
from tests.servers.binaries import find_redis
from tests.servers.fixtures import Servers
from tests.servers.redis_server import RedisServer
from tests.servers.waiting import until

pytestmark = [pytest.mark.real, pytest.mark.timeout(120)]

RECOVERED_S = 3.0
ADMIN = ("--user", "admin", "--pass", "any")

Fault = Callable[[Servers, RedisServer, Application], AbstractContextManager[None]]


@contextlib.contextmanager
def loading(servers: Servers, server: RedisServer, app: Application) -> Iterator[None]:
    """Restart with data that take some seconds to load."""
    server.cli("DEBUG", "POPULATE", 2_000)
    server.cli("SAVE")
    server.kill()
    server.start(config={"key-load-delay": "2000", "loading-process-events-interval-bytes": "1024"},
                 loading=True)  # fmt: skip
    yield
    until(server.answers, what="the data to be loaded")


@contextlib.contextmanager
def busy(servers: Servers, server: RedisServer, app: Application) -> Iterator[None]:
    """Let a script of somebody run for ever."""
    server.cli("CONFIG", "SET", "busy-reply-threshold", 50)
    with subprocess.Popen(
        [find_redis().cli, "-p", str(server.port), "EVAL", "while true do end", "0"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=find_redis().environment,
    ) as endless:  # fmt: skip
        try:
            yield
        finally:
            server.cli("SCRIPT", "KILL")
            endless.wait(10.0)


@contextlib.contextmanager
def out_of_memory(servers: Servers, server: RedisServer, app: Application) -> Iterator[None]:
    server.cli("CONFIG", "SET", "maxmemory", "1mb")
    yield
    server.cli("CONFIG", "SET", "maxmemory", 0)


@contextlib.contextmanager
def forbidden(servers: Servers, server: RedisServer, app: Application) -> Iterator[None]:
    """Take the rights to every key away from everybody but the administrator."""
    server.cli("ACL", "SETUSER", "admin", "on", "nopass", "~*", "&*", "+@all")
    server.cli(*ADMIN, "ACL", "SETUSER", "default", "resetkeys", "~other:*")
    yield
    server.cli(*ADMIN, "ACL", "SETUSER", "default", "allkeys")


@contextlib.contextmanager
def no_password(servers: Servers, server: RedisServer, app: Application) -> Iterator[None]:
    """Want a password from now on, and have everybody connect anew."""
    server.cli("CONFIG", "SET", "requirepass", "secret")
    server.password = "secret"  # noqa: S105 - of a server on loopback that lives for seconds
    server.cli("CLIENT", "KILL", "SKIPME", "yes")
    yield
    server.cli("CONFIG", "SET", "requirepass", "")
    server.password = None


@contextlib.contextmanager
def read_only(servers: Servers, server: RedisServer, app: Application) -> Iterator[None]:
    """Make it a replica of a server with the same data."""
    other = servers.redis(config={"replicaof": f"{server.host} {server.port}"})
    synced = lambda one: one.info("replication").get("master_link_status") == "up"  # noqa: E731 - one line, used twice
    until(lambda: synced(other), what="a replica")
    other.cli("REPLICAOF", "NO", "ONE")
    server.cli("REPLICAOF", other.host, other.port)
    until(lambda: synced(server), what="a replica")
    yield
    server.cli("REPLICAOF", "NO", "ONE")


@contextlib.contextmanager
def primary_down(servers: Servers, server: RedisServer, app: Application) -> Iterator[None]:
    """Make it a replica that has lost its primary, and serves nothing."""
    server.cli("CONFIG", "SET", "replica-serve-stale-data", "no")
    server.cli("REPLICAOF", "127.0.0.1", 1)
    yield
    server.cli("REPLICAOF", "NO", "ONE")


@contextlib.contextmanager
def cluster_down(servers: Servers, server: RedisServer, app: Application) -> Iterator[None]:
    """Take the slots away from the only node of a cluster."""
    server.cli("CLUSTER", "DELSLOTSRANGE", 0, 16383)
    yield
    server.cli("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
    until(lambda: "cluster_state:ok" in server.cli("CLUSTER", "INFO"), what="a cluster")


@contextlib.contextmanager
def crowded(servers: Servers, server: RedisServer, app: Application) -> Iterator[None]:
    """Let others take every connection there may be, and cut everybody else off."""
    admin = server.client()
    admin.config_set("maxclients", 20)
    with contextlib.ExitStack() as crowd:
        crowd.callback(admin.close)
        admin.execute_command("CLIENT", "KILL", "SKIPME", "yes")
        for _ in range(40):
            link = socket.create_connection((server.host, server.port))
            crowd.enter_context(link)
        yield
    until(server.answers, what="room for clients")


@contextlib.contextmanager
def wrong_type(servers: Servers, server: RedisServer, app: Application) -> Iterator[None]:
    """Let another program write something else under the name of the holds."""
    server.cli("SET", holds(app), "mine")
    yield
    server.cli("DEL", holds(app))


@contextlib.contextmanager
def no_hello(servers: Servers, server: RedisServer, app: Application) -> Iterator[None]:
    """Nothing more: the command is missing from the start."""
    yield


@contextlib.contextmanager
def nonsense(servers: Servers, server: RedisServer, app: Application) -> Iterator[None]:
    """Write what is no hold by hand, over one that is in force, and over one that is not."""
    by_hand(server, app, HELD, '{"mode": "degr')
    by_hand(server, app, FOLLOWED, "degarded")
    yield


# What is told once a minute is the first trouble: while a server restarts that it is not there.
CASES: dict[str, tuple[Fault, str, dict[str, str]]] = {
    "LOADING": (loading, "loads its data|cannot be reached", {"enable-debug-command": "yes"}),
    "BUSY": (busy, "script", {}),
    "OOM": (out_of_memory, "memory", {}),
    "NOPERM": (forbidden, "ACL", {}),
    "NOAUTH": (no_password, "password", {}),
    "READONLY": (read_only, "replica", {}),
    "MASTERDOWN": (primary_down, "lost its primary", {}),
    "CLUSTERDOWN": (cluster_down, "cluster", {"cluster-enabled": "yes"}),
    "MAXCLIENTS": (crowded, "clients", {}),
    "WRONGTYPE": (wrong_type, "another type", {}),
    "HELLO": (no_hello, "", {"rename-command": 'HELLO ""'}),
    "NONSENSE": (nonsense, "", {}),
}


@pytest.mark.parametrize("name", CASES)
def test_no_refusal_reaches_a_call_and_all_are_recovered_from(application, servers, figures, name):
    fault, says, config = CASES[name]
    figures.about(f"T10 error_matrix {name}", f"Redis answers {name}")
    server = servers.redis(config=config, bus="cluster-enabled" in config)
    if "cluster-enabled" in config:
        server.cli("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
        until(lambda: "cluster_state:ok" in server.cli("CLUSTER", "INFO"), what="a cluster")
    app = application(server.url, flags=FLAGS, ports=[server.port], workers=1)
    hold_one(server, app)
    app.gather("calm", calls=2 * A_SECOND)
    app.mark("fault")
    with fault(servers, server, app):
        if says:
            app.await_word(says)
        app.gather("fault", calls=3 * A_SECOND)
    if name in ("NONSENSE", "HELLO"):
        assert app.states()[0]["troubles"].get("store", 0) == 0
    app.mark("healed")
    healed_s = followed(server, app, after=app.marks[-1][0])
    app.gather("calm", calls=A_SECOND)
    reports = app.reports()
    figures.keep(promises.check(reports))
    figures.note("recovered after", healed_s, f"{RECOVERED_S:g} s", unit="s")
    assert healed_s < RECOVERED_S
    assert set(promises.answers(reports, ["calm", "fault", "healed"], HELD)) == {"degraded"}


def test_nonsense_is_told_once(application, redis_server):
    app = application(redis_server.url, flags=FLAGS, workers=1, control=False)
    hold_one(redis_server, app)
    by_hand(redis_server, app, FOLLOWED, "degarded")
    app.gather("fault", calls=3 * A_SECOND)
    (report,) = app.reports()
    assert len([line for _, line in report["log"] if "degarded" in line]) == 1
    assert set(promises.answers([report], ["fault"], FOLLOWED)) == {"full"}
