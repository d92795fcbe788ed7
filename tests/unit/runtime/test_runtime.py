"""The runtime: ticking by hand or by the calls, reports, and its end."""

from __future__ import annotations

import itertools
import threading
from typing import Literal

import pytest

from degrade import SLA, ConfigError, Flag, Recovery, Runtime, default, degradable, snapshot
from degrade.clock import ManualClock
from degrade.control import Control
from degrade.core.records import ControlState
from degrade.ports import StatsSource
from degrade.runtime import current_runtime
from degrade.stores.memory import MemoryStore
from tests.unit.runtime.doing import (
    Boom,
    Sick,
    call_quietly,
    classes_of,
    pass_time,
    stats_of,
    watch_of,
)

QUICK = Recovery(cooldown="5s", steps=(0.1, 1.0), step_time="2s", step_calls=3)


def test_threads_is_one_of_three():
    with pytest.raises(ConfigError, match="'background', 'inline' or 'manual'"):
        Runtime(threads="gevent")  # type: ignore[arg-type] # on purpose


def test_a_runtime_that_is_made_starts_nothing():
    before = threading.active_count()
    runtime = Runtime()
    with runtime:
        degradable("feed")(Sick())
        assert threading.active_count() == before
        assert runtime.state_age_s() is None
    assert threading.active_count() == before


def test_a_runtime_is_a_source_of_figures(runtime: Runtime):
    source: StatsSource = runtime
    for name in ("b", "a", "c"):
        Flag(name, level=3, owner="team", message="soon", _place=(name, "", ""))
    figures = source.stats()
    assert [stats.name for stats in figures] == ["a", "b", "c"]
    assert (figures[0].level, figures[0].owner, figures[0].message) == (3, "team", "soon")
    assert figures[0].since is None


def test_ticking_by_hand_counts_what_it_folded(runtime: Runtime):
    feed = degradable("feed")(Sick())
    for _ in range(7):
        feed()
    assert runtime.tick() == 7
    assert runtime.tick() == 0


def test_figures_need_no_tick(runtime: Runtime):
    feed = degradable("feed", sla=SLA(errors="5%"), fallback=[default(0)])(Sick())
    feed()
    assert classes_of(runtime, "feed") == {"full": 1}
    assert classes_of(runtime, "feed") == {"full": 1}


# ------------------------------------------------------------------ inline


@pytest.fixture
def inline(clock: ManualClock):
    with Runtime(clock=clock, threads="inline") as runtime:
        yield runtime


def test_inline_the_calls_themselves_do_the_work(inline: Runtime, clock: ManualClock):
    sick = Sick()
    feed = degradable("feed", sla=SLA(errors="5%"), recovery=QUICK, fallback=[default("stale")])(
        sick
    )
    sick.ill = True
    call_quietly(feed, times=5)
    clock.advance(0.25)
    call_quietly(feed)
    assert stats_of(inline, "feed").phase == "degraded"
    sick.ill = False
    for _ in range(200):
        clock.advance(0.1)
        feed()
    assert stats_of(inline, "feed").phase == "steady"
    assert feed() == "fresh"


@pytest.mark.parametrize("copy", [True, False])
def test_inline_a_flag_comes_back_although_snapshots_answer_on_the_spot(
    inline: Runtime, clock: ManualClock, copy: bool
):
    sick = Sick()

    @degradable("feed", sla=SLA(errors="5%"), recovery=QUICK,
                fallback=[snapshot(max_age="1h", copy=copy)])  # fmt: skip
    def feed() -> str:
        return str(sick())

    feed()
    clock.advance(0.3)
    feed()
    sick.ill = True
    for _ in range(8):
        assert feed() == "fresh"
    clock.advance(0.3)
    assert feed() == "fresh"
    assert stats_of(inline, "feed").phase == "degraded"
    sick.ill = False
    for _ in range(200):
        clock.advance(0.1)
        assert feed() == "fresh"
    assert stats_of(inline, "feed").phase == "steady"


def test_inline_orders_of_the_store_are_obeyed(inline: Runtime, clock: ManualClock):
    feed = degradable("feed", fallback=[default("stale")])(Sick())
    feed()
    Control(inline.store, actor="ana", clock=clock).hold("feed", "off", for_="10s", reason="drill")
    assert feed() == "stale"
    clock.advance(10)
    feed()
    assert stats_of(inline, "feed").phase == "recovering"


def test_inline_work_is_bounded_to_four_rounds_a_second(clock: ManualClock):
    reads: list[float] = []

    class Counting(MemoryStore):
        def changed(self, since: ControlState | None = None) -> bool:
            reads.append(clock.monotonic())
            return super().changed(since)

    with Runtime(Counting(clock=clock), clock=clock, threads="inline"):
        feed = degradable("feed")(Sick())
        for _ in range(1_000):
            clock.advance(0.01)
            feed()
    assert 30 <= len(reads) <= 41


def test_inline_work_that_breaks_reaches_no_call(
    clock: ManualClock, caplog: pytest.LogCaptureFixture
):
    class Broken(MemoryStore):
        def read(self):
            raise RuntimeError("a bug of the store")

    with Runtime(Broken(clock=clock), clock=clock, threads="inline") as runtime:
        feed = degradable("feed")(Sick())
        for _ in range(100):
            clock.advance(0.1)
            assert feed() == "fresh"
        assert runtime.internal_errors.counts["store"] > 5
    assert len(caplog.records) == 1


def test_inline_from_many_threads_at_once(inline: Runtime, clock: ManualClock):
    feed = degradable("feed")(Sick())

    def work() -> None:
        for _ in range(500):
            clock.advance(0.001)
            feed()

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    clock.advance(1)
    feed()
    assert classes_of(inline, "feed") == {"full": 4_001}


