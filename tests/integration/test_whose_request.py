"""Whose request it is, in FastAPI, Starlette and plain ASGI, under a real server and by WebSocket."""

from __future__ import annotations

import asyncio
import functools
import json
from collections.abc import Iterator

import fastapi
import httpx
import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import JSONResponse
from starlette.routing import Mount, Route, WebSocketRoute

import degrade
from degrade import SLA, Runtime, default, degradable, snapshot
from degrade.integrations.asgi import DegradeMiddleware
from tests.integration.serving import serving

pytestmark = pytest.mark.real

USERS = [f"user-{n}" for n in range(8)]
LADDER = [snapshot(max_age="1h", key=("page",)), default([])]
state = {"up": True}


class Mailbox:
    """What one user may see; the arguments of its methods do not tell whose it is."""

    def __init__(self, user: str) -> None:
        self.user = user

    @degradable("whose.sync", sla=SLA(errors="5%"), fallback=LADDER)
    def read(self, page: int) -> list[str]:
        if not state["up"]:
            raise ConnectionError
        return [f"mail of {self.user}"]

    @degradable("whose.async", sla=SLA(errors="5%"), fallback=LADDER)
    async def aread(self, page: int) -> list[str]:
        await asyncio.sleep(0.001)
        if not state["up"]:
            raise ConnectionError
        return [f"mail of {self.user}"]


@pytest.fixture
def runtime() -> Iterator[Runtime]:
    state["up"] = True
    with Runtime(threads="manual") as runtime:
        yield runtime


# ------------------------------------------------------------------ FastAPI

api = fastapi.FastAPI()
api.add_middleware(DegradeMiddleware)
bare = fastapi.FastAPI()


def known_in_a_thread(request: fastapi.Request) -> str:
    user = request.headers["user"]
    degrade.identify(user)
    return user


async def known_in_a_coroutine(request: fastapi.Request) -> str:
    user = request.headers["user"]
    await asyncio.sleep(0)
    degrade.identify(user)
    return user


async def opened_around(request: fastapi.Request):
    with degrade.request(subject=request.headers["user"]):
        yield request.headers["user"]


def opened_in_a_thread(request: fastapi.Request):  # its context reaches nothing but itself
    with degrade.request(subject=request.headers["user"]):
        yield request.headers["user"]


def added(app: fastapi.FastAPI, dependency) -> None:
    """Add the same endpoint in four ways behind one dependency."""
    known = fastapi.Depends(dependency)
    base = f"/{dependency.__name__}"

    @app.get(f"{base}/sync")
    def sync(user: str = known) -> list[str]:
        return Mailbox(user).read(1)

    @app.get(f"{base}/async")
    async def async_(user: str = known) -> list[str]:
        return await Mailbox(user).aread(1)

    @app.get(f"{base}/to_thread")
    async def to_thread(user: str = known) -> list[str]:
        return await asyncio.to_thread(Mailbox(user).read, 1)

    @app.get(f"{base}/executor")
    async def executor(user: str = known) -> list[str]:
        read = functools.partial(Mailbox(user).read, 1)
        return await asyncio.get_running_loop().run_in_executor(None, read)


for way in (known_in_a_thread, known_in_a_coroutine, opened_around):
    added(api, way)
for way in (opened_around, opened_in_a_thread):
    added(bare, way)


def ask(url: str, users: list[str]) -> list[httpx.Response]:
    """Ask for all users at once."""

    async def main() -> list[httpx.Response]:
        async with httpx.AsyncClient(timeout=30) as client:
            return await asyncio.gather(
                *(client.get(url, headers={"user": user}) for user in users)
            )

    return asyncio.run(main())


def asked(runtime: Runtime, url: str) -> list[httpx.Response]:
    """Ask for all users while all is well; then, in an outage, for these and one more."""
    for _ in range(3):  # on a slow machine captures are skipped
        assert [each.json() for each in ask(url, USERS)] == [[f"mail of {user}"] for user in USERS]
        runtime.tick()
    state["up"] = False
    return ask(url, [*USERS, "stranger"])


@pytest.mark.parametrize("endpoint", ["sync", "async", "to_thread"])
@pytest.mark.parametrize("way", ["known_in_a_thread", "known_in_a_coroutine", "opened_around"])
def test_users_who_become_known_after_the_request_began_get_their_own_answers(
    runtime: Runtime, way: str, endpoint: str
):
    with serving(api) as url:
        responses = asked(runtime, f"{url}/{way}/{endpoint}")
    answers = [each.json() for each in responses]
    for user, answer in zip(USERS, answers, strict=False):
        assert answer in ([f"mail of {user}"], [])
    assert [f"mail of {USERS[0]}"] in answers, "some were kept"
    assert answers[-1] == []
    for response, answer in zip(responses, answers, strict=True):
        rung = "snapshot" if answer else "default"
        assert f";rung={rung}" in response.headers["degraded"]


