"""Text that a terminal can be given: whatever a flag, a reason or an actor contains.

Control characters could move the cursor, hide a line or answer for the user; marks that turn the
direction of writing could make one flag look like another. They become a visible sign. Characters that the
encoding of the output does not have are escaped.
"""

from __future__ import annotations

import dataclasses
import json
import shlex
import sys
import time
import unicodedata
from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Any

from degrade.units import duration_text

__all__ = ("ago", "ahead", "clean", "command_line", "json_text", "plain", "when")

_DAY_S = 86_400.0
_UNSAFE = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})


def clean(text: str) -> str:
    """Return text without anything that a terminal would obey; line ends become spaces."""
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    shown = "".join(_safe(char) for char in text)
    try:
        shown.encode(encoding)
    except UnicodeEncodeError:
        shown = shown.replace("\N{REPLACEMENT CHARACTER}", "?")
        return shown.encode(encoding, "backslashreplace").decode(encoding)
    return shown


def _safe(char: str) -> str:
    if char in "\n\r\t":
        return " "
    return "\N{REPLACEMENT CHARACTER}" if unicodedata.category(char) in _UNSAFE else char


def command_line(words: Sequence[str]) -> str:
    """Return words as a shell command that can be copied."""
    return clean(shlex.join(words))


def when(at: float, now: float) -> str:
    """Return a time as people here read it; with the date unless it is within twelve hours."""
    near = abs(now - at) < _DAY_S / 2
    try:
        return time.strftime("%H:%M:%S" if near else "%Y-%m-%d %H:%M:%S", time.localtime(at))
    except (OverflowError, ValueError, OSError):  # a store may hold anything
        return "far in the future" if at > now else "long ago"


def ago(at: float, now: float) -> str:
    """Return how long ago a time was: `3m10s ago`."""
    return f"{_rounded(now - at)} ago"


def ahead(at: float, now: float) -> str:
    """Return how far ahead a time is: `in 27m`."""
    return f"in {_rounded(at - now)}" if at > now else "now"


def _rounded(value_s: float) -> str:
    left_s = max(0.0, value_s)
    return duration_text(float(round(left_s)) if left_s < _DAY_S else left_s)


def plain(value: Any) -> Any:
    """Return a result as JSON values: dataclasses and records become objects."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {
            field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)
        }
    dump = getattr(value, "model_dump", None)  # a pydantic record
    if dump is not None:
        return dump(mode="json")
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value


def json_text(value: Any, *, indent: int | None = 2) -> str:
    """Return a result as JSON in ASCII, which no terminal can be harmed by."""
    return json.dumps(plain(value), indent=indent, ensure_ascii=True)
