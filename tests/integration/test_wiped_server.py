"""A process whose server lost everything: what it tells the server again."""

from __future__ import annotations

import pytest

from degrade import Runtime, default, degradable, snapshot
from degrade.control import Control
from degrade.settings import open_store
from tests.servers.waiting import until

pytestmark = pytest.mark.real


def test_a_flag_can_be_held_by_its_name_after_the_server_lost_everything(
    redis_server, forget_flags
):
    @degradable("feed", fallback=[default("nothing")])
    def feed() -> str:
        return "ranked"

    operator = open_store(redis_server.url, namespace="shop")

    def declared() -> bool:
        runtime.tick()
        return "feed" in operator.flags()

    with Runtime(open_store(redis_server.url, namespace="shop"), threads="manual") as runtime:
        assert feed() == "ranked"
        until(declared, what="the flag to be declared")
        redis_server.restart(empty=True)
        until(lambda: not operator.flags(), what="an empty server")
        until(declared, what="the flag to be declared again")
        Control(operator, actor="ana").hold("feed", "off", for_="5m", reason="wrong")
        until(lambda: runtime.tick() or feed() == "nothing", what="the hold to arrive")
    operator.close()


def test_snapshots_come_back_though_nobody_makes_new_ones(redis_server, forget_flags):
    @degradable("feed", fallback=[snapshot(max_age="1h"), default("nothing")])
    def feed(user: str) -> str:
        return f"for {user}"

    def shared() -> int:
        runtime.tick()
        return len(redis_server.cli("KEYS", "degrade:snap:*").split())

    with Runtime(open_store(redis_server.url, namespace="shop"), threads="manual") as runtime:
        until(lambda: runtime.tick() or runtime.orders.known, what="the store to be read")
        assert feed("ana") == "for ana"
        assert feed("ben") == "for ben"
        until(lambda: shared() == 2, what="the snapshots to be shared")
        redis_server.restart(empty=True)
        until(lambda: shared() == 2, what="the snapshots to be shared again")
