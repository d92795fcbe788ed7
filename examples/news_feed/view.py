"""What you see while it runs: a table on a terminal, else a line a second."""

from __future__ import annotations

from collections import deque
from types import TracebackType
from typing import Final, Literal, Self

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from degrade.core.words import Mode, Phase
from examples.news_feed.fleet import FlagState
from examples.news_feed.judging import ANALYTICS, RANKING
from examples.news_feed.seconds import Second

__all__ = ("View",)

_ROWS: Final = 18
_COLUMNS: Final = (
    ("time", 5), ("req", 4), ("p50", 4), ("p99", 4), ("full", 5), ("degraded", 8), ("failed", 6),
    ("ranking", 14), ("analytics", 14), ("", 6),
)  # fmt: skip
"""Names and widths; latencies are in milliseconds. They fit into a terminal of 80 columns.
The last one is `oldest`, the age of the oldest snapshot served, or `state`, that of the orders."""

_STYLES: Final = {Phase.STEADY: "green", Phase.RECOVERING: "yellow", Phase.DEGRADED: "red"}


class View:
    """Shows each second as it comes; a context manager, for the terminal's sake."""

    def __init__(
        self,
        console: Console,
        *,
        started: float,
        heading: str,
        last: Literal["oldest", "state"] = "oldest",
    ) -> None:
        self._console = console
        self._last = last
        self._columns = (*_COLUMNS[:-1], (last, _COLUMNS[-1][1]))
        self._started = started
        self._heading = heading
        self._rows: deque[list[Text]] = deque(maxlen=_ROWS)
        self._note = Text("")
        self._live = (
            Live(self._table(), console=console, auto_refresh=False, transient=False)
            if console.is_terminal
            else None
        )

    def __enter__(self) -> Self:
        if self._live is None:
            self._console.print(self._heading, highlight=False)
            self._console.print(
                " ".join(f"{name:>{width}}" for name, width in self._columns),
                highlight=False,
                soft_wrap=True,
            )
        else:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def show(self, second: Second) -> None:
        """Show one second, after the notes of what happened in it."""
        cells = _cells(second, self._started, self._last)
        for note in second.notes:
            self._note = Text(f"{cells[0].plain:>5} {note}", style="bold cyan")
            if self._live is None:
                self._console.print(self._note, highlight=False, soft_wrap=True)
        if self._live is None:
            line = " ".join(
                f"{cell.plain:>{width}}"
                for cell, (_, width) in zip(cells, self._columns, strict=True)
            )
            self._console.print(line, highlight=False, soft_wrap=True)
            return
        self._rows.append(cells)
        self._live.update(self._table(), refresh=True)

    def _table(self) -> Group:
        table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="dim")
        for name, width in self._columns:
            table.add_column(name, justify="right", min_width=width, no_wrap=True)
        for row in self._rows:
            table.add_row(*row)
        return Group(Text(self._heading, style="bold"), Text(""), self._note, Text(""), table)


def _cells(second: Second, started: float, last: Literal["oldest", "state"]) -> list[Text]:
    age_s = second.oldest if last == "oldest" else second.state_age
    bad = second.share(second.bad)
    return [
        Text(_clock(second.at - started)),
        Text(str(second.requests)),
        Text(_ms(second.p50)),
        Text(_ms(second.p99)),
        Text(f"{second.share(second.full):.0%}"),
        Text(f"{second.share(second.degraded):.0%}", style="yellow" if second.degraded else ""),
        Text(f"{bad:.0%}" if not second.bad else f"{bad:.1%}", style="red" if second.bad else ""),
        _state(second.flags.get(RANKING)),
        _state(second.flags.get(ANALYTICS)),
        Text("-" if age_s is None else f"{age_s:.0f} s"),
    ]


def _state(state: FlagState | None) -> Text:
    if state is None:
        return Text("-")
    word = state.mode.value if state.mode is Mode.OFF else state.phase.value
    if state.mode is Mode.DEGRADED and state.phase is Phase.STEADY:
        word = "ordered"
    style = "magenta" if word in ("off", "ordered") else _STYLES[state.phase]
    return Text(f"{word} {state.dial:.0%}", style=style)


def _clock(elapsed_s: float) -> str:
    minutes, seconds = divmod(max(0, int(elapsed_s)), 60)
    return f"{minutes}:{seconds:02d}"


def _ms(value_s: float | None) -> str:
    return "-" if value_s is None else f"{value_s * 1e3:.0f}"