# ------------------------------------------------------------------ reports


def test_a_process_reports_itself_and_its_flags(
    runtime: Runtime, control: Control, clock: ManualClock
):
    feed = degradable("feed", level=3, sla=SLA(errors="5%"),
                      fallback=[snapshot(max_age="1h", copy=False), default(0)])(Sick())  # fmt: skip
    feed()
    pass_time(runtime, clock, 2)
    (report,) = runtime.store.instances()
    assert report.id == runtime.instance
    flag = report.flags["feed"]
    assert (flag.phase, flag.mode, flag.dial) == ("steady", "normal", 0)
    assert flag.calls["full"] == 1
    assert flag.rungs == ("snapshot", "default")
    assert flag.verdict
    assert runtime.store.flags()["feed"].level == 3
    control.hold("feed", "off", for_=None, reason="drill")
    clock.advance(2)
    runtime.tick()
    (report,) = runtime.store.instances()
    assert report.flags["feed"].mode == "off"
    assert report.epoch == runtime.orders.epoch == 1


@pytest.mark.parametrize(("shared", "every_s"), [(True, 10), (False, 20)])
def test_a_quiet_process_reports_every_ten_seconds_and_less_often_what_it_alone_can_read(
    clock: ManualClock, shared: bool, every_s: int
):
    store = MemoryStore(clock=clock)
    store.shared = shared
    with Runtime(store, clock=clock, threads="manual") as runtime:
        Flag("feed")
        pass_time(runtime, clock, 5)
        seen = set()
        for _ in range(90):
            pass_time(runtime, clock, 1)
            seen.add(store.instances()[0].at)
    gaps = [after - before for before, after in itertools.pairwise(sorted(seen))]
    assert gaps == [pytest.approx(every_s, abs=0.3)] * len(gaps)
    assert len(gaps) >= 90 // every_s - 1


def test_flags_declared_while_the_store_was_away_are_declared_later(clock: ManualClock):
    class Away(MemoryStore):
        away = True

        def _check(self) -> None:
            super()._check()
            if self.away:
                raise ConnectionError

    store = Away(clock=clock)
    with Runtime(store, clock=clock, threads="manual") as runtime:
        Flag("feed")
        pass_time(runtime, clock, 3)
        store.away = False
        pass_time(runtime, clock, 12)
        assert list(store.flags()) == ["feed"]


def test_flags_are_declared_once_the_one_that_cannot_be_is_mended(
    runtime: Runtime, clock: ManualClock
):
    feed = Flag("feed")
    feed.message = 5  # type: ignore[assignment] # what a declaration refuses
    pass_time(runtime, clock, 3)
    assert runtime.store.flags() == {}
    assert runtime.internal_errors.counts["store"] >= 1
    assert runtime.internal_errors.counts["courier"] == 0
    feed.message = None
    pass_time(runtime, clock, 30)
    assert list(runtime.store.flags()) == ["feed"]


# ------------------------------------------------------------------ ends


def test_closing_twice_is_harmless_and_calls_go_on():
    with Runtime() as runtime:
        feed = degradable("feed", fallback=[default("stale")])(Sick())
        feed()
        runtime.close()
        runtime.close()
        assert feed() == "fresh"


def test_a_closed_runtime_is_not_woken_again():
    runtime = Runtime()
    with runtime:
        degradable("feed")(Sick())
    before = threading.active_count()
    runtime.wake()
    assert threading.active_count() == before


def test_a_store_that_breaks_at_the_goodbye_is_no_matter():
    class Rude(MemoryStore):
        shared = True

        def goodbye(self, instance: str) -> None:
            raise RuntimeError("a bug of the store")

    with Runtime(Rude()) as runtime:
        degradable("feed")(Sick())()
    assert runtime.internal_errors.counts["store"] == 1


@pytest.mark.parametrize("threads", ["background", "inline"])
def test_a_runtime_that_nobody_called_says_no_goodbye(threads: Literal["background", "inline"]):
    said: list[str] = []

    class Noted(MemoryStore):
        shared = True

        def goodbye(self, instance: str) -> None:
            said.append(instance)

    with Runtime(Noted(), threads=threads):
        feed = degradable("feed")(Sick())
    assert said == []
    with Runtime(Noted(), threads=threads) as runtime:
        feed()
    assert said == [runtime.instance]


def test_a_runtime_says_what_it_is(runtime: Runtime):
    Flag("feed")
    assert repr(runtime) == f"<runtime {runtime.instance} store=memory:// flags=1>"


def test_without_a_composer_the_runtime_is_asked_for(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(current_runtime._slot, "composer", None)
    assert current_runtime.existing() is None
    with pytest.raises(ConfigError, match=r"degrade\.configure"):
        current_runtime.current()


def test_a_bug_in_one_tick_does_not_stop_the_next(runtime: Runtime, clock: ManualClock):
    feed = degradable("feed", sla=SLA(errors="5%"), fallback=[default(0)])(Sick())
    feed()
    watch = watch_of(runtime, "feed")
    good, watch.counters = watch.counters, None  # type: ignore[assignment] # what no code of ours does
    with pytest.raises(AttributeError):
        runtime.tick()
    watch.counters = good
    feed()
    runtime.tick()
    assert stats_of(runtime, "feed").calls["full"] == 2


def test_a_failure_is_not_held_twice_when_figures_are_read_between(
    runtime: Runtime, clock: ManualClock
):
    def fails() -> None:
        raise Boom

    feed = degradable("feed", sla=SLA(errors="5%"), fallback=[default(0)])(fails)
    for _ in range(2):
        feed()
        runtime.stats()
        runtime.tick()
    assert stats_of(runtime, "feed").phase == "steady", "two are no evidence, however often read"
