"""The link finds its way: TLS, unix sockets, sentinels, clusters, and after a fork."""

from __future__ import annotations

import threading
import time

import pytest

from degrade.errors import StoreError
from degrade.stores.redis.transport.base import Check
from degrade.stores.redis.transport.client import link_of
from tests.contract.links import SLACK_S, Listener, took_s
from tests.integration.children import run
from tests.servers.certificates import make_certificates
from tests.servers.proxy import silent_port
from tests.servers.waiting import until

pytestmark = pytest.mark.real

SECRET = "p@ssw:rd/?é&="  # noqa: S105 - a word to look for


def works(link, key="{k}"):
    """Whether a value can be written and read now."""
    try:
        done = link.transact([key], [], [("SET", key, "v")], deadline=None)
        return done.done and link.read(key, [("GET", key)]) == [b"v"]
    except StoreError:
        return False


# ---------------------------------------------------------------- one server


def test_a_unix_socket_with_a_password_is_a_way(servers):
    server = servers.redis(unix=True, password=SECRET)
    link = link_of(server.url)
    assert works(link)
    assert SECRET not in link.url
    link.close()


def test_tls_is_a_way_for_those_who_trust_the_authority(servers, tmp_path):
    server = servers.redis(tls=make_certificates(tmp_path), password=SECRET)
    link, wary = link_of(server.url), link_of(f"{server.url.partition('?')[0]}?timeout=9s")
    careless = link_of(f"{server.url.partition('?')[0]}?ssl_cert_reqs=none")
    until(lambda: works(link), what="a handshake in time")
    until(lambda: works(careless), what="a handshake in time")
    with pytest.raises(StoreError, match="check the certificates"):
        wary.read("k", [("GET", "k")])
    listener = Listener(link)
    listener.await_subscription()
    link.write("k", [("PUBLISH", "hint", "x")])
    listener.await_message(b"x")
    server.freeze()
    assert took_s(lambda: link.read("k", [("GET", "k")])) < 0.3 + SLACK_S
    until(lambda: not link._ears[0]._wire, what="the end of the subscription")
    server.thaw()
    listener.await_subscription(2)
    listener.stop()
    for one in (link, wary, careless):
        one.close()


def test_an_expired_certificate_is_refused(servers, tmp_path):
    server = servers.redis(tls=make_certificates(tmp_path, days=-1))
    link = link_of(f"{server.url}&timeout=9s")
    with pytest.raises(StoreError, match=r"check the certificates.*expired"):
        link.read("k", [("GET", "k")])
    link.close()


@pytest.mark.parametrize("scheme", ["redis", "rediss"])
def test_who_takes_connections_and_says_nothing_is_given_up_in_time(scheme):
    with silent_port() as port:
        link = link_of(f"{scheme}://127.0.0.1:{port}")
        for _ in range(3):
            assert took_s(lambda: link.read("k", [("GET", "k")])) < 0.3 + SLACK_S
        link.close()


def test_a_name_server_that_does_not_answer_holds_nobody(monkeypatch, redis_server):
    """Name resolution obeys no timeout; here it hangs until the test lets it go."""
    import socket

    answer, real = threading.Event(), socket.getaddrinfo

    def getaddrinfo(host, *rest, **more):
        if host == "redis.test":
            answer.wait(30)
            host = "127.0.0.1"
        return real(host, *rest, **more)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    link = link_of(f"redis://redis.test:{redis_server.port}")
    threads_before = threading.active_count()
    for _ in range(3):
        assert took_s(lambda: link.read("k", [("GET", "k")], within_s=0.05)) < 0.15
    assert took_s(lambda: link.write("k", [("SET", "k", 1)])) < 0.3 + SLACK_S
    assert threading.active_count() <= threads_before + 1
    answer.set()
    until(lambda: works(link))
    link.close()


def test_an_old_primary_that_became_a_replica_is_left(servers):
    old, new = servers.redis(), servers.redis()
    proxy = servers.proxy(old)
    link = link_of(f"redis://127.0.0.1:{proxy.port}")
    assert works(link)
    old.cli("REPLICAOF", new.host, new.port)
    with pytest.raises(StoreError, match="replica"):
        link.transact(["k"], [], [("SET", "k", 1)], deadline=None)
    until(lambda: proxy.connections == 0, what="the end of the connection")
    link.close()


