"""Checking what a declaration says of its flag."""

from __future__ import annotations

from typing import Any

from degrade.errors import ConfigError
from degrade.fallback.rung import is_coroutine_callable, name_of
from degrade.runtime.calls.outcomes import is_countable

__all__ = ("check_errors", "check_ignore", "check_text")


def check_text(name: str, what: str, text: object) -> None:
    """Refuse what is no text that a store can keep.

    Raises:
        ConfigError: It is no str, or has lone surrogates.
    """
    if text is None:
        return
    if not isinstance(text, str):
        raise ConfigError(f"Flag({name!r}, {what}={text!r}): give a str")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ConfigError(
            f"Flag({name!r}, {what}={text!r}): give a str without lone surrogates"
        ) from None


def check_ignore(name: str, ignore: object) -> None:
    """Refuse what is neither exceptions nor a plain predicate.

    Raises:
        ConfigError: See `check_errors`; or it is a coroutine function.
    """
    if ignore is None:
        return
    if isinstance(ignore, (type, tuple)) or not callable(ignore):
        check_errors(name, "ignore", ignore)
    elif is_coroutine_callable(ignore):
        raise ConfigError(
            f"Flag({name!r}, ignore={name_of(ignore)}): give a plain function, nobody would await it"
        )


def check_errors(name: str, what: str, errors: object) -> None:
    """Refuse what names no exceptions that may be counted.

    Raises:
        ConfigError: It is no exception class or tuple of them, or one of them ends the caller.
    """
    kinds: tuple[Any, ...] = errors if isinstance(errors, tuple) else (errors,)
    if not kinds or not all(
        isinstance(kind, type) and issubclass(kind, BaseException) for kind in kinds
    ):
        raise ConfigError(
            f"Flag({name!r}, {what}={errors!r}): give an exception class or a tuple of them"
        )
    for kind in kinds:
        if not is_countable(kind):
            raise ConfigError(
                f"Flag({name!r}, {what}={errors!r}): leave out {kind.__name__}, which is or "
                "includes what ends the caller (KeyboardInterrupt and its like): that is never "
                "counted"
            )
