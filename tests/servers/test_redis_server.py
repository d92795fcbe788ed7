"""The servers of the tests: they start, answer, fall silent, die, and leave nothing behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import redis

from tests.servers.binaries import find_redis
from tests.servers.certificates import make_certificates
from tests.servers.ports import free_port
from tests.servers.redis_server import RedisError, RedisServer
from tests.servers.waiting import until

pytestmark = pytest.mark.real

ROOT = Path(__file__).resolve().parents[2]


def test_redis_is_found_on_path_then_unpacked_and_else_the_set_up_is_named(tmp_path):
    here = find_redis()
    for name in ("redis-server", "redis-cli"):
        (tmp_path / "usr" / "bin").mkdir(parents=True, exist_ok=True)
        (tmp_path / "usr" / "bin" / name).symlink_to(here.folder / name)
    assert find_redis(path="/nowhere", unpacked=tmp_path / "usr").libraries == ()
    (tmp_path / "usr" / "lib" / "x86_64-linux-gnu").mkdir(parents=True)
    unpacked = find_redis(path="/nowhere", unpacked=tmp_path / "usr")
    assert unpacked.server == str(tmp_path / "usr/bin/redis-server")
    assert str(tmp_path / "usr/lib/x86_64-linux-gnu") in unpacked.environment["LD_LIBRARY_PATH"]
    assert find_redis(path=str(here.folder), unpacked=tmp_path / "usr").folder == here.folder
    with RedisServer(binaries=unpacked) as server:
        assert server.cli("PING") == "PONG"
    with pytest.raises(FileNotFoundError, match="bootstrap test"):
        find_redis(path="/nowhere", unpacked=tmp_path)


@pytest.mark.parametrize("kind", ["plain", "unix", "password", "tls"])
def test_a_server_answers_its_own_kind_of_client(servers, kind, tmp_path):
    options = {
        "plain": {},
        "unix": {"unix": True},
        "password": {"password": "a:b/c@d"},
        "tls": {"tls": make_certificates(tmp_path)} if kind == "tls" else {},
    }[kind]
    server = servers.redis(**options)
    assert server.cli("SET", "a", "1") == "OK"
    client = server.client()
    assert client.get("a") == "1"
    client.close()
    if kind == "password":
        stranger = redis.Redis.from_url(f"redis://127.0.0.1:{server.port}")
        with stranger, pytest.raises(redis.AuthenticationError):
            stranger.get("a")


def test_settings_users_and_limits_are_in_force(servers):
    server = servers.redis(
        config={"maxmemory": "3mb", "user": "default on nopass ~a* &* +@all\nreader off"}
    )
    assert server.cli("CONFIG", "GET", "maxmemory").split()[1] == "3145728"
    assert "reader" in server.cli("ACL", "LIST")
    with pytest.raises(RedisError, match="NOPERM"):
        server.cli("GET", "b")


def test_a_frozen_server_is_silent_and_goes_on_with_its_data(redis_server):
    redis_server.cli("SET", "a", "1")
    redis_server.freeze()
    assert not redis_server.answers()
    redis_server.thaw()
    assert until(redis_server.answers)
    assert redis_server.cli("GET", "a") == "1"


def test_a_killed_server_refuses_and_restarts_empty_or_with_its_data(redis_server):
    port = redis_server.port
    redis_server.cli("SET", "a", "1")
    redis_server.restart(empty=False)
    assert (redis_server.port, redis_server.cli("GET", "a")) == (port, "1")
    redis_server.restart()
    assert (redis_server.port, redis_server.cli("GET", "a")) == (port, "")
    redis_server.kill()
    with pytest.raises(RedisError, match="Connection refused"):
        redis_server.cli("PING")
    redis_server.start()
    assert redis_server.cli("PING") == "PONG"


def test_a_server_that_cannot_start_says_why():
    with pytest.raises(RuntimeError, match="maxmemory"), RedisServer(config={"maxmemory": "much"}):
        pass


def test_servers_that_start_on_a_taken_port_take_another_unless_it_was_asked_for(servers):
    taken = servers.redis()
    other = RedisServer()
    other.port = taken.port
    with other:
        assert other.port != taken.port
    with pytest.raises(RuntimeError, match="in use"), RedisServer(port=taken.port):
        pass


def test_nothing_is_left_when_the_test_ends():
    with RedisServer() as server:
        home, pid = server.home, server.process.pid
    assert not home.exists()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_a_server_dies_with_a_killed_test_run():
    program = (
        "from tests.servers.redis_server import RedisServer\n"
        "server = RedisServer().start()\n"
        "print(server.process.pid, server.port, server.home, flush=True)\n"
        "input()\n"
    )
    run = subprocess.Popen(
        [sys.executable, "-c", program], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert run.stdout is not None
    pid, _, home = run.stdout.readline().decode().split()
    run.send_signal(signal.SIGKILL)
    run.communicate()

    def gone() -> bool:
        status = Path(f"/proc/{pid}/status")
        return not status.exists() or "\nState:\tZ" in status.read_text()

    assert until(gone)
    for left in Path(home).iterdir():
        left.unlink()
    Path(home).rmdir()


FAILING = """
def test_fails(redis_server, proxy):
    assert redis_server.cli("PING") == "no"
"""


def test_the_log_of_a_server_is_shown_with_a_failed_test(tmp_path):
    (tmp_path / "test_failing.py").write_text(FAILING)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "tests.servers.fixtures", "-p", "no:randomly",
         "--rootdir", tmp_path, "-c", "/dev/null", tmp_path / "test_failing.py"],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=50,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 1
    assert "log of redis-server" in done.stdout
    assert "Ready to accept connections" in done.stdout


def test_free_ports_are_free_and_below_those_of_clients():
    ports = {free_port(also=10_000) for _ in range(20)}
    assert len(ports) > 15
    assert max(ports) + 10_000 < 32_768
