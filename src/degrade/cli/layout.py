"""How lines and tables fit a terminal; a pipe gets each line as a whole.

Words are never broken. A table that is too wide first wraps its sentences, then drops columns, the
least important ones first. A name too long for its column stands on a line of its own.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping, Sequence

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from degrade.cli.terminal_text import clean

__all__ = ("console", "say", "show_table")

_UNBOUNDED = 1_000_000
_GAP = 3
_MIN_SENTENCE = 20
_WORD = re.compile(r"(\S+)\s*")


def console() -> Console:
    """Return where to print; a pipe gets lines of any length, without colours."""
    known = sys.stdout.isatty() or "COLUMNS" in os.environ
    width = None if known else _UNBOUNDED
    return Console(width=width, highlight=False, markup=False, emoji=False)


def say(out: Console, text: Text | str, *, hang: int = 2, copy: bool = False) -> None:
    """Print a line; in a terminal it is wrapped between words.

    Args:
        out: Where to.
        text: The line, with the spaces before it.
        hang: Columns more before what does not fit in the first line.
        copy: It has a command to copy, and is never wrapped by us.
    """
    line = Text(clean(text)) if isinstance(text, str) else text
    indent = len(line.plain) - len(line.plain.lstrip(" "))
    lines = [line] if copy else _wrapped(line[indent:], out.width - indent - hang)
    for number, part in enumerate(lines):
        space = " " * (0 if copy else indent + (hang if number else 0))
        out.print(Text(space).append_text(part), soft_wrap=True)


def show_table(
    out: Console,
    columns: Mapping[str, Sequence[Text]],
    *,
    sentences: Sequence[str],
    drop: Sequence[str],
) -> None:
    """Print a table.

    Args:
        out: Where to.
        columns: Title to the cells below it; the first column has the names of the rows.
        sentences: Titles of the columns that may be wrapped.
        drop: Titles of the columns that may be dropped, the least important one first.
    """
    name = next(iter(columns))
    room = out.width - 2
    full = {
        title: max(map(cell_len, (title, *(cell.plain for cell in cells))))
        for title, cells in columns.items()
    }
    least = {title: width for title, width in full.items() if title != name}
    for title in sentences:
        longest = max(
            cell_len(word) for cell in columns[title] for word in (title, *cell.plain.split())
        )
        least[title] = min(full[title], max(longest, _MIN_SENTENCE))
    fits = [size for cell in columns[name] if (size := cell_len(cell.plain)) <= max(20, room // 3)]
    named = max(cell_len(name), *fits) if fits else cell_len(name)
    for title in drop:
        if named + sum(width + _GAP for width in least.values()) > room:
            del least[title]
    spare = room - named - sum(width + _GAP for width in least.values())
    for title, width in least.items():
        more = max(0, min(spare, full[title] - width))
        least[title] = width + more
        spare -= more
    widths = {name: named} | {title: least[title] for title in columns if title in least}
    out.print()
    _print_row(out, {title: [Text(title)] for title in widths}, widths)
    rule = "\u2500" if out.encoding.startswith("utf") else "-"
    out.print(
        Text(" " + rule * (sum(widths.values()) + _GAP * (len(widths) - 1) + 1)), soft_wrap=True
    )
    for number, cell in enumerate(columns[name]):
        row = {title: _wrapped(columns[title][number], width) for title, width in widths.items()}
        if cell_len(cell.plain) > named:
            out.print(Text(" ").append_text(cell), soft_wrap=True)
            row[name] = [Text()]
        _print_row(out, row, widths)
    out.print()


def _print_row(out: Console, row: Mapping[str, Sequence[Text]], widths: Mapping[str, int]) -> None:
    for number in range(max(map(len, row.values()))):
        line = Text(" ")
        for title, cells in row.items():
            cell = cells[number] if number < len(cells) else Text()
            line.append_text(cell)
            line.append(" " * (widths[title] - cell_len(cell.plain) + _GAP))
        line.rstrip()
        out.print(line, soft_wrap=True)


def _wrapped(text: Text, width: int) -> list[Text]:
    """Return the lines of a text, none wider but for a single word that is."""
    breaks, used = [], 0
    for word in _WORD.finditer(text.plain):
        if used and used + cell_len(word[1]) > width:
            breaks.append(word.start())
            used = 0
        used += cell_len(word[0])
    lines = list(text.divide(breaks))
    for line in lines:
        line.rstrip()
    return lines
