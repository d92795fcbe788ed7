"""What applications raise to steer their framework reaches it, with a ladder as without one."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import aiohttp.web
import billiard.exceptions
import celery
import celery.exceptions
import click
import click.testing
import dramatiq
import dramatiq.brokers.stub
import dramatiq.results
import falcon
import falcon.testing
import fastapi
import flask
import httpx
import pytest
import starlette.applications
import starlette.exceptions
import starlette.responses
import starlette.routing
import tenacity
import tornado.httpclient
import tornado.httpserver
import tornado.netutil
import tornado.web
import typer
import typer.testing
from aiohttp.test_utils import TestClient as AiohttpClient
from aiohttp.test_utils import TestServer as AiohttpServer
from celery.contrib.testing.worker import start_worker

from degrade import SLA, Runtime, default, degradable
from degrade.core.enums import Outcome
from tests.unit.runtime.doing import stats_of


@pytest.fixture(autouse=True)
def runtime(forget_flags: None) -> Iterator[Runtime]:
    with Runtime(threads="manual") as runtime:
        yield runtime


def outcomes(runtime: Runtime, name: str = "part") -> dict[Outcome, int]:
    runtime.tick()
    return {kind: n for kind, n in stats_of(runtime, name).primary.items() if n}


Work = Callable[[], Any]


def guarded(work: Work) -> Work:
    @degradable("part", sla=SLA(errors="5%"), fallback=default("fallback"))
    def part() -> Any:
        return work()

    return part


def plain(work: Work) -> Work:
    return work


def raising(error: BaseException | type[BaseException]) -> Work:
    def work() -> None:
        raise error

    return work


# ------------------------------------------------------------------ web


def raising_anew(kind: Callable[..., BaseException], *args: Any) -> Work:
    """Raise a new exception each time, as those of aiohttp are responses, to be sent once."""

    def work() -> None:
        raise kind(*args)

    return work


def of_flask(work: Work) -> tuple[int, str | None]:
    app = flask.Flask(__name__)
    app.add_url_rule("/", "page", work)
    answer = app.test_client().get("/")
    return answer.status_code, answer.headers.get("Location")


def asked(app: Any) -> tuple[int, str | None]:
    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            return await client.get("/")

    answer = asyncio.run(ask())
    return answer.status_code, answer.headers.get("Location")


def of_starlette(work: Work) -> tuple[int, str | None]:
    def page(_: Any) -> starlette.responses.Response:
        return starlette.responses.PlainTextResponse(work())

    return asked(starlette.applications.Starlette(routes=[starlette.routing.Route("/", page)]))


def of_fastapi(work: Work) -> tuple[int, str | None]:
    app = fastapi.FastAPI()

    @app.get("/")
    async def page() -> Any:
        return work()

    return asked(app)


def of_falcon(work: Work) -> tuple[int, str | None]:
    class Page:
        def on_get(self, _: Any, response: falcon.Response) -> None:
            response.text = work()

    app = falcon.App()
    app.add_route("/", Page())
    answer = falcon.testing.simulate_get(app, "/")
    return answer.status_code, answer.headers.get("Location")


def of_aiohttp(work: Work) -> tuple[int, str | None]:
    async def page(_: aiohttp.web.Request) -> aiohttp.web.Response:
        return aiohttp.web.Response(text=work())

    async def ask() -> tuple[int, str | None]:
        app = aiohttp.web.Application()
        app.router.add_get("/", page)
        async with AiohttpClient(AiohttpServer(app)) as client:
            answer = await client.get("/", allow_redirects=False)
            return answer.status, answer.headers.get("Location")

    return asyncio.run(ask())


def of_tornado(work: Work) -> tuple[int, str | None]:
    class Page(tornado.web.RequestHandler):
        def get(self) -> None:
            self.set_status(202)
            self.write(work())

        def log_exception(self, *_: Any) -> None:
            pass

    async def ask() -> tuple[int, str | None]:
        (socket,) = tornado.netutil.bind_sockets(0, "127.0.0.1")
        server = tornado.httpserver.HTTPServer(tornado.web.Application([("/", Page)]))
        server.add_socket(socket)
        try:
            answer = await tornado.httpclient.AsyncHTTPClient().fetch(
                f"http://127.0.0.1:{socket.getsockname()[1]}/",
                follow_redirects=False,
                raise_error=False,
            )
        finally:
            server.stop()
            await server.close_all_connections()
        return answer.code, answer.headers.get("Location")

    return asyncio.run(ask())


Framework = Callable[[Work], tuple[int, str | None]]
WEB: list[tuple[Framework, Work, int]] = [
    (of_flask, lambda: flask.abort(404), 404),
    (of_flask, lambda: flask.abort(flask.redirect("/login")), 302),
    (of_starlette, raising(starlette.exceptions.HTTPException(403)), 403),
    (
        of_starlette,
        raising(starlette.exceptions.HTTPException(307, headers={"Location": "/login"})),
        307,
    ),
    (of_starlette, raising(starlette.exceptions.HTTPException(204)), 204),
    (of_fastapi, raising(fastapi.HTTPException(401)), 401),
    (of_fastapi, raising(fastapi.HTTPException(303, headers={"Location": "/x"})), 303),
    (of_falcon, raising(falcon.HTTPNotFound()), 404),
    (of_falcon, raising(falcon.HTTPFound("/login")), 302),
    (of_falcon, raising(falcon.HTTPStatus(204)), 204),
    (of_aiohttp, raising_anew(aiohttp.web.HTTPNotFound), 404),
    (of_aiohttp, raising_anew(aiohttp.web.HTTPFound, "/login"), 302),
    (of_aiohttp, raising_anew(aiohttp.web.HTTPNoContent), 204),
    (of_tornado, raising(tornado.web.HTTPError(404)), 404),
    (of_tornado, raising(tornado.web.Finish), 202),
]


@pytest.mark.parametrize(
    ("framework", "work", "status"),
    WEB,
    ids=[f"{framework.__name__}-{status}" for framework, _, status in WEB],
)
def test_a_page_answers_as_without_a_ladder(
    runtime: Runtime, framework: Framework, work: Work, status: int
):
    answer = framework(plain(work))
    assert answer[0] == status
    assert framework(guarded(work)) == answer
    assert outcomes(runtime) == {Outcome.IGNORED: 1}


@pytest.mark.parametrize(
    ("framework", "work"),
    [
        (of_flask, lambda: flask.abort(503)),
        (of_starlette, raising(starlette.exceptions.HTTPException(503))),
        (of_fastapi, raising(fastapi.HTTPException(500))),
        (of_falcon, raising(falcon.HTTPServiceUnavailable())),
        (of_aiohttp, raising_anew(aiohttp.web.HTTPBadGateway)),
    ],
    ids=["flask", "starlette", "fastapi", "falcon", "aiohttp"],
)
def test_a_page_that_fails_is_answered_from_the_ladder(
    runtime: Runtime, framework: Framework, work: Work
):
    assert framework(guarded(work))[0] == 200
    assert outcomes(runtime) == {Outcome.FAILURE: 1}


DJANGO = """
import types
import django
from django.conf import settings

