"""What an exception means: a failure, a timeout, a refusal, control flow, or the caller's end."""

from __future__ import annotations

import asyncio
import concurrent.futures
import subprocess
import sys
from collections.abc import Callable
from enum import Enum
from http import HTTPStatus
from typing import Any

import aiohttp
import aiohttp.web
import billiard.exceptions
import celery.exceptions
import click
import dramatiq
import dramatiq.middleware
import falcon
import fastapi
import fastapi.exceptions
import flask
import func_timeout
import gevent
import pytest
import requests
import rq.exceptions
import rq.timeouts
import starlette.exceptions
import starlette.requests
import starlette.websockets
import tenacity
import tornado.gen
import tornado.httpclient
import tornado.web
import typer
import werkzeug.exceptions
import werkzeug.routing
from django.core import exceptions as django_exceptions
from django.http import Http404, UnreadablePostError
from django.http.multipartparser import MultiPartParserError
from hypothesis import given
from hypothesis import strategies as st

from degrade import Runtime, default, degradable
from degrade.core.enums import Outcome
from degrade.runtime.calls.outcomes import TABLE, Depends, Errors, Ignore, is_countable, outcome_of
from tests.unit.runtime.doing import Boom

FAILURE, TIMEOUT, IGNORED, ABANDONED = (
    Outcome.FAILURE,
    Outcome.TIMEOUT,
    Outcome.IGNORED,
    Outcome.ABANDONED,
)


def outcome(
    error: BaseException, failures: Errors = Exception, ignore: Ignore | None = None
) -> Outcome:
    """Return what an exception means, by default with the defaults of a flag."""
    return outcome_of(error, failures, ignore)


def named(path: str, *bases: type[BaseException], **attributes: object) -> type[Any]:
    """Make a class that says of itself that it stands in a module of this path."""
    module, _, name = path.rpartition(".")
    made = type(name, bases or (Exception,), {**attributes, "__module__": module})
    assert issubclass(made, BaseException)
    return made


def of_type(value: object) -> str:
    return type(value).__name__


def websocket(code: int) -> Exception:
    return starlette.exceptions.WebSocketException(code)


# ------------------------------------------------------------------ the table, class by class

