"""A small shop of aiohttp: handlers of every form, guarded, under aiohttp's own server."""

from __future__ import annotations

import socket
import sys
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

import degrade
from degrade import SLA, default, degradable, simplified, snapshot
from tests.integration.stacks.common import code_of_default, figures, find_stories, with_shop

QUICK = SLA(errors="5%")

calm = default(lambda *args, **kwargs: web.json_response({"stories": []}))
routes = web.RouteTableDef()


@web.middleware
async def in_request(request: web.Request, handler: Callable[..., Awaitable[Any]]) -> Any:
    with degrade.request() as current:
        response = await handler(request)
        response.headers["Degraded-Flags"] = ",".join(answer.flag for answer in current.served)
        return response


@web.middleware
async def name_user(request: web.Request, handler: Callable[..., Awaitable[Any]]) -> Any:
    user = request.query.get("login", request.cookies.get("user"))
    if user is not None:
        degrade.identify(user)
    response = await handler(request)
    if "login" in request.query:
        response.set_cookie("user", request.query["login"])
    return response


def stories_of(request: web.Request, **more: Any) -> web.Response:
    return web.json_response({"stories": find_stories("down" in request.query), **more})


# ------------------------------------------------------------------ handlers of every form


@routes.get("/coroutine")
@degradable("coroutine", fallback=calm)
async def coroutine(request: web.Request) -> web.Response:
    return stories_of(request)


@routes.get("/decorated")
@degradable("decorated", fallback=calm)
@with_shop
async def decorated(shop: str, request: web.Request, session: str = "none") -> web.Response:
    return stories_of(request, shop=shop, session=session)


@routes.get("/awaitable")
@degradable("awaitable", fallback=calm)
def awaitable(request: web.Request) -> Awaitable[web.Response]:
    return coroutine.__wrapped__(request)  # type: ignore[attr-defined, no-any-return]


@routes.view("/view")
class Page(web.View):
    @degradable("view", fallback=calm)
    async def get(self) -> web.Response:
        return stories_of(self.request)


class Pages:
    @degradable("method", fallback=calm)
    async def method(self, request: web.Request) -> web.Response:
        return stories_of(request)


@routes.get("/judged")
@degradable("judged", sla=QUICK, fallback=calm)
async def judged(request: web.Request) -> web.Response:
    return stories_of(request)


@routes.get("/operated")
@degradable("operated", fallback=calm)
async def operated(request: web.Request) -> web.Response:
    return stories_of(request)


# ------------------------------------------------------------------ exceptions


@routes.get("/raised/{name}")
@degradable("raised", fallback=calm)
async def raised(request: web.Request) -> web.Response:
    kind = getattr(web, request.match_info["name"])
    raise kind("/login") if issubclass(kind, web.HTTPMove) else kind


async def denied(request: web.Request) -> web.Response:
    raise web.HTTPForbidden


@routes.get("/rung")
@degradable("rung", fallback=[simplified(denied), calm])
async def rung(request: web.Request) -> web.Response:
    return stories_of(request)


# ------------------------------------------------------------------ whose answer it is


@routes.get("/shared")
@degradable("shared", fallback=calm)
async def shared(request: web.Request) -> web.Response:
    raise ConnectionError


class Mailbox:
    def __init__(self, user: str) -> None:
        self.user = user

    @degradable("inbox", fallback=[snapshot(max_age="1h", key=("page",)), default([])])
    async def read(self, page: int, *, down: bool) -> list[str]:
        find_stories(down)
        return [f"mail of {self.user}"]


@routes.get("/inbox")
async def inbox(request: web.Request) -> web.Response:
    user = request.query.get("login", request.cookies.get("user", "nobody"))
    return web.json_response(await Mailbox(user).read(1, down="down" in request.query))


@routes.get("/refused")
async def refused(request: web.Request) -> web.Response:
    return web.json_response({"response": code_of_default(web.json_response({}))})


@routes.get("/figures")
async def show_figures(request: web.Request) -> web.Response:
    return web.json_response(figures())


app = web.Application(middlewares=[in_request, name_user])
app.add_routes(routes)
app.router.add_get("/method", Pages().method)

if __name__ == "__main__":
    web.run_app(app, sock=socket.socket(fileno=int(sys.argv[1])))
