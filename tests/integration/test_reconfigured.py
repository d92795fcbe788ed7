"""A process that is configured twice: the store that we opened before is closed, one given to us not."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.integration.children import run
from tests.servers.redis_server import RedisServer

pytestmark = pytest.mark.real

ROOT = Path(__file__).resolve().parents[2]

PROGRAM = """
from degrade.errors import StoreError
from degrade.settings import open_store
from tests.faults.recording import sockets_to

first, second, given, port = sys.argv[1:]

def closed(store):
    try:
        store.read()
    except StoreError as error:
        return "closed" in str(error)
    return False

own = open_store(given, namespace="shop")
with Runtime(own):  # for whoever opened it to close
    before = degrade.configure(store=first, namespace="shop").store
    feed = degradable("feed")(lambda: "fresh")
    feed()
    until(lambda: sockets_to(frozenset({int(port)})) == 2)
    after = degrade.configure(store=second, namespace="shop").store
    until(lambda: sockets_to(frozenset({int(port)})) == 0, patience_s=5.0)
    tell(own=closed(own), before=closed(before), after=closed(after), answer=feed())
"""


def test_a_store_that_we_opened_is_closed_when_another_is_configured(
    redis_server: RedisServer, tmp_path: Path
):
    done = run(
        PROGRAM, tmp_path, redis_server.url, f"sqlite:///{tmp_path}/after.db",
        f"sqlite:///{tmp_path}/own.db", str(redis_server.port), PYTHONPATH=str(ROOT),
    )  # fmt: skip
    assert done.code == 0, done.stderr
    assert done.stderr == ""
    assert done.all == {"own": False, "before": True, "after": False, "answer": "fresh"}
