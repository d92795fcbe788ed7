from __future__ import annotations

import copy
import pickle
from dataclasses import FrozenInstanceError
from datetime import timedelta
from typing import Any

import pytest

from degrade.core.policy import QUANTILES, SLA, Limit, Recovery
from degrade.errors import ConfigError


def refused(make: type, values: dict[str, Any]) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        make(**values)
    return caught.value


def test_the_defaults_of_an_sla_are_those_of_the_table() -> None:
    sla = SLA(errors="5%")
    assert (sla.over, sla.min_bad, sla.confidence) == (30.0, 3, 0.999)
    assert (sla.p50, sla.p90, sla.p95, sla.p99, sla.p999) == (None,) * 5
    assert sla.errors == 0.05


def test_every_way_to_write_a_duration_gives_the_same_sla() -> None:
    written = SLA(p99="250ms", errors="5%", over="1m")
    assert written == SLA(p99=0.25, errors=0.05, over=60)
    assert written == SLA(p99=timedelta(milliseconds=250), errors=0.05, over=timedelta(minutes=1))
    assert hash(written) == hash(SLA(p99=0.25, errors=0.05, over=60))
    assert written != SLA(p99="251ms", errors="5%", over="1m")


def test_limits_come_lowest_quantile_first_and_errors_last() -> None:
    sla = SLA(errors=0.02, p999=5, p50=1, p99=4, p90=2, p95=3)
    assert sla.limits == (
        Limit(name="p50", share=pytest.approx(0.5), limit_s=1.0),
        Limit(name="p90", share=pytest.approx(0.1), limit_s=2.0),
        Limit(name="p95", share=pytest.approx(0.05), limit_s=3.0),
        Limit(name="p99", share=pytest.approx(0.01), limit_s=4.0),
        Limit(name="p999", share=pytest.approx(0.001), limit_s=5.0),
        Limit(name="errors", share=0.02, limit_s=None),
    )


@pytest.mark.parametrize("name", QUANTILES)
def test_any_single_limit_is_enough(name: str) -> None:
    (limit,) = SLA(**{name: "100ms"}).limits
    assert limit == Limit(name=name, share=1 - QUANTILES[name], limit_s=0.1)


def test_an_sla_reads_as_a_sentence() -> None:
    assert str(SLA(p50="20ms", p99="1.5s", errors="0.1%", over="5m")) == (
        "p50 20ms, p99 1.5s, errors 0.1% over 5m"
    )


@pytest.mark.parametrize(
    ("values", "code", "message"),
    [
        ({}, "bad-policy", 'SLA() has no limit; give at least one, such as SLA(p99="250ms")'),
        (
            {"p99": 0},
            "bad-policy",
            "SLA(p99=0): a latency limit must be above zero",
        ),
        (
            {"p50": "2s", "p99": "1s"},
            "bad-policy",
            "SLA(p99='1s') is lower than p50=2s; a higher quantile can only have a higher limit",
        ),
        (
            {"p50": "1s", "p90": "3s", "p999": 2},
            "bad-policy",
            "SLA(p999=2) is lower than p90=3s; a higher quantile can only have a higher limit",
        ),
        *(
            (
                {"errors": errors},
                "bad-policy",
                (
                    f'SLA(errors={errors!r}): must lie between 1e-09 and 0.999999, such as "5%"; '
                    "a share of nearly none or nearly all cannot be told from chance"
                ),
            )
            for errors in (0, 9e-10, 0.9999999, "100%")
        ),
        *(
            (
                {"p99": 1, "over": over},
                "bad-policy",
                f"SLA(over={over!r}): a window lasts from 1s to 1h",
            )
            for over in (0.99, "61m", 0, 3_600.5)
        ),
        *(
            (
                {"p99": 1, "min_bad": min_bad},
                "bad-policy",
                f"SLA(min_bad={min_bad!r}): must be a whole number, from 1 to 1000000",
            )
            for min_bad in (1_000_001, 0, -3, 2.5, True, "3")
        ),
        *(
            (
                {"p99": 1, "confidence": confidence},
                "bad-policy",
                f"SLA(confidence={confidence!r}): must be at least 0.5 and below 1",
            )
            for confidence in (0.49, 1, "100%")
        ),
        *(
            (
                {name: "fast"},
                "bad-duration",
                (
                    f"SLA({name}=)='fast' is not a duration; write seconds as a number, a timedelta, "
                    'or text such as "250ms", "30s", "5m", "1h"'
                ),
            )
            for name in QUANTILES
        ),
        (
            {"p99": 1, "over": "x"},
            "bad-duration",
            (
                "SLA(over=)='x' is not a duration; write seconds as a number, a timedelta, "
                'or text such as "250ms", "30s", "5m", "1h"'
            ),
        ),
        (
            {"errors": 5},
            "bad-ratio",
            'SLA(errors=)=5 is not a ratio; write a number from 0 to 1, or text such as "5%"',
        ),
        (
            {"p99": 1, "confidence": 99},
            "bad-ratio",
            'SLA(confidence=)=99 is not a ratio; write a number from 0 to 1, or text such as "5%"',
        ),
    ],
)
def test_an_sla_that_contradicts_itself_is_refused_with_its_reason(
    values: dict[str, Any], code: str, message: str
) -> None:
    error = refused(SLA, values)
    assert (error.code, str(error)) == (code, message)


