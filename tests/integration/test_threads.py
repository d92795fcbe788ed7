"""Real threads: nothing lost, nobody serialised, hung calls seen, pauses forgiven."""

from __future__ import annotations

import asyncio
import ctypes
import json
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import degrade
from degrade import SLA, Flag, Recovery, Runtime, default, degradable, flag, omit, snapshot
from degrade.control import Control
from degrade.core.enums import HoldMode
from degrade.core.records import Hold
from degrade.errors import StoreError
from degrade.ports import FlagStats
from degrade.runtime.calls.registry import Place, registry
from degrade.stores.local_holds import LocalHolds
from degrade.stores.memory import MemoryStore
from degrade.stores.sqlite import SQLiteStore
from tests.integration.children import start

pytestmark = [pytest.mark.real]

PATIENCE_S = 20.0


@pytest.fixture(autouse=True)
def forget_flags() -> Iterator[None]:
    before = dict(registry.flags)
    registry.flags.clear()
    yield
    registry.flags.clear()
    registry.flags.update(before)


@pytest.fixture
def runtime(forget_flags: None) -> Iterator[Runtime]:
    with Runtime() as runtime:
        yield runtime


def names_of_new(before: list[threading.Thread]) -> list[str]:
    """Return the names of our threads that were started since; others may be ending."""
    now = [thread for thread in threading.enumerate() if thread not in before]
    return [thread.name for thread in now if thread.name.startswith("degrade")]


