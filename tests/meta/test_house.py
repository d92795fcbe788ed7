"""What the layout promises: packages say what they contain, and a call can do no I/O."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from tests.meta.sources import PACKAGE, files, imports, module_name, tree

CALLERS = ("core", "context", "runtime/calls", "runtime/monitoring", "runtime/orders")
"""Rooms whose code runs in the thread of a caller, or decides without I/O."""

BARRED = ("socket", "sqlite3", "redis", "subprocess", "degrade.stores")
THREADS = (
    "integrations/pages.py",
    "runtime/background/worker.py",
    "runtime/fleet/snapshot_fetcher.py",
    "stores/redis/transport",
    "testing/store_contract.py",
)


def here(path: Path) -> Path:
    return path.relative_to(PACKAGE)


def packages() -> list[Path]:
    return sorted(path.parent for path in PACKAGE.rglob("__init__.py") if path.parent != PACKAGE)


LISTING = [
    folder
    for folder in packages()
    if len(list(folder.glob("*.py"))) > 2
    and here(folder).parts[0] in {"runtime", "fallback", "stores"}
]


@pytest.mark.parametrize("folder", LISTING, ids=lambda folder: str(here(folder)))
def test_a_package_lists_its_files_one_line_each(folder: Path) -> None:
    text = ast.get_docstring(tree(folder / "__init__.py"), clean=False) or ""
    listed = set(re.findall(r"^ {0,4}(\w+)  +\S", text, re.MULTILINE))
    there = {path.stem for path in folder.glob("*.py")} - {"__init__"}
    there |= {path.name for path in folder.iterdir() if (path / "__init__.py").exists()}
    assert listed == there


@pytest.mark.parametrize(
    "path", [path for path in files() if str(here(path)).startswith(CALLERS)], ids=module_name
)
def test_what_a_call_imports_can_do_no_io(path: Path) -> None:
    wrong = [f"{line}: {name}" for line, name in imports(path) if name.startswith(BARRED)]
    called = [
        f"{node.lineno}: {ast.unparse(node.func)}"
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Call) and ast.unparse(node.func) in {"open", "time.sleep"}
    ]
    assert not wrong + called


@pytest.mark.parametrize("path", files(), ids=module_name)
def test_threads_are_made_in_named_places_only(path: Path) -> None:
    made = [
        node.lineno
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Call) and ast.unparse(node.func) in {"threading.Thread", "Thread"}
    ]
    assert not made or str(here(path)).startswith(THREADS), f"{path}: {made}"