@pytest.mark.parametrize(
    ("values", "name", "kept"),
    [
        ({"p50": 1, "p90": 1, "p99": 1}, "p99", 1.0),
        ({"p99": "1us"}, "p99", 1e-6),
        ({"p99": 1, "over": 1}, "over", 1.0),
        ({"p99": 1, "over": "1h"}, "over", 3_600.0),
        ({"p99": 1, "min_bad": 1}, "min_bad", 1),
        ({"p99": 1, "confidence": 0.5}, "confidence", 0.5),
        ({"errors": 0.999}, "errors", 0.999),
        ({"errors": 1e-6}, "errors", 1e-6),
    ],
)
def test_an_sla_at_a_bound_is_accepted(values: dict[str, Any], name: str, kept: float) -> None:
    assert getattr(SLA(**values), name) == pytest.approx(kept)


def test_the_defaults_of_a_recovery_are_those_of_the_table() -> None:
    assert Recovery() == Recovery(
        cooldown=5,
        max_cooldown=300,
        steps=("1%", "5%", "25%", "50%", "100%"),
        step_time=5,
        step_calls=5,
        flaps_per_hour=6,
    )
    assert Recovery().steps == (0.01, 0.05, 0.25, 0.5, 1.0)


def test_a_recovery_keeps_what_it_is_given() -> None:
    recovery = Recovery(
        cooldown="100ms",
        max_cooldown="2m",
        steps=[0.5, 1],
        step_time="3s",
        step_calls=1,
        flaps_per_hour=1,
    )
    assert recovery.cooldown == pytest.approx(0.1)
    assert recovery.max_cooldown == 120.0
    assert recovery.steps == (0.5, 1.0)
    assert recovery.step_time == 3.0
    assert (recovery.step_calls, recovery.flaps_per_hour) == (1, 1)
    assert Recovery(cooldown=7, max_cooldown=7).max_cooldown == 7.0
    assert Recovery(steps=[1]).steps == (1.0,)


@pytest.mark.parametrize(
    ("values", "code", "message"),
    [
        *(
            (
                {"steps": steps},
                "bad-policy",
                f"Recovery(steps={steps!r}): shares must grow from above 0 to exactly 1",
            )
            for steps in ((), (0.5,), (0, 1), (0.5, 0.5, 1), (0.6, 0.5, 1), (0.1, 0.9), (1, 1))
        ),
        *(
            (
                {"steps": steps},
                "bad-policy",
                f"Recovery(steps={steps!r}): write a list of shares, such as [0.05, 0.5, 1]",
            )
            for steps in (0.5, None, "5%")
        ),
        *(
            (
                {name: 0},
                "bad-policy",
                f"Recovery({name}=0.0): must be above zero",
            )
            for name in ("cooldown", "max_cooldown", "step_time")
        ),
        (
            {"cooldown": "10s", "max_cooldown": "9s"},
            "bad-policy",
            "Recovery(max_cooldown='9s') is shorter than cooldown='10s'",
        ),
        *(
            (
                {name: value},
                "bad-policy",
                f"Recovery({name}={value!r}): must be a whole number, at least 1",
            )
            for name in ("step_calls", "flaps_per_hour")
            for value in (0, -1, 1.5, True, "5")
        ),
        *(
            (
                {name: "soon"},
                "bad-duration",
                (
                    f"Recovery({name}=)='soon' is not a duration; write seconds as a number, "
                    'a timedelta, or text such as "250ms", "30s", "5m", "1h"'
                ),
            )
            for name in ("cooldown", "max_cooldown", "step_time")
        ),
        (
            {"steps": (1, 100)},
            "bad-ratio",
            'Recovery(steps=)=100 is not a ratio; write a number from 0 to 1, or text such as "5%"',
        ),
    ],
)
def test_a_recovery_that_cannot_work_is_refused_with_its_reason(
    values: dict[str, Any], code: str, message: str
) -> None:
    error = refused(Recovery, values)
    assert (error.code, str(error)) == (code, message)


@pytest.mark.parametrize(
    ("policy", "name"),
    [(SLA(p99="250ms", errors="5%"), "over"), (Recovery(step_time="3s"), "step_time")],
)
def test_a_policy_is_frozen_hashable_and_can_be_copied(policy: SLA | Recovery, name: str) -> None:
    with pytest.raises(FrozenInstanceError):
        setattr(policy, name, 5.0)
    assert pickle.loads(pickle.dumps(policy)) == policy
    assert copy.deepcopy(policy) == policy
    assert hash(copy.deepcopy(policy)) == hash(policy)
