"""Which command runs which test: each is run by one, and all that are promised by CI."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.meta.sources import ROOT

MARKS = ("slow", "faults", "types")
SELECTED = re.compile(r'-m "?(?P<marks>[\w ]+?)"?(?: \S+/|\s*\$|$)')


def selections() -> dict[str, str]:
    """Return which marks the command of each target selects."""
    with (ROOT / "pyproject.toml").open("rb") as file:
        options = tomllib.load(file)["tool"]["pytest"]["ini_options"]["addopts"]
    (unless_said,) = [option.removeprefix("-m ") for option in options if option[:3] == "-m "]
    targets = re.split(
        r"^([a-z-]+): ##", (ROOT / "Makefile").read_text("utf-8"), flags=re.MULTILINE
    )
    found = {}
    for target, recipe in zip(targets[1::2], targets[2::2], strict=True):
        for _, _, options in (line.partition("-m pytest ") for line in recipe.splitlines()):
            if options:
                marked = SELECTED.search(options)
                found[target] = marked["marks"] if marked else unless_said
    return found


def selecting(marks: tuple[str, ...]) -> set[str]:
    """Return the targets that run a test with these marks."""
    marked = {mark: mark in marks for mark in MARKS}
    return {
        target
        for target, selected in selections().items()
        if eval(selected, {}, marked)  # noqa: S307 - the words and, or, not, and our marks
    }


@pytest.mark.parametrize(
    ("marks", "target"),
    [
        ((), "test"),
        (("slow",), "test-slow"),
        (("types",), "check"),
        (("faults",), None),
        (("slow", "faults"), None),
    ],
)
def test_every_test_is_run_by_one_target_of_ci_but_for_the_long_faults(
    marks: tuple[str, ...], target: str | None
):
    assert selecting(marks) - {"cov", "faults"} == ({target} if target else set())
    assert "faults" in selecting(marks), "it chooses by folder"


def test_ci_runs_every_target_that_has_tests_but_for_faults_and_coverage():
    run = re.findall(r"^make ([a-z-]+)$", (ROOT / ".ci" / "run").read_text("utf-8"), re.MULTILINE)
    assert set(run) == set(selections()) - {"faults", "cov"}


TIMED = """
import threading
from pathlib import Path
import pytest
from tests import time_limit

time_limit._PRESSURE = Path("pressure")
LINE = "some avg10=9.99 avg60=9.99 avg300=9.99 total={}"
time_limit._PRESSURE.write_text(LINE.format(7))

def wait():
    threading.Event().wait(0.5)

def test_short(): pass
def test_long(): wait()

def test_on_a_busy_machine():
    wait()
    time_limit._PRESSURE.write_text(LINE.format(1_000_000))

@pytest.mark.slow
def test_slow(): wait()

@pytest.fixture
def dear():
    wait()

def test_fixture(dear): pass
"""


@pytest.mark.parametrize(("ci", "errors"), [("true", 2), ("", 0)])
def test_under_ci_a_test_that_takes_too_long_fails_unless_it_is_slow_or_the_machine_was_busy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ci: str, errors: int
):
    (tmp_path / "test_timed.py").write_text(TIMED)
    settings = "[pytest]\ntime_limit = 0.4\nmarkers =\n    slow: s\n"
    (tmp_path / "pytest.ini").write_text(settings)
    monkeypatch.setenv("CI", ci)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    quiet = ("-q", "-rN", "-p", "no:randomly", "-p", "no:xdist", "-p", "no:hypothesispytest")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *quiet, "-p", "tests.time_limit"],
        cwd=tmp_path, capture_output=True, text=True, check=False, timeout=50,
    )  # fmt: skip
    assert re.search(r"^5 passed(, 2 errors)? in", done.stdout, re.MULTILINE), done.stdout
    blamed = re.findall(r"::(\w+) took \S+ s.*mark it with pytest.mark.slow", done.stdout)
    assert blamed == ["test_long", "test_fixture"][:errors]
    assert done.returncode == bool(errors)
