"""What real servers refuse, and what the link makes of it."""

from __future__ import annotations

import contextlib
import logging
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from degrade.errors import StoreError
from degrade.stores.redis.transport.client import link_of
from tests.contract.links import SLACK_S, Listener, took_s
from tests.servers.waiting import until

pytestmark = pytest.mark.real

SECRET = "s3cret"  # noqa: S105 - a word to look for


@contextmanager
def refusal(reason: str, advice: str) -> Iterator[None]:
    """Expect a `StoreError` of one kind, with an advice and without secrets."""
    with pytest.raises(StoreError, match=advice) as caught:
        yield
    assert caught.value.reason == reason
    assert SECRET not in str(caught.value)
    assert caught.value.code == "store"
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None  # a logged traceback shows nothing of redis-py


def get(link):
    return link.read("k", [("GET", "k")])[0]


def put(link, value="v"):
    return link.transact(["k"], [], [("SET", "k", value)], deadline=None)


def connections_made(server):
    return int(server.info("stats")["total_connections_received"])


# ---------------------------------------------------------------- who we are


@pytest.mark.parametrize("user", ["", ":wrong-s3cret@", "nobody:s3cret@"])
def test_a_wrong_password_is_told_without_showing_it(servers, user):
    server = servers.redis(password="right-s3cret")  # noqa: S106 - a word to look for
    link = link_of(f"redis://{user}127.0.0.1:{server.port}")
    reason, advice = ("NOAUTH", "wants a password") if not user else ("WRONGPASS", "are wrong")
    with refusal(reason, advice):
        get(link)
    link.close()


def test_a_password_that_is_corrected_on_the_server_works_at_once(servers):
    server = servers.redis(password="other")  # noqa: S106 - of a server that ends with this test
    link = link_of(f"redis://:{SECRET}@127.0.0.1:{server.port}")
    with refusal("WRONGPASS", "are wrong"):
        get(link)
    server.cli("CONFIG", "SET", "requirepass", SECRET)
    assert get(link) is None
    link.close()


def test_a_server_that_does_not_know_auth_does_not_make_us_show_the_password(servers):
    server = servers.redis(config={"rename-command": 'AUTH ""'})
    link = link_of(f"redis://me:{SECRET}@127.0.0.1:{server.port}")
    with refusal("ERR", "unknown command"):
        get(link)
    link.close()


def test_hello_and_the_names_of_clients_are_not_needed(servers):
    server = servers.redis(config={"rename-command": 'HELLO ""\nCLIENT ""'})
    link = link_of(server.url)
    assert put(link).done
    assert get(link) == b"v"
    link.close()


@pytest.fixture
def as_user(servers):
    """Return links for a user with the given rights."""
    made = []

    def link(*rights: str):
        server = servers.redis()
        server.cli(
            "ACL", "SETUSER", "me", "on", f">{SECRET}", "resetkeys", "resetchannels", *rights
        )
        made.append(link_of(f"redis://me:{SECRET}@127.0.0.1:{server.port}"))
        return server, made[-1]

    yield link
    for one in made:
        one.close()


MINIMAL = ("-@all", "+get", "+set", "+publish", "+subscribe", "+ping", "+time", "+evalsha", "+eval")


def test_a_few_rights_are_enough(as_user):
    _, link = as_user("~k", "&hint", *MINIMAL, "+multi", "+exec")
    assert put(link).done
    assert link.read("k", [("GET", "k"), ("GET", "k")]) == [b"v", b"v"]
    listener = Listener(link)
    listener.await_subscription()
    link.write("k", [("PUBLISH", "hint", "x")])
    listener.await_message(b"x")
    listener.stop()


def test_a_missing_right_is_told_and_costs_no_connection(as_user):
    server, link = as_user("~other", *MINIMAL)
    with refusal("NOPERM", "ACL forbids"):
        get(link)
    before = connections_made(server)
    for _ in range(5):
        with refusal("NOPERM", "ACL forbids"):
            put(link)
        with refusal("NOPERM", "ACL forbids"):
            get(link)
    assert connections_made(server) == before + 1  # redis-cli, which asks


def test_who_may_not_listen_is_told_once_and_waits_for_the_right(as_user, caplog, monkeypatch):
    monkeypatch.setattr("degrade.stores.redis.transport.subscriber._NOT_ALLOWED_S", 0.1)
    server, link = as_user("~*", *MINIMAL)
    refused = lambda: int(server.info("errorstats").get("errorstat_NOPERM", "=0").split("=")[1])  # noqa: E731 - short
    with caplog.at_level(logging.INFO, "degrade"):
        listener = Listener(link)
        until(lambda: refused() > 5, what="some tries to listen")
    assert listener.heard == []
    assert put(link).done
    (line,) = [record.getMessage() for record in caplog.records]
    assert "by polling only" in line
    assert "the channel hint" in line
    assert SECRET not in line
    server.cli("ACL", "SETUSER", "me", "&hint")
    listener.await_subscription()
    listener.stop()