urls = types.ModuleType("urls")
settings.configure(
    ROOT_URLCONF=urls, ALLOWED_HOSTS=["*"], SECRET_KEY="x", LOGGING_CONFIG=None,
    REST_FRAMEWORK={"DEFAULT_AUTHENTICATION_CLASSES": [], "UNAUTHENTICATED_USER": None},
)
django.setup()
import logging
logging.disable(logging.CRITICAL)
from django.core.exceptions import BadRequest, PermissionDenied, SuspiciousOperation
from django.http import Http404, HttpResponse
from django.test import Client
from django.urls import path
from ninja import NinjaAPI
from ninja.errors import HttpError, Throttled
from ninja.errors import ValidationError as NinjaInvalid
from rest_framework import exceptions as drf
from rest_framework.response import Response
from rest_framework.views import APIView
from degrade import Runtime, default, degradable

@degradable("part", fallback=default("fallback"))
def part(error):
    raise error

def view(request, error):
    return HttpResponse(part(error))

class Api(APIView):
    error = None
    def get(self, request):
        return Response(part(self.error))

ninja = NinjaAPI(urls_namespace="ninja")
raised = None

@ninja.get("/")
def operation(request):
    return part(raised)

urls.urlpatterns = [path("ninja/", ninja.urls)]
cases = [
    (view, Http404()), (view, PermissionDenied()), (view, BadRequest()),
    (view, SuspiciousOperation()), (view, OSError()),
    (Api, drf.NotFound()), (Api, drf.NotAuthenticated()), (Api, drf.ValidationError("no")),
    (Api, drf.Throttled()), (Api, Http404()), (Api, drf.APIException()),
    (ninja, HttpError(409, "no")), (ninja, Throttled(wait=3)), (ninja, NinjaInvalid([])),
    (ninja, Http404()), (ninja, HttpError(503, "down")),
]
for number, (way, error) in enumerate(cases):
    if way is view:
        urls.urlpatterns.append(path(f"{number}/", view, {"error": error}))
    elif way is Api:
        urls.urlpatterns.append(path(f"{number}/", Api.as_view(error=error)))
with Runtime(threads="manual") as runtime:
    client = Client(raise_request_exception=False)
    for number, (way, raised) in enumerate(cases):
        answer = client.get("/ninja/" if way is ninja else f"/{number}/")
        print(answer.status_code, end=" ")
    runtime.tick()
    print(runtime.stats()[0].primary)
