"""Permits under any order of events: compared with a plain list of who holds one."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, multiple, rule

from degrade.core.probe_permits import Permit, Permits


class AnyOrder(RuleBasedStateMachine):
    """Probes that end, hang, are cut off or outlive their step; limits that move."""

    probes = Bundle("probes")

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.limit = 2
        self.last = 0.0
        self.permits = Permits(2, now=0.0)
        self.holding: list[Permit] = []

    @rule(target=probes, lease_s=st.sampled_from([0.5, 5.0, 60.0]))
    def a_probe_begins(self, lease_s: float) -> object:
        permit = self.permits.take(self.now, lease_s)
        assert (permit is not None) is (len(self.holding) < self.limit)
        if permit is None:
            return multiple()
        assert permit.until == self.now + lease_s
        self.last = self.now
        self.holding.append(permit)
        return permit

    @rule(permit=probes)
    def a_probe_ends_once_or_again(self, permit: Permit) -> None:
        held = permit in self.holding
        came_back = self.permits.give_back(permit)
        if held:
            assert came_back
            self.holding.remove(permit)

    @rule(permit=consumes(probes))
    def a_probe_hangs_for_good(self, permit: Permit) -> None:
        """Only its lease can free it."""

    @rule(seconds=st.sampled_from([0.0, 0.4, 1.0, 5.0, 60.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        kept = [permit for permit in self.holding if permit.until > self.now]
        assert self.permits.expire(self.now) == len(self.holding) - len(kept)
        self.holding = kept

    @rule(limit=st.integers(1, 5))
    def the_limit_moves(self, limit: int) -> None:
        self.permits.resize(limit)
        self.limit = limit

    @rule(limit=st.integers(1, 5))
    def the_next_step_begins(self, limit: int) -> None:
        self.permits.restart(limit, now=self.now)
        self.limit, self.last, self.holding = limit, self.now, []

    @invariant()
    def the_books_agree(self) -> None:
        assert self.permits.in_flight == len(self.holding)
        assert self.permits.limit == self.limit

    @invariant()
    def a_probe_is_due_after_a_second_for_each_instance(self) -> None:
        for instances in (0, 1, 3, 40):
            waited = self.now - self.last >= max(1, instances)
            assert self.permits.due(self.now, instances) is waited

    def teardown(self) -> None:
        """Whatever happened, the longest lease later every place is free."""
        self.permits.expire(self.now + 60.0)
        taken = [self.permits.take(self.now, 1.0) for _ in range(self.limit + 1)]
        assert [permit is not None for permit in taken] == [True] * self.limit + [False]


AnyOrder.TestCase.settings = settings(max_examples=100, stateful_step_count=30)
TestAnyOrder = AnyOrder.TestCase
