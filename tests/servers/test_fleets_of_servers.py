"""The Sentinel trio and the cluster of the tests: what fails over, what moves."""

from __future__ import annotations

import pytest
from redis.cluster import RedisCluster
from redis.sentinel import Sentinel

from tests.servers.redis_server import RedisError

pytestmark = pytest.mark.real

KEY = "degrade:{shop}:holds"


def test_sentinels_move_the_primary_when_told(sentinel_trio):
    first = sentinel_trio.primary
    first.cli("SET", KEY, "1")
    first.cli("WAIT", 1, 5000)
    second = sentinel_trio.failover()
    assert second is not first
    assert second.cli("GET", KEY) == "1"
    assert first.cli("SET", KEY, "lost") == "OK"  # it does not know yet


def test_sentinels_replace_a_dead_primary_and_clients_find_the_new_one(sentinel_trio):
    first = sentinel_trio.primary
    first.kill()
    second = sentinel_trio.await_other_than(first)
    assert second is not first
    hosts = [address.split(":") for address in sentinel_trio.addresses]
    finder = Sentinel([(host, int(port)) for host, port in hosts], socket_timeout=2.0)
    assert finder.discover_master(sentinel_trio.name) == (second.host, second.port)
    for sentinel in finder.sentinels:
        sentinel.close()


def test_a_frozen_primary_is_replaced_and_goes_on_as_if_nothing_was(sentinel_trio):
    first = sentinel_trio.primary
    first.freeze()
    second = sentinel_trio.await_other_than(first)
    first.thaw()
    assert sentinel_trio.primary is second
    assert first.info("replication")["role"] == "master"  # until the sentinels demote it


def test_a_slot_moves_and_a_killed_node_is_taken_over(redis_cluster):
    assert sum(node.primary for node in redis_cluster.nodes()) == 3
    first = redis_cluster.node_of(KEY).server
    first.cli("SET", KEY, "1")
    second = redis_cluster.migrate_slot_of(KEY)
    assert redis_cluster.node_of(KEY).server is second
    assert second.cli("GET", KEY) == "1"
    with pytest.raises(RedisError, match="MOVED"):
        first.cli("GET", KEY)
    second.cli("WAIT", 1, 5000)
    dead = redis_cluster.kill_node_of(KEY)
    assert dead is second
    third = redis_cluster.await_takeover(KEY, dead)
    assert third.cli("GET", KEY) == "1"
    client = RedisCluster(host=third.host, port=third.port, decode_responses=True, protocol=2)
    assert client.get(KEY) == "1"
    client.close()
