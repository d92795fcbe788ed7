"""The entry point: starts the command line, or says what to install."""

from __future__ import annotations

import importlib
import sys

from degrade.cli.exit_codes import Exit, exit_for, json_error
from degrade.cli.output import Output, take_streams
from degrade.errors import DegradeError, MissingExtraError

__all__ = ("main",)

_EXTRA = ("typer", "rich")
_WITHOUT = (
    "to act on one host without the store, there: "
    "degrade hold FLAG MODE --for 30m --reason REASON --local"
)


def main() -> None:
    """Run the command line with the process's arguments, and exit with a documented code."""
    output = take_streams()
    try:
        try:
            code = _run()
        except DegradeError as error:
            code = _tell(error)
    except KeyboardInterrupt:  # while it starts; later the parser hears it
        code = Exit.INTERRUPTED
    sys.exit(_end(output, code))


def _run() -> int:
    for name in _EXTRA:
        _require(name)
    code: int = importlib.import_module("degrade.cli.dispatch").run()
    return code


def _tell(error: DegradeError) -> Exit:
    """Print an error, with the way out, and return its exit code."""
    code = exit_for(error)
    print(f"degrade: {' '.join(str(error).splitlines())}", file=sys.stderr)
    if error.code == "store" and "--local" not in sys.argv[1:]:
        print(f"degrade: {_WITHOUT}", file=sys.stderr)
    if "--json" in sys.argv[1:]:
        print(json_error(error, code))
    return code


def _end(output: Output, code: int) -> int:
    """Return the exit code, once everything is written or cannot be."""
    output.flush()
    failure = output.failure
    if code == Exit.INTERRUPTED and output.ordered:
        print("degrade: interrupted; the order stands, see: degrade status", file=sys.stderr)
    if failure is not None:
        done = "; the order was carried out, see: degrade status" if output.ordered else ""
        if done or not isinstance(failure, BrokenPipeError):  # a reader that had enough
            print(f"degrade: cannot write the output: {failure.strerror}{done}", file=sys.stderr)
        code = code or Exit.UNWRITTEN
    sys.stderr.flush()
    return code


def _require(name: str) -> None:
    try:
        importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name:
            raise
        raise MissingExtraError(name, "cli") from error
