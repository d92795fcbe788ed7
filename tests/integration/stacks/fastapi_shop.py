"""A small shop of FastAPI, whose annotations are text: for every release that is supported."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Annotated, Any

import fastapi
from fastapi import Depends, FastAPI, HTTPException, Request, WebSocket
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.middleware.base import BaseHTTPMiddleware

import degrade
from degrade import SLA, default, degradable, simplified, snapshot
from degrade.integrations.asgi import DegradeMiddleware
from tests.integration.stacks.common import code_of_default, figures, find_stories

QUICK = SLA(errors="5%")
NONE: dict[str, Any] = {"stories": []}

calm = default(lambda *args, **kwargs: JSONResponse(NONE))

app = FastAPI()


async def remember_login(request: Request, call_next: Callable[..., Any]) -> Any:
    """Give each visitor who logs in a cookie on whatever response there is."""
    response = await call_next(request)
    if "login" in request.query_params:
        response.set_cookie("user", request.query_params["login"])
    return response


app.add_middleware(BaseHTTPMiddleware, dispatch=remember_login)
app.add_middleware(DegradeMiddleware)


class Item(BaseModel):
    name: str
    price: int = 3


class Shown(BaseModel):
    name: str


def wanted(down: bool = False) -> bool:
    return down


Down = Annotated[bool, Depends(wanted)]


# ------------------------------------------------------------------ endpoints of every form


@app.get("/coroutine/{number}")
@degradable("coroutine", fallback=default(NONE))
async def coroutine(number: int, down: Down, tag: str = "none") -> dict[str, Any]:
    return {"stories": find_stories(down), "number": number, "tag": tag}


@app.get("/function/{number}")
@degradable("function", fallback=default(NONE))
def function(number: int, down: Down, tag: str = "none") -> dict[str, Any]:
    return {"stories": find_stories(down), "number": number, "tag": tag}


@app.post("/items", response_model=Shown)
@degradable("items", fallback=default({"name": "none", "price": 0}))
async def add_item(item: Item, request: Request, down: bool = False) -> Any:
    find_stories(down)
    return item


def with_session(endpoint: Callable[..., Any]) -> Callable[..., Any]:
    """Fill an argument that the framework leaves out, unless it is given."""

    @functools.wraps(endpoint)
    async def inner(*args: Any, **kwargs: Any) -> Any:
        if kwargs.get("session") is None:
            kwargs["session"] = "of the decorator"
        return await endpoint(*args, **kwargs)

    return inner


@app.get("/decorated")
@degradable("decorated", fallback=default(NONE))
@with_session
async def decorated(down: Down, session: str | None = None) -> dict[str, Any]:
    return {"stories": find_stories(down), "session": session}


@degradable("dependency", fallback=default([]))
async def stories(down: Down, request: Request) -> list[str]:
    return find_stories(down)


@degradable("plain-dependency", fallback=default([]))
def plain_stories(down: Down, request: Request) -> list[str]:
    return find_stories(down)


@app.get("/dependency")
async def dependent(
    found: Annotated[list[str], Depends(stories)],
    plain: Annotated[list[str], Depends(plain_stories)],
) -> dict[str, Any]:
    return {"stories": found, "plain": plain}


class Finder:
    @degradable("callable", fallback=default([]))
    async def __call__(self, down: bool = False) -> list[str]:
        return find_stories(down)


@app.get("/callable")
async def called(found: Annotated[list[str], Depends(Finder())]) -> dict[str, Any]:
    return {"stories": found}


@app.get("/judged")
@degradable("judged", sla=QUICK, fallback=default(NONE))
async def judged(down: Down) -> dict[str, Any]:
    return {"stories": find_stories(down)}


@app.get("/operated")
@degradable("operated", fallback=default(NONE))
async def operated() -> dict[str, Any]:
    return {"stories": find_stories(down=False)}


@app.get("/alone")
@degradable("alone")
async def alone() -> dict[str, Any]:
    return {"stories": find_stories(down=False)}


# ------------------------------------------------------------------ exceptions


@app.get("/raised/{status}")
@degradable("raised", fallback=default(NONE))
async def raised(status: int) -> dict[str, Any]:
    raise HTTPException(status, headers={"Location": "/login"})


@app.get("/raised-plain/{status}")
@degradable("raised-plain", fallback=default(NONE))
def raised_plain(status: int) -> dict[str, Any]:
    raise HTTPException(status, headers={"Location": "/login"})


def denied(*args: Any, **kwargs: Any) -> dict[str, Any]:
    raise HTTPException(403)


@app.get("/rung")
@degradable("rung", fallback=[simplified(denied), default(NONE)])
async def rung(down: Down) -> dict[str, Any]:
    return {"stories": find_stories(down)}


# ------------------------------------------------------------------ whose answer it is


class Mailbox:
    def __init__(self, user: str) -> None:
        self.user = user

    @degradable("inbox", fallback=[snapshot(max_age="1h", key=("page",)), default([])])
    def read(self, page: int, down: bool = False) -> list[str]:
        find_stories(down)
        return [f"mail of {self.user}"]

    @degradable("inbox-coroutine", fallback=[snapshot(max_age="1h", key=("page",)), default([])])
    async def fetch(self, page: int, down: bool = False) -> list[str]:
        find_stories(down)
        return [f"mail of {self.user}"]


def named(request: Request) -> Mailbox:
    degrade.identify(request.headers["user"])
    return Mailbox(request.headers["user"])


async def named_coroutine(request: Request) -> Mailbox:
    degrade.identify(request.headers["user"])
    return Mailbox(request.headers["user"])


def opened(request: Request) -> Iterator[Mailbox]:
    with degrade.request(subject=request.headers["user"]):
        yield Mailbox(request.headers["user"])


async def opened_coroutine(request: Request) -> AsyncIterator[Mailbox]:
    with degrade.request(subject=request.headers["user"]):
        yield Mailbox(request.headers["user"])


@app.get("/inbox/function")
def inbox(box: Annotated[Mailbox, Depends(named)], down: Down) -> list[str]:
    return box.read(1, down)


@app.get("/inbox/coroutine")
async def inbox_coroutine(box: Annotated[Mailbox, Depends(named_coroutine)], down: Down) -> Any:
    return await box.fetch(1, down)


@app.get("/inbox/thread")
async def inbox_thread(box: Annotated[Mailbox, Depends(named)], down: Down) -> list[str]:
    return await asyncio.to_thread(box.read, 1, down)


@app.get("/inbox/pool")
async def inbox_pool(box: Annotated[Mailbox, Depends(named)], down: Down) -> list[str]:
    loop = asyncio.get_running_loop()
    return await loop.run_in_executor(None, functools.partial(box.read, 1, down))


@app.get("/inbox/opened")
def inbox_opened(box: Annotated[Mailbox, Depends(opened)], down: Down) -> list[str]:
    return box.read(1, down)


@app.get("/inbox/opened-coroutine")
async def inbox_opened_coroutine(
    box: Annotated[Mailbox, Depends(opened_coroutine)], down: Down
) -> list[str]:
    return await box.fetch(1, down)


def subject_of(scope: Any) -> str:
    user: bytes = dict(scope["headers"])[b"user"]
    return user.decode()


mail = FastAPI()
mail.add_middleware(DegradeMiddleware, subject=subject_of)


@mail.get("/inbox")
async def mounted_inbox(request: Request, down: Down) -> list[str]:
    return await Mailbox(request.headers["user"]).fetch(1, down)


@mail.websocket("/live")
async def live(socket: WebSocket, down: bool = False) -> None:
    await socket.accept()
    await socket.send_json(await Mailbox(socket.headers["user"]).fetch(1, down))
    await socket.close()


app.mount("/mail", mail)


@app.websocket("/live")
async def live_named(socket: WebSocket, down: bool = False) -> None:
    degrade.identify(socket.headers["user"])
    await socket.accept()
    await socket.send_json(await Mailbox(socket.headers["user"]).fetch(1, down))
    await socket.close()


@app.get("/shared")
@degradable("shared", fallback=calm)
async def shared() -> Any:
    raise ConnectionError


@app.get("/refused")
async def refused() -> dict[str, str]:
    return {"response": code_of_default(JSONResponse(NONE))}


# ------------------------------------------------------------------ caches


@degradable("front", fallback=[snapshot(max_age="1h", key=("shelf",)), default([])])
async def front(shelf: str, *, down: bool) -> list[str]:
    return find_stories(down)


@app.get("/front/{shelf}")
async def front_page(shelf: str, down: Down) -> JSONResponse:
    headers = {"Cache-Control": "public, s-maxage=86400", "ETag": '"today"'}
    return JSONResponse({"stories": await front(shelf, down=down)}, headers=headers)


@app.get("/figures")
async def show_figures() -> dict[str, Any]:
    return {"versions": {"fastapi": fastapi.__version__}, **figures()}
