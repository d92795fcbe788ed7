"""The metrics of `degrade.telemetry.names` for prometheus-client, read when scraped.

Nothing is registered by an import; the application says where its metrics live:

    from degrade.telemetry.prometheus import register

    register(runtime)            # beside the metrics of the application
"""

from __future__ import annotations

import importlib.metadata
import logging
import math
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from weakref import WeakKeyDictionary

from prometheus_client import REGISTRY, CollectorRegistry
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    SummaryMetricFamily,
)
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector

from degrade.core.enums import CallClass, Mode, Outcome, Phase, Sharing
from degrade.ports import FlagStats, StatsSource
from degrade.telemetry.names import DURATION_BUCKETS_S, METRICS

__all__ = ("FlagCollector", "alone", "format_of", "register", "scrape")

log = logging.getLogger("degrade.telemetry")

_CHANGES = [
    (source, target)
    for source in Phase
    for target in Phase
    if source != target or source is Phase.RECOVERING
]


_shown: WeakKeyDictionary[CollectorRegistry, FlagCollector] = WeakKeyDictionary()
_registering = threading.Lock()
"""Held while `_shown` and a registry change together."""


def register(source: StatsSource, registry: CollectorRegistry | None = None) -> FlagCollector:
    """Show the flags of a runtime in a registry, instead of those of the runtime that it showed.

    To register the same runtime again changes nothing, as when an application is made twice.

    Args:
        source: Whose flags; `degrade.runtime.current()` without a runtime of your own.
        registry: Where; None is the process-wide default of prometheus-client.

    Returns:
        The collector, for `registry.unregister(collector)`.

    Raises:
        ValueError: The registry has other metrics of these names (from prometheus-client).

    Guarantees:
        A scrape of the registry never fails because of the flags: when they cannot be read,
        their metrics are absent, and the log says why.

    Cost:
        None until scraped; a scrape builds about fifty series a flag, in the caller's thread.
    """
    registry = REGISTRY if registry is None else registry
    collector = FlagCollector(source)
    with _registering:
        shown = _shown.get(registry)
        try:
            registry.register(collector)
        except ValueError:
            if shown is None:
                raise
            if shown.source is source:
                return shown
            with suppress(
                KeyError
            ):  # taken off by the application, and other metrics are in the way
                registry.unregister(shown)
            registry.register(collector)
        _shown[registry] = collector
    return collector


def alone(source: StatsSource) -> CollectorRegistry:
    """Return a registry that shows nothing but the flags of a runtime."""
    registry = CollectorRegistry()
    register(source, registry)
    return registry


def format_of(accept: str) -> str:
    """Return the content type that a scrape has for an `Accept`; also an `Accept` for the same."""
    return choose_encoder(accept)[1]


def scrape(registry: CollectorRegistry, accept: str) -> tuple[bytes, str]:
    """Return the body and content type of one scrape, in the format that `accept` asks for."""
    encode, content_type = choose_encoder(accept)
    return encode(registry), content_type


class _NoFlags:
    def stats(self) -> Sequence[FlagStats]:
        return ()

    def state_age_s(self) -> float | None:
        return None


class FlagCollector(Collector):
    """Turns the figures of a runtime into families of metrics, anew for every scrape.

    Attributes:
        source: Whose flags.
    """

    def __init__(self, source: StatsSource) -> None:
        self.source = source
        self._version = _version()

    def describe(self) -> Iterable[Family]:
        """Return the families without flags, so that registering reads no figures."""
        return _families(_NoFlags(), self._version)

    def collect(self) -> Iterator[Family]:
        try:
            families = _families(self.source, self._version)
        except Exception:  # the application's own metrics must still be scraped
            log.warning("the metrics of degrade are absent from this scrape", exc_info=True)
            return
        yield from families


def _families(source: StatsSource, version: str) -> list[Family]:
    flags = source.stats()
    families: list[Family] = []
    for metric in METRICS:
        if metric.kind == "histogram":
            durations = HistogramMetricFamily(metric.name, metric.help, labels=metric.labels)
            for flag in flags:
                durations.add_metric([_text(flag.name)], _buckets(flag), flag.duration_sum_s)
            families.append(durations)
        elif metric.kind == "summary":
            ages = SummaryMetricFamily(metric.name, metric.help, labels=metric.labels)
            for flag in flags:
                ages.add_metric([_text(flag.name)], flag.age_count, flag.age_sum_s)
            families.append(ages)
        elif metric.kind == "info":
            name = metric.name.removesuffix("_info")
            families.append(InfoMetricFamily(name, metric.help, value={"version": version}))
        else:
            plain = _PLAIN[metric.kind](metric.name, metric.help, labels=metric.labels)
            if metric.name in _READ:
                for flag in flags:
                    for labels, value in _READ[metric.name](flag):
                        plain.add_metric([_text(flag.name), *map(_text, labels)], value)
            elif (age_s := source.state_age_s()) is not None:
                plain.add_metric([], age_s)
            families.append(plain)
    return families


_PLAIN = {"counter": CounterMetricFamily, "gauge": GaugeMetricFamily}

# What a flag adds to a counter or gauge: the labels after `flag`, and the value. Series whose
# labels are known beforehand start at 0, so that a rate sees their first increase.
_READ: dict[str, Callable[[FlagStats], Iterable[tuple[tuple[str, ...], float]]]] = {
    "degrade_calls_total": lambda flag: [((c,), flag.calls.get(c, 0)) for c in CallClass],
    "degrade_primary_total": lambda flag: [((o,), flag.primary.get(o, 0)) for o in Outcome],
    "degrade_rung_served_total": lambda flag: [((r,), n) for r, n in _rungs(flag).items()],
    "degrade_oldest_age_seconds": lambda flag: (
        [] if flag.oldest_age_s is None else [((), flag.oldest_age_s)]
    ),
    "degrade_phase": lambda flag: [((p,), float(p == flag.phase)) for p in Phase],
    "degrade_mode": lambda flag: [((m,), float(m == flag.mode)) for m in Mode],
    "degrade_dial": lambda flag: [((), flag.dial)],
    "degrade_transitions_total": lambda flag: [(p, flag.transitions.get(p, 0)) for p in _CHANGES],
    "degrade_dropped_total": lambda flag: [((k,), n) for k, n in flag.drops.items()],
    "degrade_captures_skipped_total": lambda flag: [
        ((r,), n) for r, n in flag.captures_skipped.items()
    ],
    "degrade_shared_snapshots_total": lambda flag: [
        ((s,), flag.sharing.get(s, 0)) for s in Sharing if flag.sharing
    ],
}


def _rungs(flag: FlagStats) -> dict[str, int]:
    counts: dict[str, int] = dict.fromkeys(flag.ladder or (), 0)
    counts.update(flag.rungs)
    return counts


def _buckets(flag: FlagStats) -> list[tuple[str, float]]:
    count = 0
    buckets: list[tuple[str, float]] = []
    for bound in DURATION_BUCKETS_S:
        count = flag.durations.get(bound, count)
        buckets.append(("+Inf" if math.isinf(bound) else repr(bound), count))
    return buckets


def _text(value: str) -> str:
    """Return what UTF-8 can carry: a lone surrogate in one name must not end the whole scrape."""
    return value.encode("utf-8", "backslashreplace").decode()


def _version() -> str:
    try:
        return importlib.metadata.version("degrade")
    except importlib.metadata.PackageNotFoundError:  # run from a source tree
        return "unknown"
