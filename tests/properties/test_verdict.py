"""A verdict is neither rash nor blind, and what it says of itself is true."""

from __future__ import annotations

import random
from bisect import bisect
from itertools import accumulate
from math import comb, exp, lgamma, log, log1p, sqrt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from degrade.core.policy import SLA
from degrade.core.verdict import Judge, Judgement

TICK_S = 0.25  # a busy ticker judges four times a second

limits = st.one_of(
    st.sampled_from([0.001, 0.01, 0.05, 0.1, 0.5]), st.floats(min_value=1e-4, max_value=0.9)
)
confidences = st.sampled_from([0.5, 0.9, 0.999, 0.999999])


@st.composite
def windows_and_newest(draw, limits=1, most_bad=30):
    """What a window counted, and what its newest buckets did: each suffix holds the one before."""
    counts = st.one_of(
        st.tuples(st.integers(0, 30), st.just(0)),
        st.tuples(st.just(0), st.integers(0, most_bad)),
        st.tuples(st.integers(0, 300), st.integers(0, most_bad)),
    )
    suffixes, held = [], [0] * (2 * limits)
    for bucket in range(draw(st.integers(min_value=0, max_value=10)) + 1):
        for limit in range(limits):
            good, bad = draw(counts)
            good *= draw(st.sampled_from([1, 1, 100])) if bucket == 0 else 1
            held[2 * limit] += good + bad
            held[2 * limit + 1] += bad
        suffixes.append(tuple(held))
    return suffixes.pop(), suffixes


def plus(counts, *, good=0, bad=0):
    return (counts[0] + good + bad, counts[1] + bad)


def judged(judge, window, newest, **more):
    return judge.judge(plus(window, **more), [plus(suffix, **more) for suffix in newest])


def chances(n: int, share: float) -> list[float]:
    """How likely at least 0, 1, ... n of `n` calls are bad, each with probability `share`."""
    exactly = [
        exp(
            lgamma(n + 1) - lgamma(k + 1) - lgamma(n - k + 1)
            + k * log(share) + (n - k) * log1p(-share)
        )
        for k in range(n + 1)
    ]  # fmt: skip
    return list(accumulate(reversed(exactly)))[::-1]


@given(limits, confidences, st.integers(1, 200))
def test_chance_alone_hardly_ever_makes_a_breach(limit, confidence, n):
    judge = Judge(SLA(errors=limit, confidence=confidence, min_bad=1))
    for bad, chance in enumerate(chances(n, limit)):
        if judge.judge((n, bad)).breach:
            assert chance <= (1 - confidence) * (1 + 1e-6)


@given(limits, confidences, st.integers(1, 200))
def test_chance_explains_what_is_no_breach_though_worse_than_the_limit(limit, confidence, n):
    """By Ash's bound, which says how little the Chernoff bound gives away."""
    judge = Judge(SLA(errors=limit, confidence=confidence, min_bad=1))
    for bad, chance in enumerate(chances(n, limit)):
        if bad / n > limit and not judge.judge((n, bad)).breach:
            given_away = sqrt(8 * bad * (n - bad) / n) if bad < n else 1.0
            assert chance * given_away >= (1 - confidence) * (1 - 1e-6)