# ---------------------------------------------------------------- how it is


def test_a_full_memory_is_told_and_reads_go_on(servers):
    server = servers.redis(config={"maxmemory": "100kb", "maxmemory-policy": "noeviction"})
    link = link_of(server.url)
    with refusal("OOM", "memory is full"):
        put(link)
    with refusal("OOM", "memory is full"):
        link.write("k", [("SET", "k", 1), ("SET", "k", 2)])
    before = connections_made(server)
    assert get(link) is None
    server.cli("CONFIG", "SET", "maxmemory", 0)
    assert put(link).done
    assert connections_made(server) == before + 2  # redis-cli, twice
    link.close()


def test_a_disk_that_fails_is_told(servers):
    server = servers.redis(config={"save": "3600 1"})
    link = link_of(server.url)
    assert put(link).done
    (server.home / "dump.rdb").mkdir()
    server.cli("BGSAVE")
    until(lambda: server.info("persistence")["rdb_last_bgsave_status"] == "err", what="a failure")
    with refusal("MISCONF", "cannot save to its disk"):
        put(link)
    assert get(link) == b"v"
    link.close()


def test_too_few_replicas_are_told(servers):
    server = servers.redis(config={"min-replicas-to-write": "1"})
    link = link_of(server.url)
    with refusal("NOREPLICAS", "min-replicas-to-write"):
        put(link)
    link.close()


def test_too_many_clients_are_told_and_a_place_is_taken_when_it_comes_free(servers):
    server = servers.redis(config={"maxclients": "2"})
    link = link_of(server.url)
    others = [server.client(), server.client()]
    for other in others:
        other.ping()
    with refusal("MAXCLIENTS", "raise its maxclients"):
        get(link)
    others[0].close()
    until(lambda: not took_error(link), what="a free place")
    others[1].close()
    link.close()


def took_error(link):
    try:
        get(link)
    except StoreError:
        return True
    return False


def test_a_server_that_loads_its_data_is_told_and_waited_for(servers):
    answering = {"loading-process-events-interval-bytes": "1024"}  # while it loads
    server = servers.redis(config={"enable-debug-command": "yes", **answering})
    server.cli("DEBUG", "POPULATE", 3_000, "x", 10)
    server.cli("CONFIG", "SET", "key-load-delay", 300)  # microseconds a key: about a second
    link = link_of(server.url)
    assert get(link) is None
    reload = threading.Thread(target=server.cli, args=("DEBUG", "RELOAD"))
    reload.start()
    try:
        until(lambda: took_error(link))
        seen = set()
        while not seen & {"LOADING"}:
            try:
                get(link)
            except StoreError as error:
                seen.add(error.reason)
        assert seen <= {"LOADING", "TIMEOUT"}
    finally:
        reload.join()
    until(lambda: not took_error(link))
    link.close()


def test_a_busy_server_is_told(servers):
    server = servers.redis(config={"busy-reply-threshold": "50"})
    link = link_of(f"{server.url}?timeout=5s")
    assert get(link) is None
    script = threading.Thread(target=endless_script, args=(server,))
    script.start()
    try:
        until(lambda: took_error(link))
        with refusal("BUSY", "SCRIPT KILL"):
            get(link)
    finally:
        server.cli("SCRIPT", "KILL")
        script.join()
    until(lambda: not took_error(link))
    link.close()


def endless_script(server):
    with server.client() as client, pytest.raises(Exception, match="killed"):
        client.eval("while true do end", 0)


def test_a_replica_is_told(servers):
    primary, replica = servers.redis(), servers.redis()
    replica.cli("REPLICAOF", primary.host, primary.port)
    link = link_of(replica.url)
    with refusal("READONLY", "name the primary"):
        put(link)
    replica.cli("CONFIG", "SET", "replica-serve-stale-data", "no")
    primary.kill()
    until(lambda: replica.info("replication")["master_link_status"] == "down")
    with refusal("MASTERDOWN", "lost its primary"):
        get(link)
    link.close()


