"""One process of the application: calls guarded functions at a fixed rate, and writes down how it went.

Run as `python -m tests.faults.app '{"store": "redis://...", ...}'` and driven by lines of JSON:

    {"do": "mark", "phase": "frozen"}   begin a phase
    {"do": "behave", "how": "fail"}     what the functions do from now on: ok, fail or slow
    {"do": "ports", "ports": [6379]}    where the sockets lead that are counted
    {"do": "calls"}                     how many were made in this phase
    {"do": "log"}                       the lines that were logged
    {"do": "state"}                     how every flag is answered now, and since when
    {"do": "shift", "by_s": 3600}       move the time of day, in a process that is `movable`
    {"do": "report"}                    everything recorded so far
    {"do": "stop"}                      end; the exit code is 0

Every line is answered by one. Each thread calls the bare function and the guarded one by turns, so
that what the library adds is measured beside what the machine does. With `"store": null` nothing is
guarded and the library is not imported: that process shows what the machine does by itself.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

from tests.faults.recording import Recorder, watch

BEGUN = time.monotonic()
LAG_EVERY_S = 0.005
SLOW_S = 0.25


class DependencyDownError(Exception):
    """What the function raises while its dependency is down."""


class TimeOfDay:
    """What `time.time` says in a process whose clock is not to be trusted."""

    def __init__(self) -> None:
        self.shift_s = 0.0
        self._true = time.time

    def __call__(self) -> float:
        return self._true() + self.shift_s


class Dependency:
    """What the functions do: answer after a while, fail, or be slow."""

    def __init__(self, takes_s: float) -> None:
        self.takes_s = takes_s
        self.how = "ok"

    def work(self) -> str:
        time.sleep(SLOW_S if self.how == "slow" else self.takes_s)
        return self._answer()

    async def awork(self) -> str:
        await asyncio.sleep(SLOW_S if self.how == "slow" else self.takes_s)
        return self._answer()

    def quick(self) -> str:
        return self._answer()

    def _answer(self) -> str:
        if self.how == "fail":
            raise DependencyDownError
        return "full"


Functions = dict[str, Callable[[], Any]]


class Load:
    """Threads, or tasks of one loop, that call at a fixed rate whatever the calls take."""

    def __init__(
        self, recorder: Recorder, dependency: Dependency, guarded: Functions, *, rate: float
    ) -> None:
        self._recorder = recorder
        self._dependency = dependency
        self._guarded = guarded
        self._period_s = 1.0 / rate
        self.stopping = threading.Event()

    def call_in_threads(self, number: int) -> list[threading.Thread]:
        threads = [
            threading.Thread(target=self._calls, args=(index,), name=f"caller-{index}", daemon=True)
            for index in range(number)
        ]
        for thread in threads:
            thread.start()
        return threads

    def call_in_a_loop(self, number: int) -> list[threading.Thread]:
        thread = threading.Thread(target=lambda: asyncio.run(self._loop(number)), name="loop")
        thread.start()
        return [thread]

    def _calls(self, index: int) -> None:
        bare = self._dependency.work
        for turn, due in enumerate(self._dues(index)):
            if self.stopping.wait(max(0.0, due - time.monotonic())):
                return
            self._recorder.phase.at_most("behind_s", time.monotonic() - due)
            for flag, guarded in self._guarded.items():
                phase, began = self._recorder.phase, time.monotonic()
                if turn % 2:
                    bare_s, (answer, guarded_s) = self._timed(bare)[1], self._judged(guarded)
                else:
                    (answer, guarded_s), bare_s = self._judged(guarded), self._timed(bare)[1]
                self._recorder.call(phase, flag, began, answer, bare_s, guarded_s)

    async def _loop(self, number: int) -> None:
        await asyncio.gather(self._lag(), *(self._acalls(index) for index in range(number)))

    async def _acalls(self, index: int) -> None:
        bare = self._dependency.awork
        inline = self._guarded.get("inline")
        for turn, due in enumerate(self._dues(index)):
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            if self.stopping.is_set():
                return
            for flag, guarded in self._guarded.items():
                if guarded is inline:
                    continue
                phase, began = self._recorder.phase, time.monotonic()
                if turn % 2:
                    bare_s = (await self._atimed(bare))[1]
                    answer, guarded_s = await self._ajudged(guarded)
                else:
                    answer, guarded_s = await self._ajudged(guarded)
                    bare_s = (await self._atimed(bare))[1]
                self._recorder.call(phase, flag, began, answer, bare_s, guarded_s)
            if inline is not None:  # a guarded function called inside of the loop
                began = time.monotonic()
                answer, _ = self._judged(inline)
                self._recorder.answered(self._recorder.phase, "inline", began, answer)

    async def _lag(self) -> None:
        """Note how late the loop comes round."""
        while not self.stopping.is_set():
            due = time.monotonic() + LAG_EVERY_S
            await asyncio.sleep(LAG_EVERY_S)
            self._recorder.phase.lag.append(time.monotonic() - due)

    def _dues(self, index: int) -> Iterator[float]:
        due = time.monotonic() + self._period_s * (index % 7) / 7
        while True:
            due += self._period_s
            yield due

    def _timed(self, fn: Callable[[], str]) -> tuple[str, float]:
        """Call the bare function, whose own failure is no news."""
        began = time.perf_counter()
        try:
            return fn(), time.perf_counter() - began
        except DependencyDownError:
            return "raised", time.perf_counter() - began

    def _judged(self, fn: Callable[[], str]) -> tuple[str, float]:
        """Call the guarded function, out of which nothing may come: there is a ladder."""
        began = time.perf_counter()
        try:
            return fn(), time.perf_counter() - began
        except Exception as error:  # noqa: BLE001 - whatever it is, the test wants to see it
            self._recorder.raised(error)
            return "raised", time.perf_counter() - began

    async def _atimed(self, fn: Callable[[], Awaitable[str]]) -> tuple[str, float]:
        began = time.perf_counter()
        try:
            return await fn(), time.perf_counter() - began
        except DependencyDownError:
            return "raised", time.perf_counter() - began

    async def _ajudged(self, fn: Callable[[], Awaitable[str]]) -> tuple[str, float]:
        began = time.perf_counter()
        try:
            return await fn(), time.perf_counter() - began
        except Exception as error:  # noqa: BLE001 - whatever it is, the test wants to see it
            self._recorder.raised(error)
            return "raised", time.perf_counter() - began


def guard(options: dict[str, Any], dependency: Dependency) -> Functions:
    """Import the library, set it up, and declare the flags."""
    import degrade

    degrade.configure(store=options["store"], namespace=options["namespace"])
    fns: dict[str, Callable[[], Any]] = dict.fromkeys(
        options["flags"], dependency.awork if options["kind"] == "async" else dependency.work
    )
    if options["kind"] == "async":
        fns["inline"] = dependency.quick
    return {
        name: degrade.degradable(
            degrade.Flag(
                name,
                sla=degrade.SLA(errors="5%", over="10s"),
                recovery=degrade.Recovery(**options["recovery"]),
                level=3,
            ),
            fallback=[degrade.default("degraded")],
        )(_own(fn))
        for name, fn in fns.items()
    }


def _own(fn: Callable[[], Any]) -> Callable[[], Any]:
    """Return a function that is nobody else's, as each flag wants its own."""
    if asyncio.iscoroutinefunction(fn):

        async def awork() -> str:
            answer: str = await fn()
            return answer

        return awork

    def work() -> str:
        answer: str = fn()
        return answer

    return work


