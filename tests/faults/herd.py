"""A dependency that collapses above its capacity, and the callers that herd in front of it.

    python -m tests.faults.herd '{"role": "dependency", "capacity": 150, ...}'
    python -m tests.faults.herd '{"role": "callers", "port": 4711, "store": "redis://...", ...}'

The dependency answers one request after the other, in order of arrival, at a fixed rate, and also
those whose callers have gone: with a queue longer than their patience every answer is late, and
all of its work is in vain. A call tries twice, as many clients do: so, once the queue is long, the
load is up to twice what was asked for, and the queue stays long when its cause is gone.

Driven by lines of JSON, each of them answered by one:

    {"do": "serve", "share": 0.2}   (dependency) answer at this share of the capacity from now on
    {"do": "state"}                 (callers) how the flag stands here, and what came of recent calls
    {"do": "report"}                when each request arrived, or when each call ended and how

Callers keep to a timetable each. One that comes too late, as its last call or the machine was
slow, leaves calls out instead of catching up: a burst would be the test's doing, not the herd's.
"""

from __future__ import annotations

import json
import select
import socket
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

TRIES = 2
LONGEST_QUEUE_S = 2.0
RECENT_S = 2.0
FLAG = "feed.ranking"


class Dependency:
    """Answers datagrams one after the other, at a rate that can be turned down.

    Args:
        capacity: Answers a second.
    """

    def __init__(self, capacity: float) -> None:
        self._capacity = capacity
        self._every_s = 1.0 / capacity
        self._queue: deque[tuple[bytes, Any]] = deque()
        self._most = int(capacity * LONGEST_QUEUE_S)
        self._next = 0.0
        self.arrivals: list[float] = []
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.socket.setblocking(False)

    def serve(self, share: float) -> None:
        """Answer at this share of the capacity from now on."""
        self._every_s = 1.0 / (self._capacity * share)
        self._next = time.monotonic() + self._every_s

    def wait_s(self) -> float:
        """Return seconds until something is to be answered."""
        return max(0.0, self._next - time.monotonic()) if self._queue else 1.0

    def take(self) -> None:
        """Queue what has arrived; what finds the queue full is lost, and never answered."""
        while True:
            try:
                request = self.socket.recvfrom(64)
            except BlockingIOError:
                return
            now = time.monotonic()
            self.arrivals.append(now)
            if not self._queue:
                self._next = max(self._next, now + self._every_s)
            if len(self._queue) < self._most:
                self._queue.append(request)

    def answer(self) -> None:
        """Answer what is due; the rate is kept also when the machine was slow."""
        while self._queue and self._next <= time.monotonic():
            self.socket.sendto(*self._queue.popleft())
            self._next += self._every_s


class Client:
    """What one thread asks the dependency with."""

    def __init__(self, port: int, patience_s: float) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.connect(("127.0.0.1", port))
        self._patience_s = patience_s
        self._number = 0

    def ask(self) -> str:
        for _ in range(TRIES):
            if self._answered():
                return "full"
        raise TimeoutError

    def _answered(self) -> bool:
        """Send one request and wait for its answer, whatever comes of older ones meanwhile."""
        self._number += 1
        wanted = b"%d" % self._number
        end = time.monotonic() + self._patience_s
        self._socket.send(wanted)
        while (left_s := end - time.monotonic()) > 0:
            self._socket.settimeout(left_s)
            try:
                if self._socket.recv(64) == wanted:
                    return True
            except TimeoutError:
                return False
        return False


class Callers:
    """Threads that call, each by its own timetable.

    Args:
        ask: The function, guarded or bare.
        period_s: Seconds between two calls of a thread.
    """

    def __init__(self, ask: Callable[[], str], period_s: float) -> None:
        self._ask = ask
        self._period_s = period_s
        self.calls: list[tuple[float, str]] = []
        """When each call ended, and how it was answered."""

    def start(self, number: int, *, first: int, of: int) -> None:
        begin = time.monotonic()
        for index in range(number):
            due = begin + self._period_s * (first + index) / of
            threading.Thread(target=self._call, args=(due,), daemon=True).start()

    def _call(self, due: float) -> None:
        while True:
            time.sleep(max(0.0, due - time.monotonic()))
            try:
                answer = self._ask()
            except TimeoutError:
                answer = "failed"
            now = time.monotonic()
            self.calls.append((now, answer))
            due += self._period_s * max(1.0, (now - due) // self._period_s + 1.0)

    def full(self) -> int:
        """Return how many of the recent calls were answered in full."""
        since = time.monotonic() - RECENT_S
        recent = self.calls[-2_000:]
        return sum(at >= since and answer == "full" for at, answer in recent)


def guarded(options: dict[str, Any], ask: Callable[[], str]) -> Callable[[], str]:
    """Put a flag in front of the function."""
    import degrade

    degrade.configure(store=options["store"], namespace=options["namespace"])
    flag = degrade.Flag(
        FLAG,
        sla=degrade.SLA(errors="10%", over="10s"),
        recovery=degrade.Recovery(**options["recovery"]),
        level=3,
    )
    found: Callable[[], str] = degrade.degradable(flag, fallback=[degrade.default("degraded")])(ask)
    return found


def stand() -> dict[str, Any]:
    """Return how the flag stands here."""
    from degrade.runtime import current

    runtime = current()
    (stats,), (watch,) = runtime.stats(), runtime.watched()
    return {
        "phase": stats.phase.value,
        "live": watch.live,
        "verdict": runtime.orders.verdict(FLAG) is not None,
        "flips": sum(
            count for (source, _), count in stats.transitions.items() if source.value == "steady"
        ),
    }


def call(options: dict[str, Any]) -> None:
    """Be one process of callers, until the test has heard enough."""
    own = threading.local()

    def ask() -> str:
        if not hasattr(own, "client"):
            own.client = Client(options["port"], options["patience_s"])
        answer: str = own.client.ask()
        return answer

    alone = options["store"] is None
    callers = Callers(ask if alone else guarded(options, ask), options["period_s"])
    tell(ready=True)
    for line in sys.stdin:
        match json.loads(line)["do"]:
            case "begin":
                callers.start(options["threads"], first=options["first"], of=options["of"])
                tell(begun=True)
            case "state":
                tell(full=callers.full(), calls=len(callers.calls), **({} if alone else stand()))
            case "report":
                tell(calls=list(callers.calls))


def depend(options: dict[str, Any]) -> None:
    """Be the dependency, until the test has heard enough."""
    dependency = Dependency(options["capacity"])
    tell(port=dependency.socket.getsockname()[1])
    while True:
        ready = select.select([dependency.socket, sys.stdin], [], [], dependency.wait_s())[0]
        dependency.take()
        dependency.answer()
        if sys.stdin not in ready:
            continue
        if not (line := sys.stdin.readline()):
            return
        order = json.loads(line)
        if order["do"] == "serve":
            dependency.serve(order["share"])
            tell(at=time.monotonic())
        else:
            tell(arrivals=dependency.arrivals)


def tell(**what: Any) -> None:
    print(json.dumps(what), flush=True)  # noqa: T201 - the way to the test


if __name__ == "__main__":
    given = json.loads(sys.argv[1])
    (depend if given["role"] == "dependency" else call)(given)
