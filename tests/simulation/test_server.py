"""The simulated server answers as a real one does, command by command."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from degrade.errors import StoreError
from degrade.stores.redis.transport.address import parse
from degrade.stores.redis.transport.base import Check, Command, Transacted
from degrade.stores.redis.transport.client import RedisTransport
from tests.servers.redis_server import RedisServer
from tests.simulation.server import SimServer

NOW = 1_700_000_000.0

NAMES = ["hash", "hash2", "zset", "stream", "string"]
keys = st.sampled_from(NAMES)
hashes = st.sampled_from(["hash"] * 5 + ["hash2", "zset"])  # the last one: of another kind
zsets = st.sampled_from(["zset"] * 6 + ["hash"])
streams = st.sampled_from(["stream"] * 6 + ["hash"])
strings = st.sampled_from(["string"] * 6 + ["hash"])
fields = st.sampled_from(["a", "b", "c d", "_incarnation", ""])
values = st.sampled_from([b"1", b"", b"\xff\x00", b"long" * 40]) | st.integers(-3, 99)
scores = st.sampled_from([0, 0.1, 3, 1_700_000_000.25])
numbers = st.integers(0, 9)


def command(name: str, *parts: st.SearchStrategy[Any]) -> st.SearchStrategy[Command]:
    return st.tuples(st.just(name), *parts)


def many(
    name: str, key: st.SearchStrategy[str], *parts: st.SearchStrategy[Any]
) -> st.SearchStrategy[Command]:
    """Return commands with a key and some rows."""
    rows = st.lists(st.tuples(*parts), min_size=1, max_size=3)
    return st.tuples(key, rows).map(
        lambda found: (name, found[0], *(word for row in found[1] for word in row))
    )


bounds = st.sampled_from(["-inf", "+inf", "(0.1", "(3", 0.1, 3])
stream_ids = st.sampled_from(["-", "+", "2", "3-0", "4-1"])
READS = st.one_of(
    command("GET", strings),
    command("STRLEN", strings),
    command("GETRANGE", strings, st.integers(-5, 5), st.integers(-5, 5)),
    command("EXISTS", keys),
    command("HGET", hashes, fields),
    command("HMGET", hashes, fields, fields),
    command("HGETALL", hashes),
    command("HLEN", hashes),
    command("HEXISTS", hashes, fields),
    command("ZSCORE", zsets, fields),
    command("ZCARD", zsets),
    command("ZCOUNT", zsets, bounds, bounds),
    command("ZRANGEBYSCORE", zsets, bounds, bounds),
    command("ZRANGEBYSCORE", keys, st.just("-inf"), bounds, st.just("LIMIT"), numbers, numbers),
    command("XLEN", streams),
    command("XRANGE", streams, stream_ids, stream_ids),
    command("XRANGE", streams, stream_ids, stream_ids, st.just("COUNT"), st.integers(1, 3)),
    command("XREVRANGE", streams, stream_ids, stream_ids),
    command("XREVRANGE", streams, st.just("+"), st.just("-"), st.just("COUNT"), st.just(1)),
)
ENTRY = (st.just("MAXLEN"), st.just("~"), st.just(50), numbers.map("{}-0".format))
WRITES = st.one_of(
    many("HSET", hashes, fields, values),
    many("HDEL", hashes, fields),
    command("HSETNX", hashes, fields, values),
    command("HINCRBY", hashes, fields, numbers),
    command("DEL", keys),
    command("SET", strings, values),
    command("SET", strings, values, st.just("NX"), st.just("PX"), st.just(90_000)),
    command("SET", strings, values, st.just("XX")),
    command("PEXPIRE", keys, st.sampled_from([90_000, 0, -5])),
    many("ZREM", zsets, fields),
    command("ZREMRANGEBYSCORE", zsets, bounds, bounds),
    *[command("XADD", streams, *ENTRY, st.just("event"), values)] * 2,
    *[many("ZADD", zsets, scores, fields)] * 2,
    command("PUBLISH", keys, values),
)
CHECKS = st.lists(
    st.builds(
        Check,
        command("HGET", hashes, fields)
        | command("ZSCORE", zsets, fields)
        | command("HLEN", hashes)
        | command("GET", strings),
        st.none() | st.sampled_from([b"1", "1", "", "7", "2", "3"]),
    ),
    max_size=2,
)
STEPS = st.one_of(
    st.tuples(st.just("read"), st.lists(READS, min_size=1, max_size=4)),
    st.tuples(st.just("write"), st.lists(WRITES | READS, min_size=3, max_size=6)),
    st.tuples(
        st.just("transact"),
        CHECKS,
        st.lists(WRITES | READS, max_size=4),
        st.sampled_from([None, -100.0, 100.0]),
    ),
)


@pytest.fixture(scope="module")
def link() -> Iterator[RedisTransport]:
    with RedisServer() as server:
        link = RedisTransport(parse(server.url), timeout="5s")
        yield link
        link.close()


def answer(do: Callable[[], Any]) -> Any:
    """Return what comes of a call in a form that compares; any error is alike."""
    try:
        found = do()
    except StoreError:
        return "refused"
    if isinstance(found, Transacted):
        return (found.done, found.late, [flat(reply) for reply in found.replies])
    return [flat(reply) for reply in found]


def flat(reply: Any) -> Any:
    """Return scores as numbers: releases of Redis print them differently."""
    if isinstance(reply, (list, tuple)):
        return [flat(item) for item in reply]
    if isinstance(reply, bytes) and b"." in reply:
        return float(reply)
    return reply


LOG = [
    ("XADD", "stream", "MAXLEN", "~", 50, f"{number}-0", "event", number) for number in (1, 2, 3, 5)
]
EDGES = [
    ("write", [*LOG, ("ZADD", "zset", 0.1, "a", 3, "b", 3, "c")]),
    ("read", [("XRANGE", "stream", first, last) for first in ("-", "2", "2-1") for last in ("3", "3-0", "4")]),
    ("read", [("XREVRANGE", "stream", last, "2-0", "COUNT", 1) for last in ("+", "3-0", "4-9", "1")]),
    ("read", [("ZRANGEBYSCORE", "zset", low, high) for low in (0.1, "(0.1") for high in (3, "(3")]),
    ("write", [("DEL", "stream"), ("XADD", "stream", "1-0", "a", "b"), ("XLEN", "stream")]),
    ("write", [("PEXPIRE", "stream", 0), ("EXISTS", "stream"), ("GETRANGE", "zset", 0, 1)]),
]  # fmt: skip


@pytest.mark.real
@example(steps=EDGES)
@settings(max_examples=300)
@given(steps=st.lists(STEPS, max_size=20))
def test_it_answers_as_a_real_server_does(link: RedisTransport, steps: list[Any]):
    link.write("any", [("FLUSHALL",)])
    simulated = SimServer(lambda: NOW)
    for kind, *step in steps:
        if kind == "transact":
            checks, commands, left_s = step
            (clock,) = link.read("any", [("TIME",)])
            late = [None if left_s is None else now + left_s for now in (clock[0], NOW)]
            expected = answer(partial(link.transact, NAMES, checks, commands, deadline=late[0]))
            found = answer(partial(simulated.transact, checks, commands, deadline=late[1]))
        elif kind == "write":
            expected = answer(partial(link.write, "any", *step))
            found = answer(partial(simulated.write, *step))
        else:
            expected = answer(partial(link.read, "any", *step))
            found = answer(partial(simulated.read, *step))
        assert found == expected, (kind, step)


def test_it_names_the_fields_of_a_hash_in_an_order_of_its_own(link: RedisTransport):
    link.write("any", [("FLUSHALL",)])
    simulated = SimServer(lambda: NOW)
    rows = [word for number in range(50) for word in (f"field{number}", "long" * 40)]
    link.write("any", [("HSET", "hash", *rows)])
    simulated.write([("HSET", "hash", *rows)])
    (expected,), (found,) = (
        link.read("any", [("HKEYS", "hash")]),
        simulated.read([("HKEYS", "hash")]),
    )
    assert sorted(found) == sorted(expected)
    assert len(expected) == 50
