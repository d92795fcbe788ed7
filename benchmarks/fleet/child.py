"""A process of the measured fleet: an application that follows a flag, or a bare subscriber.

Both note when they saw what; the parent compares with when it was sent. On Linux the monotonic
clock is one for all processes.
"""

from __future__ import annotations

import json
import resource
import socket
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import degrade
from benchmarks.fleet.noted import Noted
from degrade.core.resolve import Resolved
from degrade.runtime.monitoring.flag_monitor import FlagMonitor

FLAG = "bench.toggle"


Seen = Callable[[int, float], None]


def _noting(asked: dict[str, Any], seen: list[tuple[int, float]]) -> Seen:
    """Return what notes a number and its time, and shows the number to who waits for it."""
    place = asked.get("noted")
    show = (lambda _: None) if place is None else Noted.opened(*place)

    def note(number: int, at: float) -> None:
        seen.append((number, at))
        show(number)

    return note


def _app(url: str, namespace: str, note: Seen) -> None:
    """Follow a flag; note the epoch and the time of every change that was visible here."""
    flag = degrade.Flag(FLAG)
    runtime = degrade.configure(store=url, namespace=namespace, state_file=False)
    settle = FlagMonitor.settle
    last, orders = [flag.degraded], runtime.orders

    def settled(watch: FlagMonitor, *found: Resolved | None) -> None:
        settle(watch, *found)
        degraded = flag.degraded
        at = time.monotonic()
        if degraded is not last[0]:
            last[0] = degraded
            note(orders._state.epoch, at)  # type: ignore[union-attr]  # noqa: SLF001 - at once: it is measured

    FlagMonitor.settle = settled  # type: ignore[method-assign]  # all that calls read was just written
    if not runtime.wait_ready("10s"):
        raise SystemExit("the store did not answer")


def _bare(port: int, channel: str, note: Seen) -> None:
    """Read a subscription from a socket; note the epoch and the time of every hint."""
    connection = socket.create_connection(("127.0.0.1", port))
    connection.sendall(f"SUBSCRIBE {channel}\r\n".encode())
    connection.recv(4096)

    def read() -> None:
        while data := connection.recv(65_536):
            at = time.monotonic()
            for part in data.split(b'"epoch":')[1:]:
                note(int(part.partition(b",")[0]), at)

    threading.Thread(target=read, daemon=True).start()


def _burn() -> None:
    value = 0
    while True:
        value = (value * 31 + 7) % 1_000_003


def _call(rate: float) -> None:
    """Call a guarded function at a rate, as a busy service does."""

    @degrade.degradable("bench.calls", sla=degrade.SLA(p99="250ms", errors="5%"))
    def work() -> int:
        return 1

    while True:
        work()
        time.sleep(1 / rate)


def _hold_many(url: str, namespace: str, count: int) -> None:
    """Declare many flags."""
    for index in range(count):
        degrade.Flag(f"bench.many.{index}", sla=degrade.SLA(errors="5%"))
    degrade.configure(store=url, namespace=namespace, state_file=False).adopt_all()


def main() -> None:
    """Do what the first argument says until standard input ends, then print what was seen."""
    asked = json.loads(sys.argv[1])
    seen: list[tuple[int, float]] = []
    note = _noting(asked, seen)
    if asked["kind"] == "bare":
        _bare(asked["port"], asked["channel"], note)
    else:
        if asked.get("flags"):
            _hold_many(asked["url"], asked["namespace"], asked["flags"])
        _app(asked["url"], asked["namespace"], note)
    if asked.get("burn"):
        threading.Thread(target=_burn, daemon=True).start()
    if asked.get("calls"):
        threading.Thread(target=_call, args=(asked["calls"],), daemon=True).start()
    print("ready", flush=True)
    for line in sys.stdin:
        if line == "usage\n":
            usage = resource.getrusage(resource.RUSAGE_SELF)
            print(json.dumps([time.monotonic(), usage.ru_utime + usage.ru_stime]), flush=True)
        else:
            print(json.dumps(seen), flush=True)


__all__ = ("FLAG", "main")

if __name__ == "__main__":
    main()
