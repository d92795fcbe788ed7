from __future__ import annotations

from degrade.fallback.snapshots.capture_budget import Account, CaptureBudget

ONE = Account()


class Caller:
    """A function that captures whenever it may."""

    def __init__(self, budget: CaptureBudget, cost_s: float) -> None:
        self.account = Account()
        self.budget = budget
        self.cost_s = cost_s
        self.kept = self.skipped = 0

    def call(self, now: float) -> None:
        if self.budget.allowed(now, self.account):
            self.budget.spent(now, self.cost_s, self.account)
            self.kept += 1
        else:
            self.skipped += 1


def test_a_fresh_budget_allows_a_burst_and_then_no_more():
    budget = CaptureBudget(0.02, burst_s=0.05)
    spent = 0
    while budget.allowed(100.0, ONE):
        budget.spent(100.0, 0.01, ONE)
        spent += 1
    assert spent == 5


def test_time_gives_back_its_share():
    budget = CaptureBudget(0.02, burst_s=0.05)
    budget.spent(100.0, 0.05, ONE)
    assert not budget.allowed(100.0, ONE)
    assert budget.allowed(100.1, ONE)


def test_a_debt_is_waited_for():
    budget = CaptureBudget(0.02, burst_s=0.05)
    budget.spent(100.0, 1.05, ONE)
    assert not budget.allowed(149.9, ONE)
    assert budget.allowed(150.1, ONE)


def test_idle_time_saves_up_no_more_than_the_burst():
    budget = CaptureBudget(0.02, burst_s=0.05)
    budget.spent(100.0, 0.0, ONE)
    budget.spent(1_000_000.0, 0.05, ONE)
    assert not budget.allowed(1_000_000.0, ONE)


def test_over_a_long_time_only_the_share_is_spent():
    budget = CaptureBudget(0.02, burst_s=0.05)
    spent_s = 0.0
    for step in range(100_000):
        now = 100.0 + step / 1_000
        if budget.allowed(now, ONE):
            budget.spent(now, 0.003, ONE)
            spent_s += 0.003
    assert 1.9 < spent_s <= 0.02 * 100 + 0.05 + 0.003


def test_time_running_backwards_gives_nothing_and_breaks_nothing():
    budget = CaptureBudget(0.02, burst_s=0.05)
    budget.spent(100.0, 0.06, ONE)
    assert not budget.allowed(50.0, ONE)
    assert not budget.allowed(99.0, ONE)
    assert budget.allowed(101.0, ONE)


def test_one_function_takes_at_most_half_while_another_waits():
    budget = CaptureBudget(0.02)
    greedy, other = Caller(budget, 0.002), Caller(budget, 0.0002)
    for step in range(60_000):
        greedy.call(step / 1_000)
        if step % 50 == 0:
            other.call(step / 1_000)
    assert greedy.cost_s * greedy.kept <= 0.05 + 0.01 * 60
    assert other.kept >= 0.98 * (other.kept + other.skipped)


def test_a_capture_that_takes_long_keeps_the_others_waiting_no_longer_than_it_is_worth():
    budget = CaptureBudget(0.02)
    greedy, other = Caller(budget, 1.0), Caller(budget, 0.001)
    for step in range(600):
        greedy.call(float(step))
        other.call(step + 0.5)
    assert greedy.kept <= 600 * 0.01 + 1
    assert other.kept >= 0.45 * 600


def test_two_greedy_functions_share_and_spend_no_more_than_there_is():
    budget = CaptureBudget(0.02)
    callers = [Caller(budget, 0.003), Caller(budget, 0.001)]
    for step in range(60_000):
        for caller in callers:
            caller.call(step / 1_000)
    spent = [caller.cost_s * caller.kept for caller in callers]
    assert sum(spent) <= 0.05 + 0.02 * 60 + 0.003
    assert all(0.3 < cost_s <= 0.05 + 0.01 * 60 for cost_s in spent)


def test_a_function_alone_takes_all_of_it():
    budget = CaptureBudget(0.02)
    alone = Caller(budget, 0.002)
    for step in range(60_000):
        alone.call(step / 1_000)
    assert alone.cost_s * alone.kept > 0.9 * 0.02 * 60


def test_a_function_that_waited_once_leaves_all_to_the_other_after_a_minute():
    budget = CaptureBudget(0.02)
    greedy, once = Caller(budget, 0.002), Caller(budget, 0.002)
    for step in range(1_000):
        greedy.call(step / 1_000)
    once.call(1.0)
    assert once.skipped == 1
    kept = []
    for minute in range(3):
        before = greedy.kept
        for step in range(60_000):
            greedy.call(1.0 + 60 * minute + step / 1_000)
        kept.append(greedy.cost_s * (greedy.kept - before) / 60)
    assert kept[0] < 0.0105
    assert kept[2] > 0.018