def until(condition: Callable[[], bool], patience_s: float = PATIENCE_S) -> float:
    """Wait for a condition, and return how long that took, seconds."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < patience_s, "waited in vain"
        time.sleep(0.005)
    return time.monotonic() - began


def stats_of(runtime: Runtime, name: str) -> FlagStats:
    (found,) = [stats for stats in runtime.stats() if stats.name == name]
    return found


def classes_of(runtime: Runtime, name: str) -> dict[str, int]:
    return {how.value: n for how, n in stats_of(runtime, name).calls.items() if n}


def together(work: Callable[[int], object], count: int) -> float:
    """Run `work` in `count` threads that begin at once; return how long that took, seconds."""
    ready = threading.Barrier(count + 1)
    errors: list[BaseException] = []

    def body(i: int) -> None:
        ready.wait(PATIENCE_S)
        try:
            work(i)
        except BaseException as error:  # noqa: BLE001 - shown by the test
            errors.append(error)

    threads = [threading.Thread(target=body, args=(i,)) for i in range(count)]
    for thread in threads:
        thread.start()
    ready.wait(PATIENCE_S)
    began = time.monotonic()
    for thread in threads:
        thread.join(60)
    took_s = time.monotonic() - began
    assert errors == []
    assert not any(thread.is_alive() for thread in threads)
    return took_s


# ------------------------------------------------------------------ nothing is lost


def test_eight_threads_and_half_a_million_calls_lose_no_record(runtime: Runtime):
    each = 62_500

    @degradable("feed", sla=SLA(p99="10s"), fallback=[default(-1)])
    def feed(i: int) -> int:
        return i

    def work(_: int) -> None:
        for i in range(each):
            feed(i)

    together(work, 8)
    figures = stats_of(runtime, "feed")
    assert classes_of(runtime, "feed") == {"full": 8 * each}
    assert figures.primary["success"] == 8 * each
    assert figures.durations[float("inf")] == 8 * each
    assert figures.drops == {}
    assert runtime._watches["feed"]._tally.in_flight == 0
    assert runtime.internal_errors.counts == {}


def test_every_class_adds_up_exactly_with_a_live_drain_and_orders_that_change(runtime: Runtime):
    each, threads = 4_000, 8
    seen: Counter[str] = Counter()
    control = Control(runtime.store, actor="ana")

    @degradable("feed", fallback=[snapshot(max_age="1h", refresh="1s", copy=False), default(-1)])
    def feed(i: int) -> int:
        if i % 11 == 3:
            raise PermissionError
        if i % 13 == 5:
            raise KeyboardInterrupt
        if i % 7 == 2:
            raise OSError
        return i

    def work(thread: int) -> None:
        for i in range(each):
            try:
                feed(i % 100)
            except PermissionError:
                seen["ignored"] += 1
            except KeyboardInterrupt:
                seen["abandoned"] += 1
            if thread == 0 and i % 400 == 0:
                if i % 800:
                    control.release("feed", reason="drill", now=True)
                else:
                    control.hold("feed", "degraded", for_=None, dial=0.5, reason="drill")

    together(work, threads)
    calls = classes_of(runtime, "feed")
    assert sum(calls.values()) == each * threads
    assert calls["full"] > 0
    assert calls["degraded"] > 0
    assert "failed" not in calls
    assert calls["ignored"] >= seen["ignored"] > 0, "threads may lose a count of their own here"
    ran = sum(stats_of(runtime, "feed").primary.values())
    assert calls["full"] < ran < each * threads


def test_figures_read_all_the_time_disturb_nothing(runtime: Runtime):
    stop = threading.Event()

    @degradable("feed", sla=SLA(errors="5%"))
    def feed() -> int:
        return 1

    def work(i: int) -> None:
        if i == 0:
            while not stop.is_set():
                runtime.stats()
                runtime.tick()
            return
        for _ in range(20_000):
            feed()
        stop.set() if i == 1 else None

    together(work, 4)
    assert classes_of(runtime, "feed") == {"full": 60_000}


def test_a_flag_that_many_threads_call_first_is_adopted_once(runtime: Runtime):
    before = threading.enumerate()
    for n in range(20):
        fn = degradable(Flag(f"feed.{n}", _place=Place(str(n), "", "")), fallback=[omit()])(
            lambda: 1
        )
        together(lambda _, fn=fn: [fn() for _ in range(50)], 8)
        assert classes_of(runtime, f"feed.{n}") == {"full": 400}
    assert sorted(names_of_new(before)) == ["degrade-io", "degrade-ticker"]


# ------------------------------------------------------------------ nobody waits for another


@pytest.mark.parametrize("how", ["function", "ladder", "block"])
def test_twenty_callers_of_a_tenth_of_a_second_take_a_tenth_together(runtime: Runtime, how: str):
    takes_s, callers = 0.1, 20

    def body() -> int:
        time.sleep(takes_s)
        return 1

    shared = Flag("feed")
    if how == "block":

        def call(_: int) -> None:
            with shared.call():
                body()
    else:
        fallback: Any = [body] if how == "ladder" else ()
        guarded = degradable(shared, fallback=fallback)(body)
        if how == "ladder":
            Control(runtime.store, actor="ana").hold("feed", "degraded", for_=None, reason="drill")

        def call(_: int) -> None:
            guarded()

    call(0)
    took_s = min(together(call, callers) for _ in range(3))
    assert took_s < 0.15 * takes_s * callers


def test_a_hundred_coroutines_at_once_take_as_long_as_one(runtime: Runtime):
    @degradable("feed", fallback=[default(0)], deadline="30s")
    async def feed() -> int:
        await asyncio.sleep(0.05)
        return 1

    async def main() -> float:
        await feed()
        began = time.monotonic()
        await asyncio.gather(*(feed() for _ in range(100)))
        return time.monotonic() - began

    assert min(asyncio.run(main()) for _ in range(3)) < 0.15 * 100 * 0.05


def test_a_slow_store_delays_no_call():
    class Slow(MemoryStore):
        def _check(self) -> None:
            time.sleep(0.2)

    with Runtime(Slow()):
        feed = degradable("feed", fallback=[snapshot(max_age="1h", copy=False)])(lambda: 1)
        feed()
        longest = 0.0
        end = time.monotonic() + 1.5
        while time.monotonic() < end:
            began = time.monotonic()
            feed()
            longest = max(longest, time.monotonic() - began)
        assert longest < 0.15


# ------------------------------------------------------------------ judged while it runs


def test_calls_that_hang_trip_the_flag_in_real_time(runtime: Runtime):
    go = threading.Event()

    @degradable("feed", sla=SLA(p99="250ms"), fallback=[default("stale")])
    def feed() -> str:
        go.wait(PATIENCE_S)
        return "fresh"

    threads = [threading.Thread(target=feed) for _ in range(4)]
    for thread in threads:
        thread.start()
    took_s = until(lambda: flag("feed").degraded)
    assert feed() == "stale"
    assert 0.2 < took_s < 2.5
    go.set()
    for thread in threads:
        thread.join(PATIENCE_S)
    until(lambda: classes_of(runtime, "feed").get("full") == 4)


def test_a_sick_flag_trips_within_a_second_and_comes_back_by_itself(runtime: Runtime):
    sick = threading.Event()
    stop = threading.Event()

    @degradable("feed", sla=SLA(errors="5%"), fallback=[default("stale")],
                recovery=Recovery(cooldown="300ms", steps=(0.2, 1), step_time="300ms",
                                  step_calls=3))  # fmt: skip
    def feed() -> str:
        if sick.is_set():
            raise OSError
        return "fresh"

    def traffic() -> None:
        while not stop.is_set():
            feed()
            time.sleep(0.005)

    thread = threading.Thread(target=traffic)
    thread.start()
    try:
        until(lambda: classes_of(runtime, "feed").get("full", 0) > 20)
        sick.set()
        assert until(lambda: stats_of(runtime, "feed").phase == "degraded") < 1.5
        sick.clear()
        until(lambda: stats_of(runtime, "feed").phase == "steady")
        assert feed() == "fresh"
    finally:
        stop.set()
        thread.join(PATIENCE_S)
    log = [
        (event.evidence["from"], event.evidence["to"])
        for event in runtime.store.events(flag="feed")
    ]
    assert log[0] == ("steady", "degraded")
    assert log[-1] == ("recovering", "steady")


def test_probes_of_many_threads_stay_in_bounds(runtime: Runtime):
    running, most = [0], [0]
    lock = threading.Lock()

    @degradable("feed", fallback=[default("stale")],
                recovery=Recovery(steps=(0.01, 1), step_time="1h"))  # fmt: skip
    def feed() -> str:
        with lock:
            running[0] += 1
            most[0] = max(most[0], running[0])
        time.sleep(0.02)
        with lock:
            running[0] -= 1
        return "fresh"

    feed()
    control = Control(runtime.store, actor="ana")
    control.hold("feed", "degraded", for_=None, reason="drill")
    control.release("feed", reason="over")
    most[0] = 0
    together(lambda _: [feed() for _ in range(3_000)], 20)
    assert most[0] == 1


def test_a_snapshot_reaches_the_ladder_by_itself(runtime: Runtime):
    @degradable("feed", fallback=[snapshot(max_age="1h"), default(["none"])])
    def feed(user: str) -> list[str]:
        return [user]

    assert feed("u1") == ["u1"]
    until(lambda: len(runtime.tier) == 1)
    Control(runtime.store, actor="ana").hold("feed", "degraded", for_=None, reason="drill")
    for _ in range(3):
        assert feed("u1") == ["u1"]
        assert feed("u2") == ["none"]


# ------------------------------------------------------------------ declarations


def test_who_decorates_and_waits_for_the_runtime_keeps_nobody_from_the_flags(runtime: Runtime):
    """Whoever holds the runtime's lock binds flags: the other order would stop both for good."""
    known = Flag("feed")
    known.bind(None)  # else it would not have to wait
    made: list[object] = []
    decorating = threading.Thread(
        target=lambda: made.append(degradable(known)(lambda: "fresh")), daemon=True
    )
    with runtime._lock:
        decorating.start()
        until(lambda: len(known.guards) == 1)
        assert registry.lock.acquire(timeout=2)
        registry.lock.release()
    decorating.join(PATIENCE_S)
    assert known.guards[0].watch is runtime._watches["feed"]


