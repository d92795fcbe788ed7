"""Watches while a script runs: what readers got in each second, and how the flags stood."""

from __future__ import annotations

import asyncio
import time
from collections import Counter, defaultdict
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

from rich.console import Console
from rich.text import Text

from degrade.core.enums import Mode, Phase
from examples.news_feed.answers import DEGRADED, Answer, Kind, nearest_rank, parse
from examples.news_feed.fleet import FlagState, Fleet, Seen
from examples.news_feed.processes import Processes, ScriptError, until
from examples.news_feed.script import ANALYTICS, RANKING, Script

_SETTLE_S: Final = 1.2
"""When most answers to the requests of a second have come."""
_COLUMNS: Final = (
    ("time", 5), ("req", 4), ("p50", 4), ("p99", 4), ("full", 5), ("degraded", 8), ("failed", 6),
    ("ranking", 15), ("analytics", 15), ("", 5),
)  # fmt: skip
"""Names and widths; latencies are in milliseconds. They fit into a terminal of 80 columns. The
last one is `oldest`, the age of the oldest snapshot served, or `state`, that of the orders."""
_STYLES: Final = {Phase.STEADY: "green", Phase.RECOVERING: "yellow", Phase.DEGRADED: "red"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Second:
    """What readers got in a second, and how the flags stood; latencies and ages in seconds.

    `state_age` is how old the orders were that the feed processes knew, the oldest of all.
    """

    at: int
    requests: int
    p50: float | None
    p99: float | None
    kinds: Mapping[Kind, int]
    oldest: float | None
    flags: Mapping[str, FlagState]
    notes: tuple[str, ...] = ()
    state_age: float | None = None

    @classmethod
    def of(
        cls, at: int, answers: Sequence[Answer], born: Mapping[str | None, float], seen: Seen,
        notes: tuple[str, ...] = (),
    ) -> Self:  # fmt: skip
        """Return the second in which these answers were due; `born` is when each nonce was new."""
        latencies = [answer.latency_s for answer in answers]
        ages = [
            a.done - born[a.nonce] for a in answers if a.kind is Kind.SNAPSHOT and a.nonce in born
        ]
        return cls(
            at=at, requests=len(answers), p50=nearest_rank(latencies, 0.50),
            p99=nearest_rank(latencies, 0.99), kinds=dict(Counter(answer.kind for answer in answers)),
            oldest=max(ages, default=None), flags=seen.flags, notes=notes, state_age=seen.state_age,
        )  # fmt: skip

    def share(self, *kinds: Kind) -> float:
        """Return answers of these kinds as a share of the requests."""
        return sum(self.kinds.get(kind, 0) for kind in kinds) / max(1, self.requests)


def row(second: Second, started: float, last: str) -> Text:
    """Return a second as a line of the table."""
    age_s = second.oldest if last == "oldest" else second.state_age
    minutes, seconds = divmod(max(0, int(second.at - started)), 60)
    bad, degraded = second.share(Kind.WRONG, Kind.FAILED), second.share(*DEGRADED)
    cells = (
        (f"{minutes}:{seconds:02d}", ""), (str(second.requests), ""),
        (_ms(second.p50), ""), (_ms(second.p99), ""), (f"{second.share(Kind.FULL):.0%}", ""),
        (f"{degraded:.0%}", "yellow" if degraded else ""),
        (f"{bad:.1%}" if bad else "0%", "red" if bad else ""),
        _state(second.flags.get(RANKING)), _state(second.flags.get(ANALYTICS)),
        ("-" if age_s is None else f"{age_s:.0f} s", ""),
    )  # fmt: skip
    columns = zip(cells, _COLUMNS, strict=True)
    return Text(" ").join(Text(f"{text:>{width}}", style) for (text, style), (_, width) in columns)


def _state(state: FlagState | None) -> tuple[str, str]:
    if state is None:
        return "-", ""
    word = state.mode.value if state.mode is Mode.OFF else state.phase.value
    if state.mode is Mode.DEGRADED and state.phase is Phase.STEADY:
        word = "ordered"
    return f"{word} {state.dial:.0%}", "magenta" if word in ("off", "ordered") else _STYLES[
        state.phase
    ]


def _ms(value_s: float | None) -> str:
    return "-" if value_s is None else f"{value_s * 1e3:.0f}"


class Watching:
    """Watches one run: reads what the load writes, asks the fleet, and shows each second."""

    def __init__(
        self, console: Console, answers: Path, processes: Processes, fleet: Fleet, script: Script,
        *, started: float,
    ) -> None:  # fmt: skip
        self.seconds: list[Second] = []
        self._console = console
        self._answers = answers
        self._processes = processes
        self._fleet = fleet
        self._script = script
        self._started = started
        self._last = script.last
        self._seen: dict[int, Seen] = {}

    async def run(self, script: Coroutine[Any, Any, None]) -> None:
        """Run a script, and show every second until it is over."""
        names = (*(name for name, _ in _COLUMNS[:-1]), self._last)
        self._print(
            " ".join(f"{name:>{width}}" for name, (_, width) in zip(names, _COLUMNS, strict=True))
        )
        running = asyncio.create_task(script)
        watching = [asyncio.create_task(each) for each in (self._sample(), self._show())]
        try:
            await asyncio.wait([running, *watching], return_when=asyncio.FIRST_COMPLETED)
            for task in (*watching, running):
                if task.done():
                    task.result()
            end = int(time.time()) - 2
            await until(lambda: bool(self.seconds) and self.seconds[-1].at >= end, 4.0)
        finally:
            for task in (running, *watching):
                task.cancel()
            await asyncio.gather(running, *watching, return_exceptions=True)

    async def _sample(self) -> None:
        while True:
            self._seen[int(time.time())] = await self._fleet.look()
            if ended := self._processes.ended():
                raise ScriptError(f"{', '.join(ended)} ended; see the log of each")
            await asyncio.sleep(0.5)

    async def _show(self) -> None:
        second, noted, rest = int(time.time()) + 1, 0, ""
        due: dict[int, list[Answer]] = defaultdict(list)
        born: dict[str | None, float] = {}
        with self._answers.open(encoding="utf-8") as lines:
            while True:
                await asyncio.sleep(second + 1 + _SETTLE_S - time.time())
                *whole, rest = (rest + lines.read()).split("\n")
                for answer in map(parse, whole):
                    due[int(answer.due)].append(answer)
                    if answer.kind is Kind.FULL:
                        born[answer.nonce] = answer.done
                notes = [text for at, text in self._script.notes[noted:] if at < second + 1]
                noted += len(notes)
                found = Second.of(
                    second, due.pop(second, []), born, self._seen.pop(second, Seen()), tuple(notes)
                )
                self.seconds.append(found)
                line = row(found, self._started, self._last)
                for note in notes:
                    self._print(Text(f"{line.plain[:5]} {note}", style="bold cyan"))
                self._print(line)
                second += 1

    def _print(self, line: Text | str) -> None:
        self._console.print(line, highlight=False, soft_wrap=True)