@given(limits, st.integers(1, 200))
def test_chance_among_the_newest_calls_is_given_far_more_room(limit, n):
    judge = Judge(SLA(errors=limit))
    for bad, chance in enumerate(chances(n, limit)):
        if judge.judge((10**9, bad), [(n, bad)]).breach:
            assert chance <= exp(-30) * (1 + 1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("per_second", [5, 50, 500])
def test_chance_trips_at_most_once_in_a_day_of_calls_that_are_well_within_the_limit(per_second):
    """0.5 % slow against a p99, every tick of a day."""
    judge = Judge(SLA(p99="250ms"))
    window, ring = judge.windows()
    rng = random.Random(20_240_229 + per_second)
    at_most = {
        n: list(accumulate(comb(n, k) * 0.005**k * 0.995 ** (n - k) for k in range(n)))
        for n in {int(per_second * TICK_S), int(per_second * TICK_S) + 1}
    }
    trips, slow_calls, called = 0, 0, 0
    for tick in range(int(86_400 / TICK_S)):
        n = int(per_second * TICK_S * (tick + 1)) - called
        called += n
        slow = bisect(at_most[n], rng.random())
        slow_calls += slow
        now = tick * TICK_S
        window.add(now, (n, slow))
        ring.add(now, (n, slow))
        totals = window.totals(now)
        if not judge.quiet(totals) and judge.judge(totals, ring.suffixes(now)).breach:
            trips += 1
            window.clear()
            ring.clear()
    assert slow_calls == pytest.approx(0.005 * called, rel=0.1)
    assert trips <= 1


@given(
    st.floats(min_value=1e-4, max_value=0.1),
    st.one_of(st.sampled_from([1, 30, 300, 3_600]), st.floats(min_value=1, max_value=3_600)),
    st.floats(min_value=0, max_value=1e6),
    st.floats(min_value=0, max_value=TICK_S),
)
def test_an_outage_at_150_calls_a_second_trips_within_a_second_whatever_the_window(
    limit, over, start_s, until_tick_s
):
    judge = Judge(SLA(errors=limit, over=over))
    window, ring = judge.windows()
    for bucket in range(30):  # as long in health as the window is
        at = start_s - (30 - bucket) * window.bucket_s
        window.add(at, (int(150 * window.bucket_s), 0))
    for bucket in range(10):
        ring.add(start_s - (10 - bucket) * ring.bucket_s, (int(150 * ring.bucket_s), 0))
    seen, now = 0, start_s + until_tick_s
    while now <= start_s + 1:
        failed = int(150 * (now - start_s)) - seen
        seen += failed
        window.add(now, (failed, failed))
        ring.add(now, (failed, failed))
        totals = window.totals(now)
        if not judge.quiet(totals) and judge.judge(totals, ring.suffixes(now)).breach:
            return
        now += TICK_S
    pytest.fail(f"{seen} failed calls went unnoticed")


@given(st.floats(min_value=1e-4, max_value=0.05), st.integers(0, 10**9))
def test_an_outage_trips_within_eleven_calls_for_limits_up_to_five_percent(limit, health):
    judge = Judge(SLA(errors=limit))
    assert judge.judge((health + 11, 11), [(11, 11)]).breach


@given(limits, confidences, windows_and_newest(), st.integers(1, 50))
def test_what_a_verdict_says_would_breach_it_does_and_one_call_fewer_does_not(
    limit, confidence, counted, min_bad
):
    judge = Judge(SLA(errors=limit, confidence=confidence, min_bad=min_bad))
    verdict = judge.judge(*counted)
    (found,) = verdict.findings
    assert (found.to_breach is None) is verdict.breach
    if found.to_breach is not None:
        assert judged(judge, *counted, bad=found.to_breach).breach
        assert not judged(judge, *counted, bad=found.to_breach - 1).breach


@given(limits, confidences, windows_and_newest())
def test_what_a_verdict_says_would_clear_it_does_and_one_call_fewer_does_not(
    limit, confidence, counted
):
    judge = Judge(SLA(errors=limit, confidence=confidence))
    verdict = judge.judge(*counted)
    (found,) = verdict.findings
    assert (found.to_clear is not None) is verdict.breach
    if found.to_clear is not None:
        assert not judged(judge, *counted, good=found.to_clear).breach
        assert judged(judge, *counted, good=found.to_clear - 1).breach


@given(windows_and_newest(limits=2))
def test_what_a_verdict_says_in_short_agrees_with_what_it_says_at_length(counted):
    judge = Judge(SLA(p99="250ms", errors="5%"))
    verdict = judge.judge(*counted)
    findings = verdict.findings
    outcomes = [found.outcome for found in findings]
    assert verdict.breach is any(found.breach for found in findings)
    assert verdict.breach is (verdict.outcome is Judgement.BREACH)
    assert (verdict.outcome is Judgement.KEPT) is (outcomes == [Judgement.KEPT] * 2)
    for found, line in zip(findings, verdict.lines(), strict=True):
        assert (f"{found.bad} of {found.n} calls" in line) is (found.share is not None)
        assert (f"{found.name}: {found.numbers}" in verdict.cause) is found.breach
        assert not found.breach or found.evidence >= found.needed


@given(limits, windows_and_newest())
def test_what_a_verdict_says_is_kept_only_within_the_limit_and_where_a_breach_would_show(
    limit, counted
):
    judge = Judge(SLA(errors=limit))
    (found,) = judge.judge(*counted).findings
    (n, bad), _ = counted
    kept = bad <= n * limit * (1 + 1e-9) and judge.judge((n, n)).breach
    assert (found.outcome is Judgement.KEPT) is (kept and not found.breach)


@given(limits, windows_and_newest(), st.integers(0, 500))
def test_more_calls_that_are_bad_never_end_a_breach(limit, counted, more):
    judge = Judge(SLA(errors=limit))
    assert judge.judge(*counted).breach <= judged(judge, *counted, bad=more).breach


@given(limits, windows_and_newest(), st.integers(0, 500))
def test_more_calls_that_are_good_never_make_a_breach(limit, counted, more):
    judge = Judge(SLA(errors=limit))
    assert judge.judge(*counted).breach >= judged(judge, *counted, good=more).breach


@given(limits, windows_and_newest(limits=2, most_bad=3))
def test_a_quiet_window_is_no_breach_whatever_its_newest_calls_are(limit, counted):
    """Judged limit by limit at length, for the short way round asks whether all is quiet."""
    judge = Judge(SLA(p99="250ms", errors=limit))
    breached = any(found.breach for found in judge.findings(*counted))
    assert not (breached and judge.quiet(counted[0]))