# ------------------------------------------------------------------ an idle process


@pytest.mark.slow
def test_an_idle_process_falls_asleep_and_is_roused_by_calls_that_are_judged_at_once(
    runtime: Runtime,
):
    sick = threading.Event()

    @degradable("feed", sla=SLA(errors="5%"), fallback=[default("stale")])
    def feed() -> str:
        if sick.is_set():
            raise OSError
        return "fresh"

    before = threading.enumerate()
    feed()
    gate = runtime._watches["feed"].gate
    until(lambda: not gate.shut)
    until(lambda: gate.shut)
    assert feed() == "fresh"
    assert until(lambda: not gate.shut) < 1
    until(lambda: gate.shut)
    sick.set()
    for _ in range(20):
        feed()
    assert until(lambda: flag("feed").degraded) < 1
    assert classes_of(runtime, "feed") == {"full": 2, "degraded": 20}
    assert sorted(names_of_new(before)) == ["degrade-io", "degrade-ticker"]


def test_no_call_is_lost_however_often_the_ticker_falls_asleep(runtime: Runtime):
    each, enough = 5_000, 50
    made, dozes = [0] * 5, [0]

    @degradable("feed", sla=SLA(p99="10s"), fallback=[default(-1)])
    def feed(i: int) -> int:
        return i

    def work(thread: int) -> None:
        if thread == 0:
            while dozes[0] < enough or min(made[1:]) < each:
                dozes[0] += runtime.rest(asleep=True)
                runtime.tick()
            return
        while dozes[0] < enough or made[thread] < each:
            feed(made[thread])
            made[thread] += 1
            if made[thread] % 50 == 0:
                time.sleep(0.001)

    together(work, 5)
    assert classes_of(runtime, "feed") == {"full": sum(made)}
    assert stats_of(runtime, "feed").durations[float("inf")] == sum(made)
    gate = runtime._watches["feed"].gate
    feed(0)
    assert until(lambda: not gate.shut) < 1


