"""T31 versions: the link and the stores keep their contracts with every redis-py that is supported.

Each version goes into a folder of its own that comes before the installed one.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults.figures import Figures

ROOT = Path(__file__).resolve().parents[2]
VERSIONS = ("5.3.1", "5.3.1 hiredis", "6.4.0", "7.4.1", "8.1.0", "8.1.0 hiredis")
CONTRACTS = "tests/contract"

SEEN = """
import redis, redis.connection, sys
parser = redis.connection.DefaultParser.__name__
print(redis.__version__, "hiredis" if "iredis" in parser else "")
"""


@pytest.mark.faults
@pytest.mark.timeout(400)
@pytest.mark.parametrize("version", VERSIONS)
def test_every_contract_holds_with_this_redis_py(version, tmp_path, figures: Figures):
    number, _, parser = version.partition(" ")
    figures.about(f"T31 versions {version}", "redis-py of this version is in use")
    requirement = f"redis[{parser}]=={number}" if parser else f"redis=={number}"
    python(tmp_path, "-m", "pip", "install", "--quiet", "--target", str(tmp_path), requirement)
    assert python(tmp_path, "-c", SEEN).strip() == version

    told = python(tmp_path, "-m", "pytest", "-q", "-n0", "-p", "no:cacheprovider", CONTRACTS)

    passed = re.search(r"^(\d+) passed", told, re.MULTILINE)
    assert passed is not None, told
    assert int(passed[1]) > 100
    figures.note("contract tests that pass", passed[1], "all")


def python(folder: Path, *words: str) -> str:
    """Run our interpreter with the packages of a folder first, and return what it says."""
    done = subprocess.run(
        [sys.executable, *words],
        check=False,
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=380,
        env=os.environ | {"PYTHONPATH": str(folder), "PYTEST_ADDOPTS": ""},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
