"""Free ports, below those that the kernel gives to clients, so that a restart finds them free."""

from __future__ import annotations

import itertools
import os
import random
import socket

__all__ = ("free_port",)

_FIRST, _END = 10_000, 22_000


def free_port(*, also: int = 0) -> int:
    """Return a loopback port that nobody listens on now.

    Two processes that ask at the same time look in different places, since each draws from the
    system's randomness, which the seed of a test run does not set.

    Args:
        also: A second port that far above the first is free, too (the bus of a cluster node).
    """
    draw = random.Random(os.urandom(16))
    for _ in itertools.repeat(None, 1_000):
        port = draw.randrange(_FIRST, _END)
        if _is_free(port) and (not also or _is_free(port + also)):
            return port
    raise RuntimeError("no free port was found on the loopback address")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True