CONTROL_FLOW = [
    celery.exceptions.Retry(),
    celery.exceptions.Ignore(),
    celery.exceptions.Reject(),
    dramatiq.Retry("later"),
    dramatiq.RateLimitExceeded("later"),
    dramatiq.middleware.SkipMessage(),
    tenacity.TryAgain(),
    aiohttp.web.HTTPOk(),
    aiohttp.web.HTTPNoContent(),
    aiohttp.web.HTTPFound("/login"),
    aiohttp.web.HTTPNotModified(),
    starlette.exceptions.HTTPException(204),
    starlette.exceptions.HTTPException(304),
    fastapi.HTTPException(307, headers={"Location": "/login"}),
    starlette.requests.ClientDisconnect(),
    starlette.websockets.WebSocketDisconnect(1006),
    websocket(1000),
    websocket(1001),
    werkzeug.routing.RequestRedirect("/x/"),
    falcon.HTTPFound("/login"),
    falcon.HTTPMovedPermanently("/x"),
    falcon.HTTPStatus("200 OK"),
    falcon.HTTPStatus(HTTPStatus.NO_CONTENT),
    falcon.HTTPStatus(b"202 Accepted"),
    falcon.WebSocketDisconnected(),
    tornado.web.Finish(),
    tornado.web.HTTPError(304),
    tornado.gen.Return(3),
    django_exceptions.RequestAborted(),
    UnreadablePostError(),
    click.exceptions.Exit(3),
    click.Abort(),
    typer.Exit(1),
    typer.Abort(),
    StopIteration(),
    StopAsyncIteration(),
]
REFUSALS = [
    PermissionError(),
    Http404(),
    django_exceptions.PermissionDenied(),
    django_exceptions.SuspiciousOperation(),
    django_exceptions.DisallowedHost(),
    django_exceptions.TooManyFieldsSent(),
    django_exceptions.BadRequest(),
    MultiPartParserError(),
    aiohttp.web.HTTPNotFound(),
    aiohttp.web.HTTPTooManyRequests(),
    fastapi.exceptions.RequestValidationError([]),
    fastapi.exceptions.WebSocketRequestValidationError([]),
    websocket(1008),
    websocket(4401),
    werkzeug.exceptions.NotFound(),
    werkzeug.exceptions.BadRequestKeyError("name"),
    werkzeug.exceptions.RequestTimeout(),
    falcon.HTTPNotFound(),
    falcon.HTTPTooManyRequests(),
    falcon.HTTPStatus("409 Conflict"),
    falcon.MediaMalformedError("json"),
    tornado.web.HTTPError(403),
    tornado.web.MissingArgumentError("name"),
    click.UsageError("which?"),
    click.BadParameter("no number"),
    typer.BadParameter("no number"),
]
FAILURES = [
    Boom(),
    OSError(),
    TimeoutError(),
    MemoryError(),
    celery.exceptions.TimeoutError(),
    celery.exceptions.MaxRetriesExceededError(),
    celery.exceptions.TaskRevokedError(),
    celery.exceptions.OperationalError(),
    dramatiq.middleware.MiddlewareError(),
    rq.exceptions.NoSuchJobError(),
    tenacity.RetryError(tenacity.Future(1)),
    aiohttp.web.HTTPInternalServerError(),
    aiohttp.web.HTTPServiceUnavailable(),
    aiohttp.ServerTimeoutError(),
    starlette.exceptions.HTTPException(500),
    fastapi.HTTPException(503),
    fastapi.exceptions.ResponseValidationError([]),
    websocket(1011),
    werkzeug.exceptions.InternalServerError(),
    werkzeug.exceptions.GatewayTimeout(),
    werkzeug.exceptions.HTTPException(),
    werkzeug.routing.BuildError("x", {}, None),
    falcon.HTTPServiceUnavailable(),
    falcon.HTTPStatus(500),
    tornado.web.HTTPError(502),
    tornado.httpclient.HTTPClientError(404),  # of a server that this process asked
    requests.HTTPError("404 Client Error"),
    django_exceptions.ImproperlyConfigured(),
    django_exceptions.ValidationError("no"),
    click.ClickException("no server"),
    concurrent.futures.CancelledError(),
    concurrent.futures.TimeoutError(),
    asyncio.CancelledError(),  # no task runs that was asked to end
    gevent.hub.LoopExit(),
]
TIMEOUTS = [
    billiard.exceptions.SoftTimeLimitExceeded(),
    billiard.exceptions.TimeLimitExceeded(),
    dramatiq.middleware.TimeLimitExceeded(),
    rq.timeouts.JobTimeoutException(),
    func_timeout.FunctionTimedOut(),
    gevent.Timeout(),
]
ENDS = [
    KeyboardInterrupt(),
    SystemExit(),
    GeneratorExit(),
    celery.exceptions.WorkerShutdown(),
    celery.exceptions.WorkerTerminate(),
    billiard.exceptions.Terminated(),
    dramatiq.middleware.Shutdown(),
    dramatiq.middleware.threading.Interrupt(),
    rq.exceptions.ShutDownImminentException("", {}),
    rq.exceptions.StopRequested(),
    aiohttp.web.GracefulExit(),
    gevent.GreenletExit(),
    BaseException(),
]


def _each(*lists: tuple[list[Any], Outcome]) -> list[Any]:
    return [
        pytest.param(error, meant, id=f"{type(error).__module__}.{type(error).__name__}-{number}")
        for errors, meant in lists
        for number, error in enumerate(errors)
    ]


@pytest.mark.parametrize(
    ("error", "meant"),
    _each(
        (CONTROL_FLOW, IGNORED),
        (REFUSALS, IGNORED),
        (FAILURES, FAILURE),
        (TIMEOUTS, TIMEOUT),
        (ENDS, ABANDONED),
    ),
)
def test_by_default(error: BaseException, meant: Outcome):
    assert outcome(error) is meant


@pytest.mark.parametrize("error", CONTROL_FLOW, ids=of_type)
def test_control_flow_passes_whatever_ignore_says(error: Exception):
    assert outcome(error, ignore=KeyError) is IGNORED
    assert outcome(error, ignore=lambda _: False) is IGNORED


@pytest.mark.parametrize("error", REFUSALS, ids=of_type)
def test_given_ignore_replaces_the_refusals(error: Exception):
    assert outcome(error, ignore=ZeroDivisionError) is FAILURE


@pytest.mark.parametrize("error", ENDS, ids=of_type)
def test_what_ends_the_caller_asks_no_predicate_and_is_never_counted(error: BaseException):
    def never(error: object) -> bool:
        raise AssertionError

    assert outcome(error, ignore=never) is ABANDONED
    assert outcome(error, failures=(Exception, LookupError)) is ABANDONED


