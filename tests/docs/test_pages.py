"""Everything that README and docs show is run, and everything that they point to is there."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from degrade.telemetry.names import METRICS
from tests.docs.pages import PAGES, ROOT, Block, blocks, name_of, prose
from tests.docs.run import Mismatch, Reader, commands

RUN = {"python", "console"}
SHOWN = {"text", "toml", "json", "yaml", "http", "promql", "{toctree}", "{eval-rst}"}
LONG = {"docs/how-to/degrade-and-release.md", "docs/reference/redis.md"}
COMMENTS = re.compile(r"<!-- *([a-z ]+)")
LINK = re.compile(r"!?\[[^\]]*\]\((?P<target>[^)\s]+)\)")
INSTALL = re.compile(r"pip install '?(?:degrade|\.)\[(?P<extra>\w+)\]")
MAKE = re.compile(r"(?:^\$ |`)make (?P<target>[a-z-]+)", re.MULTILINE)
NOT_OF_THE_REPOSITORY = re.compile(r"/work/|/tmp/|\bissues? #?\d|\bPyPI\b", re.IGNORECASE)

each_page = pytest.mark.parametrize("page", PAGES, ids=name_of)


@pytest.mark.real
@pytest.mark.timeout(180)
@pytest.mark.parametrize(
    "page",
    [
        pytest.param(page, marks=pytest.mark.slow if name_of(page) in LONG else ())
        for page in PAGES
        if any(block.language in RUN for block in blocks(page))
    ],
    ids=name_of,
)
def test_every_block_does_what_the_page_says(page: Path, tmp_path: Path):
    with Reader(tmp_path, name_of(page)) as reader:
        reader.follow(blocks(page))


@each_page
def test_every_block_is_run_or_is_of_a_kind_that_cannot_be(page: Path):
    for block in blocks(page):
        where = f"{name_of(page)}:{block.line}"
        assert block.language in RUN | SHOWN, f"{where}: what is ```{block.language}?"
        assert block.word != "not run" or block.value, f"{where}: say why it is not run"
        if block.value.startswith(("run below", "run in ")):
            in_file = block.value.removeprefix("run in ")
            other = page if in_file == block.value else ROOT / in_file
            run = {said for found in blocks(other) if not found.word for said in commands(found)}
            assert {command for command, _ in commands(block)} <= {command for command, _ in run}
        assert block.word != "prints" or block.language == "text", where
        if block.language == "console":
            assert list(commands(block)), f"{where}: no line begins with '$ '"


@each_page
def test_every_comment_is_one_that_the_tests_understand(page: Path):
    known = {"file", "prints", "exit", "not run", "defaults", "exceptions", "begin", "end"}
    assert {word.strip() for word in COMMENTS.findall(page.read_text())} <= known


@each_page
def test_every_link_leads_to_something(page: Path):
    for target in LINK.findall(prose(page)):
        path, _, anchor = target.partition("#")
        if path.startswith(("https:", "http:")):
            continue
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), f"{name_of(page)} links to {target}"
        assert not anchor or anchor in _anchors(file), f"{name_of(page)} links to {target}"


@each_page
def test_every_extra_and_every_make_target_that_is_named_exists(page: Path):
    text = page.read_text()
    with (ROOT / "pyproject.toml").open("rb") as file:
        extras = tomllib.load(file)["project"]["optional-dependencies"]
    assert set(INSTALL.findall(text)) <= set(extras)
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(MAKE.findall(text)) <= targets


@each_page
def test_pages_speak_of_the_library_alone(page: Path):
    assert NOT_OF_THE_REPOSITORY.search(page.read_text()) is None


@each_page
def test_every_metric_that_a_query_names_is_listed(page: Path):
    listed = {metric.name for metric in METRICS}
    for block in blocks(page):
        if block.language in {"promql", "yaml"}:
            named = set(re.findall(r"\bdegrade_\w+", block.text))
            assert {re.sub(r"_(sum|count|bucket)$", "", name) for name in named} <= listed


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text().splitlines()) <= 160


def _promises() -> list[str]:
    section = (ROOT / "README.md").read_text().partition("## What it promises")[2]
    rows = [line for line in section.partition("\n## ")[0].splitlines() if line.startswith("| ")]
    promises = [row for row in rows if not row.startswith("| promise")]
    assert len(promises) >= 10
    return promises


def test_every_promise_of_the_readme_links_to_what_shows_it():
    for row in _promises():
        targets = LINK.findall(row)
        assert targets, row
        assert any(re.match(r"tests/|examples/|docs/explanation/bench", t) for t in targets), row


def test_a_promise_is_not_shown_by_the_long_faults_alone_which_ci_does_not_run():
    for row in _promises():
        targets = [ROOT / target for target in LINK.findall(row) if target.startswith("tests/")]
        for target in targets:
            files = [target] if target.is_file() else [*target.glob("test_*.py")]
            assert not all(map(_all_long_faults, files)), f"{target} is run by make faults alone"


@pytest.mark.real
@pytest.mark.parametrize(
    ("language", "text", "output"),
    [
        ("python", "print(1 + 1)\n", "three"),
        ("python", "raise SystemExit(3)\n", ""),
        ("console", "$ echo all is well\nnothing is well\n", ""),
        ("console", "$ false\n", ""),
    ],
    ids=["print", "raise", "echo", "false"],
)
def test_a_page_that_says_something_else_is_noticed(language, text, output, tmp_path):
    shown = Block(language="text", text=output, line=9, word="prints")
    with Reader(tmp_path, "page") as reader, pytest.raises(Mismatch):
        reader.follow([Block(language=language, text=text, line=1), shown])


def _all_long_faults(file: Path) -> bool:
    return bool(re.search(r"^pytestmark = .*mark\.faults", file.read_text(), re.MULTILINE))


def _anchors(page: Path) -> set[str]:
    titles = re.findall(r"^#+ (.*)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}
