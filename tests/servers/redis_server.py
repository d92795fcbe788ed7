"""A real redis-server on a free loopback port or a unix socket, in a folder of its own.

    with RedisServer() as server:
        server.cli("HSET", "degrade:{shop}:holds", "feed.ranking", "degraded")
        server.freeze()

It keeps nothing on disk unless told to, and is gone with the test run, however that ends.
"""

from __future__ import annotations

import re
import shutil
import socket
import ssl
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import quote, urlencode

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.servers.binaries import Binaries, find_redis
from tests.servers.certificates import Certificates
from tests.servers.ports import free_port
from tests.servers.process import ServerProcess
from tests.servers.waiting import until

__all__ = ("RedisError", "RedisServer")

_TRIES = 5
_READY = re.compile("ready to accept connections|sentinel id is", re.IGNORECASE)
_CLI_S = 10.0
_ERROR = re.compile(
    r"^(\(error\) )?(ERR|NOAUTH|NOPERM|WRONGPASS|WRONGTYPE|READONLY|OOM|LOADING|BUSY|BUSYKEY"
    r"|MOVED|ASK|CROSSSLOT|CLUSTERDOWN|MASTERDOWN|MISCONF|NOSCRIPT|NOGOODSLAVE|NOREPLICAS"
    r"|EXECABORT|INPROG|UNKILLABLE|Could not connect|AUTH failed)\b"
)


class RedisError(RuntimeError):
    """What redis-cli had to say about a command that failed."""


