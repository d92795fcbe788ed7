"""What an exception means: a failure, a refusal, or the end of a call without outcome."""

from __future__ import annotations

import asyncio
import sys
from http import HTTPStatus
from types import ModuleType

import pytest
from starlette.exceptions import HTTPException as StarletteHTTPException

from degrade import Runtime, default, degradable
from degrade.core.words import Outcome
from degrade.runtime.outcomes import is_refusal, outcome_of
from tests.unit.runtime.doing import Boom


def framework(
    monkeypatch: pytest.MonkeyPatch, module: str, name: str, attribute: str | None
) -> type[Exception]:
    """Load a module of a framework that has an exception of this shape."""

    class Error(Exception):
        def __init__(self, code: object = None) -> None:
            super().__init__(code)
            if attribute is not None:
                setattr(self, attribute, code)

    made = ModuleType(module)
    setattr(made, name, Error)
    monkeypatch.setitem(sys.modules, module, made)
    return Error


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 418, 422, 429, 451, 499])
def test_a_4xx_of_starlette_is_a_refusal(status: int):
    assert is_refusal(StarletteHTTPException(status))


@pytest.mark.parametrize("status", [200, 302, 500, 502, 503, 599])
def test_another_status_of_starlette_is_none(status: int):
    assert not is_refusal(StarletteHTTPException(status))


def test_a_subclass_of_starlettes_is_a_refusal():
    class NotFound(StarletteHTTPException):
        def __init__(self) -> None:
            super().__init__(404)

    assert is_refusal(NotFound())


@pytest.mark.parametrize(
    ("module", "name", "attribute"),
    [
        ("werkzeug.exceptions", "HTTPException", "code"),
        ("aiohttp.web_exceptions", "HTTPException", "status"),
        ("litestar.exceptions", "HTTPException", "status_code"),
        ("tornado.web", "HTTPError", "status_code"),
        ("rest_framework.exceptions", "APIException", "status_code"),
        ("falcon", "HTTPError", "status_code"),
    ],
)
def test_a_4xx_of_other_frameworks_is_a_refusal(monkeypatch, module, name, attribute):
    error = framework(monkeypatch, module, name, attribute)
    assert is_refusal(error(404))
    assert is_refusal(error(HTTPStatus.FORBIDDEN))
    assert not is_refusal(error(503))
    assert not is_refusal(error(None))


@pytest.mark.parametrize("status", ["404 Not Found", "429"])
def test_a_status_may_be_a_line(monkeypatch, status):
    assert is_refusal(framework(monkeypatch, "falcon", "HTTPError", "status_code")(status))


@pytest.mark.parametrize("status", ["4", "", "abc", "40", object(), -404, lambda: 404])
def test_what_is_no_status_is_no_refusal(monkeypatch, status):
    assert not is_refusal(framework(monkeypatch, "falcon", "HTTPError", "status_code")(status))


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("django.http", "Http404"),
        ("django.core.exceptions", "PermissionDenied"),
        ("django.core.exceptions", "SuspiciousOperation"),
        ("django.core.exceptions", "BadRequest"),
    ],
)
def test_refusals_of_django_are_known_by_name(monkeypatch, module, name):
    assert is_refusal(framework(monkeypatch, module, name, None)())


def test_a_module_of_that_name_without_the_class_is_none_of_ours(monkeypatch):
    for module in ("falcon", "django.http", "tornado.web"):
        monkeypatch.setitem(sys.modules, module, ModuleType(module))
    assert not is_refusal(Boom())


def test_looking_loads_no_framework(monkeypatch):
    for module in ("falcon", "django.http", "werkzeug.exceptions"):
        monkeypatch.delitem(sys.modules, module, raising=False)
    is_refusal(Boom())
    assert not {"falcon", "django.http", "werkzeug.exceptions"} & set(sys.modules)


def test_permission_denied_is_a_refusal():
    assert is_refusal(PermissionError())
    assert not is_refusal(FileNotFoundError())


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (Boom(), Outcome.FAILURE),
        (TimeoutError(), Outcome.FAILURE),
        (MemoryError(), Outcome.FAILURE),
        (ExceptionGroup("several", [Boom()]), Outcome.FAILURE),
        (PermissionError(), Outcome.IGNORED),
        (asyncio.CancelledError(), Outcome.ABANDONED),
        (KeyboardInterrupt(), Outcome.ABANDONED),
        (SystemExit(), Outcome.ABANDONED),
        (GeneratorExit(), Outcome.ABANDONED),
        (BaseExceptionGroup("several", [KeyboardInterrupt()]), Outcome.ABANDONED),
    ],
)
def test_by_default(error: BaseException, outcome: Outcome):
    assert outcome_of(error, Exception, None) is outcome


def test_given_ignore_replaces_the_default():
    assert outcome_of(PermissionError(), Exception, KeyError) is Outcome.FAILURE
    assert outcome_of(KeyError(), Exception, (KeyError, IndexError)) is Outcome.IGNORED


def test_ignore_may_be_a_predicate():
    def even(error: Exception) -> bool:
        return error.args[0] % 2 == 0

    assert outcome_of(Boom(2), Exception, even) is Outcome.IGNORED
    assert outcome_of(Boom(3), Exception, even) is Outcome.FAILURE


def test_ignore_comes_before_failures():
    assert outcome_of(KeyError(), LookupError, KeyError) is Outcome.IGNORED


def test_what_is_neither_is_passed_on():
    assert outcome_of(Boom(), (KeyError, OSError), None) is Outcome.IGNORED
    assert outcome_of(ConnectionError(), (KeyError, OSError), None) is Outcome.FAILURE


def test_an_abandoned_call_asks_no_predicate():
    def never(error: Exception) -> bool:
        raise AssertionError

    assert outcome_of(KeyboardInterrupt(), Exception, never) is Outcome.ABANDONED


def test_a_refusal_is_never_turned_into_a_served_answer(runtime: Runtime):
    @degradable("feed", fallback=[default("never")])
    def feed(status: int) -> None:
        raise StarletteHTTPException(status)

    for _ in range(2):
        with pytest.raises(StarletteHTTPException):
            feed(404)
        assert feed(503) == "never"
