"""The proxy: what a client sees of each of its faults."""

from __future__ import annotations

import socket
import time

import pytest

from tests.servers.proxy import silent_port
from tests.servers.waiting import until

pytestmark = pytest.mark.real


@pytest.fixture
def client(proxy):
    with socket.create_connection((proxy.host, proxy.port), timeout=5.0) as link:
        yield link


def ask(link: socket.socket, words: bytes = b"PING") -> bytes:
    link.sendall(words + b"\r\n")
    return link.recv(100)


def test_bytes_pass_both_ways_and_are_counted(proxy, client):
    assert ask(client) == b"+PONG\r\n"
    assert (proxy.up_bytes, proxy.down_bytes) == (6, 7)
    assert (proxy.accepted, proxy.connections) == (1, 1)


def test_a_delay_holds_each_way_and_can_be_lifted(proxy, client):
    proxy.delay_s = 0.1
    begun = time.monotonic()
    assert ask(client) == b"+PONG\r\n"
    assert time.monotonic() - begun >= 0.2
    proxy.heal()
    assert ask(client) == b"+PONG\r\n"
    assert proxy.delay_s == 0.0


def test_a_partition_forwards_nothing_and_then_what_it_held(proxy, client):
    assert ask(client) == b"+PONG\r\n"
    with proxy.partition():
        client.settimeout(0.1)
        with pytest.raises(TimeoutError):
            ask(client)
        late = socket.create_connection((proxy.host, proxy.port), timeout=0.1)
        with late, pytest.raises(TimeoutError):
            ask(late)
    client.settimeout(5.0)
    assert client.recv(100) == b"+PONG\r\n"


def test_a_reset_ends_connections_and_every_new_one_until_healed(proxy, client):
    assert ask(client) == b"+PONG\r\n"
    proxy.reset()
    with pytest.raises(ConnectionResetError):
        client.recv(100)
    with (
        pytest.raises(ConnectionError),
        socket.create_connection((proxy.host, proxy.port), 5) as late,
    ):
        ask(late)
        ask(late)
    proxy.heal()
    with socket.create_connection((proxy.host, proxy.port), timeout=5.0) as again:
        assert ask(again) == b"+PONG\r\n"


def test_a_refusal_is_that_of_a_closed_port_until_healed(proxy, client):
    proxy.refuse()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((proxy.host, proxy.port), timeout=5.0)
    proxy.heal()
    with socket.create_connection((proxy.host, proxy.port), timeout=5.0) as again:
        assert ask(again) == b"+PONG\r\n"


def test_a_cut_ends_only_what_is_open(proxy, client):
    assert ask(client) == b"+PONG\r\n"
    proxy.cut()
    with pytest.raises(ConnectionResetError):
        client.recv(100)
    until(lambda: proxy.connections == 0)
    with socket.create_connection((proxy.host, proxy.port), timeout=5.0) as again:
        assert ask(again) == b"+PONG\r\n"


def test_a_dead_server_behind_the_proxy_ends_the_connection(proxy, client, redis_server):
    assert ask(client) == b"+PONG\r\n"
    redis_server.kill()
    assert client.recv(100) == b""
    until(lambda: proxy.connections == 0)


def test_connecting_to_a_silent_port_hangs():
    with silent_port() as port, pytest.raises(TimeoutError):
        socket.create_connection(("127.0.0.1", port), timeout=0.2)