def test_another_program_s_key_is_told(redis_server):
    link = link_of(redis_server.url)
    redis_server.cli("RPUSH", "k", "x")
    with refusal("WRONGTYPE", "another program"):
        get(link)
    with refusal("WRONGTYPE", "another program"):
        link.transact(["k"], [], [("HSET", "k", "a", "b")], deadline=None)
    with refusal("WRONGTYPE", "another program"):
        link.read("k", [("GET", "other"), ("GET", "k")])
    assert link.read("k", [("GET", "other"), ("LLEN", "k")]) == [None, 1]
    link.close()


def test_text_that_is_no_text_is_told(redis_server):
    link = link_of(redis_server.url)
    for word in ("\ud800", object()):
        with refusal("WORDS", "cannot be written"):
            put(link, word)
    assert put(link).done
    link.close()


def test_what_is_no_redis_is_told():
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer():
            while True:
                try:
                    peer, _ = listener.accept()
                except OSError:
                    return
                with peer:
                    peer.recv(100)
                    peer.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        link = link_of(f"redis://127.0.0.1:{listener.getsockname()[1]}")
        with refusal("PROTOCOL", "check the address"):
            get(link)
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()
        link.close()


def test_an_answer_that_trickles_in_is_given_up_in_time():
    ended = threading.Event()

    def answer(listener):
        peer, _ = listener.accept()
        with peer:
            peer.recv(1_000)
            peer.sendall(b"+OK\r\n")  # to the name of the client
            peer.recv(1_000)
            peer.sendall(b"$40\r\n")
            with contextlib.suppress(OSError):
                while not ended.wait(0.05):
                    peer.sendall(b"x")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=answer, args=(listener,))
        thread.start()
        link = link_of(f"redis://127.0.0.1:{listener.getsockname()[1]}")
        try:
            assert took_s(lambda: get(link)) < 0.3 + SLACK_S
        finally:
            ended.set()
            thread.join()
            link.close()


def test_a_server_that_takes_bytes_slowly_is_given_up_in_time():
    ended = threading.Event()

    def answer(listener):
        peer, _ = listener.accept()
        with peer, contextlib.suppress(OSError):
            peer.recv(1_000)
            peer.sendall(b"+OK\r\n")  # to the name of the client
            while not ended.wait(0.02) and peer.recv(50_000):
                pass

    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        thread = threading.Thread(target=answer, args=(listener,))
        thread.start()
        link = link_of(f"redis://127.0.0.1:{listener.getsockname()[1]}")
        large = [("SET", f"k{number}", b"x" * 10_000) for number in range(800)]
        try:
            assert took_s(lambda: link.write("k", large)) < 0.3 + SLACK_S
        finally:
            ended.set()
            link.close()
            thread.join()


def test_what_a_user_may_not_do_is_told_before_anything_is_written(as_user):
    server, link = as_user("~k", "~l", *MINIMAL, "-publish")
    commands = [("PUBLISH", "hint", "x"), ("SET", "k", "1"), ("APPEND", "l", "x")]
    with refusal("NOPERM", "its ACL forbids"):
        link.transact(["k", "l"], [], commands, deadline=None)
    assert server.cli("EXISTS", "k", "l") == "0"
    server.cli("ACL", "SETUSER", "me", "+append", "resetkeys", "~k", "%R~l")
    with refusal("NOPERM", "give it the right ~degrade"):
        link.transact(["k"], [], commands, deadline=None)
    assert server.cli("EXISTS", "k", "l") == "0"


def test_a_closed_port_and_an_unknown_name_are_told(redis_server):
    redis_server.kill()
    for url in (redis_server.url, "redis://no-such-host.invalid", "unix:///nowhere/redis.sock"):
        link = link_of(f"{url}?timeout=5s")
        with refusal("CONNECTION", "cannot be reached"):
            get(link)
        link.close()


def test_a_connection_that_was_closed_while_idle_is_no_failure(redis_server):
    link = link_of(redis_server.url)
    assert put(link).done
    redis_server.cli("CLIENT", "KILL", "TYPE", "normal")
    assert get(link) == b"v"
    redis_server.restart(empty=False)
    assert get(link) == b"v"
    link.close()


def test_a_reply_that_comes_too_late_never_answers_the_next_question(servers, redis_server):
    proxy = servers.proxy(redis_server)
    link = link_of(f"redis://127.0.0.1:{proxy.port}?timeout=5s")
    link.write("a", [("MSET", "a", "1", "b", "2")])
    proxy.delay_s = 0.06
    for _ in range(5):
        assert took_s(lambda: link.read("a", [("GET", "a")], within_s=0.05)) < 0.05 + SLACK_S
        assert link.read("b", [("GET", "b")]) == [b"2"]
    link.close()