def test_a_sleeping_process_obeys_an_order_from_elsewhere_as_soon_as_ever(tmp_path: Path):
    with Runtime(SQLiteStore(tmp_path / "state.db")) as runtime:
        feed = degradable("feed", fallback=[default("stale")])(lambda: "fresh")
        feed()
        gate = runtime._watches["feed"].gate
        until(lambda: not gate.shut)
        until(lambda: gate.shut)
        resolved = runtime._watches["feed"].resolved
        control = Control(SQLiteStore(tmp_path / "state.db"), actor="ana")
        control.hold("feed", "degraded", for_="1s", reason="drill")
        assert until(lambda: runtime._watches["feed"].resolved != resolved) < 1
        assert feed() == "stale"
        until(lambda: stats_of(runtime, "feed").phase == "recovering")


# ------------------------------------------------------------------ orders and broken stores


def test_a_local_hold_is_obeyed_by_an_idle_process(tmp_path: Path):
    local = LocalHolds("default", directory=tmp_path)
    with Runtime(local=LocalHolds("default", directory=tmp_path)) as runtime:
        feed = degradable("feed", fallback=[default("stale")])(lambda: "fresh")
        feed()
        until(lambda: runtime.orders.known)
        until(lambda: not runtime.newsworthy)
        local.hold("feed", Hold(mode=HoldMode.OFF, actor="ana", reason="wrong", at=0))
        assert until(lambda: feed() == "stale") < 2.5


@pytest.mark.parametrize("error", [StoreError("gone"), RuntimeError("a bug"), OSError("disk full")])
def test_with_every_store_and_file_operation_failing_no_call_raises_anything_of_ours(
    tmp_path: Path, error: Exception
):
    class Broken(MemoryStore):
        shared = True

        def _check(self) -> None:
            raise error

    folder = tmp_path / "no folder"
    folder.write_text("a file where the folder of local holds should be")
    with Runtime(Broken(), local=LocalHolds("default", directory=folder)) as runtime:

        @degradable("feed", sla=SLA(errors="5%"), fallback=[snapshot(max_age="1h"), default(-1)])
        def feed(i: int) -> int:
            if i > 300:
                raise OSError
            return i

        @degradable("afeed", deadline="5s", fallback=[default(-1)])
        async def afeed(i: int) -> int:
            return i

        for i in range(400):
            assert feed(i) in (i, -1)
            time.sleep(0.001)
        for i in range(50):
            assert asyncio.run(afeed(i)) == i
        with degrade.request(subject="u"), Flag("block").call() as call:
            assert not call.degraded
        until(lambda: stats_of(runtime, "feed").phase == "degraded")
        assert feed(1) in (1, -1)
        until(lambda: runtime.internal_errors.counts["store"] > 0)
        assert runtime._ticker is not None
        assert runtime._ticker.alive
        assert runtime._io_worker.alive


