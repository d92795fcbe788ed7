"""One run of the commands: what the parser finds wrong becomes an error of ours."""

from __future__ import annotations

import sys
from typing import cast

import typer

from degrade.cli.app import app
from degrade.cli.exit_codes import Exit
from degrade.errors import ConfigError

__all__ = ("run",)

# Typer takes it from click, or from a copy of click of its own, and names it nowhere.
_Mistake: type[Exception] = typer.BadParameter.__mro__[1]


def run() -> int:
    """Run the command line with the process's arguments and return its exit code.

    Raises:
        DegradeError: A command failed, or cannot be understood (code `bad-command`).
    """
    try:
        code = app(prog_name="degrade", standalone_mode=False)
    except typer.Abort:
        return Exit.INTERRUPTED
    except _Mistake as error:
        mistake = cast("typer.BadParameter", error)
        if not sys.argv[1:]:  # the message is the help
            mistake.show()
            return Exit.USAGE
        raise ConfigError(_told(mistake), code="bad-command") from None
    return int(code or Exit.OK)


def _told(mistake: typer.BadParameter) -> str:
    text = mistake.format_message()
    stop = "" if text.endswith((".", "?", "!")) else "."
    command = "degrade" if mistake.ctx is None else mistake.ctx.command_path
    return f"{text[:1].lower()}{text[1:]}{stop} See: {command} --help"
