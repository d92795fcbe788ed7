"""Every exception of the library.

    DegradeError                      code of its own for each kind of mistake
    ├── ConfigError (ValueError)      a setting, policy or argument is wrong
    ├── UsageError (TypeError)        the API is used in a way that cannot work
    ├── UnknownFlagError (LookupError)    no flag of this name is declared
    ├── DuplicateFlagError (ValueError)   the name is declared elsewhere already
    ├── UnavailableError (RuntimeError)   degraded, and no rung could serve
    ├── CodecError (ValueError)       a snapshot cannot be encoded or decoded
    ├── StoreError (ConnectionError)  a store cannot be read or written
    └── MissingExtraError (ImportError)   an optional dependency is not installed

Only `UnavailableError` and the exceptions of the guarded function leave a guarded call.
Every error has a stable `code`; `docs/reference/errors.md` has a heading for each.
"""

from __future__ import annotations

__all__ = (
    "CODES",
    "CodecError",
    "ConfigError",
    "DegradeError",
    "DuplicateFlagError",
    "MissingExtraError",
    "StoreError",
    "UnavailableError",
    "UnknownFlagError",
    "UsageError",
)

CODES: frozenset[str] = frozenset(
    {
        # ConfigError
        "bad-duration",
        "bad-ratio",
        "bad-policy",
        "bad-setting",
        "bad-name",
        "bad-hold",
        "bad-subject",
        "bad-command",
        # UsageError
        "decorated-class",
        "decorated-property",
        "decorated-builtin",
        "decorated-generator",
        "decorated-context-manager",
        "decorated-twice",
        "not-callable",
        "async-rung",
        "bare-value",
        "bare-class",
        "bad-rung",
        "shared-value",
        "ladder-on-block",
        "sync-deadline",
        "snapshot-return-type",
        "snapshot-key",
        "snapshot-method-key",
        "snapshot-generator",
        "block-reused",
        "request-reused",
        "no-request",
        # the rest: one code a class
        "unknown-flag",
        "duplicate-flag",
        "unavailable",
        "codec",
        "store",
        "store-not-shared",
        "missing-extra",
    }
)


class DegradeError(Exception):
    """Base of every exception of the library; `code` names the kind and never changes."""

    code: str = "error"

    def __init__(self, message: str, *, code: str | None = None) -> None:
        super().__init__(message)
        if code is not None:
            self.code = code


class ConfigError(DegradeError, ValueError):
    """A setting, a policy or an argument has a value that cannot be used."""

    code = "bad-setting"


class UsageError(DegradeError, TypeError):
    """The API is used in a way that cannot work; raised when decorating, not by a guarded call."""

    code = "not-callable"


class UnknownFlagError(DegradeError, LookupError):
    """No flag of this name is declared; the message names the closest ones."""

    code = "unknown-flag"


class DuplicateFlagError(DegradeError, ValueError):
    """The flag is already declared in another place."""

    code = "duplicate-flag"


class UnavailableError(DegradeError, RuntimeError):
    """The flag is degraded and none of its rungs could serve.

    Attributes:
        flag: Name of the flag.
        since: When the flag left normal, Unix seconds; None when it did not (a failed call).
        retry_after_s: Seconds after which another try makes sense, at least 1.
        cause: Why the flag is degraded, one line for a log.
    """

    code = "unavailable"

    def __init__(self, flag: str, *, since: float | None, retry_after_s: float, cause: str) -> None:
        super().__init__(
            f"{flag!r} is degraded ({cause}) and no rung of its ladder could serve; "
            f"try again in {retry_after_s:.0f} s, or add default(...) as the last rung"
        )
        self.flag = flag
        self.since = since
        self.retry_after_s = retry_after_s
        self.cause = cause

    def __reduce__(self) -> tuple[object, ...]:
        """Pickle by field, so that the error crosses process borders."""
        return (_unavailable, (self.flag, self.since, self.retry_after_s, self.cause))


def _unavailable(
    flag: str, since: float | None, retry_after_s: float, cause: str
) -> UnavailableError:
    return UnavailableError(flag, since=since, retry_after_s=retry_after_s, cause=cause)


class CodecError(DegradeError, ValueError):
    """A value cannot be encoded as a snapshot, or stored bytes cannot be decoded."""

    code = "codec"


class StoreError(DegradeError, ConnectionError):
    """The store cannot be read or written; the last known state stays in force."""

    code = "store"


class MissingExtraError(DegradeError, ImportError):
    """An optional dependency is not installed; the message has the install command.

    Attributes:
        module: What cannot be imported.
        extra: The extra that installs it.
    """

    code = "missing-extra"

    def __init__(self, module: str, extra: str) -> None:
        super().__init__(f"{module} is not installed; run: pip install 'degrade[{extra}]'")
        self.module = module
        self.extra = extra

    def __reduce__(self) -> tuple[object, ...]:
        """Pickle by field, so that the error crosses process borders."""
        return (type(self), (self.module, self.extra))
