from __future__ import annotations

import copy
import pickle
from collections.abc import Callable

import pytest

from degrade import errors
from degrade.errors import (
    CodecError,
    ConfigError,
    DegradeError,
    DuplicateFlagError,
    MissingExtraError,
    StoreError,
    UnavailableError,
    UnknownFlagError,
    UsageError,
)


@pytest.mark.parametrize(
    ("cls", "builtin", "code"),
    [
        (ConfigError, ValueError, "bad-setting"),
        (UsageError, TypeError, "not-callable"),
        (UnknownFlagError, LookupError, "unknown-flag"),
        (DuplicateFlagError, ValueError, "duplicate-flag"),
        (CodecError, ValueError, "codec"),
        (StoreError, ConnectionError, "store"),
    ],
)
def test_an_error_is_caught_by_its_base_and_by_the_builtin_that_fits(
    cls: type[DegradeError], builtin: type[Exception], code: str
) -> None:
    error = cls("what happened")
    assert isinstance(error, DegradeError)
    assert isinstance(error, builtin)
    assert error.code == code
    assert str(error) == "what happened"


def test_a_code_of_its_own_stays_with_the_one_error() -> None:
    assert ConfigError("wrong", code="bad-ratio").code == "bad-ratio"
    assert ConfigError("wrong").code == "bad-setting"


def test_every_class_is_in_the_public_list() -> None:
    classes = {
        name
        for name, value in vars(errors).items()
        if isinstance(value, type) and issubclass(value, DegradeError)
    }
    assert set(errors.__all__) - {"CODES"} == classes


def unavailable() -> UnavailableError:
    return UnavailableError("feed", since=12.5, retry_after_s=7.4, cause="breach: errors 40%")


def test_unavailable_says_why_and_what_to_do() -> None:
    error = unavailable()
    assert str(error) == (
        "'feed' is degraded (breach: errors 40%) and no rung of its ladder could serve; "
        "try again in 7 s, or add default(...) as the last rung"
    )
    assert (error.flag, error.since, error.retry_after_s, error.cause, error.code) == (
        *("feed", 12.5, 7.4, "breach: errors 40%"),
        "unavailable",
    )
    assert isinstance(error, RuntimeError)


@pytest.mark.parametrize("through", [lambda e: pickle.loads(pickle.dumps(e)), copy.copy])
def test_unavailable_crosses_process_borders_whole(through: object) -> None:
    error = through(unavailable())
    assert type(error) is UnavailableError
    assert str(error) == str(unavailable())
    assert (error.flag, error.since, error.retry_after_s, error.cause) == (
        *("feed", 12.5, 7.4),
        "breach: errors 40%",
    )


@pytest.mark.parametrize(
    "error",
    [
        *(
            cls("what happened", code="bad-name")
            for cls in (
                DegradeError, ConfigError, UsageError, UnknownFlagError, DuplicateFlagError,
                CodecError, StoreError,
            )
        ),
        unavailable(),
        MissingExtraError("typer", "cli"),
    ],
    ids=lambda error: type(error).__name__,
)  # fmt: skip
@pytest.mark.parametrize("through", [lambda e: pickle.loads(pickle.dumps(e)), copy.copy])
def test_every_error_crosses_process_borders_whole(
    error: DegradeError, through: Callable[[DegradeError], DegradeError]
) -> None:
    there = through(error)
    assert type(there) is type(error)
    assert (str(there), there.code, vars(there)) == (str(error), error.code, vars(error))


def test_a_missing_extra_gives_the_install_command() -> None:
    error = MissingExtraError("typer", "cli")
    assert isinstance(error, ImportError)
    assert error.code == "missing-extra"
    assert (error.module, error.extra) == ("typer", "cli")
    assert str(error) == "typer is not installed; run: pip install 'degrade[cli]'"
