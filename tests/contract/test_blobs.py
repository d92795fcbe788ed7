"""Snapshots in a real Redis, alone and as a cluster."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from degrade.errors import CodecError, StoreError
from degrade.ports import Blob, PartlyStoredError
from degrade.stores.redis.snapshots import RedisBlobs
from degrade.stores.redis.transport.client import RedisTransport, link_of
from tests.servers.cluster import Cluster
from tests.servers.proxy import silent_port
from tests.servers.redis_server import RedisServer
from tests.servers.waiting import until

pytestmark = pytest.mark.real

SOON_S = 0.25


def blob(key: str, body: bytes = b"body", *, keep_s: float = 60.0) -> Blob:
    return Blob(flag="feed", key=key, body=body, keep_s=keep_s)


@pytest.fixture
def link(redis_server: RedisServer) -> Iterator[RedisTransport]:
    made = link_of(redis_server.url)
    yield made
    made.close()


@pytest.fixture
def blobs(link: RedisTransport) -> RedisBlobs:
    return RedisBlobs(link, namespace="shop")


def test_what_was_put_is_there_for_its_flag_key_and_namespace_alone(link, blobs):
    blobs.put([blob("u1", b"\x00one\n"), blob("u2", b"two")])
    assert blobs.get("feed", "u1", within_s=1) == b"\x00one\n"
    assert blobs.get("feed", "u2", within_s=1) == b"two"
    assert blobs.get("feed", "u3", within_s=1) is None
    assert blobs.get("search", "u1", within_s=1) is None
    assert RedisBlobs(link, namespace="other").get("feed", "u1", within_s=1) is None


def test_the_newest_of_a_key_counts(blobs):
    blobs.put([blob("u1", b"old")])
    blobs.put([blob("u1", b"new")])
    assert blobs.get("feed", "u1", within_s=1) == b"new"


def test_any_text_is_a_key_and_tells_nothing_in_the_name(redis_server, blobs):
    for key in ("", "s3cr3t " * 500, "\ud800", "a:b*{c}"):
        blobs.put([blob(key, key.encode("utf-8", "replace") or b"-")])
        assert blobs.get("feed", key, within_s=1) is not None
    names = redis_server.cli("KEYS", "*").split()
    assert len(names) == 4
    assert all(name.startswith("degrade:snap:shop:feed:") for name in names)
    assert not any("s3cr3t" in name or "{" in name for name in names)


def test_it_ends_by_itself(redis_server, blobs):
    blobs.put([blob("u1", keep_s=0.05), blob("u2", keep_s=60), blob("u3", keep_s=0.0001)])
    (name,) = [n for n in redis_server.cli("KEYS", "*").split() if _pttl(redis_server, n) > 50]
    assert 59_000 < _pttl(redis_server, name) <= 60_000
    until(lambda: blobs.get("feed", "u1", within_s=1) is None)
    assert blobs.get("feed", "u2", within_s=1) == b"body"


def _pttl(server: RedisServer, name: str) -> int:
    return int(server.cli("PTTL", name).split()[-1])


def test_many_are_put_in_one_round_trip(redis_server, link, blobs):
    blobs.put([blob("u0")])
    sent: list[int] = []
    write = link.write
    link.write = lambda key, commands: (sent.append(len(commands)), write(key, commands))[1]  # type: ignore[method-assign] # counts
    blobs.put([blob(f"u{i}") for i in range(200)])
    assert sent == [200]
    assert int(redis_server.cli("DBSIZE").split()[-1]) == 200


@pytest.mark.parametrize("size", [1, 65_535, 65_536, 65_537, 4 * 1024 * 1024])
def test_every_size_up_to_the_limit_comes_back_whole(blobs, size: int):
    body = (b"0123456789" * (size // 10 + 1))[:size]
    blobs.put([blob("u1", body)])
    assert blobs.get("feed", "u1", within_s=2) == body


def test_one_over_the_limit_is_neither_stored_nor_loaded(redis_server, link, blobs):
    blobs.put([blob("u1", b"x" * (blobs.limit + 1)), blob("u2")])
    assert blobs.get("feed", "u1", within_s=1) is None
    assert blobs.get("feed", "u2", within_s=1) == b"body"
    RedisBlobs(link, namespace="shop", limit=1 << 30).put([blob("u1", b"x" * (blobs.limit + 1))])
    before = int(redis_server.info("stats")["total_net_output_bytes"])
    with pytest.raises(CodecError, match="over"):
        blobs.get("feed", "u1", within_s=1)
    assert int(redis_server.info("stats")["total_net_output_bytes"]) - before < 100_000


def test_what_is_no_string_is_no_snapshot(redis_server, blobs):
    blobs.put([blob("u1")])
    (name,) = redis_server.cli("KEYS", "*").split()
    redis_server.cli("DEL", name)
    redis_server.cli("HSET", name, "field", "value")
    with pytest.raises(CodecError):
        blobs.get("feed", "u1", within_s=1)
    blobs.put([blob("u1", b"good again")])
    assert blobs.get("feed", "u1", within_s=1) == b"good again"


def test_a_server_that_is_away_is_not_taken_for_a_value_of_another_type():
    with silent_port() as port:
        link = link_of(f"redis+sentinel://127.0.0.1:{port}/WRONGTYPE")
        with pytest.raises(StoreError):
            RedisBlobs(link, namespace="shop").get("feed", "u1", within_s=0.1)
        link.close()


def test_a_frozen_server_is_waited_for_no_longer_than_asked(redis_server, blobs):
    blobs.put([blob("u1")])
    redis_server.freeze()
    for within_s in (0.02, 0.1):
        began = time.monotonic()
        with pytest.raises(StoreError):
            blobs.get("feed", "u1", within_s=within_s)
        assert time.monotonic() - began < within_s + SOON_S
    redis_server.thaw()
    until(lambda: _answer(blobs) == b"body")


def _answer(blobs: RedisBlobs) -> bytes | None:
    try:
        return blobs.get("feed", "u1", within_s=0.3)
    except StoreError:
        return None


def test_in_a_cluster_snapshots_spread_over_the_nodes_in_one_batch_for_each(
    shared_cluster: Cluster,
):
    link = link_of(shared_cluster.url)
    blobs = RedisBlobs(link, namespace="shop")
    blobs.put([blob("u0")])
    sent: list[int] = []
    write = link.write
    link.write = lambda key, commands: (sent.append(len(commands)), write(key, commands))[1]  # type: ignore[method-assign] # counts
    blobs.put([blob(f"u{i}", f"for {i}".encode()) for i in range(100)])
    assert len(sent) == 3
    assert sum(sent) == 100
    assert all(blobs.get("feed", f"u{i}", within_s=1) == f"for {i}".encode() for i in range(100))
    link.close()


@pytest.mark.parametrize("known", [True, False], ids=["known", "unknown"])
def test_a_dead_node_keeps_nothing_from_being_stored_on_the_others(redis_cluster: Cluster, known):
    link = link_of(redis_cluster.url)
    blobs = RedisBlobs(link, namespace="shop")
    many = [blob(f"u{number}", b"new") for number in range(60)]
    if known:
        blobs.put([blob(one.key) for one in many])
    dead = redis_cluster.kill_node_of(_name(many[0]))
    for _ in range(2):  # also when it is known to be away
        with pytest.raises(PartlyStoredError, match="cannot be reached") as caught:
            blobs.put(many)
        left = {one.key for one in caught.value.left}
        assert many[0].key in left
        assert 5 < len(left) < 40
        for one in many:
            if one.key not in left:
                assert blobs.get("feed", one.key, within_s=1) == b"new"
    redis_cluster.await_takeover(_name(many[0]), dead)
    until(lambda: _stored(blobs, many), within_s=5, what="all, on the node that took over")
    link.close()


def test_when_nothing_can_be_stored_no_part_of_it_was():
    with silent_port() as port:
        link = link_of(f"redis+cluster://127.0.0.1:{port}")
        began = time.monotonic()
        with pytest.raises(StoreError) as caught:
            RedisBlobs(link, namespace="shop").put([blob(f"u{number}") for number in range(20)])
        assert not isinstance(caught.value, PartlyStoredError)
        assert time.monotonic() - began < 0.3 + SOON_S
        link.close()


def _stored(blobs: RedisBlobs, many: list[Blob]) -> bool:
    try:
        blobs.put(many)
    except StoreError:
        return False
    return True


def _name(one: Blob) -> str:
    return RedisBlobs(None, namespace="shop")._name(one.flag, one.key)  # type: ignore[arg-type] # it asks nobody