@pytest.mark.parametrize("error", TIMEOUTS, ids=of_type)
def test_a_timeout_of_the_table_counts_where_timeouterror_would(error: BaseException):
    assert outcome(error, failures=TimeoutError) is TIMEOUT
    assert outcome(error, failures=(ValueError, OSError)) is TIMEOUT
    assert outcome(error, failures=ConnectionError) is IGNORED
    assert outcome(error, ignore=TimeoutError) is IGNORED
    assert outcome(error, ignore=type(error)) is IGNORED
    assert outcome(error, failures=type(error)) is TIMEOUT


# ------------------------------------------------------------------ recognising a class

NOT_INSTALLED = [
    ("arq.worker.Retry", {}, IGNORED),
    ("arq.worker.RetryJob", {}, IGNORED),
    ("huey.exceptions.RetryTask", {}, IGNORED),
    ("huey.exceptions.CancelExecution", {}, IGNORED),
    ("huey.exceptions.HueyException", {}, FAILURE),
    ("litestar.exceptions.http_exceptions.HTTPException", {"status_code": 302}, IGNORED),
    ("litestar.exceptions.http_exceptions.HTTPException", {"status_code": 404}, IGNORED),
    ("litestar.exceptions.http_exceptions.HTTPException", {"status_code": 500}, FAILURE),
    ("litestar.exceptions.websocket_exceptions.WebSocketException", {"code": 4401}, IGNORED),
    ("ninja.errors.HttpError", {"status_code": 429}, IGNORED),
    ("ninja.errors.HttpError", {"status_code": 500}, FAILURE),
    ("ninja.errors.ValidationError", {}, IGNORED),
    ("rest_framework.exceptions.APIException", {"status_code": 403}, IGNORED),
    ("rest_framework.exceptions.APIException", {"status_code": 500}, FAILURE),
    ("sanic.exceptions.SanicException", {"status_code": 405}, IGNORED),
    ("bottle.HTTPResponse", {"status_code": 303}, IGNORED),
    ("pyramid.httpexceptions.HTTPException", {"status_code": 302}, IGNORED),
]


@pytest.mark.parametrize(("path", "attributes", "meant"), NOT_INSTALLED)
def test_a_class_is_known_by_its_package_and_name(
    path: str, attributes: dict[str, object], meant: Outcome
):
    assert outcome(named(path, **attributes)()) is meant


def test_a_module_may_have_another_place_in_its_package():
    assert outcome(named("celery.somewhere.new.TaskPredicate")()) is IGNORED


def test_a_package_may_begin_with_the_name_of_another():
    assert outcome(named("celery_helpers.TaskPredicate")()) is FAILURE
    assert outcome(named("mine.celery.TaskPredicate")()) is FAILURE


@pytest.mark.parametrize("module", [None, 3, [], "", "."])
def test_a_class_without_a_sensible_module_is_plain(module: object):
    assert outcome(type("Retry", (Exception,), {"__module__": module})()) is FAILURE


def test_a_metaclass_cannot_mislead_or_raise():
    class Liar(type):
        @property
        def __mro__(cls) -> Any:
            raise RuntimeError

        @property
        def __module__(cls) -> Any:
            raise RuntimeError

        @property
        def __name__(cls) -> Any:
            raise RuntimeError

        __hash__ = None

    class Odd(celery.exceptions.Retry, metaclass=Liar):
        __module__ = "celery.mine"  # so that the name is looked at, too

    assert outcome(Odd()) is IGNORED


def test_a_subclass_means_what_its_nearest_ancestor_of_the_table_means():
    class Mine(starlette.exceptions.HTTPException):
        pass

    class Both(ValueError, PermissionError):
        pass

    class Later(celery.exceptions.Retry, Mine):
        pass

    assert outcome(Mine(404)) is IGNORED
    assert outcome(Mine(503)) is FAILURE
    assert outcome(Both()) is IGNORED
    assert outcome(Later()) is IGNORED


