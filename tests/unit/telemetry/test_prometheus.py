"""What a scrape shows, parsed back by the parsers of prometheus-client."""

from __future__ import annotations

import dataclasses
import gc
import logging
import math
import subprocess
import sys
import weakref

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_open
from prometheus_client.parser import text_string_to_metric_families as parse_plain

from degrade import Runtime, default, degradable
from degrade.core.enums import CallClass, Mode, Outcome, Phase, RungKind, Sharing
from degrade.ports import FlagStats
from degrade.runtime import current as current_runtime
from degrade.telemetry.names import DURATION_BUCKETS_S, METRICS
from degrade.telemetry.prometheus import register, scrape

RANKING = FlagStats(
    name="feed.ranking", level=2, owner="feed", message=None,
    phase=Phase.RECOVERING, mode=Mode.DEGRADED, dial=0.95,
    since=1_700_000_000.0, reason="recovering",
    calls={CallClass.FULL: 90, CallClass.DEGRADED: 8, CallClass.FAILED: 2},
    primary={Outcome.SUCCESS: 90, Outcome.TIMEOUT: 3},
    rungs={RungKind.SNAPSHOT: 7, RungKind.DEFAULT: 1},
    age_sum_s=70.5, age_count=7, oldest_age_s=31.0,
    transitions={(Phase.STEADY, Phase.DEGRADED): 2, (Phase.RECOVERING, Phase.RECOVERING): 3},
    durations={bound: (40 if bound < 0.01 else 93) for bound in DURATION_BUCKETS_S},
    duration_sum_s=1.5,
    drops={"record": 4}, captures_skipped={"budget": 5}, sharing={Sharing.HIT: 6},
)  # fmt: skip


@dataclasses.dataclass
class Fixed:
    """Figures that stand still."""

    flags: tuple[FlagStats, ...] = (RANKING,)
    age_s: float | None = 0.25

    def stats(self):
        return self.flags

    def state_age_s(self):
        return self.age_s


def samples(source, accept="application/openmetrics-text;version=1.0.0"):
    registry = CollectorRegistry()
    register(source, registry)
    body, content_type = scrape(registry, accept)
    parse = parse_open if "openmetrics" in content_type else parse_plain
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in parse(body.decode())
        for sample in family.samples
    }


def of(found, name, **labels):
    labels = {key.rstrip("_"): value for key, value in labels.items()}
    return found[name, tuple(sorted(labels.items()))]


@pytest.mark.parametrize("accept", ["", "application/openmetrics-text;version=1.0.0"])
def test_every_listed_metric_is_in_a_scrape_with_its_labels_and_no_other(accept):
    found = samples(Fixed(), accept)
    names = {metric.name for metric in METRICS}
    shown = {}
    for name, labels in found:
        base = name if name in names else name.rpartition("_")[0]  # of a histogram or summary
        shown.setdefault(base, set()).add(tuple(key for key, _ in labels if key != "le"))

    assert shown == {m.name: {tuple(sorted(m.labels))} for m in METRICS}


@pytest.mark.parametrize("accept", ["", "application/openmetrics-text;version=1.0.0"])
def test_a_scrape_shows_the_figures(accept):
    found = samples(Fixed(), accept)
    ranking = {"flag": "feed.ranking"}

    assert of(found, "degrade_calls_total", **ranking, class_="full") == 90
    assert of(found, "degrade_primary_total", **ranking, outcome="timeout") == 3
    assert of(found, "degrade_rung_served_total", **ranking, rung="snapshot") == 7
    assert of(found, "degrade_served_age_seconds_sum", **ranking) == 70.5
    assert of(found, "degrade_served_age_seconds_count", **ranking) == 7
    assert of(found, "degrade_oldest_age_seconds", **ranking) == 31
    assert of(found, "degrade_dial", **ranking) == 0.95
    assert of(found, "degrade_transitions_total", **ranking, from_="steady", to="degraded") == 2
    assert of(found, "degrade_call_duration_seconds_sum", **ranking) == 1.5
    assert of(found, "degrade_dropped_total", **ranking, kind="record") == 4
    assert of(found, "degrade_captures_skipped_total", **ranking, reason="budget") == 5
    assert of(found, "degrade_state_age_seconds") == 0.25


def test_the_classes_add_up_to_the_calls():
    found = samples(Fixed())
    classes = {dict(labels)["class"]: n for (name, labels), n in found.items() if "calls" in name}

    assert set(classes) == set(CallClass)
    assert sum(classes.values()) == sum(RANKING.calls.values())


def test_exactly_one_phase_and_one_mode_are_set():
    found = samples(Fixed())
    for name, label, current in (
        ("degrade_phase", "phase", "recovering"), ("degrade_mode", "mode", "degraded"),
    ):  # fmt: skip
        states = {dict(labels)[label]: n for (each, labels), n in found.items() if each == name}
        assert [state for state, value in states.items() if value == 1] == [current]
        assert sorted(states.values()) == [0, 0, 1]


def test_buckets_are_cumulative_and_the_last_one_is_the_count():
    found = samples(Fixed())
    buckets = {
        float(dict(labels)["le"]): n
        for (name, labels), n in found.items()
        if name == "degrade_call_duration_seconds_bucket"
    }

    assert buckets == dict(RANKING.durations)
    assert of(found, "degrade_call_duration_seconds_count", flag="feed.ranking") == 93
    assert buckets[math.inf] == 93


