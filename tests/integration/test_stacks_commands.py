"""Guarded commands of click and typer as processes: parameters, output and exit codes."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.integration.stacks.processes import run

pytestmark = pytest.mark.real


def outcomes(shop: str, home: Path, *commands: str) -> dict[str, tuple[int, str]]:
    """Return the exit code and the output of each command line."""

    def outcome(line: str) -> tuple[int, str]:
        done = run(home, "-m", f"tests.integration.stacks.{shop}_shop", *line.split())
        assert "Traceback" not in done.stderr, done.stderr
        return done.returncode, done.stdout.strip()

    with ThreadPoolExecutor(4) as pool:
        return dict(zip(commands, pool.map(outcome, commands), strict=True))


def test_click_gives_a_guarded_command_its_parameters_wherever_they_are_declared(tmp_path: Path):
    expected = {
        "above pen --count 3": (0, "the shop: above pen 4"),
        "above pen --down": (0, "nothing"),
        "below pen --count 3": (0, "the shop: pen 4"),
        "below pen --down": (0, "nothing"),
        "below pen --count 9": (2, ""),
    }
    assert outcomes("click", tmp_path, *expected) == expected


def test_what_a_guarded_command_of_click_raises_ends_it_as_if_it_were_unguarded(tmp_path: Path):
    expected = {
        "raised exit": (3, ""),
        "raised abort": (1, ""),
        "raised usage": (2, ""),
        "raised system-exit": (4, ""),
        "context": (5, ""),
        "rung": (2, ""),
        "raised click": (0, "nothing"),  # says that the command failed, and is a failure
    }
    assert outcomes("click", tmp_path, *expected) == expected


def test_typer_reads_the_parameters_of_a_guarded_command_from_annotations_as_text(tmp_path: Path):
    expected = {
        "typed pen --file x --count 3": (0, "pen PosixPath 4"),
        "typed pen --down": (0, "nothing"),
        "outermost --count 2": (0, "outermost 3"),
    }
    assert outcomes("typer", tmp_path, *expected) == expected


def test_what_a_guarded_command_of_typer_raises_ends_it_as_if_it_were_unguarded(tmp_path: Path):
    expected = {
        "raised exit": (3, ""),
        "raised abort": (1, ""),
        "raised interrupt": (130, ""),
        "rung": (6, ""),
    }
    assert outcomes("typer", tmp_path, *expected) == expected