@pytest.mark.parametrize(
    ("status", "meant"),
    [
        *[(status, IGNORED) for status in (100, 199, 200, 226, 302, 399, 400, 404, 418, 499)],
        *[(status, FAILURE) for status in (500, 503, 504, 599, 600, 0, -404, 99, None, True)],
        *[(status, IGNORED) for status in ("404", "404 Not Found", b"302 Found", "303")],
        *[(status, FAILURE) for status in ("4", "", "abc", "40", "-404", "500 Oh", b"5", "4x4")],
        *[(status, FAILURE) for status in (object(), lambda: 404, [404], 404.0, "²²²")],
        (HTTPStatus.NOT_FOUND, IGNORED),
        (HTTPStatus.BAD_GATEWAY, FAILURE),
        (Enum("Status", {"GONE": "410 Gone"}).GONE, IGNORED),
        (Enum("Status", {"DOWN": 503}).DOWN, FAILURE),
    ],
    ids=of_type,
)
def test_a_status_is_a_number_an_enum_or_a_line(status: object, meant: Outcome):
    error = starlette.exceptions.HTTPException(404)
    error.status_code = status
    assert outcome(error) is meant


def test_a_response_given_to_abort_has_the_status():
    app = flask.Flask(__name__)
    with app.test_request_context(), pytest.raises(werkzeug.exceptions.HTTPException) as caught:
        flask.abort(flask.redirect("/login"))
    assert caught.value.code is None
    assert outcome(caught.value) is IGNORED
    down = werkzeug.exceptions.NotFound(response=flask.Response(status=503))
    assert outcome(down) is FAILURE


def test_a_status_that_cannot_be_read_is_none():
    class Hostile(starlette.exceptions.HTTPException):
        def __init__(self) -> None:
            pass

        @property
        def status_code(self) -> int:
            raise RuntimeError

    assert outcome(Hostile()) is FAILURE
    assert outcome(named("werkzeug.exceptions.HTTPException")()) is FAILURE


def test_a_class_that_lies_about_itself_is_what_it_is():
    class Proxy(Boom):
        @property
        def __class__(self) -> Any:
            raise ValueError

    assert outcome(Proxy()) is FAILURE
    assert outcome(Proxy(), failures=KeyError) is IGNORED
    assert outcome(Proxy(), ignore=KeyError) is FAILURE