# ---------------------------------------------------------------- sentinels


def test_the_link_follows_a_failover(sentinel_trio):
    link = link_of(sentinel_trio.url)
    assert works(link)
    listener = Listener(link)
    listener.await_subscription()
    old = sentinel_trio.primary
    old.freeze()
    new = sentinel_trio.await_other_than(old)
    until(lambda: works(link), within_s=5, what="a write on the new primary")
    assert new.cli("EXISTS", "{k}") == "1"
    listener.await_subscription(2)
    link.write("k", [("PUBLISH", "hint", "after")])
    listener.await_message(b"after")
    listener.stop()
    link.close()


def test_the_link_leaves_a_primary_that_was_replaced_and_goes_on_answering(sentinel_trio):
    """Sentinel demotes it only ten seconds after a failover that somebody asked for."""
    link = link_of(sentinel_trio.url)
    assert works(link)
    listener = Listener(link)
    listener.await_subscription()
    old = sentinel_trio.primary
    new = sentinel_trio.failover()
    until(
        lambda: works(link) and new.cli("EXISTS", "{k}", "after") and
        new.cli("CLIENT", "LIST").count("name=degrade") == 2 and
        "name=degrade" not in old.cli("CLIENT", "LIST"),
        within_s=5, what="both connections at the new primary, and none at the old one",
    )  # fmt: skip
    assert old.info("replication")["role"] == "master", "nothing but the sentinels has told it"
    listener.await_subscription(2)
    link.write("{k}", [("PUBLISH", "hint", "after")])
    listener.await_message(b"after")
    listener.stop()
    link.close()


def test_who_leads_is_asked_over_one_connection_that_ends_with_the_link(sentinel_trio, servers):
    first, second, _ = sentinel_trio.sentinels
    one, other = servers.proxy(first), servers.proxy(second)
    link = link_of(f"redis+sentinel://127.0.0.1:{one.port},127.0.0.1:{other.port}/fleet")
    looked = set()
    until(
        lambda: works(link) and len(looked.add(link._looked_at) or looked) > 3,
        every_s=0.05, what="three looks",
    )  # fmt: skip
    until(lambda: one.connections == 1, what="no more than one connection")
    assert one.accepted == 2, "one to find the primary, and the one that is kept"
    first.freeze()
    until(lambda: works(link) and other.connections == 1, what="one to another sentinel")
    first.thaw()
    until(lambda: one.connections == 0, what="the end of that to the first")
    link.close()
    until(lambda: other.connections == 0, what="the end of the connection")


def test_one_sentinel_that_answers_is_enough(sentinel_trio):
    sentinel_trio.sentinels[0].freeze()
    sentinel_trio.sentinels[1].kill()
    link = link_of(sentinel_trio.url)
    until(lambda: works(link), within_s=5, what="a way past the dead sentinels")
    link.close()


def test_a_connection_that_came_too_late_for_one_call_serves_the_next(sentinel_trio):
    sentinel_trio.sentinels[0].freeze()
    link = link_of(sentinel_trio.url)
    with pytest.raises(StoreError):
        link.read("k", [("GET", "k")])
    until(lambda: link._route.known("k"), within_s=5, what="the connection")
    until(lambda: works(link), within_s=5, what="a write")
    clients = sentinel_trio.primary.cli("CLIENT", "LIST", "TYPE", "normal")
    assert clients.count("name=degrade ") == 1
    link.close()


def test_an_unknown_service_is_told(shared_sentinel_trio):
    link = link_of(shared_sentinel_trio.url.replace("/fleet/", "/other/"))
    with pytest.raises(StoreError, match="no sentinel could name the primary"):
        link.read("k", [("GET", "k")])
    link.close()


