"""An event whose append timed out at a real server is in the log once, whatever became of it."""

from __future__ import annotations

import pytest

from degrade import SLA, Runtime, default, degradable
from degrade.settings import open_store
from tests.servers.waiting import until

pytestmark = pytest.mark.real


@pytest.mark.parametrize("lost", [False, True], ids=["frozen", "frozen, then empty"])
def test_a_transition_while_the_server_does_not_answer_is_in_the_log_once(
    redis_server, forget_flags, lost: bool
):
    @degradable("feed", sla=SLA(errors="5%"), fallback=[default("nothing")])
    def feed() -> str:
        raise OSError

    def trips() -> list[dict[str, object]]:
        runtime.tick()
        return [
            event.evidence for event in operator.events() if event.evidence.get("from") == "steady"
        ]

    operator = open_store(redis_server.url, namespace="shop")
    with Runtime(open_store(redis_server.url, namespace="shop"), threads="manual") as runtime:
        until(lambda: runtime.tick() or runtime.orders.known, what="the store to be read")
        for _ in range(30):
            feed()
        redis_server.freeze()
        runtime.tick()
        backlog = runtime._io_worker._backlog
        assert backlog.failed
        redis_server.thaw()
        if lost:
            redis_server.restart(empty=True)
        until(lambda: not (runtime.tick() or backlog.failed), what="the event to be written")
        assert len(trips()) == 1
    operator.close()
