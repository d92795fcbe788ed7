"""What it costs to give each caller an object of its own: decoded snapshots and copied defaults."""

from __future__ import annotations

import copy
import time
import timeit
from collections.abc import Callable
from typing import Any

from pydantic import BaseModel

from degrade import Runtime, default, degradable, snapshot
from degrade.clock import ManualClock
from degrade.control import Control

ROWS = [{"id": n, "tags": ["a", "b"], "price": {"eur": 1, "usd": 2}} for n in range(5_000)]

Row = dict[str, Any]


class Story(BaseModel):
    """What a feed is made of."""

    id: int
    title: str
    author: str
    score: float
    tags: list[str]


def strings(user: int) -> list[str]:
    return [f"story {n} of {user}" for n in range(20)]


def frozen(user: int) -> tuple[str, ...]:
    return tuple(strings(user))


def models(user: int) -> list[Story]:
    return [
        Story(id=n, title=title, author="ana", score=0.5, tags=["a", "b"])
        for n, title in enumerate(strings(user))
    ]


def many(user: int) -> list[Story]:
    return models(user) * 50


def rows(user: int) -> list[Any]:
    raise ConnectionError(user)


def measure() -> list[Row]:
    """Return what a degraded call takes, microseconds, by what it serves."""
    clock = ManualClock()
    with Runtime(clock=clock, threads="manual") as runtime:
        kept = snapshot(max_age="1h")
        guarded: dict[str, Callable[[int], Any]] = {
            "a tuple of 20 strings, which nobody can change: shared": _guarded(frozen, kept),
            "a list of 20 strings": _guarded(strings, kept),
            "20 models of five fields": _guarded(models, kept),
            "the same with `share=True`": _guarded(models, snapshot(max_age="1h", share=True)),
            "1,000 models of five fields": _guarded(many, kept),
            "a `default` of 5,000 rows with two objects each": _guarded(rows, default(ROWS)),
        }
        for name, call in guarded.items():
            if "default" not in name:
                call(1)
                clock.advance(60)
                runtime.tick()
        control = Control(runtime.store, actor="bench", clock=clock)
        control.hold("*", "degraded", for_=None, reason="measured")
        runtime.tick()
        found = {name: _shortest(lambda call=call: call(1)) for name, call in guarded.items()}
    found["`copy.deepcopy` of the same rows"] = _shortest(lambda: copy.deepcopy(ROWS))
    return [{"name": name, "us": round(took_s * 1e6, 2)} for name, took_s in found.items()]


def _guarded(fn: Callable[[int], Any], rung: Any) -> Callable[[int], Any]:
    name = f"bench.copies.{fn.__name__}.{id(rung)}"
    guarded: Callable[[int], Any] = degradable(name, fallback=rung)(fn)
    return guarded


def _shortest(call: Callable[[], Any]) -> float:
    """Return the processor time of a call, of the quickest of five runs of many."""
    timer = timeit.Timer(call, timer=time.thread_time)
    number, _ = timer.autorange()
    return min(timer.repeat(5, number)) / number