def test_a_primary_by_name_only_is_not_believed(servers):
    """A sentinel that has not noticed yet names a server that is a replica by now."""
    primary, replica = servers.redis(), servers.redis()
    replica.cli("REPLICAOF", primary.host, primary.port)
    sentinel = servers.redis(
        mode=("--sentinel",), config={"sentinel": f"monitor fleet 127.0.0.1 {primary.port} 1"}
    )
    link = link_of(f"redis+sentinel://127.0.0.1:{sentinel.port}/fleet")
    assert works(link)
    primary.cli("REPLICAOF", replica.host, replica.port)
    primary.cli("CLIENT", "KILL", "TYPE", "normal")
    with pytest.raises(StoreError, match="no primary"):
        link.read("k", [("GET", "k")])
    link.close()


# ---------------------------------------------------------------- clusters


def keys_of_every_primary(cluster):
    """Return one key for each primary, by its port."""
    return {cluster.node_of(f"k{i}").server.port: f"k{i}" for i in range(12)}


def keys_by_slot(cluster):
    """Return one key for each primary; that of the one which nodes name first comes first."""
    return sorted(keys_of_every_primary(cluster).values(), key=cluster.slot_of)


def test_in_a_cluster_each_key_is_asked_for_where_it_is(shared_cluster):
    link = link_of(shared_cluster.url)
    keys = keys_of_every_primary(shared_cluster)
    assert len(keys) == 3
    for key in keys.values():
        assert works(link, key)
    listener = Listener(link, "degrade:{shop}:hint")
    listener.await_subscription()
    link.transact(
        ["degrade:{shop}:control"],
        [Check(("HGET", "degrade:{shop}:control", "epoch"), None)],
        [("PUBLISH", "degrade:{shop}:hint", "x")],
        deadline=None,
    )
    listener.await_message(b"x")
    ours = [
        line
        for server in shared_cluster.servers
        for line in server.cli("CLIENT", "LIST").splitlines()
        if "name=degrade" in line
    ]
    assert len(ours) == 4  # one for each primary in use, and one
    listener.stop()
    link.close()


def test_the_link_follows_the_nodes_of_a_cluster(redis_cluster):
    link = link_of(redis_cluster.url)
    for key in keys_of_every_primary(redis_cluster).values():
        assert works(link, key)
    listener = Listener(link, "k0")
    listener.await_subscription()
    old = redis_cluster.kill_node_of("k0")
    new = redis_cluster.await_takeover("k0", old)
    until(lambda: works(link, "k0"), within_s=5, what="a write on the node that took over")
    assert new.cli("EXISTS", "k0") == "1"
    listener.await_subscription(2)
    link.write("k0", [("PUBLISH", "k0", "after")])
    listener.await_message(b"after")
    listener.stop()
    link.close()


def test_a_frozen_node_takes_no_other_with_it(redis_cluster):
    link = link_of(redis_cluster.url)
    frozen, *others = keys_by_slot(redis_cluster)
    for key in (frozen, *others):
        assert works(link, key)
    wires = [link._wires[link._route.known(key)] for key in others]
    redis_cluster.node_of(frozen).server.freeze()
    for _ in range(3):
        with pytest.raises(StoreError):
            link.read(frozen, [("GET", frozen)], within_s=0.1)
        began = time.monotonic()
        assert [link.read(key, [("GET", key)]) for key in others] == [[b"v"], [b"v"]]
        assert time.monotonic() - began < 0.1
        assert [link._wires[link._route.known(key)] for key in others] == wires
    link.close()


def test_a_frozen_node_is_asked_last_who_serves_what(redis_cluster):
    frozen, other, _ = keys_by_slot(redis_cluster)
    link = link_of(redis_cluster.url)
    assert works(link, frozen)
    redis_cluster.node_of(frozen).server.freeze()
    with pytest.raises(StoreError):
        link.read(frozen, [("GET", frozen)])
    link._route.lost(link._route.known(other))
    assert works(link, other)
    link.close()


def test_the_link_follows_a_slot_that_moves(redis_cluster):
    link = link_of(redis_cluster.url)
    assert works(link, "k0")
    new = redis_cluster.migrate_slot_of("k0")
    until(lambda: works(link, "k0"), within_s=5, what="a write on the node that has the slot now")
    assert new.cli("GET", "k0") == "v"
    link.close()


