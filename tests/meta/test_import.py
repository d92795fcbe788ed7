"""What `import degrade` does, and what it leaves alone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import degrade
from tests.meta.sources import SRC, files, module_name

HEAVY = frozenset({"asyncio", "prometheus_client", "redis", "sqlite3"})

WATCH = """
import json, os, sys, threading

opened, spoke = [], []

def watch(event, args):
    if event == "open" and isinstance(args[0], (str, bytes)):
        path, mode, flags = args
        writing = flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
        opened.append([os.path.abspath(os.fsdecode(path)), bool(writing)])
    elif event.startswith(("socket.", "sqlite3.", "subprocess.", "os.fork", "os.posix_spawn")):
        spoke.append(event)

sys.addaudithook(watch)
{statements}
print(json.dumps({{
    "modules": sorted(sys.modules),
    "threads": [thread.name for thread in threading.enumerate()],
    "opened": opened,
    "spoke": spoke,
    "extra": globals().get("extra"),
}}))
"""


def watched(statements: str, folder: Path) -> dict[str, Any]:
    """Run statements in a bare interpreter, at home in an empty folder, and tell what they did."""
    done = subprocess.run(
        [sys.executable, "-c", WATCH.format(statements=statements)],
        check=False,
        capture_output=True,
        text=True,
        cwd=folder,
        timeout=50,
        env={
            "HOME": str(folder),
            "PATH": os.defpath,
            "PYTHONPATH": str(SRC),
            "PYTHONDONTWRITEBYTECODE": "1",
        },
    )
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    return result


@pytest.fixture(scope="module")
def imported(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return watched("import degrade", tmp_path_factory.mktemp("home"))


def test_importing_loads_no_heavy_library(imported: dict[str, Any]) -> None:
    assert "degrade" in imported["modules"]
    assert not HEAVY & set(imported["modules"])


def test_importing_starts_no_thread(imported: dict[str, Any]) -> None:
    assert imported["threads"] == ["MainThread"]


def test_importing_writes_and_reads_no_file_but_code(imported: dict[str, Any]) -> None:
    prefixes = (str(SRC), sys.prefix, sys.base_prefix)
    wrong = [
        path
        for path, writing in imported["opened"]
        if writing or not path.startswith(prefixes) or Path(path).suffix in (".db", ".toml")
    ]
    assert imported["opened"], "the audit hook saw nothing"
    assert not wrong


def test_importing_opens_no_connection_and_no_process(imported: dict[str, Any]) -> None:
    assert not imported["spoke"]


def test_importing_registers_no_metric(tmp_path: Path) -> None:
    statements = """
from prometheus_client import REGISTRY
before = sorted(metric.name for metric in REGISTRY.collect())
import degrade, degrade.telemetry.prometheus
extra = [before, sorted(metric.name for metric in REGISTRY.collect())]
"""
    before, after = watched(statements, tmp_path)["extra"]
    assert before, "the registry of prometheus-client should hold its own metrics"
    assert before == after


def test_no_module_starts_or_writes_anything_when_imported(tmp_path: Path) -> None:
    modules = [name for name in map(module_name, files()) if not name.endswith("__main__")]
    done = watched(f"import {', '.join(modules)}", tmp_path)
    assert set(modules) <= set(done["modules"])
    assert done["threads"] == ["MainThread"]
    assert not [path for path, writing in done["opened"] if writing]
    assert not [event for event in done["spoke"] if not event.startswith("socket.")]


def test_at_most_twenty_five_names_are_public() -> None:
    assert 0 < len(degrade.__all__) <= 25
    assert len(set(degrade.__all__)) == len(degrade.__all__)


def test_the_public_names_are_the_real_ones() -> None:
    listed = {name for name in degrade.__all__ if not name.startswith("_")}
    real = {
        name
        for name in dir(degrade)
        if not name.startswith("_") and not isinstance(getattr(degrade, name), ModuleType)
    }
    assert {name for name in listed if not hasattr(degrade, name)} == set()
    assert real - {"TYPE_CHECKING", "annotations"} == listed


def test_the_version_is_the_installed_one() -> None:
    from importlib.metadata import version

    assert degrade.__version__ == version("degrade")