@pytest.mark.parametrize(
    ("app", "way"),
    [(api, "known_in_a_thread"), (api, "opened_around"), (bare, "opened_around")],
)
def test_a_thread_without_the_context_gets_nobodys_answers(runtime: Runtime, app, way: str):
    with serving(app) as url:
        responses = asked(runtime, f"{url}/{way}/executor")
    assert [each.json() for each in responses] == [[]] * 9
    assert len(runtime.tier) == 0


@pytest.mark.parametrize("endpoint", ["sync", "async", "to_thread", "executor"])
def test_a_subject_that_stays_in_the_thread_of_its_dependency_serves_nobody(
    runtime: Runtime, endpoint: str
):
    with serving(bare) as url:
        responses = asked(runtime, f"{url}/opened_in_a_thread/{endpoint}")
    assert [each.json() for each in responses] == [[]] * 9


# ------------------------------------------------------------------ two middlewares


def who(scope) -> str:
    return dict(scope["headers"])[b"user"].decode()


async def inbox(request) -> JSONResponse:
    return JSONResponse(Mailbox(request.headers["user"]).read(1))


async def plain(scope, receive, send) -> None:
    answer = Mailbox(who(scope)).read(1)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": json.dumps(answer).encode()})


KNOWN = [Middleware(DegradeMiddleware, subject=who)]
MOUNTED = Starlette(
    routes=[Mount("/mail", app=Starlette(routes=[Route("/inbox", inbox)], middleware=KNOWN))],
    middleware=[Middleware(DegradeMiddleware)],
)
FAST = fastapi.FastAPI()
FAST.add_middleware(DegradeMiddleware)
FAST.mount("/mail", DegradeMiddleware(MOUNTED, subject=who))
STACKS = {
    "plain": (DegradeMiddleware(DegradeMiddleware(plain, subject=who)), "/"),
    "mounted": (MOUNTED, "/mail/inbox"),
    "mounted in FastAPI": (FAST, "/mail/mail/inbox"),
}


@pytest.mark.parametrize("stack", STACKS)
def test_the_subject_of_an_inner_middleware_counts(runtime: Runtime, stack: str):
    app, path = STACKS[stack]
    with serving(app) as url:
        responses = asked(runtime, url + path)
    answers = [each.json() for each in responses]
    assert [f"mail of {USERS[0]}"] in answers
    for user, answer in zip([*USERS, "stranger"], answers, strict=True):
        assert answer in ([f"mail of {user}"], [])
    assert all(each.headers["degraded"].count("whose.sync") == 1 for each in responses)


# ------------------------------------------------------------------ WebSockets


async def live(socket) -> None:
    await socket.accept()
    async for _ in socket.iter_text():
        await socket.send_json(
            {
                "mail": Mailbox(socket.headers["user"]).read(1),
                "served": [answer.rung for answer in degrade.served()],
            }
        )


async def live_and_identified(socket) -> None:
    degrade.identify(socket.headers["user"])
    await live(socket)


def conversation(app, user: str, times: int) -> list[dict[str, list[str]]]:
    """Connect as a server would, send some messages, and return the answers."""
    scope = {"type": "websocket", "path": "/live", "headers": [(b"user", user.encode())]}
    coming = [{"type": "websocket.connect"}]
    coming += [{"type": "websocket.receive", "text": "more"} for _ in range(times)]
    coming += [{"type": "websocket.disconnect", "code": 1000}]
    answers = []

    async def receive():
        await asyncio.sleep(0)
        return coming.pop(0)

    async def send(message):
        if message["type"] == "websocket.send":
            answers.append(json.loads(message["text"]))

    asyncio.run(app(scope, receive, send))
    assert coming == []
    return answers


SOCKETS = {
    "subject": [Middleware(DegradeMiddleware, subject=who)],
    "identify": [Middleware(DegradeMiddleware)],
    "inner": [Middleware(DegradeMiddleware), Middleware(DegradeMiddleware, subject=who)],
}


@pytest.mark.parametrize("way", SOCKETS)
def test_a_websocket_is_one_request_of_its_user_as_long_as_it_lasts(runtime: Runtime, way: str):
    serve = live_and_identified if way == "identify" else live
    app = Starlette(routes=[WebSocketRoute("/live", serve)], middleware=SOCKETS[way])

    def talk(user: str, times: int) -> list[dict[str, list[str]]]:
        answers = conversation(app, user, times)
        runtime.tick()
        return answers

    for _ in range(3):  # on a slow machine captures are skipped
        assert talk("ana", 2) == [{"mail": ["mail of ana"], "served": []}] * 2
    state["up"] = False
    assert talk("ben", 2) == [
        {"mail": [], "served": ["default"]},
        {"mail": [], "served": ["default", "default"]},
    ]
    assert talk("ana", 1) == [{"mail": ["mail of ana"], "served": ["snapshot"]}]
