"""What is recorded of a run, and how it is judged.

Everything is judged from independent records: the answers as the load saw them, the log of events
in the store, and the counters that the feed processes expose. What visitors got who looked at the
feed meanwhile, say with a browser, is told by the processes: it is counted, but not judged.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain

from degrade.core.records import Event
from examples.news_feed.answers import Answer, Kind
from examples.news_feed.script import Phase, Wipe


@dataclass(frozen=True, kw_only=True)
class Run:
    """Everything recorded of a run; times are Unix seconds.

    Attributes:
        started, ended: When the demo began, and when the load ended.
        answers: What the load got, in the order in which it came.
        visits: What all processes answered to others than the load.
        events: The log of the store.
        marks: What was done, by name, and when.
        ports: Of all feed processes.
        processes: Instance ids to ports, of the processes that lived from beginning to end.
        counters: What these processes counted together, by flag and class.
        cold_port: On the fleet, that of the process that was killed and started again.
        phases, wipes: On the fleet, with and without a fault of Redis; when it lost everything.
        said: On the fleet, the words of the command line on the order to turn the ranking off.
    """

    started: float = 0.0
    ended: float = 0.0
    answers: Sequence[Answer] = ()
    visits: Sequence[Answer] = ()
    events: Sequence[Event] = ()
    marks: Mapping[str, float]
    ports: Sequence[int] = ()
    processes: Mapping[str, int]
    counters: Mapping[tuple[str, str], int]
    cold_port: int | None = None
    phases: Sequence[Phase] = ()
    wipes: Sequence[Wipe] = ()
    said: str = ""

    @cached_property
    def born(self) -> dict[str | None, Answer]:
        """The full answer in which each nonce was first seen, by the load or a visitor."""
        seen = chain(self.visits, self.answers)
        return {each.nonce: each for each in seen if each.kind is Kind.FULL}

    def within(self, start: float, end: float) -> list[Answer]:
        """Return the answers of the load that were sent and came between two times."""
        return [each for each in self.answers if each.sent >= start and each.done <= end]

    def event(self, kind: str, flag: str | None) -> Event:
        """Return the first event of a type and a flag; raises LookupError where there is none."""
        for event in self.events:
            if event.type == kind and event.flag == flag:
                return event
        raise LookupError(f"no event {kind!r} of {flag or 'a level'}")

    def changes(self, flag: str) -> Iterator[list[Event]]:
        """Return the transitions of a flag, a list for each of the two processes."""
        if len(self.processes) != 2:
            raise LookupError(f"two processes, but {len(self.processes)}")
        for instance in self.processes:
            yield [
                event
                for event in self.events
                if (event.type, event.flag, event.instance) == ("transition", flag, instance)
            ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One thing that must hold: its name, whether it does, and the figure that says so."""

    name: str
    ok: bool
    figure: str


Judge = Callable[[Run], tuple[bool, str]]


def judged(run: Run, checks: Mapping[str, Judge]) -> list[Check]:
    """Return every check; what cannot be judged, because it never happened, has failed."""
    found = []
    for name, check in checks.items():
        try:
            ok, figure = check(run)
        except LookupError as missing:
            ok, figure = False, f"did not happen: {missing}"
        found.append(Check(name=name, ok=ok, figure=figure))
    return found
