"""Real views whose fallback is a response: no visitor gets what belongs to another."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import aiohttp.web
import fastapi
import flask
import httpx
import pytest
import starlette.responses
from aiohttp.test_utils import TestClient, TestServer
from django.conf import settings

from degrade import SLA, UsageError, default, degradable

LIMIT = SLA(errors="5%")


@pytest.fixture(autouse=True)
def own_flags(forget_flags: None) -> None:
    """Let every test declare what it likes."""


def refused(response: Any) -> None:
    with pytest.raises(UsageError, match=r"default\(lambda") as caught:
        degradable("page", sla=LIMIT, fallback=default(response))
    assert caught.value.code == "shared-value"


def test_a_visitor_of_django_never_gets_the_cookie_of_another():
    if not settings.configured:
        settings.configure()
    from django.http import HttpRequest, HttpResponse, JsonResponse
    from django.test import RequestFactory

    refused(JsonResponse({}))

    @degradable("page", sla=LIMIT, fallback=default(lambda request: JsonResponse({})))
    def page(request: HttpRequest) -> HttpResponse:
        raise ConnectionError

    def signing_in(request: HttpRequest) -> HttpResponse:
        response = page(request)
        if "login" in request.GET:
            response.set_cookie("user", request.GET["login"])
        return response

    ana, visitor = (signing_in(RequestFactory().get(path)) for path in ("/?login=ana", "/"))
    assert "user" in ana.cookies
    assert "user" not in visitor.cookies


def test_a_visitor_of_flask_never_gets_the_session_of_another():
    app = flask.Flask("shop")
    app.secret_key = "k"  # noqa: S105 - signs the cookies of this test
    with app.app_context():
        refused(flask.jsonify(stories=[]))

    @app.route("/<shop>/<page>")
    @degradable("page", sla=LIMIT, fallback=default(lambda shop, page: flask.jsonify(stories=[])))
    def shelf(shop: str, page: str) -> flask.Response:
        if page == "login":
            flask.session["user"] = shop
        raise ConnectionError

    ana, visitor = (app.test_client().get(path) for path in ("/ana/login", "/a/1"))
    assert (ana.json, visitor.json) == ({"stories": []}, {"stories": []})
    assert "Set-Cookie" in ana.headers
    assert "Set-Cookie" not in visitor.headers


def test_a_visitor_of_fastapi_never_gets_the_cookie_of_another():
    app = fastapi.FastAPI()
    refused(starlette.responses.JSONResponse({}))

    @app.middleware("http")
    async def sign_in(request: fastapi.Request, call: Callable[..., Any]) -> fastapi.Response:
        response: fastapi.Response = await call(request)
        if "login" in request.query_params:
            response.set_cookie("user", request.query_params["login"])
        return response

    @app.get("/")
    @degradable("page", sla=LIMIT, fallback=default(lambda: starlette.responses.JSONResponse({})))
    async def page() -> dict[str, str]:
        raise ConnectionError

    async def visit(path: str) -> httpx.Response:
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://shop") as client:
            return await client.get(path)

    ana, visitor = (asyncio.run(visit(path)) for path in ("/?login=ana", "/"))
    assert "user" in ana.cookies
    assert "user" not in visitor.cookies


def test_a_visitor_of_aiohttp_never_gets_the_cookie_of_another():
    refused(aiohttp.web.json_response({}))

    @aiohttp.web.middleware
    async def sign_in(request: Any, handler: Any) -> Any:
        response = await handler(request)
        if "login" in request.query:
            response.set_cookie("user", request.query["login"])
        return response

    @degradable("page", sla=LIMIT, fallback=default(lambda request: aiohttp.web.json_response({})))
    async def page(request: Any) -> aiohttp.web.Response:
        raise ConnectionError

    async def visit() -> list[Any]:
        app = aiohttp.web.Application(middlewares=[sign_in])
        app.router.add_get("/", page)
        found = []
        for path in ("/?login=ana", "/"):
            async with TestClient(TestServer(app)) as client:
                found.append((await client.get(path)).cookies)
        return found

    ana, visitor = asyncio.run(visit())
    assert "user" in ana
    assert "user" not in visitor
