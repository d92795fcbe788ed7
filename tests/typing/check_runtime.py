"""The types of flags, blocks, requests and the runtime; never run."""

from __future__ import annotations

from typing import assert_type

import degrade
from degrade import SLA, Flag, Runtime, Served, UnavailableError, degradable, omit
from degrade.clock import ManualClock
from degrade.context import Request
from degrade.core.enums import RungKind
from degrade.integrations.asgi import DegradeMiddleware
from degrade.ports import StatsSource, Store
from degrade.runtime import current
from degrade.runtime.calls.guarded_block import GuardedBlock
from degrade.stores.memory import MemoryStore
from degrade.telemetry.prometheus import FlagCollector, register

comments = Flag("comments", sla=SLA(errors="5%"), level=3, owner="team-talk", message="Back soon")


@degradable(comments, fallback=omit())
def shown(story: int) -> str:
    raise NotImplementedError


assert_type(degrade.flag("comments"), Flag)
assert_type(degrade.flag(shown), Flag)
assert_type(comments.degraded, bool)
assert_type(comments.name, str)
assert_type(comments.level, int | None)
assert_type(comments.owner, str | None)
assert_type(comments.message, str | None)


def in_a_function() -> str:
    with comments.call() as call:
        assert_type(call, GuardedBlock)
        assert_type(call.degraded, bool)
        return "short" if call.degraded else "full"
    # A block swallows no exception, so nothing can come here: a checker that thought otherwise
    # would ask for a return.


async def in_a_coroutine() -> str:
    async with comments.call() as call:
        assert_type(call, GuardedBlock)
        return "short" if call.degraded else "full"


with degrade.request(subject="user-42") as asked:
    assert_type(asked, Request)
    assert_type(asked.served, tuple[Served, ...])
with degrade.request():
    for answer in degrade.served():
        assert_type(answer, Served)
        assert_type(answer.flag, str)
        assert_type(answer.rung, RungKind)
        assert_type(answer.age_s, float | None)
        assert_type(answer.reason, str)
        assert_type(answer.since, float | None)

try:
    shown(1)
except UnavailableError as refused:
    assert_type(refused.flag, str)
    assert_type(refused.since, float | None)
    assert_type(refused.retry_after_s, float)

store: Store = MemoryStore()
with Runtime(store, clock=ManualClock(), threads="manual") as runtime:
    assert_type(runtime, Runtime)
    figures: StatsSource = runtime
    assert_type(register(runtime), FlagCollector)
assert_type(current(), Runtime)
assert_type(degrade.configure(store="memory://"), Runtime)


async def app(scope: object, receive: object, send: object) -> None:
    raise NotImplementedError


DegradeMiddleware(app, subject=lambda scope: scope.get("user"), metrics_path="/metrics")
