"""The entry point: starts the command line, or says what to install."""

from __future__ import annotations

import importlib
import sys

from degrade.cli.exits import Exit, exit_for, json_error
from degrade.errors import DegradeError, MissingExtraError

__all__ = ("main",)

_EXTRA = ("typer", "rich")
_WITHOUT = (
    "to act on one host without the store, there: "
    "degrade hold FLAG MODE --for 30m --reason REASON --local"
)


def main() -> None:
    """Run the command line with the process's arguments, and exit with a documented code."""
    try:
        for name in _EXTRA:
            _require(name)
        importlib.import_module("degrade.cli.app").app(prog_name="degrade")
    except DegradeError as error:
        code = exit_for(error)
        if "--json" in sys.argv[1:]:
            print(json_error(error, code))
        from degrade.cli.text import clean  # noqa: PLC0415 - not needed unless something failed

        print(f"degrade: {clean(str(error))}", file=sys.stderr)
        if error.code == "store" and "--local" not in sys.argv[1:]:
            print(f"degrade: {_WITHOUT}", file=sys.stderr)
        sys.exit(code)
    sys.exit(Exit.OK)


def _require(name: str) -> None:
    try:
        importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name:
            raise
        raise MissingExtraError(name, "cli") from error