def test_a_server_that_is_no_cluster_is_told(redis_server):
    link = link_of(f"redis+cluster://127.0.0.1:{redis_server.port}")
    with pytest.raises(StoreError, match="it is no cluster"):
        link.read("k", [("GET", "k")])
    link.close()


# ---------------------------------------------------------------- forks

TOLD = """
from degrade.stores.redis.transport.client import link_of

def sockets():
    import glob
    return {{os.readlink(fd) for fd in glob.glob("/proc/self/fd/*") if os.path.exists(fd)
             and os.readlink(fd).startswith("socket:")}}

link = link_of({url!r})
until(lambda: link.write("k", [("SET", "k", "v")]) and len(sockets()) == 2)
until(lambda: not link._looking)
pid = os.fork()
if pid == 0:
    kept = sockets()
    until(lambda: link.write("k", [("SET", "k", "v")]) and len(sockets()) == 2)
    tell(kept=len(kept))
    os._exit(0)
tell(code=os.waitpid(pid, 0)[1], reads=link.read("k", [("GET", "k")])[0].decode())
"""


def test_a_forked_child_lets_go_of_the_sentinel_too(shared_sentinel_trio, tmp_path):
    done = run(TOLD.format(url=shared_sentinel_trio.url), tmp_path)
    assert done.code == 0, done.stderr
    assert done.all == {"kept": 0, "code": 0, "reads": "v"}


FORKED = """
from degrade.stores.redis.transport.client import link_of

def sockets():
    import glob
    return sorted(os.readlink(fd) for fd in glob.glob("/proc/self/fd/*") if os.path.exists(fd)
                  and os.readlink(fd).startswith("socket:"))

heard = []
link = link_of({url!r})
link.write("k", [("SET", "k", "parent")])
threading.Thread(target=link.listen, args=("hint", heard.append, lambda: False), daemon=True).start()
until(lambda: heard)
inherited = sockets()
held = link._lock.acquire() if {locked} else None
pid = os.fork()
if pid == 0:
    before = sockets()
    told = []
    def hear(message):
        told.append(message)
    stop = []
    thread = threading.Thread(target=link.listen, args=("hint", hear, lambda: bool(stop)))
    thread.start()
    until(lambda: told)
    got = link.read("k", [("GET", "k")])[0].decode()
    link.write("k", [("PUBLISH", "hint", "x")])
    until(lambda: len(told) == 2)
    shared = set(sockets()) & set(inherited)
    stop.append(1)
    thread.join()
    link.close()
    tell(before=len(before), got=got, shared=len(shared), told=[repr(one) for one in told])
    os._exit(0)
os.waitpid(pid, 0)
if held:
    link._lock.release()
until(lambda: len(heard) == 2)
tell(parent=[repr(one) for one in heard], same=sockets() == inherited,
     reads=link.read("k", [("GET", "k")])[0].decode())
"""


@pytest.mark.parametrize("locked", [False, True], ids=["free", "while a call holds the lock"])
def test_a_forked_child_has_sockets_of_its_own(redis_server, tmp_path, locked):
    done = run(FORKED.format(url=redis_server.url, locked=locked), tmp_path)
    assert done.code == 0, done.stderr
    assert done.all == {
        "before": 0,
        "got": "parent",
        "shared": 0,
        "told": ["None", "b'x'"],
        "parent": ["None", "b'x'"],
        "same": True,
        "reads": "parent",
    }


def test_a_process_that_ends_while_its_server_is_frozen_ends_at_once(redis_server, tmp_path):
    body = f"""
from degrade.stores.redis.transport.client import link_of
link = link_of({redis_server.url!r})
heard = []
threading.Thread(target=link.listen, args=("hint", heard.append, lambda: False), daemon=True).start()
until(lambda: heard)
os.kill({redis_server.process.pid}, signal.SIGSTOP)
threading.Thread(target=link.read, args=("k", [("GET", "k")]), daemon=True).start()
until(link._lock.locked)
tell(at=time.time())
"""
    done = run(body, tmp_path)
    redis_server.thaw()
    assert done.code == 0, done.stderr
    assert done.stderr == ""
    assert time.time() - done.all["at"] < 5