def test_a_bound_that_a_source_leaves_out_holds_what_the_one_below_holds():
    sparse = RANKING._replace(durations={0.01: 40, math.inf: 93})
    found = samples(Fixed((sparse,)))
    name = "degrade_call_duration_seconds_bucket"

    assert of(found, name, flag="feed.ranking", le="0.005") == 0
    assert of(found, name, flag="feed.ranking", le="0.25") == 40
    assert of(found, name, flag="feed.ranking", le="+Inf") == 93


def test_a_flag_that_was_never_called_starts_its_known_series_at_zero():
    fresh = RANKING._replace(
        calls={},
        primary={},
        rungs={},
        transitions={},
        durations={},
        oldest_age_s=None,
        ladder=(RungKind.SNAPSHOT, RungKind.DEFAULT),
    )
    found = samples(Fixed((fresh,), age_s=None))

    assert of(found, "degrade_calls_total", flag="feed.ranking", class_="failed") == 0
    assert of(found, "degrade_primary_total", flag="feed.ranking", outcome="success") == 0
    for rung in ("snapshot", "default"):
        assert of(found, "degrade_rung_served_total", flag="feed.ranking", rung=rung) == 0
    key = {"flag": "feed.ranking", "from_": "steady", "to": "degraded"}
    assert of(found, "degrade_transitions_total", **key) == 0
    key["from_"] = key["to"] = "recovering"
    assert of(found, "degrade_transitions_total", **key) == 0
    assert of(found, "degrade_call_duration_seconds_count", flag="feed.ranking") == 0
    assert not {"degrade_oldest_age_seconds", "degrade_state_age_seconds"} & {n for n, _ in found}


@given(st.lists(st.text(), unique=True, max_size=5))
def test_any_name_can_be_scraped_and_reads_back_as_itself(names):
    flags = tuple(RANKING._replace(name=name) for name in names)
    dials = {labels for metric, labels in samples(Fixed(flags), "") if metric == "degrade_dial"}

    assert dials == {(("flag", name),) for name in names}


def test_a_name_that_utf_8_cannot_carry_does_not_end_the_scrape():
    found = samples(Fixed((RANKING._replace(name="a\ud800b"),)), "")

    assert of(found, "degrade_dial", flag="a\\ud800b") == 0.95


def test_figures_that_cannot_be_read_leave_the_metrics_of_the_application_alone(caplog):
    class Broken(Fixed):
        def stats(self):
            raise ValueError("no figures")

    registry = CollectorRegistry()
    register(Broken(), registry)
    Counter("orders", "Orders.", registry=registry).inc()
    with caplog.at_level(logging.WARNING, "degrade.telemetry"):
        body, _ = scrape(registry, "")

    assert b"orders_total 1.0" in body
    assert b"degrade" not in body
    assert "absent from this scrape" in caplog.text


def test_registering_reads_no_figures_and_can_be_undone():
    class Unread(Fixed):
        def stats(self):
            raise AssertionError("read before any scrape")

    registry = CollectorRegistry(auto_describe=True)
    collector = register(Unread(), registry)
    registry.unregister(collector)
    assert scrape(registry, "")[0] == b""
    register(Fixed(), registry)

    assert b"degrade_dial" in scrape(registry, "")[0]


def test_registering_a_runtime_twice_in_a_registry_is_registering_it_once():
    registry, other, source = CollectorRegistry(), CollectorRegistry(), Fixed()
    collector = register(source, registry)
    assert register(source, registry) is collector
    assert register(source, other) is not collector
    assert b"degrade_dial" in scrape(registry, "")[0]
    registry.unregister(collector)
    assert scrape(registry, "")[0] == b""
    assert b"degrade_dial" in scrape(other, "")[0]
    assert register(source, registry) is not collector, "it can be shown again"
    assert b"degrade_dial" in scrape(registry, "")[0]


def test_a_newer_runtime_takes_the_place_of_the_one_that_a_registry_showed():
    registry, older = CollectorRegistry(), Fixed()
    register(older, registry)
    register(Fixed(age_s=7.0), registry)
    assert b"degrade_state_age_seconds 7.0" in scrape(registry, "")[0]
    register(older, registry)
    assert b"degrade_state_age_seconds 0.25" in scrape(registry, "")[0]


def test_an_application_factory_that_is_called_twice_shows_its_newest_runtime(forget_flags):
    registry = CollectorRegistry()
    feed = degradable("feed", fallback=default("later"))(lambda: "now")

    def create_app():
        with Runtime(threads="manual") as runtime:
            register(current_runtime(), registry)
            register(current_runtime(), registry)
            feed()
            runtime.tick()
        return scrape(registry, "")[0]

    for _ in range(2):
        assert b'degrade_calls_total{class="full",flag="feed"} 1.0' in create_app()


@pytest.mark.parametrize("was_shown", [False, True])
def test_metrics_of_others_with_the_same_names_are_still_refused(was_shown):
    registry = CollectorRegistry()
    if was_shown:
        registry.unregister(register(Fixed(), registry))
    Counter("degrade_calls", "Not ours.", registry=registry)
    with pytest.raises(ValueError, match="Duplicated"):
        register(Fixed(), registry)


def test_a_registry_that_is_gone_keeps_no_runtime_alive():
    registry, source = CollectorRegistry(), Fixed()
    register(source, registry)
    left = weakref.ref(source)
    del registry, source
    gc.collect()
    assert left() is None


def test_one_name_can_be_scraped_alone():
    registry = CollectorRegistry()
    register(Fixed(), registry)
    only = registry.restricted_registry(["degrade_dial"])

    assert [family.name for family in only.collect()] == ["degrade_dial"]


def test_nothing_is_registered_by_an_import():
    code = (
        "import degrade.telemetry.prometheus, prometheus_client\n"
        "print(b'degrade' in prometheus_client.generate_latest())"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert shown.stdout == "False\n"