class RedisServer:
    """One server; it starts with `start()` or as a context manager.

    Args:
        port: Where it listens; a free one unless given.
        unix: Listen on a unix socket only.
        password: Asked of every client (`requirepass`).
        tls: Speak TLS only, with this certificate.
        config: Lines of redis.conf, such as `{"maxmemory": "3mb", "appendonly": "yes"}`. A value
            may have several lines (`"user": "a on ...\\nb on ..."`).
        mode: Further words of the command line, such as `--sentinel`.
        within: Words before the command, such as `ip netns exec NAME`.
        bus: Its port plus 10,000 is free, too, as a node of a cluster needs.
    """

    host = "127.0.0.1"

    def __init__(
        self,
        *,
        port: int | None = None,
        unix: bool = False,
        password: str | None = None,
        tls: Certificates | None = None,
        config: Mapping[str, str] | None = None,
        mode: tuple[str, ...] = (),
        within: tuple[str, ...] = (),
        bus: bool = False,
        binaries: Binaries | None = None,
    ) -> None:
        self._binaries = find_redis() if binaries is None else binaries
        self._chosen = port
        self._bus = 10_000 if bus else 0
        self._unix = unix
        self._config = dict(config or {})
        self._mode = mode
        self._within = within
        self._process: ServerProcess | None = None
        self.home = Path(tempfile.mkdtemp(prefix="degrade-redis-"))
        self.password = password
        self.tls = tls
        self.port = 0 if unix else port or free_port(also=self._bus)

    # ------------------------------------------------------------------ life

    def start(self, *, config: Mapping[str, str] | None = None, loading: bool = False) -> Self:
        """Start it, on another port when somebody was faster, and wait until it answers.

        Args:
            config: Replaces these lines of its configuration from now on.
            loading: Return as soon as it takes connections, while it loads its data.
        """
        self._config |= config or {}
        for tries_left in reversed(range(_TRIES)):
            if self._try_to_start(loading=loading):
                return self
            taken = "Address already in use" in self.log()
            if self._chosen or self._unix or not taken or not tries_left:
                break
            self.port = free_port(also=self._bus)
        raise RuntimeError(f"redis-server did not start:\n{self.log()}")

    def stop(self) -> None:
        """End it in an orderly way (SIGTERM)."""
        self.process.stop()

    def kill(self) -> None:
        """End it at once (SIGKILL)."""
        self.process.kill()

    def freeze(self) -> None:
        """Stop it in its tracks (SIGSTOP): connections stay, answers do not come."""
        self.process.freeze()

    def thaw(self) -> None:
        """Let it go on (SIGCONT)."""
        self.process.thaw()

    def restart(self, *, empty: bool = True) -> Self:
        """Kill it and start it on the same port: emptied, or with the data that it has now."""
        if empty:
            self.kill()
            for path in (self.home / "dump.rdb", self.home / "appendonlydir"):
                shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        else:
            self.cli("SAVE")
            self.kill()
        self._chosen = self.port
        return self.start()

    def close(self) -> None:
        """Kill it and remove its folder."""
        if self._process is not None:
            self._process.kill()
        shutil.rmtree(self.home, ignore_errors=True)

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self.close()
            raise

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    # ------------------------------------------------------------------ state

    @property
    def process(self) -> ServerProcess:
        if self._process is None:
            raise RuntimeError("the server was not started")
        return self._process

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.running

    @property
    def frozen(self) -> bool:
        return self._process is not None and self._process.frozen

    @property
    def socket_path(self) -> Path:
        return self.home / "redis.sock"

    @property
    def url(self) -> str:
        """Return what `degrade.configure(store=...)` takes."""
        secret = f":{quote(self.password, safe='')}@" if self.password else ""
        if self._unix:
            return f"unix://{secret}{self.socket_path}?db=0"
        scheme, more = "redis", ""
        if self.tls is not None:
            scheme, more = "rediss", "?" + urlencode({"ssl_ca_certs": str(self.tls.authority)})
        return f"{scheme}://{secret}{self.host}:{self.port}/0{more}"

    def answers(self) -> bool:
        """Say whether it answers a PING now, if only by refusing it; loading is no answer."""
        try:
            with self._connect() as link:
                link.sendall(b"PING\r\n")
                answer = link.recv(64)
        except OSError:
            return False
        return bool(answer) and not answer.startswith((b"-LOADING", b"-MASTERDOWN"))

    def log(self, lines: int = 15) -> str:
        """Return the end of its own log."""
        return "" if self._process is None else self._process.tail(lines)

    def logs(self) -> dict[str, str]:
        return {f"redis-server {self.port or self.socket_path}": self.log()}

    # ------------------------------------------------------------------ words with it

    def cli(self, *args: object, within_s: float = _CLI_S, stdin: str | None = None) -> str:
        """Say a command through redis-cli and return its answer.

        Raises:
            RedisError: The server refused it, or could not be reached.
        """
        done = subprocess.run(
            [self._binaries.cli, *self._place(), *map(str, args)],
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            text=True,
            check=False,
            timeout=within_s,
            env=self._binaries.environment | {"REDISCLI_AUTH": self.password or ""},
        )
        answer = done.stdout.strip()
        if done.returncode or _ERROR.match(answer):
            raise RedisError(f"{' '.join(map(str, args))}: {answer} {done.stderr.strip()}")
        return answer

    def client(self) -> redis.Redis:
        """Return a client for the test itself: one connection, no retries; the caller closes it."""
        return redis.Redis.from_url(
            self.url,
            decode_responses=True,
            socket_timeout=_CLI_S,
            socket_connect_timeout=_CLI_S,
            single_connection_client=True,
            retry=Retry(NoBackoff(), 0),
            protocol=2,
        )

    def info(self, section: str = "everything") -> dict[str, str]:
        """Return what INFO says, name to value."""
        lines = self.cli("INFO", section).splitlines()
        return dict(line.strip().split(":", 1) for line in lines if ":" in line)

    # ------------------------------------------------------------------ inside

    def _try_to_start(self, *, loading: bool) -> bool:
        self._write_config()
        process = self._process = ServerProcess(
            [*self._within, self._binaries.server, str(self.home / "redis.conf"), *self._mode],
            log=self.home / "log",
            env=self._binaries.environment,
        )
        ready = self._listens if loading else self._ready
        until(lambda: not process.running or ready(process), every_s=0.003, what="a start")
        return process.running

    def _ready(self, process: ServerProcess) -> bool:
        """Say whether this process answers, and not another one that has its port."""
        return bool(_READY.search(process.logged())) and self.answers()

    def _listens(self, process: ServerProcess) -> bool:
        """Say whether somebody takes connections there, while this process has not ended."""
        try:
            self._connect().close()
        except OSError:
            return False
        return process.running

    def _place(self) -> list[str]:
        if self._unix:
            return ["-s", str(self.socket_path)]
        secure = [] if self.tls is None else ["--tls", "--cacert", str(self.tls.authority)]
        return ["-h", self.host, "-p", str(self.port), *secure]

    def _connect(self) -> socket.socket:
        if self._unix:
            link = socket.socket(socket.AF_UNIX)
            link.settimeout(1.0)
            try:
                link.connect(str(self.socket_path))
            except OSError:
                link.close()
                raise
            return link
        link = socket.create_connection((self.host, self.port), timeout=1.0)
        if self.tls is None:
            return link
        any_certificate = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # it may have expired
        any_certificate.check_hostname = False
        any_certificate.verify_mode = ssl.CERT_NONE
        return any_certificate.wrap_socket(link)

    def _write_config(self) -> None:
        lines = {
            "bind": self.host,
            "port": "0" if self.tls or self._unix else str(self.port),
            "dir": str(self.home),
            "save": '""',
            "daemonize": "no",
            "loglevel": "notice",
            "hz": "50",
        }
        if self._unix:
            lines["unixsocket"] = str(self.socket_path)
        if self.password:
            lines["requirepass"] = self.password
        if self.tls is not None:
            lines |= {
                "tls-port": str(self.port),
                "tls-cert-file": str(self.tls.certificate),
                "tls-key-file": str(self.tls.key),
                "tls-ca-cert-file": str(self.tls.authority),
                "tls-auth-clients": "no",
            }
        lines |= self._config
        text = "".join(
            f"{name} {line}\n" for name, value in lines.items() for line in value.split("\n")
        )
        (self.home / "redis.conf").write_text(text)