def test_judging_loads_nothing():
    code = (
        "import sys; from degrade.runtime.calls.outcomes import *; before = set(sys.modules)\n"
        "for kind in (ValueError, PermissionError, KeyboardInterrupt, ExceptionGroup):\n"
        "    error = kind('x', [OSError()]) if kind is ExceptionGroup else kind()\n"
        "    outcome_of(error, Exception, None)\n"
        "from concurrent.futures._base import CancelledError; before = set(sys.modules)\n"
        "print(outcome_of(CancelledError(), Exception, None), set(sys.modules) - before)\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "failure set()\n"


def test_every_class_of_the_table_that_is_installed_has_a_case():
    errors = CONTROL_FLOW + REFUSALS + FAILURES + TIMEOUTS + ENDS
    tested = {
        f"{kind.__module__.partition('.')[0]}.{kind.__name__}"
        for error in errors
        for kind in type(error).__mro__
    }
    tested |= {
        f"{path.partition('.')[0]}.{path.rpartition('.')[2]}" for path, _, _ in NOT_INSTALLED
    }
    missing = {f"{package}.{name}" for package in TABLE for name in TABLE[package]} - tested
    assert missing == {
        "eventlet.Timeout",
        "huey.RateLimitExceeded",
        "huey.TaskLockedException",
        "litestar.WebSocketDisconnect",
        "trio.Cancelled",
    }


# ------------------------------------------------------------------ failures= and ignore=


def test_a_refusal_or_control_flow_that_failures_names_is_a_failure():
    assert outcome(celery.exceptions.Retry(), failures=celery.exceptions.Retry) is FAILURE
    assert outcome(PermissionError(), failures=(OSError, PermissionError)) is FAILURE
    assert outcome(Http404(), failures=Http404) is FAILURE
    assert outcome(werkzeug.exceptions.NotFound(), failures=werkzeug.exceptions.NotFound) is FAILURE
    assert outcome(aiohttp.web.HTTPFound("/"), failures=aiohttp.web.HTTPFound) is FAILURE


@pytest.mark.parametrize(
    "wide", [Exception, celery.exceptions.CeleryError, (celery.exceptions.CeleryError, OSError)]
)
def test_a_base_of_it_does_not_name_it(wide: Errors):
    assert outcome(celery.exceptions.Retry(), failures=wide) is IGNORED
    assert outcome(PermissionError(), failures=OSError) is IGNORED


@pytest.mark.parametrize("kind", [starlette.exceptions.HTTPException, fastapi.HTTPException])
def test_of_a_class_of_many_statuses_each_is_judged_by_its_own(kind: type[Any]):
    assert outcome(kind(503), failures=kind) is FAILURE
    assert outcome(kind(404), failures=kind) is IGNORED
    assert outcome(kind(302), failures=kind) is IGNORED


def test_ignore_comes_before_failures():
    assert outcome(KeyError(), LookupError, KeyError) is IGNORED
    retry = celery.exceptions.Retry
    assert outcome(retry(), failures=retry, ignore=retry) is IGNORED
    assert outcome(retry(), failures=retry, ignore=KeyError) is FAILURE


def test_what_is_neither_is_passed_on():
    assert outcome(Boom(), (KeyError, OSError)) is IGNORED
    assert outcome(ConnectionError(), (KeyError, OSError)) is FAILURE


def test_ignore_may_be_a_predicate():
    def is_even(error: Exception) -> bool:
        return bool(error.args[0] % 2 == 0)

    assert outcome(Boom(2), ignore=is_even) is IGNORED
    assert outcome(Boom(3), ignore=is_even) is FAILURE


class Unusual(BaseException):
    pass


def test_an_exception_that_is_no_exception_counts_where_it_is_named():
    assert outcome(Unusual()) is ABANDONED
    assert outcome(Unusual(), failures=(Exception, Unusual)) is FAILURE
    assert outcome(Unusual(), ignore=Unusual) is IGNORED
    assert outcome(Unusual(), failures=(Exception, Unusual), ignore=lambda _: True) is IGNORED


def test_a_cancellation_of_a_dependency_counts_where_exception_or_itself_is_named():
    cancelled = asyncio.CancelledError()
    assert outcome(cancelled, failures=ConnectionError) is IGNORED
    assert outcome(cancelled, failures=(ConnectionError, asyncio.CancelledError)) is FAILURE
    assert outcome(cancelled, ignore=asyncio.CancelledError) is IGNORED


@pytest.mark.parametrize(
    ("kind", "may"),
    [
        (KeyboardInterrupt, False),
        (SystemExit, False),
        (GeneratorExit, False),
        (celery.exceptions.WorkerShutdown, False),
        (gevent.GreenletExit, False),
        (named("trio.Cancelled", BaseException), False),
        (named("mine.Interrupted", KeyboardInterrupt), False),
        (BaseException, False),
        (Exception, True),
        (asyncio.CancelledError, True),
        (concurrent.futures.CancelledError, True),
        (gevent.Timeout, True),
        (func_timeout.FunctionTimedOut, True),
        (dramatiq.middleware.TimeLimitExceeded, True),
        (BaseExceptionGroup, True),
        (Unusual, True),
    ],
)
def test_what_always_ends_the_caller_cannot_be_named(kind: type[BaseException], *, may: bool):
    assert is_countable(kind) is may


# ------------------------------------------------------------------ groups


@pytest.mark.parametrize(
    ("group", "meant"),
    [
        (ExceptionGroup("g", [Boom()]), FAILURE),
        (ExceptionGroup("g", [PermissionError(), Boom()]), FAILURE),
        (ExceptionGroup("g", [PermissionError(), Http404()]), IGNORED),
        (ExceptionGroup("g", [celery.exceptions.Retry()]), IGNORED),
        (ExceptionGroup("g", [PermissionError(), ExceptionGroup("h", [Boom()])]), FAILURE),
        (ExceptionGroup("g", [ExceptionGroup("h", [PermissionError()])]), IGNORED),
        (BaseExceptionGroup("g", [KeyboardInterrupt()]), ABANDONED),
        (BaseExceptionGroup("g", [Boom(), KeyboardInterrupt()]), ABANDONED),
        (BaseExceptionGroup("g", [Boom(), BaseExceptionGroup("h", [SystemExit()])]), ABANDONED),
        (BaseExceptionGroup("g", [Boom(), Unusual()]), ABANDONED),
        (BaseExceptionGroup("g", [gevent.Timeout(), PermissionError()]), TIMEOUT),
        (BaseExceptionGroup("g", [gevent.Timeout(), Boom()]), FAILURE),
        (BaseExceptionGroup("g", [asyncio.CancelledError()]), FAILURE),
    ],
    ids=of_type,
)
def test_a_group_is_what_its_leaves_are(group: BaseException, meant: Outcome):
    assert outcome(group) is meant


def test_failures_and_ignore_look_into_groups():
    down = ExceptionGroup("g", [ExceptionGroup("h", [ConnectionError()]), KeyError()])
    assert outcome(down, failures=ConnectionError) is FAILURE
    assert outcome(down, failures=ZeroDivisionError) is IGNORED
    assert outcome(down, ignore=KeyError) is FAILURE
    assert outcome(down, ignore=(KeyError, ConnectionError)) is IGNORED
    assert outcome(down, ignore=lambda error: isinstance(error, (KeyError, OSError))) is IGNORED


class Several(ExceptionGroup[Exception]):
    pass


def test_a_class_of_groups_names_a_group_as_a_whole():
    several = Several("g", [KeyError()])
    assert outcome(several, failures=Several) is FAILURE
    assert outcome(several, ignore=Several) is IGNORED
    assert outcome(several, failures=Several, ignore=KeyError) is FAILURE
    interrupted = BaseExceptionGroup("g", [KeyboardInterrupt()])
    assert outcome(interrupted, failures=BaseExceptionGroup) is ABANDONED


def test_a_broken_predicate_does_not_hide_an_interrupt_in_a_group():
    def broken(error: object) -> bool:
        raise RuntimeError

    group = BaseExceptionGroup("g", [Boom(), KeyboardInterrupt()])
    assert outcome(group, ignore=broken) is ABANDONED


def test_groups_are_looked_into_however_deep_and_each_once():
    deep: BaseException = Boom()
    for _ in range(5_000):
        deep = BaseExceptionGroup("g", [deep])
    assert outcome(deep) is FAILURE
    wide: BaseException = PermissionError()
    for _ in range(60):
        wide = BaseExceptionGroup("g", [wide, wide])
    assert outcome(wide) is IGNORED
    while isinstance(deep, BaseExceptionGroup):  # taken apart, as Python frees it by recursion
        (deep,) = deep.exceptions


def test_a_group_that_lies_about_its_leaves_is_what_it_is():
    class Liar(ExceptionGroup[Exception]):
        @property
        def exceptions(self) -> Any:
            raise RuntimeError

    assert outcome(Liar("g", [PermissionError()])) is IGNORED


LEAVES: list[tuple[Callable[[], BaseException], Outcome]] = [
    (Boom, FAILURE),
    (gevent.Timeout, TIMEOUT),
    (PermissionError, IGNORED),
    (celery.exceptions.Retry, IGNORED),
    (KeyboardInterrupt, ABANDONED),
]
leaves = st.sampled_from(LEAVES)
trees = st.recursive(leaves, lambda tree: st.lists(tree, min_size=1, max_size=4), max_leaves=12)


@given(trees)
def test_the_worst_leaf_decides_wherever_it_is(tree: Any):
    def built(node: Any) -> tuple[BaseException, set[Outcome]]:
        if isinstance(node, tuple):
            return node[0](), {node[1]}
        parts = [built(part) for part in node]
        met = set[Outcome]().union(*(outcomes for _, outcomes in parts))
        return BaseExceptionGroup("g", [error for error, _ in parts]), met

    error, met = built(tree)
    assert outcome(error) is next(o for o in (ABANDONED, FAILURE, TIMEOUT, IGNORED) if o in met)


# ------------------------------------------------------------------ whole calls


def test_a_refusal_is_never_turned_into_a_served_answer(runtime: Runtime):
    @degradable("feed", fallback=[default("never")])
    def feed(status: int) -> None:
        raise starlette.exceptions.HTTPException(status)

    for _ in range(2):
        with pytest.raises(starlette.exceptions.HTTPException):
            feed(404)
        with pytest.raises(starlette.exceptions.HTTPException):
            feed(307)
        assert feed(503) == "never"


@pytest.mark.parametrize(
    "error", [StopIteration(3), celery.exceptions.Retry(), click.Abort()], ids=of_type
)
def test_control_flow_reaches_the_caller_as_itself(runtime: Runtime, error: Exception):
    @degradable("step", fallback=default("never"))
    def step() -> None:
        raise error

    with pytest.raises(type(error)) as caught:
        step()
    assert caught.value is error


def test_each_row_that_depends_says_on_what():
    rules = [rule for rows in TABLE.values() for rule in rows.values()]
    assert all(rule.text for rule in rules if isinstance(rule, Depends))
