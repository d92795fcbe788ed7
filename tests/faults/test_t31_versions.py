"""T31 versions: contracts and faults, with every redis-py that is supported.

Each version goes into a folder of its own that comes before the installed one. What T01, T05 and
T10 ask is asked of each: by these tests again, in a run of their own. With the version that is
installed they run beside this one, and with hiredis, which only reads replies in another way, the
contracts suffice. The contracts hold the rest of the plan, too: RESP2, a certificate that has
expired, and a handshake that hangs.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults.figures import Figures

ROOT = Path(__file__).resolve().parents[2]
VERSIONS = ("5.3.1", "5.3.1 hiredis", "6.4.0", "7.4.1", "8.1.0", "8.1.0 hiredis")
INSTALLED = importlib.metadata.version("redis")
CONTRACTS = ("tests/contract",)
FAULTS = (
    "tests/faults/test_silence.py::test_a_frozen_redis_slows_no_call_and_is_caught_up_with_at_once",
    "tests/faults/test_silence.py::test_a_partition_is_noticed_and_healed_within_three_seconds",
    "tests/faults/test_errors.py",
)
CLASSES = 12
"""Ways to refuse of T10."""

SEEN = """
import redis, redis.connection, sys
parser = redis.connection.DefaultParser.__name__
print(redis.__version__, "hiredis" if "iredis" in parser else "")
"""


@pytest.mark.faults
@pytest.mark.timeout(400)
@pytest.mark.parametrize("version", VERSIONS)
def test_every_contract_holds_with_this_redis_py(version, tmp_path, figures: Figures):
    figures.about(f"T31 versions {version}", "redis-py of this version is in use")
    install(version, tmp_path)
    passed = passing(tmp_path, *CONTRACTS, processes=2)
    assert passed > 100
    figures.note("contract tests that pass", passed, "all")


@pytest.mark.faults
@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.parametrize("version", [one for one in VERSIONS if " " not in one])
def test_every_fault_is_survived_with_this_redis_py(version, tmp_path, figures: Figures):
    figures.about(f"T31 faults {version}", "T01, T05 and T10 with redis-py of this version")
    if version == INSTALLED:
        figures.note("tests", "those of this page: it is the version that is installed")
        return
    install(version, tmp_path)
    # one after the other: what is measured is disturbed enough by what runs beside this
    assert passing(tmp_path, *FAULTS, processes=0) >= 2 + CLASSES
    tables = [json.loads(path.read_text()) for path in sorted((tmp_path / "kept").glob("*.json"))]
    assert len(tables) == 2 + CLASSES, "one a fault"
    for table in tables:
        rows = {row["what"]: row["measured"] for row in table["rows"]}
        figures.note(
            f"{table['name']}: calls to what was expected, worst call",
            f"{rows['p99 of calls, to what was expected']}, {rows['worst call']}", "1.5, 300 ms",
        )  # fmt: skip


def install(version: str, folder: Path) -> None:
    """Put a version into a folder, and see that it is the one that a program gets."""
    number, _, parser = version.partition(" ")
    requirement = f"redis[{parser}]=={number}" if parser else f"redis=={number}"
    python(folder, "-m", "pip", "install", "--quiet", "--target", str(folder), requirement)
    assert python(folder, "-c", SEEN).strip() == version


def passing(folder: Path, *tests: str, processes: int) -> int:
    """Run tests with the version of a folder, and return how many passed: all of them."""
    quiet = ("-q", f"-n{processes}", "-p", "no:cacheprovider", "-m", "not faults")
    told = python(folder, "-m", "pytest", *quiet, *tests)
    passed = re.search(r"^(\d+) passed", told, re.MULTILINE)
    assert passed is not None, told
    return int(passed[1])


def python(folder: Path, *words: str) -> str:
    """Run our interpreter with the packages of a folder first, and return what it says."""
    own = {"PYTHONPATH": str(folder), "PYTEST_ADDOPTS": "", "FIGURES_FOLDER": str(folder / "kept")}
    done = subprocess.run(
        [sys.executable, *words],
        check=False,
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=380,
        env=os.environ | own,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
