from __future__ import annotations

from degrade.fallback.budget import CaptureBudget


def test_a_fresh_budget_allows_a_burst_and_then_no_more():
    budget = CaptureBudget(0.02, burst_s=0.05)
    spent = 0
    while budget.allowed(100.0):
        budget.spent(100.0, 0.01)
        spent += 1
    assert spent == 5


def test_time_gives_back_its_share():
    budget = CaptureBudget(0.02, burst_s=0.05)
    budget.spent(100.0, 0.05)
    assert not budget.allowed(100.0)
    assert budget.allowed(100.1)


def test_a_debt_is_waited_for():
    budget = CaptureBudget(0.02, burst_s=0.05)
    budget.spent(100.0, 1.05)
    assert not budget.allowed(149.9)
    assert budget.allowed(150.1)


def test_idle_time_saves_up_no_more_than_the_burst():
    budget = CaptureBudget(0.02, burst_s=0.05)
    budget.spent(100.0, 0.0)
    budget.spent(1_000_000.0, 0.05)
    assert not budget.allowed(1_000_000.0)


def test_over_a_long_time_only_the_share_is_spent():
    budget = CaptureBudget(0.02, burst_s=0.05)
    spent_s = 0.0
    for step in range(100_000):
        now = 100.0 + step / 1_000
        if budget.allowed(now):
            budget.spent(now, 0.003)
            spent_s += 0.003
    assert 1.9 < spent_s <= 0.02 * 100 + 0.05 + 0.003


def test_time_running_backwards_gives_nothing_and_breaks_nothing():
    budget = CaptureBudget(0.02, burst_s=0.05)
    budget.spent(100.0, 0.06)
    assert not budget.allowed(50.0)
    assert not budget.allowed(99.0)
    assert budget.allowed(101.0)
