"""Real servers as fixtures; each starts in well under a second and ends with its test.

Fleets of servers take about two seconds, so tests that leave them as they are share one.

A test asks for the one it needs, or for `servers` and starts what it likes:

    def test_x(servers):
        server = servers.redis(password="secret")
        proxy = servers.proxy(server)
"""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Iterator
from typing import Any, Protocol, runtime_checkable

import pytest

from tests.servers.cluster import Cluster
from tests.servers.proxy import Proxy
from tests.servers.redis_server import RedisServer
from tests.servers.sentinel import SentinelTrio

__all__ = ("Servers", "Speaking")

_FLEETS = {"sentinel_trio", "redis_cluster", "shared_sentinel_trio", "shared_cluster"}


@runtime_checkable
class Speaking(Protocol):
    """Something that runs, and logs what it does."""

    def logs(self) -> dict[str, str]: ...


class Servers:
    """Starts servers, and ends all of them with the test."""

    def __init__(self) -> None:
        self._stack = contextlib.ExitStack()
        self._speaking: list[Speaking] = []

    def redis(self, **options: Any) -> RedisServer:
        """Start a redis-server; takes what RedisServer takes."""
        server = self._stack.enter_context(RedisServer(**options))
        self._speaking.append(server)
        return server

    def sentinel_trio(self, **options: Any) -> SentinelTrio:
        trio = self._stack.enter_context(SentinelTrio(**options))
        self._speaking.append(trio)
        return trio

    def cluster(self, **options: Any) -> Cluster:
        cluster = self._stack.enter_context(Cluster(**options))
        self._speaking.append(cluster)
        return cluster

    def proxy(self, target: RedisServer | int) -> Proxy:
        """Start a proxy before a server or a port."""
        port = target.port if isinstance(target, RedisServer) else target
        return self._stack.enter_context(Proxy(port))

    def logs(self) -> dict[str, str]:
        return {name: log for one in self._speaking for name, log in one.logs().items()}

    def close(self) -> None:
        self._stack.close()


@pytest.fixture
def servers() -> Iterator[Servers]:
    """Start servers by calling it; they end with the test."""
    started = Servers()
    try:
        yield started
    finally:
        started.close()


@pytest.fixture
def redis_server(servers: Servers) -> RedisServer:
    """A redis-server of this test's own, empty."""
    return servers.redis()


@pytest.fixture
def proxy(servers: Servers, redis_server: RedisServer) -> Proxy:
    """A proxy before `redis_server`."""
    return servers.proxy(redis_server)


@pytest.fixture
def sentinel_trio(servers: Servers) -> SentinelTrio:
    """A primary, a replica and three sentinels (about two seconds to start)."""
    return servers.sentinel_trio()


@pytest.fixture
def redis_cluster(servers: Servers) -> Cluster:
    """Six nodes of a cluster (about two seconds to start)."""
    return servers.cluster()


@pytest.fixture(scope="session")
def _trio_of_the_session() -> Iterator[SentinelTrio]:
    with SentinelTrio() as trio:
        yield trio


@pytest.fixture(scope="session")
def _cluster_of_the_session() -> Iterator[Cluster]:
    with Cluster() as cluster:
        yield cluster


@pytest.fixture
def shared_sentinel_trio(_trio_of_the_session: SentinelTrio) -> Iterator[SentinelTrio]:
    """A trio that other tests use, too, empty; for tests that leave its servers as they are."""
    _trio_of_the_session.primary.cli("FLUSHALL")
    yield _trio_of_the_session
    _check_untouched(*_trio_of_the_session.servers, *_trio_of_the_session.sentinels)


@pytest.fixture
def shared_cluster(_cluster_of_the_session: Cluster) -> Iterator[Cluster]:
    """A cluster that other tests use, too, empty; for tests that leave its nodes as they are."""
    for node in _cluster_of_the_session.nodes():
        if node.primary:
            node.server.cli("FLUSHALL")
    yield _cluster_of_the_session
    _check_untouched(*_cluster_of_the_session.servers)


def _check_untouched(*servers: RedisServer) -> None:
    for server in servers:
        assert server.running, "a test that ends a server needs a fleet of its own"
        assert not server.frozen, "a test that freezes a server needs a fleet of its own"


def pytest_itemcollected(item: pytest.Item) -> None:
    """Mark as slow whatever asks for several servers that have to find each other."""
    if _FLEETS & set(getattr(item, "fixturenames", ())):
        item.add_marker("slow")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show what the servers of a failed test logged."""
    report = yield
    for started in getattr(item, "funcargs", {}).values() if report.failed else ():
        if isinstance(started, Speaking):
            report.sections += [(f"log of {name}", log) for name, log in started.logs().items()]
    return report
