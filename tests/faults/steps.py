"""What an operator with nothing but redis-cli does, and how long the application takes to follow."""

from __future__ import annotations

import time

from degrade.control import Control
from degrade.settings import open_store
from tests.faults.application import Application
from tests.servers.redis_server import RedisServer

__all__ = (
    "A_SECOND",
    "CONVERGED_S",
    "FLAGS",
    "FOLLOWED",
    "HELD",
    "by_hand",
    "followed",
    "hold_one",
    "holds",
    "operator",
)

HELD = "feed.ads"
"""A flag that is degraded before the fault, and shall stay so."""

FOLLOWED = "feed.ranking"
"""A flag that is changed after the fault, to see how fast everybody follows."""

FLAGS = (FOLLOWED, HELD, "feed.stories")
"""The third is left alone, so that some calls run their function all the while."""

A_SECOND = 240
"""Calls of one process in a second: two threads, three flags, forty times."""

CONVERGED_S = 2.4
"""Two polls of a second, each a fifth longer by jitter."""


def holds(app: Application) -> str:
    """Return the name of the hash that an operator writes into."""
    return f"degrade:{{{app.namespace}}}:holds"


def by_hand(server: RedisServer, app: Application, flag: str, word: str) -> float:
    """Write one word, as a person with redis-cli does, and return when."""
    at = time.monotonic()
    server.cli("HSET", holds(app), flag, word)
    return at


def operator(url: str, app: Application) -> Control:
    """Return the verbs of an operator at another store or address of the same fleet."""
    return Control(open_store(url, namespace=app.namespace), actor="ana")


def hold_one(server: RedisServer, app: Application) -> None:
    """Degrade `HELD`, and wait until every process serves it so."""
    app.await_fresh()
    by_hand(server, app, HELD, "degraded")
    app.await_answer(HELD, "degraded")


def followed(
    server: RedisServer, app: Application, *, after: float, word: str = "degraded"
) -> float:
    """Change `FOLLOWED` by hand; return seconds from `after` until the last process served it so."""
    answer = "full" if word == "normal" else "degraded"
    by_hand(server, app, FOLLOWED, word)
    return max(app.await_answer(FOLLOWED, answer)) - after
