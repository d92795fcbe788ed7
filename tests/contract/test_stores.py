"""Our own stores keep the contract that they ask of others."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from degrade.clock import Clock
from degrade.stores.memory import MemoryStore
from degrade.stores.redis.store import RedisStore
from degrade.stores.redis.transport.address import parse
from degrade.stores.redis.transport.client import RedisTransport
from degrade.stores.sqlite import SQLiteStore
from degrade.testing import MakeStore, StoreContract
from tests.servers.fixtures import Servers

PATIENCE = "10s"
"""A busy machine is no broken contract."""


@pytest.fixture
def over_redis() -> Iterator[Callable[[str], MakeStore]]:
    """Open stores on a server, and give their sockets back."""
    opened: list[RedisStore] = []

    def over(url: str) -> MakeStore:
        def make(clock: Clock, namespace: str) -> RedisStore:
            store = RedisStore(
                RedisTransport(parse(url), timeout=PATIENCE),
                clock=clock,
                namespace=namespace,
                server_time=False,
            )
            opened.append(store)
            return store

        return make

    yield over
    for store in opened:
        store.close()


class TestMemoryStore(StoreContract):
    @pytest.fixture
    def make(self) -> MakeStore:
        return lambda clock, namespace: MemoryStore(clock=clock, namespace=namespace)


class TestSQLiteStore(StoreContract):
    @pytest.fixture
    def make(self, tmp_path) -> MakeStore:
        return lambda clock, namespace: SQLiteStore(
            tmp_path / "store.db", clock=clock, namespace=namespace
        )


@pytest.mark.real
class TestRedisStore(StoreContract):
    @pytest.fixture
    def make(self, servers: Servers, over_redis: Callable[[str], MakeStore]) -> MakeStore:
        return over_redis(servers.redis().url)


@pytest.mark.real
class TestRedisStoreOverAUnixSocket(StoreContract):
    @pytest.fixture
    def make(self, servers: Servers, over_redis: Callable[[str], MakeStore]) -> MakeStore:
        return over_redis(servers.redis(unix=True).url)
