"""What fits a terminal: words stay whole, columns are dropped, a pipe gets whole lines."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from degrade.cli.layout import say, show_table

WORDS = st.text("abc.-/", min_size=1, max_size=30) | st.sampled_from(["🔥", "数据库", "é"])
TEXTS = st.lists(WORDS, min_size=1, max_size=12).map(" ".join)
TITLES = ("flag", "level", "mode", "why", "hold")
DROPPED = ("level", "why", "hold")


def screen(width: int) -> Console:
    return Console(width=width, file=io.StringIO(), highlight=False, markup=False, emoji=False)


def printed(out: Console) -> list[str]:
    assert isinstance(out.file, io.StringIO)
    return out.file.getvalue().splitlines()


@given(text=TEXTS, width=st.integers(10, 120), indent=st.integers(0, 4))
def test_a_line_is_wrapped_between_words_and_nothing_of_it_is_lost(text, width, indent):
    out = screen(width)
    say(out, " " * indent + text)
    lines = printed(out)
    assert " ".join(lines).split() == text.split()
    assert lines[0].startswith(" " * indent)
    for number, line in enumerate(lines):
        space = indent + 2 * bool(number)
        assert line[:space].isspace() or not space
        assert cell_len(line) <= width or len(line.split()) == 1


def test_a_command_to_copy_is_one_line():
    out = screen(20)
    say(out, "end it: degrade release feed.ranking --reason REASON", copy=True)
    assert len(printed(out)) == 1


@given(
    rows=st.lists(st.tuples(WORDS, WORDS, WORDS, TEXTS, TEXTS), min_size=1, max_size=8),
    width=st.integers(40, 200),
)
def test_a_table_fits_and_breaks_no_word(rows, width):
    out = screen(width)
    columns = {title: [Text(row[n]) for row in rows] for n, title in enumerate(TITLES)}
    show_table(out, columns, sentences=("why", "hold"), drop=DROPPED)
    lines = printed(out)
    names = [row[0] for row in rows]
    for line in lines:
        assert cell_len(line) <= width or line.strip() in names or len(line.split()) <= 2
    words = " ".join(lines).split()
    titles = lines[1].split()
    shown = [title for title in TITLES if title in titles]
    for title in shown:
        for cell in columns[title]:
            assert set(cell.plain.split()) <= set(words)


def table(width: int, names: list[str]) -> list[str]:
    out = screen(width)
    columns = {
        "flag": [Text(name) for name in names],
        "level": [Text("2") for _ in names],
        "mode": [Text("degraded") for _ in names],
        "why": [Text("shows sold-out items, see the incident of this morning") for _ in names],
        "hold": [Text("degraded, ends 03:42:37 (in 29m57s)") for _ in names],
    }
    show_table(out, columns, sentences=("why", "hold"), drop=DROPPED)
    return printed(out)


@pytest.mark.parametrize(
    ("width", "titles"),
    [
        (200, ["flag", "level", "mode", "why", "hold"]),
        (80, ["flag", "level", "mode", "why", "hold"]),
        (72, ["flag", "mode", "why", "hold"]),
        (60, ["flag", "mode", "hold"]),
        (40, ["flag", "mode"]),
    ],
)
def test_the_least_important_columns_are_dropped_first(width, titles):
    lines = table(width, ["feed.ranking"])
    assert lines[1].split() == titles
    assert max(map(len, lines)) <= width


def test_a_long_name_stands_as_a_whole_on_a_line_of_its_own():
    name = "search.suggestions.for.people.who.type.slowly"
    lines = table(60, ["feed", name])
    at = lines.index(f" {name}")
    assert lines[at + 1].split()[0] == "degraded"
    assert lines[at + 1].index("degraded") == lines[1].index("mode")


def test_a_row_is_one_line_where_no_terminal_sets_a_width():
    lines = table(1_000_000, ["feed", "x" * 100])
    assert len(lines) == 6
    assert "x" * 100 + "   2" in lines[4]
