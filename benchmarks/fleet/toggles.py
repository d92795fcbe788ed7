"""How long a toggle takes until it is visible, beside a bare subscriber in the same run.

Three acts take turns, at one pace, against one server:

    toggle    our script, in the namespace that the applications follow; seen by an application
              when what `flag.degraded` reads has turned
    bare      the same script with the same hint, in a namespace that nobody follows but bare
              subscribers; seen when the one `recv` that a process waits in has returned
    publish   a PUBLISH of such a hint and nothing else, to the same bare subscribers

Why that is fair. There are as many bare subscribers as applications, all of them run all the
time, and a process that computes beside the one kind computes beside the other. A toggle and a
bare hint are written and timed by the same code, from just before the script is sent, so what
they differ by is what the library does with a hint; what the script costs more than a PUBLISH
is shown, too. All times are taken in the thread that reads the socket. The next act begins when
every process that it concerns has seen the last one, so no two fall together; one that is not
seen within `PATIENCE_S` counts as not seen. While the processes see it nobody asks them: they
note it in memory that is shared, and that is looked at only after `EVERY_S`.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import redis

from benchmarks.fleet.child import FLAG
from benchmarks.fleet.noted import Noted
from benchmarks.fleet.server import Child, children
from degrade.core.enums import HoldMode
from degrade.core.records import Hold
from degrade.ports import Change
from degrade.stores.redis.keys import Keys
from degrade.stores.redis.state.hints import parsed
from degrade.stores.redis.store import RedisStore
from degrade.stores.redis.transport.address import parse
from degrade.stores.redis.transport.base import Check, Command, Transacted
from degrade.stores.redis.transport.client import RedisTransport

TOGGLES = 2_000
EVERY_S = 0.01
PATIENCE_S = 3.0
NAMESPACE = "bench"
NOBODYS = "nobodys"

Row = dict[str, Any]


class _Timed(RedisTransport):
    """A link that notes when its last script was sent, and which hint that published."""

    sent = 0.0
    hint = b""

    def transact(
        self,
        keys: Sequence[str],
        checks: Sequence[Check],
        commands: Sequence[Command],
        *,
        deadline: float | None,
    ) -> Transacted:
        if commands[-1][0] == "PUBLISH":
            self.hint = bytes(commands[-1][2])  # type: ignore[arg-type]  # a hint is bytes
        self.sent = time.monotonic()
        return super().transact(keys, checks, commands, deadline=deadline)


class _Writer:
    """Toggles the flag of one namespace."""

    def __init__(self, url: str, namespace: str) -> None:
        self._link = _Timed(parse(url))
        self.store = RedisStore(self._link, namespace=namespace)
        self._toggles = 0

    def toggle(self) -> tuple[int, float]:
        """Hold or release the flag; return the epoch, and when it was sent."""
        number, self._toggles = self._toggles, self._toggles + 1
        hold = Hold(mode=HoldMode.DEGRADED, actor="bench", reason="bench", at=0.0)
        change = Change(
            type="released" if number % 2 else "hold", actor="bench", reason="bench",
            instance="bench", holds={FLAG: None if number % 2 else hold}, now=True,
        )  # fmt: skip
        (event,) = self.store.change(change)
        return event.epoch, self._link.sent

    def hint_at(self, epoch: int) -> bytes:
        """Return the last hint, as of another epoch."""
        hint = parsed(self._link.hint)
        if hint is None:
            raise RuntimeError(f"no hint was published, but {self._link.hint!r}")
        return self._link.hint.replace(b'"epoch":%d' % hint.epoch, b'"epoch":%d' % epoch)


def measure(port: int, processes: int, *, burn: bool = False, toggles: int = TOGGLES) -> Row:
    """Measure toggles at a number of processes.

    Args:
        port: Of the server.
        processes: How many applications follow, and how many bare subscribers listen.
        burn: Whether each process has a thread that does nothing but compute.
        toggles: How many toggles, bare hints, and bare messages.
    """
    url = f"redis://127.0.0.1:{port}/0"
    asked = [
        {"kind": "app", "url": url, "namespace": NAMESPACE, "burn": burn},
        {"kind": "bare", "port": port, "channel": Keys(NOBODYS).hint, "burn": burn},
    ]
    ours, theirs = _Writer(url, NAMESPACE), _Writer(url, NOBODYS)
    ours.store.read()
    theirs.store.read()
    sent: dict[str, dict[int, float]] = {"toggle": {}, "bare": {}, "publish": {}}
    with (
        redis.Redis(port=port, protocol=2) as client,
        Noted(2 * processes) as noted,
        children([one for one in asked for _ in range(processes)], noted) as running,
    ):

        def act(kind: str, do: Callable[[], tuple[int, float]], who: range) -> None:
            number, at = do()
            sent[kind][number] = at
            time.sleep(EVERY_S)
            while time.monotonic() - at < PATIENCE_S and not noted.all_at(number, who):
                time.sleep(EVERY_S / 10)

        def publish() -> tuple[int, float]:
            number = 10_000_000 + len(sent["publish"])
            hint = theirs.hint_at(number)
            at = time.monotonic()
            client.publish(Keys(NOBODYS).hint, hint)
            return number, at

        time.sleep(1.0)
        for _ in range(toggles):
            act("toggle", ours.toggle, range(processes))
            act("bare", theirs.toggle, range(processes, 2 * processes))
            act("publish", publish, range(processes, 2 * processes))
        seen = _seen(running[:processes]), _seen(running[processes:])
    ours.store.close()
    theirs.store.close()
    name = f"{processes} process{'es' if processes > 1 else ''}"
    row: Row = {"name": name + (", each with a thread that computes" if burn else "")}
    row["toggles"] = toggles
    for kind, begun in sent.items():
        took = [at - begun[number] for number, at in seen[kind != "toggle"] if number in begun]
        row[kind] = _quantiles(took) | {"seen": len(took) / (toggles * processes)}
    return row


def _seen(asked: Sequence[Child]) -> list[tuple[int, float]]:
    return [(number, at) for one in asked for number, at in one.ask()]


def _quantiles(values: list[float]) -> dict[str, float]:
    cuts = statistics.quantiles(values, n=1000)
    return {"p50_ms": cuts[499] * 1e3, "p99_ms": cuts[989] * 1e3, "worst_ms": max(values) * 1e3}
