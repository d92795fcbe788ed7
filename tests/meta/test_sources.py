"""How the sources are written, as far as the linter does not see it."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from importlib.resources import files as resources
from pathlib import Path

import pytest

from tests.meta.sources import PACKAGE, ROOT, files, module_name, tree

LONGEST = 450
TEXT = frozenset({".py", ".md", ".toml", ".html", ".css", ".js", ".lua", ".sql", ".json", ""})
PLACES = ("src", "tests", "docs", "examples", "benchmarks", ".ci", "Makefile", "README.md")
UNFINISHED = re.compile("|".join(("TO" + "DO", "FIX" + "ME", "XX" + "X:")))
SILENCED = re.compile(r"#\s*(noqa|type:\s*ignore|pyright:\s*ignore|pragma:)")
REASONED = re.compile(r"#\s*(noqa|type:\s*ignore|pyright:\s*ignore|pragma:)\S*[^-#]* [-#] \w.{3,}")


def all_texts() -> list[Path]:
    found = []
    for place in PLACES:
        start = ROOT / place
        found += [start] if start.is_file() else sorted(start.rglob("*"))
    return [
        path
        for path in found
        if path.is_file()
        and path.suffix in TEXT
        and not {"__pycache__", "_build"} & set(path.parts)
    ]


@pytest.mark.parametrize("path", files(), ids=module_name)
def test_no_file_is_too_long_to_read(path: Path) -> None:
    assert len(path.read_text("utf-8").splitlines()) <= LONGEST


@pytest.mark.parametrize("path", files(), ids=module_name)
def test_arguments_are_checked_with_exceptions_not_assert(path: Path) -> None:
    assert [node.lineno for node in ast.walk(tree(path)) if isinstance(node, ast.Assert)] == []


@pytest.mark.parametrize("path", files(), ids=module_name)
def test_every_ignored_finding_has_its_reason(path: Path) -> None:
    code = path.read_text("utf-8")
    bare = [
        f"{path}:{token.start[0]}: {token.string}"
        for token in tokenize.generate_tokens(io.StringIO(code).readline)
        if token.type == tokenize.COMMENT
        and SILENCED.search(token.string)
        and not REASONED.search(token.string)
    ]
    assert not bare, "\n".join(bare)


def test_nothing_is_left_unfinished() -> None:
    texts = all_texts()
    assert len(texts) > 30, "the texts of the project were not found"
    found = [
        f"{path}:{number}: {line.strip()}"
        for path in texts
        for number, line in enumerate(path.read_text("utf-8", errors="replace").splitlines(), 1)
        if UNFINISHED.search(line)
    ]
    assert not found, "\n".join(found)


def test_every_package_only_re_exports() -> None:
    wrong = [
        f"{path}:{node.lineno}: {type(node).__name__} {getattr(node, 'name', '')}"
        for path in files()
        if path.name == "__init__.py"
        for node in tree(path).body
        if isinstance(node, ast.ClassDef)
    ]
    assert not wrong, "\n".join(wrong)


def test_the_marker_of_typed_packages_is_shipped() -> None:
    assert resources("degrade").joinpath("py.typed").is_file()
    assert (PACKAGE / "py.typed").read_bytes() == b""
