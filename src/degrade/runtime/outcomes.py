"""What an exception means for a flag: a failure, a refusal to pass on, or neither.

A refusal (permission denied, not found, bad request) is an answer of the application, and must
never be turned into a served snapshot. The exceptions of web frameworks are recognised without
importing any: only a module that is loaded can have raised one.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

from degrade.core.words import Outcome

__all__ = ("Errors", "Ignore", "is_refusal", "outcome_of")

Errors = type[Exception] | tuple[type[Exception], ...]
Ignore = Errors | Callable[[Exception], bool]

_STATUS_OF: dict[str, tuple[str, str]] = {
    "starlette.exceptions": ("HTTPException", "status_code"),
    "werkzeug.exceptions": ("HTTPException", "code"),
    "aiohttp.web_exceptions": ("HTTPException", "status"),
    "litestar.exceptions": ("HTTPException", "status_code"),
    "tornado.web": ("HTTPError", "status_code"),
    "falcon": ("HTTPError", "status_code"),
    "rest_framework.exceptions": ("APIException", "status_code"),
}
_REFUSALS: dict[str, tuple[str, ...]] = {
    "django.http": ("Http404",),
    "django.core.exceptions": ("PermissionDenied", "SuspiciousOperation", "BadRequest"),
}
_CLIENT_ERRORS = range(400, 500)


def is_refusal(error: Exception) -> bool:
    """Return whether `error` refuses a request: `PermissionError`, or a framework's 4xx.

    Cost:
        Runs only for a call that failed; looks at loaded modules alone.
    """
    if isinstance(error, PermissionError):
        return True
    for module, (name, attribute) in _STATUS_OF.items():
        kind = getattr(sys.modules.get(module), name, None)
        if isinstance(kind, type) and isinstance(error, kind):
            status = getattr(error, attribute, None)
            if callable(status):
                return False
            code = getattr(status, "value", status)
            return str(code)[:3].isdigit() and int(str(code)[:3]) in _CLIENT_ERRORS
    for module, names in _REFUSALS.items():
        loaded = sys.modules.get(module)
        for name in names:
            kind = getattr(loaded, name, None)
            if isinstance(kind, type) and isinstance(error, kind):
                return True
    return False


def outcome_of(error: BaseException, failures: Errors, ignore: Ignore | None) -> Outcome:
    """Say what an exception is: abandoned, ignored or a failure.

    `ignore` is asked first; an `Exception` that matches neither is ignored too: it is passed
    on, and counts for no verdict.

    Raises:
        Exception: What a predicate given as `ignore` raises.
    """
    if not isinstance(error, Exception):
        return Outcome.ABANDONED
    if ignore is None:
        ignored = is_refusal(error)
    elif isinstance(ignore, (type, tuple)):
        ignored = isinstance(error, ignore)
    else:
        ignored = bool(ignore(error))
    return Outcome.FAILURE if not ignored and isinstance(error, failures) else Outcome.IGNORED