def state(recorder: Recorder) -> dict[str, Any]:
    """Return how every flag stands here and now."""
    from degrade.runtime import current

    runtime = current()
    flags = {
        stats.name: {
            "mode": stats.mode.value,
            "phase": stats.phase.value,
            "dial": stats.dial,
            "reason": stats.reason,
        }
        for stats in runtime.stats()
    }
    for name, (answer, since) in list(recorder.last.items()):
        flags.setdefault(name, {}).update(answer=answer, since=since)
    return {
        "flags": flags,
        "state_age_s": runtime.state_age_s(),
        "epoch": runtime.orders.epoch,
        "instance": runtime.instance,
        "troubles": dict(runtime.internal_errors.counts),
    }


def answer(recorder: Recorder, order: dict[str, Any]) -> dict[str, Any]:
    """Do what is to be done with the records, and say what there is to say."""
    match order["do"]:
        case "mark":
            recorder.mark(order["phase"])
        case "calls":
            return {"calls": len(recorder.phase.bare)}
        case "log":
            return {"log": recorder.log.lines}
        case "state":
            return state(recorder)
        case "report":
            return recorder.told()
    return {"at": time.monotonic()}


def main(options: dict[str, Any]) -> None:
    recorder, dependency, time_of_day = Recorder(), Dependency(options["takes_s"]), TimeOfDay()
    if options.get("movable"):
        time.time = time_of_day  # before the library is loaded, which keeps it
    logging.getLogger().addHandler(recorder.log)
    logging.getLogger().setLevel(logging.INFO)
    ports = frozenset(options["ports"])
    control = options["store"] is None
    work = dependency.awork if options["kind"] == "async" else dependency.work
    guarded: Functions = (
        dict.fromkeys(options["flags"], work) if control else guard(options, dependency)
    )
    load = Load(recorder, dependency, guarded, rate=options["rate"])
    imported_s = time.monotonic() - BEGUN
    first = options["kind"] == "sync" and load._judged(next(iter(guarded.values())))
    first_s = time.monotonic() - BEGUN - imported_s

    def age_s() -> float | None:
        if control:
            return None
        from degrade.runtime import current

        return current().state_age_s()

    watching = threading.Thread(
        target=watch, args=(recorder, load.stopping, lambda: ports, age_s), daemon=True
    )
    watching.start()
    begin = load.call_in_a_loop if options["kind"] == "async" else load.call_in_threads
    threads = begin(options["threads"])
    tell(
        pid=os.getpid(),
        imported_s=imported_s,
        first_s=first_s,
        first=first[0] if first else None,
    )
    for line in sys.stdin:
        order = json.loads(line)
        if order["do"] == "stop":
            break
        if order["do"] == "ports":
            ports = frozenset(order["ports"])
        elif order["do"] == "behave":
            dependency.how = order["how"]
        elif order["do"] == "shift":
            time_of_day.shift_s = order["by_s"]
        tell(**answer(recorder, order))
    load.stopping.set()
    for thread in threads:
        thread.join(5.0)
    watching.join(5.0)
    tell(stopped=True)


def tell(**what: Any) -> None:
    print(json.dumps(what), flush=True)  # noqa: T201 - the way to the test


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
