"""Two network namespaces, joined by a virtual cable whose packets can be lost, or answered by RST.

    with Namespaces() as apart:
        server = servers.redis(**apart.server())
        Application(apart.url, within=apart.client)
        apart.blackhole()      # a partition: the cable is pulled out
        apart.heal()

Nothing of the machine's own network is touched, and no packet leaves the two.
"""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
import subprocess
import uuid
from types import TracebackType
from typing import Any, Self

__all__ = ("Namespaces",)

_PREFIX = "degrade-"
_CLIENT, _SERVER, _PORT = "198.51.100.1", "198.51.100.2", 6379
"""Addresses that are kept for documentation, of two places where nothing else has any."""


class Namespaces:
    """One place for the clients of a test and one for its server.

    Attributes:
        client: What stands before the command of a program that shall run among the clients.
        port: Where the server listens.
        url: How the clients reach it.
    """

    port = _PORT
    url = f"redis://{_SERVER}:{_PORT}/0"

    def __init__(self) -> None:
        own = f"{_PREFIX}{os.getpid()}-{uuid.uuid4().hex[:6]}"
        self._names = (f"{own}-client", f"{own}-server")
        self.client, self._at_server = (("ip", "netns", "exec", name) for name in self._names)

    @staticmethod
    @functools.cache
    def why_not() -> str:
        """Return why this machine allows none; nothing when it does."""
        if shutil.which("ip") is None:
            return "no iproute2"
        try:
            with Namespaces():
                return ""
        except OSError as error:
            return str(error)

    def __enter__(self) -> Self:
        _sweep()
        client, server = self._names
        try:
            for name in self._names:
                _run("ip", "netns", "add", name)
            _run("ip", "link", "add", "cable", "netns", client, "type", "veth",
                 "peer", "name", "cable", "netns", server)  # fmt: skip
            for at, address in ((self.client, _CLIENT), (self._at_server, _SERVER)):
                _run(*at, "ip", "addr", "add", f"{address}/30", "dev", "cable")
                for device in ("lo", "cable"):
                    _run(*at, "ip", "link", "set", device, "up")
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Remove both, as soon as no program runs in them."""
        for name in self._names:
            with contextlib.suppress(OSError):  # it was not made
                _run("ip", "netns", "del", name)

    def server(self) -> dict[str, Any]:
        """Return what a `RedisServer` takes to run there, and to obey this side by a unix socket."""
        more = {"port": str(_PORT), "bind": _SERVER, "protected-mode": "no"}
        return {"unix": True, "within": self._at_server, "config": more}

    # ------------------------------------------------------------------ what it does

    def blackhole(self) -> None:
        """Lose every packet in both directions until healed."""
        _run(*self._at_server, "ip", "link", "set", "cable", "down")

    def reset(self) -> None:
        """Answer every packet of clients by RST until healed: nobody listens at the address."""
        _run(*self.client, "ip", "addr", "add", f"{_SERVER}/32", "dev", "lo")

    def heal(self) -> None:
        """Let every packet through again."""
        with contextlib.suppress(OSError):  # it was no reset
            _run(*self.client, "ip", "addr", "del", f"{_SERVER}/32", "dev", "lo")
        _run(*self._at_server, "ip", "link", "set", "cable", "up")


def _run(*words: str) -> str:
    done = subprocess.run(words, check=False, capture_output=True, text=True, timeout=10)
    if done.returncode != 0:
        raise OSError(f"{' '.join(words)}: {done.stderr.strip()}")
    return done.stdout


def _sweep() -> None:
    """Remove what was left by test runs that were killed."""
    for line in _run("ip", "netns", "list").splitlines():
        name = line.split()[0]
        owner = name.removeprefix(_PREFIX).partition("-")[0]
        if name.startswith(_PREFIX) and owner.isdecimal() and not _runs(int(owner)):
            with contextlib.suppress(OSError):  # another run was faster
                _run("ip", "netns", "del", name)


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
