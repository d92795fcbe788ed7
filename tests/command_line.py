"""The command line `degrade`, in this process: as in one of its own, but without its start."""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from unittest import mock

from degrade.cli import main

__all__ = ("MAIN", "call")

MAIN = "from degrade.cli import main; main()"
"""The same for a process of its own, which is wanted for signals, pipes and imports."""


def call(
    words: Sequence[str], env: dict[str, str], folder: Path
) -> subprocess.CompletedProcess[str]:
    """Run the command line with these words and this environment alone, in a folder."""
    out, err = _output(), _output()
    with (
        mock.patch.object(sys, "argv", ["degrade", *words]),
        mock.patch.dict(os.environ, env, clear=True),
        contextlib.chdir(folder),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            main()
        except SystemExit as ended:
            code = ended.code
    return subprocess.CompletedProcess(list(words), code, _text(out), _text(err))


def _output() -> io.TextIOWrapper:
    """Return what takes the same text as a pipe does."""
    return io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True)


def _text(output: io.TextIOWrapper) -> str:
    return output.buffer.getvalue().decode()
