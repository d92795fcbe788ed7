"""How long a toggle takes until it is visible, beside a bare subscriber in the same run.

Toggles and bare messages alternate. A toggle's time begins when its script is sent to Redis, and
ends when `flag.degraded` has changed in another process; a bare message's begins when its PUBLISH
is sent, and ends when a process that does nothing else has read it from its socket.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from typing import Any

import redis

from benchmarks.fleet.child import FLAG
from benchmarks.fleet.server import children
from degrade.core.records import Hold
from degrade.core.words import HoldMode
from degrade.ports import Change
from degrade.stores.redis.address import parse
from degrade.stores.redis.client import RedisLink
from degrade.stores.redis.link import Check, Command, Transacted
from degrade.stores.redis.store import RedisStore

TOGGLES = 2_000
EVERY_S = 0.01
CHANNEL = "bench:bare"
NAMESPACE = "bench"

Row = dict[str, Any]


class _Timed(RedisLink):
    """A link that notes when its last script was sent."""

    sent = 0.0

    def transact(
        self,
        keys: Sequence[str],
        checks: Sequence[Check],
        commands: Sequence[Command],
        *,
        deadline: float | None,
    ) -> Transacted:
        self.sent = time.monotonic()
        return super().transact(keys, checks, commands, deadline=deadline)


def _change(number: int) -> Change:
    hold = Hold(mode=HoldMode.DEGRADED, actor="bench", reason="bench", at=0.0)
    return Change(
        type="released" if number % 2 else "hold",
        actor="bench",
        reason="bench",
        instance="bench",
        holds={FLAG: None if number % 2 else hold},
        now=True,
    )


def measure(port: int, processes: int, *, burn: bool = False, toggles: int = TOGGLES) -> Row:
    """Measure toggles at a number of processes.

    Args:
        port: Of the server.
        processes: How many applications follow, and how many bare subscribers listen.
        burn: Whether each application has a thread that does nothing but compute.
        toggles: How many toggles, and bare messages.
    """
    url = f"redis://127.0.0.1:{port}/0"
    link = _Timed(parse(url))
    store = RedisStore(link, namespace=NAMESPACE)
    apps = [
        {"kind": "app", "url": url, "namespace": NAMESPACE, "burn": burn} for _ in range(processes)
    ]
    bare = [{"kind": "bare", "port": port, "channel": CHANNEL, "burn": burn}] * processes
    with redis.Redis(port=port, protocol=2) as client, children([*apps, *bare]) as running:
        sent: dict[int, float] = {}
        published: list[float] = []
        time.sleep(1.0)
        for number in range(toggles):
            (event,) = store.change(_change(number))
            sent[event.epoch] = link.sent
            _pace()
            body = b"#%d#" % number
            published.append(time.monotonic())
            client.publish(CHANNEL, body + b"." * (150 - len(body)))
            _pace()
        time.sleep(2.0)
        seen = [one.ask() for one in running]
    store.close()
    ours = [at - sent[epoch] for one in seen[:processes] for epoch, at in one if epoch in sent]
    theirs = [at - published[number] for one in seen[processes:] for number, at in one]
    return {
        "name": f"{processes} process{'es' if processes > 1 else ''}"
        + (", each with a thread that computes" if burn else ""),
        "toggles": toggles,
        "seen": len(ours) / (toggles * processes),
        "toggle": _quantiles(ours),
        "bare": _quantiles(theirs),
    }


def _pace() -> None:
    time.sleep(EVERY_S)


def _quantiles(values: list[float]) -> dict[str, float]:
    cuts = statistics.quantiles(values, n=1000)
    return {"p50_ms": cuts[499] * 1e3, "p99_ms": cuts[989] * 1e3, "worst_ms": max(values) * 1e3}
