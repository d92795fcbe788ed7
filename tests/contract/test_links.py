"""The link to Redis keeps its promises with a real server."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from degrade.errors import StoreError
from degrade.stores.redis.transport.base import Check
from degrade.stores.redis.transport.client import RedisTransport, link_of
from tests.contract.links import SLACK_S, Listener, took_s
from tests.servers.redis_server import RedisServer
from tests.servers.waiting import until

pytestmark = pytest.mark.real

EVERY_BYTE = bytes(range(256))
SAID = ("get", "subscribe", "client|setname")


@pytest.fixture
def link(redis_server: RedisServer) -> Iterator[RedisTransport]:
    made = link_of(redis_server.url)
    yield made
    made.close()


@pytest.fixture
def listening(link: RedisTransport) -> Iterator[Listener]:
    listener = Listener(link)
    listener.await_subscription()
    yield listener
    listener.stop()


def server_time(link: RedisTransport) -> float:
    return link.transact(["k"], [], [], deadline=None).now


# ---------------------------------------------------------------- reading and writing


def test_replies_have_the_shapes_of_redis_py_and_are_bytes(link):
    link.write("k", [("HSET", "h", "f", EVERY_BYTE), ("XADD", "x", "7-0", "a", "b")])
    commands = [("HGETALL", "h"), ("XRANGE", "x", "-", "+"), ("GET", "none"), ("HLEN", "h")]
    together = link.read("k", commands)
    assert together == [{b"f": EVERY_BYTE}, [(b"7-0", {b"a": b"b"})], None, 1]
    assert [link.read("k", [command])[0] for command in commands] == together


def test_nothing_to_say_is_nothing_to_do(link):
    assert link.read("k", []) == []
    assert link.write("k", []) == []


def test_numbers_are_written_as_python_prints_them(link):
    link.transact(["n"], [], [("RPUSH", "n", 1_795_575_310.141163, 10**17, 0.1)], deadline=None)
    assert link.read("n", [("LRANGE", "n", 0, -1)])[0] == [
        b"1795575310.141163",
        b"100000000000000000",
        b"0.1",
    ]


def test_a_read_sees_one_moment(link, redis_server):
    """While somebody changes two keys together, they are never seen apart."""
    done = threading.Event()

    def change() -> None:
        with redis_server.client() as other:
            number = 0
            while not done.is_set():
                number += 1
                other.mset({"a": number, "b": number})

    link.write("a", [("MSET", "a", 0, "b", 0)])
    thread = threading.Thread(target=change)
    thread.start()
    try:
        for _ in range(300):
            first, second = link.read("a", [("GET", "a"), ("GET", "b")])
            assert first == second
    finally:
        done.set()
        thread.join()


# ---------------------------------------------------------------- transactions


def test_every_byte_survives_a_transaction(link):
    done = link.transact(
        ["h"],
        [Check(("GET", "none"), None)],
        [("HSET", "h", EVERY_BYTE, EVERY_BYTE), ("HGETALL", "h"), ("SET", "é", "ü")],
        deadline=None,
    )
    assert (done.done, done.late) == (True, False)
    assert done.replies == (1, [EVERY_BYTE, EVERY_BYTE], b"OK")
    again = link.transact(
        ["h"], [Check(("HGET", "h", EVERY_BYTE), EVERY_BYTE)], [("DEL", "h")], deadline=None
    )
    assert again.done
    assert link.read("é", [("GET", "é")]) == ["ü".encode()]


@pytest.mark.parametrize(
    "check",
    [
        Check(("GET", "k"), "other"),
        Check(("GET", "k"), None),
        Check(("GET", "k"), ""),
        Check(("GET", "none"), ""),
        Check(("GET", "none"), "false"),
        Check(("HGET", "h", "none"), "x"),
        Check(("EXISTS", "k"), "0"),
        Check(("STRLEN", "k"), "5.0"),
    ],
    ids=str,
)
def test_a_check_that_does_not_hold_stops_everything(link, check):
    link.write("k", [("SET", "k", "value"), ("HSET", "h", "f", "x")])
    holds = Check(("HGET", "h", "f"), "x")
    done = link.transact(["k"], [holds, check, holds], [("SET", "k", "new")], deadline=None)
    assert (done.done, done.late) == (False, False)
    assert (done.replies[0], done.replies[2], len(done.replies)) == (b"x", b"x", 3)
    assert link.read("k", [("GET", "k")]) == [b"value"]


def test_checks_that_hold_may_be_of_any_kind(link):
    link.write("k", [("SET", "k", "5"), ("SET", "big", 2**53)])
    checks = [
        Check(("GET", "none"), None),
        Check(("GET", "k"), b"5"),
        Check(("EXISTS", "k"), "1"),
        Check(("TYPE", "k"), "string"),
        Check(("INCRBY", "big", 0), str(2**53)),
    ]
    assert link.transact(["k", "big"], checks, [], deadline=None).done


def test_after_its_deadline_a_transaction_does_nothing(link):
    now = server_time(link)
    late = link.transact(["k"], [], [("SET", "k", 1)], deadline=now - 0.001)
    assert (late.done, late.late, late.replies) == (False, True, ())
    assert late.now >= now
    assert link.transact(["k"], [], [("SET", "k", 2)], deadline=now + 5).done
    assert link.read("k", [("GET", "k")]) == [b"2"]


def test_a_transaction_that_timed_out_does_nothing_later(link, redis_server):
    deadline = server_time(link) + 0.4
    redis_server.freeze()
    with pytest.raises(StoreError):
        link.transact(["k"], [], [("SET", "k", 1)], deadline=deadline)
    until(lambda: time.time() > deadline, what="the deadline")
    redis_server.thaw()
    until(redis_server.answers)
    assert redis_server.cli("EXISTS", "k") == "0"


def test_a_forgotten_script_is_sent_again(link, redis_server):
    assert link.transact(["k"], [], [("INCR", "k")], deadline=None).replies == (1,)
    redis_server.cli("SCRIPT", "FLUSH")
    assert link.transact(["k"], [], [("INCR", "k")], deadline=None).replies == (2,)
    redis_server.restart()
    assert link.transact(["k"], [], [("INCR", "k")], deadline=None).replies == (1,)


# ---------------------------------------------------------------- limits


def test_every_call_ends_in_time_when_the_server_is_frozen(link, redis_server):
    link.write("k", [("SET", "k", 1)])
    redis_server.freeze()
    for _ in range(2):  # on the open connection, then on a new one
        assert 0.25 < took_s(lambda: link.read("k", [("GET", "k")])) < 0.3 + SLACK_S
        assert took_s(lambda: link.write("k", [("SET", "k", 2)])) < 0.3 + SLACK_S
        assert took_s(lambda: link.transact(["k"], [], [], deadline=None)) < 0.3 + SLACK_S
        assert took_s(lambda: link.read("k", [("GET", "k")], within_s=0.02)) < 0.1
    redis_server.thaw()
    assert link.read("k", [("GET", "k")]) == [b"1"]


def test_a_read_gives_up_in_time_while_another_thread_waits(redis_server):
    slow = link_of(f"{redis_server.url}?timeout=3s")
    slow.write("k", [("SET", "k", 1)])
    redis_server.freeze()
    waiting = threading.Thread(target=slow.read, args=("k", [("GET", "k")]))
    waiting.start()
    until(slow._lock.locked)
    assert took_s(lambda: slow.read("k", [("GET", "k")], within_s=0.05)) < 0.15
    redis_server.thaw()
    waiting.join()
    slow.close()


def test_reads_go_on_while_writes_are_paused(link, redis_server):
    link.write("k", [("SET", "k", 1)])
    redis_server.cli("CLIENT", "PAUSE", 20_000, "WRITE")
    assert link.read("k", [("GET", "k"), ("EXISTS", "k")]) == [b"1", 1]
    assert took_s(lambda: link.write("k", [("SET", "k", 2)])) < 0.3 + SLACK_S
    assert link.read("k", [("GET", "k"), ("EXISTS", "k")]) == [b"1", 1]


def test_a_process_has_two_connections(link, listening, redis_server):
    threads = [
        threading.Thread(target=lambda: [link.read("k", [("GET", "k")]) for _ in range(20)])
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    lines = redis_server.cli("CLIENT", "LIST").splitlines()
    ours = [line for line in lines if "name=degrade" in line]
    assert len(ours) == 2
    assert len(lines) == 3  # and redis-cli
    said = set(redis_server.info("commandstats")) - {"cmdstat_auth"}  # redis-cli's
    assert said == {f"cmdstat_{name}" for name in (*SAID, "client|list", "ping")}


# ---------------------------------------------------------------- the channel


def test_messages_are_heard_as_they_are(link, listening):
    link.transact(["k"], [], [("PUBLISH", "hint", EVERY_BYTE)], deadline=None)
    listening.await_message(EVERY_BYTE)
    assert listening.heard == [None, EVERY_BYTE]


def test_a_frozen_server_is_noticed_by_the_listener(link, listening, redis_server):
    redis_server.freeze()
    until(lambda: not link._ears[0]._wire, within_s=4, what="the end of the subscription")
    redis_server.thaw()
    listening.await_subscription(2)
    link.write("k", [("PUBLISH", "hint", "after")])
    listening.await_message(b"after")


def test_a_lost_subscription_is_made_again(link, listening, redis_server):
    redis_server.cli("CLIENT", "KILL", "TYPE", "pubsub")
    listening.await_subscription(2)
    redis_server.restart()
    listening.await_subscription(3)
    link.write("k", [("PUBLISH", "hint", "after")])
    listening.await_message(b"after")


def test_closing_ends_the_listener_and_refuses_further_calls(link, redis_server):
    listener = Listener(link)
    listener.await_subscription()
    link.read("k", [("GET", "k")])
    link.close()
    listener.join()
    for doing in (
        lambda: link.read("k", [("GET", "k")]),
        lambda: link.write("k", [("GET", "k")]),
        lambda: link.transact(["k"], [], [], deadline=None),
        lambda: link.listen("c", listener.heard.append, lambda: True),
    ):
        with pytest.raises(StoreError, match="is closed"):
            doing()
    until(lambda: "name=degrade" not in redis_server.cli("CLIENT", "LIST"))
