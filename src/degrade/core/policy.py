"""What a flag promises (`SLA`) and how it comes back (`Recovery`); every default with its reason.

The defaults:

    default          value   why
    over             30 s    long enough for a p99 at 10 calls a second, short enough to act
    min_bad          3       one or two bad calls are never evidence
    confidence       99.9 %  chance alone trips less than one window in a thousand
    cooldown         5 s     most restarts and failovers of a dependency take longer
    max_cooldown     5 min   an operator's patience
    steps            1 5 25 50 100 %   each at most five times the load of the one before
    step_time        5 s     several calls of any latency worth a limit
    step_calls       5       with 2 bad ones failing the first step, 5 good ones are evidence
    flaps_per_hour   6       one in ten minutes is a pattern, not an accident
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from itertools import pairwise

from degrade.errors import ConfigError
from degrade.units import Duration, Ratio, duration_text, ratio, ratio_text, seconds

__all__ = ("QUANTILES", "SLA", "Limit", "Recovery")

QUANTILES: dict[str, float] = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99, "p999": 0.999}
"""Name of a latency limit to the share of calls that must be at least as fast."""

_LEAST, _MOST = 1e-9, 0.999_999
"""Between them lies a share of errors; beyond them no number of calls is evidence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """At most `share` of the calls may be bad.

    Attributes:
        name: `"errors"`, or a quantile such as `"p99"`.
        share: The share of bad calls that is still kept, above 0 and below 1.
        limit_s: A call that takes longer is bad, seconds; None for `errors`, where a failed one is.
    """

    name: str
    share: float
    limit_s: float | None


@dataclass(frozen=True, slots=True, init=False)
class SLA:
    """The limits that every window of calls must keep.

    Args:
        p50, p90, p95, p99, p999: The latency that this share of the calls must not exceed.
        errors: The share of calls that may fail, from 1e-9 to 0.999999.
        over: Length of the window.
        min_bad: Bad calls below which nothing is concluded, from 1 to 1,000,000.
        confidence: How unlikely chance alone must be before a window counts as a breach.

    Raises:
        ConfigError: No limit is given, a limit is not positive, a higher quantile has a
            lower limit, or a value is out of range (code `bad-policy`).

    Cost:
        Immutable; shared freely between flags and threads.
    """

    p50: float | None
    p90: float | None
    p95: float | None
    p99: float | None
    p999: float | None
    errors: float | None
    over: float
    min_bad: int
    confidence: float

    def __init__(
        self,
        *,
        p50: Duration | None = None,
        p90: Duration | None = None,
        p95: Duration | None = None,
        p99: Duration | None = None,
        p999: Duration | None = None,
        errors: Ratio | None = None,
        over: Duration = "30s",
        min_bad: int = 3,
        confidence: Ratio = 0.999,
    ) -> None:
        given = {"p50": p50, "p90": p90, "p95": p95, "p99": p99, "p999": p999}
        fastest, fastest_name = 0.0, ""
        for name, value in given.items():
            limit_s = None if value is None else seconds(value, what=f"SLA({name}=)")
            object.__setattr__(self, name, limit_s)
            if limit_s is None:
                continue
            if limit_s <= 0:
                raise _bad(f"SLA({name}={value!r}): a latency limit must be above zero")
            if limit_s < fastest:
                raise _bad(
                    f"SLA({name}={value!r}) is lower than {fastest_name}={duration_text(fastest)}; "
                    "a higher quantile can only have a higher limit"
                )
            fastest, fastest_name = limit_s, name
        allowed = None if errors is None else ratio(errors, what="SLA(errors=)")
        if allowed is not None and not _LEAST <= allowed <= _MOST:
            raise _bad(
                f'SLA(errors={errors!r}): must lie between {_LEAST:.0e} and {_MOST}, such as "5%"; '
                "a share of nearly none or nearly all cannot be told from chance"
            )
        if allowed is None and not fastest_name:
            raise _bad('SLA() has no limit; give at least one, such as SLA(p99="250ms")')
        over_s = seconds(over, what="SLA(over=)")
        if not 1 <= over_s <= 3_600:
            raise _bad(f"SLA(over={over!r}): a window lasts from 1s to 1h")
        if (
            isinstance(min_bad, bool)
            or not isinstance(min_bad, int)
            or not 1 <= min_bad <= 1_000_000
        ):
            raise _bad(f"SLA(min_bad={min_bad!r}): must be a whole number, from 1 to 1000000")
        sure = ratio(confidence, what="SLA(confidence=)")
        if not 0.5 <= sure < 1:
            raise _bad(f"SLA(confidence={confidence!r}): must be at least 0.5 and below 1")
        for name, value in (
            ("errors", allowed), ("over", over_s), ("min_bad", min_bad), ("confidence", sure),
        ):  # fmt: skip
            object.__setattr__(self, name, value)

    @property
    def limits(self) -> tuple[Limit, ...]:
        """The limits given, lowest quantile first and `errors` last; built on every read."""
        found = [
            Limit(name=name, share=1 - quantile, limit_s=limit_s)
            for name, quantile in QUANTILES.items()
            if (limit_s := getattr(self, name)) is not None
        ]
        if self.errors is not None:
            found.append(Limit(name="errors", share=self.errors, limit_s=None))
        return tuple(found)

    def __str__(self) -> str:
        parts = [
            f"{limit.name} {ratio_text(limit.share) if limit.limit_s is None else duration_text(limit.limit_s)}"
            for limit in self.limits
        ]
        return f"{', '.join(parts)} over {duration_text(self.over)}"


