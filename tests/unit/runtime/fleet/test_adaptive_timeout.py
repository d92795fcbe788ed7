from __future__ import annotations

import pytest

from degrade.runtime.fleet.adaptive_timeout import MOST_OPEN, MOST_PAUSE_S, PAUSE_S, AdaptiveTimeout

WAIT_S = 0.02


def left_s(patience: AdaptiveTimeout, now: float, *, others_since: float | None = None) -> float:
    return patience.until(now, wait_s=WAIT_S, others_since=others_since) - now


def used_to(*took_s: float) -> AdaptiveTimeout:
    """Return one that knows how long answers took; no question is open."""
    patience = AdaptiveTimeout()
    for each in took_s:
        patience.asked(0.0)
        patience.answered(0.0, took_s=each, wait_s=WAIT_S)
        patience.settled()
    return patience


def test_as_long_as_nothing_is_known_a_call_waits_as_long_as_it_may():
    assert left_s(AdaptiveTimeout(), 5.0) == pytest.approx(WAIT_S)


@pytest.mark.parametrize(
    ("usual_s", "waits_s"), [(0.0005, 0.005), (0.002, 0.008), (0.004, 0.016), (0.019, 0.02)]
)
def test_a_call_waits_four_times_as_long_as_usual_within_bounds(usual_s, waits_s):
    assert left_s(used_to(usual_s), 5.0) == pytest.approx(waits_s)


def test_nobody_waits_for_a_store_that_usually_takes_longer():
    patience = used_to(0.1)
    assert left_s(patience, 5.0) == 0
    for _ in range(6):  # the newest answers count most
        patience.answered(5.0, took_s=0.001, wait_s=WAIT_S)
    assert left_s(patience, 5.0) > 0


def test_one_answer_that_took_long_lets_calls_wait_on():
    patience = used_to(0.005, 3.0)
    assert left_s(patience, 5.0) == pytest.approx(WAIT_S)


def test_who_comes_later_waits_for_less():
    patience = used_to(0.001)
    patience.asked(5.0)
    patience.asked(5.003)
    assert left_s(patience, 5.003) == pytest.approx(0.002)
    assert left_s(patience, 5.006) < 0


def test_a_store_that_goes_on_answering_is_waited_for():
    patience = used_to(0.001)
    patience.asked(5.0)
    patience.asked(5.0)
    patience.answered(5.004, took_s=0.001, wait_s=WAIT_S)
    assert left_s(patience, 5.004) == pytest.approx(0.005)
    patience.settled()
    assert left_s(patience, 9.0) == pytest.approx(0.005)


def test_what_others_wait_for_counts_too():
    patience = used_to(0.001)
    assert left_s(patience, 5.0, others_since=4.998) == pytest.approx(0.003)
    assert left_s(patience, 5.0, others_since=4.9) < 0


def test_in_doubt_nobody_waits_and_one_question_is_open_until_one_is_answered():
    patience = AdaptiveTimeout()
    patience.doubtful = True
    assert left_s(patience, 5.0) == 0
    assert patience.may_ask(5.0, open_now=0)
    assert not patience.may_ask(5.0, open_now=1)
    patience.asked(5.0)
    patience.answered(5.1, took_s=0.001, wait_s=WAIT_S)
    assert left_s(patience, 5.1) > 0
    assert patience.may_ask(5.1, open_now=MOST_OPEN - 1)
    assert not patience.may_ask(5.1, open_now=MOST_OPEN)


def test_after_an_error_nobody_asks_for_a_while_longer_each_time():
    patience = AdaptiveTimeout()
    now = 5.0
    for pause_s in (PAUSE_S, 2 * PAUSE_S, 4 * PAUSE_S):
        patience.failed(now)
        patience.failed(now)  # of a question that was open as well: one pause
        assert not patience.may_ask(now + 0.99 * pause_s, open_now=0)
        now += pause_s
        assert patience.may_ask(now, open_now=0)
        assert not patience.may_ask(now, open_now=1)
    for _ in range(10):
        patience.failed(now)
        now += MOST_PAUSE_S
        assert patience.may_ask(now, open_now=0)
    patience.answered(now, took_s=0.001, wait_s=WAIT_S)
    patience.failed(now)
    assert patience.may_ask(now + PAUSE_S, open_now=0)


def test_a_store_that_answers_others_again_is_asked_at_once_and_nobody_waits_for_that():
    patience = AdaptiveTimeout()
    patience.failed(5.0)
    patience.returned()
    assert patience.may_ask(5.0, open_now=0)
    assert not patience.may_ask(5.0, open_now=1)
    assert left_s(patience, 5.0) == 0
