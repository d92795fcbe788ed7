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

import degrade

FLAG = "bench.toggle"


def _app(url: str, namespace: str) -> Callable[[], list[tuple[int, float]]]:
    """Follow a flag; note the epoch and the time of every change that was visible here."""
    flag = degrade.Flag(FLAG)
    runtime = degrade.configure(store=url, namespace=namespace, state_file=False)
    seen: list[tuple[int, float]] = []
    obey = runtime.obey
    last = [flag.degraded]

    def obeyed() -> None:
        obey()
        degraded = flag.degraded
        if degraded is not last[0]:
            seen.append((runtime.orders.epoch, time.monotonic()))
            last[0] = degraded

    runtime.obey = obeyed  # type: ignore[method-assign]
    if not runtime.wait_ready("10s"):
        raise SystemExit("the store did not answer")
    return lambda: seen


def _bare(port: int, channel: str) -> Callable[[], list[tuple[int, float]]]:
    """Read a subscription from a socket; note the number and the time of every message."""
    connection = socket.create_connection(("127.0.0.1", port))
    connection.sendall(f"SUBSCRIBE {channel}\r\n".encode())
    connection.recv(4096)
    seen: list[tuple[int, float]] = []

    def read() -> None:
        while data := connection.recv(65_536):
            now = time.monotonic()
            seen.extend((int(part), now) for part in data.split(b"#")[1::2])

    threading.Thread(target=read, daemon=True).start()
    return lambda: seen


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
    if asked["kind"] == "bare":
        found = _bare(asked["port"], asked["channel"])
    else:
        if asked.get("flags"):
            _hold_many(asked["url"], asked["namespace"], asked["flags"])
        found = _app(asked["url"], asked["namespace"])
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
            print(json.dumps(found()), flush=True)


__all__ = ("FLAG", "main")

if __name__ == "__main__":
    main()
