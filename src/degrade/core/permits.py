"""Permits for the probes of a recovering flag: leased, bounded, and never lost.

A probe takes a permit and gives it back when it ends, however it ends. One that hangs loses its
permit when its lease is over. A new recovery step is a new generation with permits of its own;
those of older generations come back to nobody.

    take --> in flight --give_back--> free        resize(more)  adds free ones
                 |                     ^          resize(fewer) leaves debts, paid by the next
                 +---expire (lease)----+                        free ones that are taken

Invariants, for any number of threads and any order of events:
- within a generation, free + in flight - debts = limit; so never more than the limit that
  stood when the permit was taken are in flight;
- a permit comes back at most once, whether it is given back, expires, or both.
"""

from __future__ import annotations

from collections import deque

__all__ = ("Permit", "Permits", "probe_limit")


def probe_limit(share: float, peak: int) -> int:
    """Return how many probes may be in flight: the step's share of the peak, at least one.

    Args:
        share: Share of calls that run in this recovery step, 0 to 1.
        peak: The most calls in flight at once while the flag was last steady.
    """
    return max(1, int(share * peak + 1e-9))  # 0.29 * 100 is 28.999999999999996


class _Generation:
    """The permits of one recovery step; the two deques hold only their length."""

    __slots__ = ("debts", "free", "out")

    def __init__(self, limit: int) -> None:
        self.free: deque[None] = deque([None] * limit)
        self.debts: deque[None] = deque()
        self.out: dict[Permit, bool] = {}

    def free_again(self, permit: Permit) -> bool:
        """Free a permit, once: whoever removes it frees it, and everybody later finds it gone."""
        if not self.out.pop(permit, False):
            return False
        self.free.append(None)
        return True


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
        `take`, `give_back`, `expire`, `due` and `in_flight` may be called by any threads at once
        and need no lock: each relies on operations of `deque` and `dict` that are atomic.
        `resize` and `restart` belong to one thread, and may run beside the others.

    Cost:
        Never blocks. Constant, but `expire` looks at each permit in flight.
    """

    __slots__ = ("_generation", "_limit", "last_taken")

    def __init__(self, limit: int, *, now: float) -> None:
        self.restart(limit, now=now)

    def restart(self, limit: int, *, now: float) -> None:
        """Begin a generation: every permit is free, and those in flight count no more."""
        self._limit = limit
        self._generation = _Generation(limit)
        self.last_taken = now
        """When a permit was taken last, or the generation began; monotonic seconds."""

    def resize(self, limit: int) -> None:
        """Change how many may be in flight; those in flight keep their permits."""
        generation = self._generation
        for _ in range(self._limit - limit):
            generation.debts.append(None)
        for _ in range(limit - self._limit):
            if not _removed(generation.debts):
                generation.free.append(None)
        self._limit = limit

    def take(self, now: float, lease_s: float) -> Permit | None:
        """Take a permit that ends by itself after `lease_s` seconds; None if none is free."""
        generation = self._generation
        while _removed(generation.free):
            if _removed(generation.debts):
                continue
            permit = Permit(generation, now + lease_s)
            generation.out[permit] = True
            self.last_taken = now
            return permit
        return None

    def give_back(self, permit: Permit) -> None:
        """Free a permit; harmless if it came back before, expired, or is older."""
        permit.generation.free_again(permit)

    def expire(self, now: float) -> int:
        """Free the permits whose lease is over and return how many those were."""
        generation = self._generation
        hung = [permit for permit in generation.out.copy() if permit.until <= now]
        return sum([generation.free_again(permit) for permit in hung])

    def due(self, now: float, instances: int) -> bool:
        """Say whether the next call must be a probe, whatever its subject.

        That is so when none was taken for as many seconds as there are live instances: about
        one probe a second in the whole fleet, and no flag can get stuck for want of probes.
        """
        return now - self.last_taken >= max(1, instances)

    @property
    def limit(self) -> int:
        """How many may be in flight at once."""
        return self._limit

    @property
    def in_flight(self) -> int:
        """How many are in flight, hung ones included until `expire` finds them."""
        return len(self._generation.out)

    def __repr__(self) -> str:
        return f"Permits(limit={self._limit}, in_flight={self.in_flight})"


def _removed(tokens: deque[None]) -> bool:
    """Remove one token; False if there was none. Atomic, unlike asking for the length first."""
    try:
        tokens.pop()
    except IndexError:
        return False
    return True