"""


def test_pages_of_django_rest_framework_and_ninja_refuse():
    run = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", DJANGO], capture_output=True, text=True, check=True
    )
    statuses, _, primary = run.stdout.partition("{")
    assert statuses.split() == [
        *("404", "403", "400", "400", "200"),
        *("404", "403", "400", "429", "404", "200"),
        *("409", "429", "422", "404", "200"),
    ]
    assert "<Outcome.IGNORED: 'ignored'>: 13" in primary
    assert "<Outcome.FAILURE: 'failure'>: 3" in primary


# ------------------------------------------------------------------ task queues


def app_of_celery() -> celery.Celery:
    app = celery.Celery("shop", broker="memory://", backend="cache+memory://", set_as_current=False)
    app.conf.broker_transport_options = {"polling_interval": 0.01}
    app.conf.worker_hijack_root_logger = False
    app.conf.broker_connection_retry_on_startup = False
    return app


def sync_stock(app: celery.Celery, tries: list[int]) -> celery.Task:
    @app.task(bind=True, max_retries=5, name="sync_stock", shared=False)
    @degradable("part", sla=SLA(errors="5%"), fallback=default("fallback"))
    def sync_stock(self: celery.Task) -> str:
        tries.append(1)
        if len(tries) < 3:
            raise self.retry(countdown=0)
        return "synced"

    return sync_stock


def test_a_task_that_celery_runs_at_once_is_retried(runtime: Runtime):
    app, tries = app_of_celery(), list[int]()
    app.conf.task_always_eager = True
    result = sync_stock(app, tries).delay()
    assert (result.status, result.get(), len(tries)) == ("SUCCESS", "synced", 3)
    assert outcomes(runtime) == {Outcome.IGNORED: 2, Outcome.SUCCESS: 1}


@pytest.mark.real
@pytest.mark.slow
def test_a_task_of_a_worker_of_celery_is_retried_ignored_or_rejected(runtime: Runtime):
    app, tries = app_of_celery(), list[int]()
    stock = sync_stock(app, tries)

    @app.task(name="told", shared=False)
    @degradable("told", fallback=default("fallback"))
    def told(what: str) -> None:
        raise getattr(celery.exceptions, what)

    @app.task(name="limited", shared=False)
    @degradable("limited", fallback=default("fallback"))
    def limited() -> None:
        raise billiard.exceptions.SoftTimeLimitExceeded

    with start_worker(app, pool="solo", perform_ping_check=False, loglevel="critical"):
        told.delay("Ignore")
        told.delay("Reject")
        assert stock.delay().get(timeout=30) == "synced"
        assert limited.delay().get(timeout=30) == "fallback"
    assert len(tries) == 3
    assert outcomes(runtime, "told") == {Outcome.IGNORED: 2}
    assert outcomes(runtime, "limited") == {Outcome.TIMEOUT: 1}


@pytest.mark.real
def test_a_message_of_dramatiq_is_retried(runtime: Runtime):
    broker = dramatiq.brokers.stub.StubBroker()
    broker.emit_after("process_boot")
    tries = list[int]()

    @dramatiq.actor(broker=broker, max_retries=5, queue_name="q")
    @degradable("part", fallback=default("fallback"))
    def actor() -> None:
        tries.append(1)
        if len(tries) < 3:
            raise dramatiq.Retry("later", delay=1)

    worker = dramatiq.Worker(broker, worker_timeout=10, worker_threads=1)
    worker.start()
    try:
        actor.send()
        broker.join("q", timeout=30_000)
        worker.join()
    finally:
        worker.stop()
    assert len(tries) == 3
    assert outcomes(runtime) == {Outcome.IGNORED: 2, Outcome.SUCCESS: 1}


def test_a_call_under_tenacity_is_tried_again(runtime: Runtime):
    tries = list[int]()

    def work() -> str:
        tries.append(1)
        if len(tries) < 3:
            raise tenacity.TryAgain
        return "done"

    assert tenacity.retry(guarded(work))() == "done"
    assert outcomes(runtime) == {Outcome.IGNORED: 2, Outcome.SUCCESS: 1}


# ------------------------------------------------------------------ commands


@pytest.mark.parametrize(
    ("error", "code"),
    [(click.exceptions.Exit(3), 3), (click.Abort(), 1), (click.UsageError("which?"), 2)],
    ids=["exit", "abort", "usage"],
)
def test_a_command_of_click_ends_with_its_code(runtime: Runtime, error: Exception, code: int):
    command = click.command()(guarded(raising(error)))
    assert click.testing.CliRunner().invoke(command).exit_code == code
    assert outcomes(runtime) == {Outcome.IGNORED: 1}


@pytest.mark.parametrize(
    ("error", "code"),
    [(typer.Exit(3), 3), (typer.Abort(), 1), (typer.BadParameter("which?"), 2)],
    ids=["exit", "abort", "usage"],
)
def test_a_command_of_typer_ends_with_its_code(runtime: Runtime, error: Exception, code: int):
    app, work = typer.Typer(), guarded(raising(error))

    @app.command()
    def command() -> None:
        work()

    assert typer.testing.CliRunner().invoke(app).exit_code == code
    assert outcomes(runtime) == {Outcome.IGNORED: 1}
