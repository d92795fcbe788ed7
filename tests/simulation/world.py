"""Virtual time: what is due, in order, and nothing else; the same for the same seed.

Everything that waits is an entry of one heap. Nothing sleeps and nothing runs at once, but a
process that talks to the server may be overtaken in between by whoever else is due: see
`World.overtake`.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable
from heapq import heappop, heappush
from typing import Any

from degrade.clock import Clock

__all__ = ("SimClock", "Violation", "World")

BEGIN_S = 1_700_000_000.0
"""Unix time at which every simulation begins."""


class Violation(AssertionError):
    """An invariant does not hold."""


class World:
    """The time, the randomness and the diary of one simulation.

    Args:
        seed: Decides everything.
        remembers: How many lines of the diary are kept.

    Attributes:
        now: True seconds since the beginning; nobody inside can see them.
        overtaking: Chance that a request is overtaken by something of somebody else.
        broken: The first invariant that did not hold.
    """

    def __init__(self, seed: int, *, remembers: int = 400) -> None:
        self.seed = seed
        self.rng = random.Random(seed)
        self.now = 0.0
        self.overtaking = 0.0
        self.broken: str | None = None
        self.overtakers: list[Callable[[], bool]] = []
        self.diary: deque[tuple[float, str, str, tuple[Any, ...]]] = deque(maxlen=remembers)
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._entries = 0
        self._depth = 0

    def at(self, when: float, do: Callable[[], None]) -> None:
        """Do something at a true time; at once when that is past."""
        self._entries += 1
        heappush(self._due, (max(when, self.now), self._entries, do))

    def after(self, delay_s: float, do: Callable[[], None]) -> None:
        """Do something after a while."""
        self.at(self.now + delay_s, do)

    def run_until(self, end: float) -> None:
        """Let everything happen that is due by a true time."""
        due = self._due
        while due and due[0][0] <= end:
            self.now, _, do = heappop(due)
            do()
            if self.broken is not None:
                raise Violation(self.broken)
        self.now = end

    def violated(self, what: str) -> None:
        """Note that an invariant does not hold; whoever swallows exceptions cannot hide it."""
        self.broken = self.broken or f"at {self.now:.3f} s: {what}"

    def note(self, who: str, what: str, *args: Any) -> None:
        """Write into the diary, which is shown when an invariant does not hold."""
        self.diary.append((self.now, who, what, args))

    def overtake(self) -> None:
        """Let somebody else act in the middle of a request, now and then."""
        if self._depth >= 2 or not self.overtakers or self.rng.random() >= self.overtaking:
            return
        self._depth += 1
        try:
            self.rng.choice(self.overtakers)()
        finally:
            self._depth -= 1

    def pages(self, last: int = 60) -> str:
        """Return the newest lines of the diary."""
        lines = [
            f"{when:9.3f}  {who:<12} {what.format(*args)}"
            for when, who, what, args in list(self.diary)[-last:]
        ]
        return "\n".join(lines)


class SimClock(Clock):
    """The clocks of one host: wrong by an offset each, and a little fast or slow.

    Args:
        world: Whose time it shows.
        skew_s: By how much its wall time is wrong.
        rate: By what share it runs fast.
        started_s: What its monotonic clock showed at the beginning.
    """

    def __init__(self, world: World, *, skew_s: float, rate: float, started_s: float) -> None:
        self._world = world
        self._rate = 1.0 + rate
        self._monotonic_s = started_s
        self._wall_s = BEGIN_S + skew_s

    def monotonic(self) -> float:
        return self._monotonic_s + self._world.now * self._rate

    def wall(self) -> float:
        return self._wall_s + self._world.now * self._rate

    def step(self, seconds: float) -> None:
        """Step the wall clock, as NTP does."""
        self._wall_s += seconds
