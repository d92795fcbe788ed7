"""The entry point: starts the command line, or says what to install."""

from __future__ import annotations

import importlib
import os
import sys

from degrade.cli.exits import Exit, exit_for, json_error
from degrade.errors import DegradeError, MissingExtraError

__all__ = ("main",)

_EXTRA = ("typer", "rich")
_WITHOUT = (
    "to act on one host without the store, there: "
    "degrade hold FLAG MODE --for 30m --reason REASON --local"
)
_UNWRITTEN = "cannot write the output: {}; an order that was given stands, see: degrade status"


def main() -> None:
    """Run the command line with the process's arguments, and exit with a documented code."""
    try:
        try:
            code = _run()
        except DegradeError as error:
            code = _tell(error)
        print(end="", flush=True)
    except KeyboardInterrupt:  # while it starts; later the parser hears it
        code = Exit.INTERRUPTED
    except OSError as error:
        if error.filename is not None:  # no error of the output, which has no name
            raise
        if not isinstance(error, BrokenPipeError):  # the reader went away, and wants no word
            print(f"degrade: {_UNWRITTEN.format(error.strerror)}", file=sys.stderr)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what is left has nowhere to go
        code = Exit.FAILED
    sys.exit(code)


def _run() -> int:
    for name in _EXTRA:
        _require(name)
    code: int = importlib.import_module("degrade.cli.run").run()
    return code


def _tell(error: DegradeError) -> Exit:
    """Print an error, with the way out, and return its exit code."""
    code = exit_for(error)
    from degrade.cli.text import clean  # noqa: PLC0415 - not needed unless something failed

    print(f"degrade: {clean(str(error))}", file=sys.stderr)
    if error.code == "store" and "--local" not in sys.argv[1:]:
        print(f"degrade: {_WITHOUT}", file=sys.stderr)
    if "--json" in sys.argv[1:]:
        print(json_error(error, code))
    return code


def _require(name: str) -> None:
    try:
        importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name:
            raise
        raise MissingExtraError(name, "cli") from error
