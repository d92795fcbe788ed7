"""Permits for the probes of a recovering flag: leased, bounded, and never lost.

A probe takes a permit and gives it back when it ends, however it ends. One that hangs, or was
interrupted so that nobody gives it back, loses its permit when its lease is over. A new recovery
step is a new generation with permits of its own; those of older generations come back to nobody.

    take (fewer than limit out) --> out --give_back, or expire past the lease--> gone

The permits that are out are all that is kept, and an attempt enters its permit *before* it knows
whether there is room: so an interrupt between any two instructions leaves at worst a permit that
ends with its lease. (A pool of free tokens would lose the token for good.) Two attempts for the
last place at the same instant may both be refused, never both be granted.

Invariants, for any number of threads and any order of events:
- no permit is granted while `limit` others of its generation are out;
- a permit frees its place once, whether it is given back, expires, or both;
- nothing but permits whose lease still runs can keep a call from becoming a probe.
"""

from __future__ import annotations

__all__ = ("Permit", "Permits", "probe_limit")


def probe_limit(share: float, peak: int) -> int:
    """Return how many probes may be in flight: the step's share of the peak, at least one.

    Args:
        share: Share of calls that run in this recovery step, 0 to 1.
        peak: The most calls in flight at once while the flag was last steady.
    """
    return max(1, int(share * peak + 1e-9))  # 0.29 * 100 is 28.999999999999996


class _Generation:
    """The permits of one recovery step."""

    __slots__ = ("limit", "out")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.out: dict[Permit, bool] = {}


class Permit:
    """The right to run one probe until `until`, monotonic seconds."""

    __slots__ = ("generation", "until")

    def __init__(self, generation: _Generation, until: float) -> None:
        self.generation = generation
        self.until = until

    def __repr__(self) -> str:
        return f"Permit(until={self.until!r})"


class Permits:
    """The permits of one flag.

    Args:
        limit: How many may be in flight at once, at least 1.
        now: Monotonic seconds.

    Guarantees:
        Any threads may call anything at once: every step is an operation of `dict` that is
        atomic by itself, so there is no lock to wait for or to leave behind.

    Cost:
        Never blocks. Constant, but `expire` looks at each permit in flight.
    """

    __slots__ = ("_generation", "last_taken")

    def __init__(self, limit: int, *, now: float) -> None:
        self.restart(limit, now=now)

    def restart(self, limit: int, *, now: float) -> None:
        """Begin a generation: nothing is in flight, and older permits count no more."""
        self._generation = _Generation(limit)
        self.last_taken = now
        """When a permit was taken last, or the generation began; monotonic seconds."""

    def resize(self, limit: int) -> None:
        """Change how many may be in flight; those that are keep their permits."""
        self._generation.limit = limit

    def take(self, now: float, lease_s: float) -> Permit | None:
        """Take a permit that ends by itself after `lease_s` seconds; None if none is free."""
        generation = self._generation
        if len(generation.out) >= generation.limit:
            return None
        permit = Permit(generation, now + lease_s)
        try:
            generation.out[permit] = True
            if len(generation.out) <= generation.limit:  # no other thread came in between
                self.last_taken = now
                return permit
        except BaseException:  # an interrupt: nobody would give it back
            self.give_back(permit)
            raise
        self.give_back(permit)
        return None

    def give_back(self, permit: Permit) -> bool:
        """Free a permit and say whether it was still out; harmless to repeat, or after a restart."""
        return permit.generation.out.pop(permit, False)

    def expire(self, now: float) -> int:
        """Free the permits whose lease is over and return how many those were."""
        out = self._generation.out.copy()
        return sum([self.give_back(permit) for permit in out if permit.until <= now])

    def due(self, now: float, instances: int) -> bool:
        """Say whether the next call must be a probe, whatever its subject.

        That is so when none was taken for as many seconds as there are live instances: about
        one probe a second in the whole fleet, and no flag can get stuck for want of probes.
        """
        return now - self.last_taken >= max(1, instances)

    @property
    def limit(self) -> int:
        """How many may be in flight at once."""
        return self._generation.limit

    @property
    def in_flight(self) -> int:
        """How many are in flight, hung ones included until `expire` finds them."""
        return len(self._generation.out)

    def __repr__(self) -> str:
        return f"Permits(limit={self.limit}, in_flight={self.in_flight})"
