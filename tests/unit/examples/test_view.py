from __future__ import annotations

import io
import json
from dataclasses import replace

import pytest
from rich.console import Console

from degrade.core.words import Mode, Phase
from examples.news_feed.answers import Answer
from examples.news_feed.classify import Kind, Looks
from examples.news_feed.demo import spans_of
from examples.news_feed.fleet import FlagState
from examples.news_feed.judging import ANALYTICS, RANKING, Check, Run
from examples.news_feed.report import late, summarise, write
from examples.news_feed.seconds import Second
from examples.news_feed.view import View

TOLD = {
    "second": 165, "requests": 200, "p50": 0.0054, "p99": 0.1894, "full": 50, "snapshot": 100,
    "default": 48, "wrong": 1, "failed": 1, "oldest": 31.4,
}  # fmt: skip


def state(phase: Phase, mode: Mode = Mode.NORMAL, dial: float = 0.0) -> FlagState:
    return FlagState(phase=phase, mode=mode, dial=dial)


def second(*notes: str, **flags: FlagState) -> Second:
    named = {name.replace("_", "."): each for name, each in flags.items()}
    return Second.joined(TOLD, named, notes)


def lines(*seconds: Second, terminal: bool = False) -> list[str]:
    out = io.StringIO()
    console = Console(file=out, force_terminal=terminal, width=140, color_system=None)
    with View(console, started=100.0, heading="the heading") as view:
        for each in seconds:
            view.show(each)
    return out.getvalue().splitlines()


def test_without_a_terminal_each_second_is_one_line_after_its_notes():
    shown = second(
        "the ranker is frozen",
        feed_ranking=state(Phase.DEGRADED, Mode.DEGRADED, 1.0),
        feed_analytics=state(Phase.STEADY),
    )
    heading, columns, note, row = lines(shown)
    assert heading == "the heading"
    assert columns.split()[0] == "time"
    assert note.split(maxsplit=1) == ["1:05", "the ranker is frozen"]
    assert row.split() == [
        "1:05", "200", "5", "189", "25%", "74%", "1.0%", "degraded", "100%", "steady", "0%", "31", "s",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("flag", "words"),
    [
        (state(Phase.RECOVERING, Mode.DEGRADED, 0.95), "recovering 95%"),
        (state(Phase.STEADY, Mode.OFF, 1.0), "off 100%"),
        (state(Phase.STEADY, Mode.DEGRADED, 1.0), "ordered 100%"),
    ],
)
def test_what_a_human_ordered_is_told_from_what_the_automation_did(flag, words):
    assert words in lines(second(feed_ranking=flag))[-1]


def test_a_second_in_which_nothing_is_known_shows_dashes():
    empty = Second.joined({**TOLD, "requests": 0, "p50": None, "p99": None, "oldest": None}, {}, ())
    assert lines(empty)[-1].split()[2:4] == ["-", "-"]
    assert lines(empty)[-1].split()[-1] == "-"


def test_on_a_terminal_it_is_a_table_with_the_latest_note_above():
    text = "\n".join(lines(second("the ranker is killed"), terminal=True))
    assert "the ranker is killed" in text
    assert "analytics" in text
    assert max(len(line.rstrip()) for line in text.splitlines()) <= 80


def test_the_summary_shows_every_check_with_its_figure():
    out = io.StringIO()
    checks = [
        Check(name="holds", ok=True, figure="7 of 7"),
        Check(name="not", ok=False, figure="x"),
    ]
    summarise(Console(file=out, width=100), checks)
    rows = [line.split() for line in out.getvalue().splitlines() if line.strip()]
    assert rows[1:] == [["ok", "holds", "7", "of", "7"], ["FAILED", "not", "x"]]


def test_a_load_that_was_starved_itself_is_told_from_a_slow_feed():
    def sent(lag_s: float) -> Answer:
        return Answer(
            due=1.0, sent=1.0 + lag_s, done=9.0, port=1, reader="r", looks=Looks(kind=Kind.FULL),
            says=None,
        )  # fmt: skip

    run = Run(
        started=0.0, ended=9.0, answers=[*[sent(0.0)] * 98, sent(0.25), sent(0.5)], events=[],
        processes={}, marks={}, counters={},
    )  # fmt: skip
    assert late(run) == {"p99": 0.25, "most": 0.5}


@pytest.mark.parametrize("marks", [{}, {"freeze": 120.0, "thaw": 130.0, "off": 140.0}])
def test_the_results_are_written_also_of_a_run_that_was_cut_short(tmp_path, marks):
    run = Run(
        started=100.0, ended=166.0, answers=[], events=[], processes={}, marks=marks,
        counters={(RANKING, "full"): 3},
    )  # fmt: skip
    known = second(feed_ranking=state(Phase.STEADY), feed_analytics=state(Phase.STEADY))
    seconds = [replace(known, at=at) for at in range(100, 166)]
    checks = [Check(name="holds", ok=False, figure="-")]
    write(tmp_path, run, seconds, checks, spans=spans_of(marks), title="a run")
    record = json.loads((tmp_path / "run.json").read_text())
    assert record["passed"] is False
    assert record["counters"] == {f"{RANKING} full": 3}
    assert record["seconds"][0]["flags"][ANALYTICS]["phase"] == "steady"
    assert (tmp_path / "run.png").read_bytes().startswith(b"\x89PNG")
