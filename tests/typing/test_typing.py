"""The promises to type checkers, read by mypy (strict) and by pyright."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent
FILES = [*map(str, sorted(HERE.glob("check_*.py"))), str(HERE / "refused.py")]
IGNORE = re.compile(r"  # type: ignore\[[\w, -]+\]")

Finding = tuple[str, int, str]  # file, line, message

pytestmark = [pytest.mark.types, pytest.mark.timeout(300)]


def mypy(*files: str) -> set[Finding]:
    command = [sys.executable, "-m", "mypy", "--config-file", str(ROOT / "pyproject.toml")]
    done = subprocess.run(
        [*command, "--output", "json", *files],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode in (0, 1), done.stdout + done.stderr
    found = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    return {
        (Path(each["file"]).name, each["line"], each["message"])
        for each in found
        if each["severity"] == "error"
    }


def pyright(*files: str) -> set[Finding]:
    command = [sys.executable, "-m", "pyright", "--pythonpath", sys.executable, "--outputjson"]
    done = subprocess.run([*command, *files], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode in (0, 1), done.stdout + done.stderr
    return {
        (Path(each["file"]).name, each["range"]["start"]["line"] + 1, each["message"])
        for each in json.loads(done.stdout)["generalDiagnostics"]
        if each["severity"] == "error"
    }


@pytest.mark.parametrize("checker", [mypy, pyright])
def test_the_promised_types_hold_and_mistakes_are_refused(
    checker: Callable[..., set[Finding]], tmp_path: Path
) -> None:
    refused = (HERE / "refused.py").read_text()
    bare = tmp_path / "bare.py"
    bare.write_text(IGNORE.sub("", refused))
    mistakes = {i for i, line in enumerate(refused.splitlines(), 1) if IGNORE.search(line)}

    found = checker(*FILES, str(bare))
    assert {finding for finding in found if finding[0] != bare.name} == set()
    assert {line for name, line, _ in found if name == bare.name} == mistakes
    assert len(mistakes) > 10
