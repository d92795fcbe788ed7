"""Exit codes, for scripts; `docs/reference/cli.md` has the same table."""

from __future__ import annotations

import json
from enum import IntEnum

from degrade.errors import DegradeError

__all__ = ("MEANINGS", "Exit", "exit_for", "json_error")


class Exit(IntEnum):
    """What the exit code of `degrade` says."""

    OK = 0
    FAILED = 1
    USAGE = 2
    NOT_SHARED = 3
    STORE = 4
    UNKNOWN_FLAG = 5
    NOT_ARRIVED = 6
    UNWRITTEN = 7
    INTERRUPTED = 130


MEANINGS: dict[Exit, str] = {
    Exit.OK: "done; also `events --follow` that was interrupted",
    Exit.FAILED: "failed for another reason, which the message names",
    Exit.USAGE: "the command, an option or a setting is wrong; nothing was changed",
    Exit.NOT_SHARED: "the store is memory://, which no other process can see",
    Exit.STORE: "the store, or the file of local holds, cannot be used",
    Exit.UNKNOWN_FLAG: "no such flag is declared; the message names the closest",
    Exit.NOT_ARRIVED: "done, but fewer processes than `--wait` asked for have applied it in time",
    Exit.UNWRITTEN: "done, but the output could not be written; an order stands",
    Exit.INTERRUPTED: "interrupted; an order that was written by then stands",
}

_BY_CODE = {
    "store-not-shared": Exit.NOT_SHARED,
    "store": Exit.STORE,
    "unknown-flag": Exit.UNKNOWN_FLAG,
    "bad-duration": Exit.USAGE,
    "bad-ratio": Exit.USAGE,
    "bad-setting": Exit.USAGE,
    "bad-name": Exit.USAGE,
    "bad-hold": Exit.USAGE,
    "bad-command": Exit.USAGE,
}


def exit_for(error: DegradeError) -> Exit:
    """Return the exit code that an error leads to."""
    return _BY_CODE.get(error.code, Exit.FAILED)


def json_error(error: DegradeError, code: Exit) -> str:
    """Return an error as the JSON that `--json` prints instead of a result."""
    return json.dumps({"error": {"code": error.code, "message": str(error), "exit": int(code)}})