@dataclass(frozen=True, slots=True, init=False)
class Recovery:
    """How a degraded flag comes back: wait, then a growing share of calls, on evidence.

    Args:
        cooldown: Wait after a breach before the first probe.
        max_cooldown: The longest wait that repeated failures may lead to.
        steps: Shares of calls that run the function, growing, the last one 1.
        step_time: How long a step lasts at least.
        step_calls: Good calls that a step needs at least.
        flaps_per_hour: Breaches from steady within an hour before the wait grows to the hour.

    Raises:
        ConfigError: A value is out of range (code `bad-policy`).
    """

    cooldown: float
    max_cooldown: float
    steps: tuple[float, ...]
    step_time: float
    step_calls: int
    flaps_per_hour: int

    def __init__(
        self,
        *,
        cooldown: Duration = "5s",
        max_cooldown: Duration = "5m",
        steps: Sequence[Ratio] = (0.01, 0.05, 0.25, 0.5, 1.0),
        step_time: Duration = "5s",
        step_calls: int = 5,
        flaps_per_hour: int = 6,
    ) -> None:
        if isinstance(steps, str) or not isinstance(steps, Iterable):
            raise _bad(f"Recovery(steps={steps!r}): write a list of shares, such as [0.05, 0.5, 1]")
        shares = tuple(ratio(step, what="Recovery(steps=)") for step in steps)
        growing = all(low < high for low, high in pairwise(shares))
        if not shares or shares[0] <= 0 or shares[-1] != 1 or not growing:
            raise _bad(f"Recovery(steps={steps!r}): shares must grow from above 0 to exactly 1")
        times_s = {
            "cooldown": seconds(cooldown, what="Recovery(cooldown=)"),
            "max_cooldown": seconds(max_cooldown, what="Recovery(max_cooldown=)"),
            "step_time": seconds(step_time, what="Recovery(step_time=)"),
        }
        for name, value in times_s.items():
            if value <= 0:
                raise _bad(f"Recovery({name}={value!r}): must be above zero")
        if times_s["max_cooldown"] < times_s["cooldown"]:
            raise _bad(
                f"Recovery(max_cooldown={max_cooldown!r}) is shorter than cooldown={cooldown!r}"
            )
        for name, count in (("step_calls", step_calls), ("flaps_per_hour", flaps_per_hour)):
            if isinstance(count, bool) or not isinstance(count, int) or count < 1:
                raise _bad(f"Recovery({name}={count!r}): must be a whole number, at least 1")
        values = {
            **times_s, "steps": shares, "step_calls": step_calls, "flaps_per_hour": flaps_per_hour,
        }  # fmt: skip
        for field in fields(self):
            object.__setattr__(self, field.name, values[field.name])


def _bad(message: str) -> ConfigError:
    return ConfigError(message, code="bad-policy")