# ------------------------------------------------------------------ a paused process


PAUSED = """
@degradable("feed", sla=SLA(p99="250ms", errors="5%"), fallback=[default("stale")])
def feed() -> str:
    time.sleep(0.05)
    return "fresh"

def traffic():
    while True:
        feed()

for _ in range(30):
    threading.Thread(target=traffic, daemon=True).start()
until(lambda: classes().get("full", 0) > 200)
tell(pid=os.getpid())
before = classes()["full"]
sys.stdin.readline()
until(lambda: classes()["full"] > before + 400)
time.sleep(1)
tell(transitions=sum(figures().transitions.values()), calls=classes())
"""


@pytest.mark.slow
def test_a_pause_of_the_process_trips_no_flag(tmp_path: Path):
    child = start(PAUSED, tmp_path)
    try:
        assert child.stdout is not None
        assert child.stdin is not None
        assert "pid" in child.stdout.readline()
        child.send_signal(signal.SIGSTOP)
        time.sleep(3)
        child.send_signal(signal.SIGCONT)
        stdout, stderr = child.communicate("go\n", timeout=30)
    finally:
        child.kill()
        child.wait()
    assert child.returncode == 0, stderr
    assert '"transitions": 0' in stdout, stdout
    assert "degraded" not in stdout


FROZEN = """
import logging
logging.basicConfig(format="LOGGED %(message)s", stream=sys.stdout)
runtime = degrade.configure(threads=sys.argv[1], store="sqlite:///state.db")
ran = 0

@degradable("upstream", sla=SLA(errors="5%"), fallback=[default("stale")])
def upstream() -> str:
    global ran
    ran += 1
    time.sleep(0.02)
    raise ConnectionError

tell(pid=os.getpid())
for _ in sys.stdin:  # a request a line
    upstream()
    if runtime.threads == "manual":
        runtime.tick()
    tell(ran=ran)
"""


@pytest.mark.slow
def test_a_serverless_process_that_is_frozen_after_each_request_comes_to_degraded(tmp_path: Path):
    modes = ["background", "inline", "manual"]
    children = [start(FROZEN, tmp_path, mode) for mode in modes]
    ran: dict[str, list[int]] = {mode: [] for mode in modes}
    said: dict[str, list[str]] = {mode: [] for mode in modes}

    def hear(mode: str, child: Any, word: str) -> dict[str, Any]:
        while (line := child.stdout.readline()) and f'"{word}"' not in line:
            said[mode].append(line)
        return dict(json.loads(line))

    try:
        for mode, child in zip(modes, children, strict=True):
            hear(mode, child, "pid")
        for _ in range(5):
            for mode, child in zip(modes, children, strict=True):
                child.stdin.write("request\n")
                child.stdin.flush()
                ran[mode].append(hear(mode, child, "ran")["ran"])
                child.send_signal(signal.SIGSTOP)
            time.sleep(2.1)
            for child in children:
                child.send_signal(signal.SIGCONT)
        for child in children:
            child.stdin.close()
            assert child.wait(PATIENCE_S) == 0
    finally:
        for child in children:
            child.kill()
            child.wait()
            child.stdout.close()
            child.stderr.close()
    assert ran["inline"] == ran["manual"] == [1, 2, 3, 3, 3]
    # The ticker judges a request when the process goes on, together with the next request.
    assert ran["background"] in ([1, 2, 3, 3, 3], [1, 2, 3, 4, 4])
    assert len([line for line in said["background"] if "was paused" in line]) == 1


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("victim", [pytest.param("_ticker", marks=pytest.mark.slow), "_io_worker"])
def test_a_background_thread_that_died_is_started_again(victim, tmp_path):
    store = SQLiteStore(tmp_path / "state.db")
    with Runtime(store) as runtime:
        feed = degradable("feed")(lambda: 1)
        feed()
        until(lambda: getattr(runtime, victim).alive)
        dead = getattr(runtime, victim)._thread
        ctypes.pythonapi.PyThreadState_SetAsyncExc(
            ctypes.c_ulong(dead.ident), ctypes.py_object(SystemExit)
        )
        until(lambda: not dead.is_alive())
        until(lambda: getattr(runtime, victim).alive)
        assert feed() == 1
