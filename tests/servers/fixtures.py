"""Real servers as fixtures; each starts in well under a second and ends with its test.

A test asks for the one it needs, or for `servers` and starts what it likes:

    def test_x(servers):
        server = servers.redis(password="secret")
        proxy = servers.proxy(server)
"""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Iterator
from typing import Any

import pytest

from tests.servers.cluster import Cluster
from tests.servers.proxy import Proxy
from tests.servers.redis_server import RedisServer
from tests.servers.sentinel import SentinelTrio

__all__ = ("Servers",)

_FLEETS = {"sentinel_trio", "redis_cluster"}


class Servers:
    """Starts servers, and ends all of them with the test."""

    def __init__(self) -> None:
        self._stack = contextlib.ExitStack()
        self._speaking: list[RedisServer | SentinelTrio | Cluster] = []

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
    started = getattr(item, "funcargs", {}).get("servers")
    if report.failed and isinstance(started, Servers):
        report.sections += [(f"log of {name}", log) for name, log in started.logs().items()]
    return report
