"""The ASGI middleware under a real server, with a real runtime behind it."""

from __future__ import annotations

import asyncio
import json
import threading
from urllib.parse import parse_qs

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.responses import JSONResponse, PlainTextResponse
from starlette.routing import Mount, Route

from degrade import Runtime, default, degradable, omit, snapshot
from degrade.context import subject
from degrade.core.records import Hold
from degrade.integrations.asgi import DegradeMiddleware
from degrade.ports import Change
from degrade.stores.memory import MemoryStore
from tests.integration.serving import serving
from tests.servers.waiting import until

pytestmark = pytest.mark.real

USERS = [f"user-{i}" for i in range(40)]


def subject_of(scope):
    return parse_qs(scope["query_string"].decode()).get("user", [None])[0]


@degradable("asgi.ranking", fallback=[snapshot(max_age="1h"), default(["newest"])])
async def ranking(user: str) -> list[str]:
    return [f"for {user}"]


@degradable("asgi.greeting", fallback=[snapshot(max_age="1h"), default("hello")])
async def greeting() -> str:
    return f"hello {subject()}"  # knows its user from the request, not from an argument


@degradable("asgi.analytics", fallback=[omit()])
async def analytics(user: str) -> str:
    return user


@degradable("asgi.checkout", required=True)
async def checkout() -> str:
    return "paid"


@degradable("asgi.broken", fallback=[default("calm")])
async def broken() -> str:
    raise ConnectionError("the model is away")


class App:
    """A small service; a test may hold its streams and its answers back."""

    def __init__(self):
        self.streaming = threading.Event()

    async def __call__(self, scope, receive, send):
        status, parts = 200, [b""]
        user = subject_of(scope) or "nobody"
        match scope["path"]:
            case "/feed":
                stories = await ranking(user)
                await asyncio.sleep(0.01)  # other requests run between the answer and its headers
                if user.endswith(("1", "3", "5")):
                    await analytics(user)
                await asyncio.sleep(0.01)
                parts = [json.dumps(stories).encode()]
            case "/greeting":
                parts = [(await greeting()).encode()]
            case "/checkout":
                parts = [(await checkout()).encode()]
            case "/broken":
                parts = [(await broken()).encode()]
            case "/bug":
                raise LookupError("a bug of the application")
            case "/late":
                await send({"type": "http.response.start", "status": 200, "headers": []})
                await send({"type": "http.response.body", "body": b"begun", "more_body": True})
                await checkout()
            case "/stream":
                await analytics(user)
                await self.stream(send)
                return
            case _:
                status = 404
        await send({"type": "http.response.start", "status": status, "headers": []})
        await send({"type": "http.response.body", "body": b"".join(parts)})

    async def stream(self, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"first", "more_body": True})
        await asyncio.to_thread(self.streaming.wait, 10)
        await send({"type": "http.response.body", "body": b"last"})


class Service:
    """The service as its users and its operator see it."""

    def __init__(self, url, app, runtime, store):
        self.url, self.app, self.runtime, self.store = url, app, runtime, store

    def hold(self, **modes):
        holds = {
            f"asgi.{name}": mode and Hold(mode=mode, actor="ana", reason="test", at=0.0)
            for name, mode in modes.items()
        }
        kind = "hold" if all(modes.values()) else "released"
        change = Change(type=kind, actor="ana", reason="test", instance="t", holds=holds, now=True)
        self.store.change(change)

    def warm(self, users):
        """Serve users until a snapshot of each is kept: on a slow machine, captures are skipped."""

        def kept():
            self.feeds(users)
            self.runtime.tick()
            return len(self.runtime.tier) >= len(users)

        until(kept, every_s=0.1, what="a snapshot for each user")

    def get(self, path):
        return httpx.get(self.url + path)

    def health(self, status):
        """Return the health once it has a status: a page is as old as a second."""

        def reached():
            response = self.get("/degrade/health")
            return response if response.json()["status"] == status else None

        return until(reached, every_s=0.05, what=f"a health of {status}")

    def feeds(self, users):
        async def main():
            async with httpx.AsyncClient(base_url=self.url) as client:
                return await asyncio.gather(
                    *(client.get("/feed", params={"user": user}) for user in users)
                )

        return dict(zip(users, asyncio.run(main()), strict=True))


@pytest.fixture
def service():
    store, app = MemoryStore(), App()
    middleware = DegradeMiddleware(app, subject=subject_of, metrics_path="/metrics")
    with Runtime(store, threads="manual") as runtime, serving(middleware) as url:
        yield Service(url, app, runtime, store)


def test_full_answers_carry_no_marks(service):
    for user, response in service.feeds(USERS).items():
        assert response.json() == [f"for {user}"]
        assert not {"age", "cache-status", "degraded"} & set(response.headers)


def test_users_in_parallel_get_their_own_snapshots_and_their_own_marks(service):
    service.warm(USERS)
    service.hold(ranking="degraded", analytics="degraded")

    for user, response in service.feeds(USERS).items():
        assert response.json() == [f"for {user}"]
        age = response.headers["age"]
        expected = f"asgi.ranking;rung=snapshot;age={age}"
        if user.endswith(("1", "3", "5")):
            expected += ", asgi.analytics;rung=omit"
        assert response.headers["degraded"] == expected
        assert response.headers["cache-status"].startswith("degrade;hit;ttl=")


def test_a_user_without_a_snapshot_never_gets_that_of_another(service):
    service.warm(USERS[:20])
    service.hold(ranking="degraded")

    for user, response in service.feeds(USERS).items():
        known = user in USERS[:20]
        assert response.json() == ([f"for {user}"] if known else ["newest"])
        assert f"rung={'snapshot' if known else 'default'}" in response.headers["degraded"]
        assert ("age" in response.headers) is known


def test_a_function_that_reads_the_subject_does_not_leak_it(service):
    for user in USERS[:2]:
        assert service.get(f"/greeting?user={user}").text == f"hello {user}"
    service.runtime.tick()
    service.hold(greeting="degraded")

    answers = {user: service.get(f"/greeting?user={user}") for user in USERS[:3]}

    assert [answer.text for answer in answers.values()] == ["hello user-0", "hello user-1", "hello"]
    assert "rung=snapshot" in answers["user-1"].headers["degraded"]


def test_off_serves_no_snapshot(service):
    service.feeds(USERS[:3])
    service.runtime.tick()
    service.hold(ranking="off")

    for response in service.feeds(USERS[:3]).values():
        assert response.json() == ["newest"]
        assert response.headers["degraded"].startswith("asgi.ranking;rung=default")
        assert "age" not in response.headers


def test_a_failed_call_is_answered_and_marked_at_once(service):
    response = service.get("/broken")
    assert (response.status_code, response.text) == (200, "calm")
    assert response.headers["degraded"] == "asgi.broken;rung=default"


def test_a_stream_is_marked_and_not_held_back(service):
    service.hold(analytics="degraded")
    with httpx.stream("GET", f"{service.url}/stream?user=user-1") as response:
        assert response.headers["degraded"] == "asgi.analytics;rung=omit"
        chunks = response.iter_bytes()
        assert next(chunks) == b"first"  # the application waits for the client to have it
        service.app.streaming.set()
        assert b"".join(chunks) == b"last"


def test_a_flag_without_an_answer_refuses_with_a_time_to_retry(service):
    service.get("/checkout")
    service.hold(checkout="degraded")
    response = service.get("/checkout")

    assert response.status_code == 503
    assert response.headers["content-type"] == "application/problem+json"
    assert int(response.headers["retry-after"]) == response.json()["retry_after"] >= 1
    assert response.json()["flag"] == "asgi.checkout"
    service.hold(checkout=None)
    assert service.get("/checkout").text == "paid"


def test_a_refusal_after_the_response_began_ends_the_connection_and_not_the_server(service):
    service.hold(checkout="degraded")
    with pytest.raises(httpx.RemoteProtocolError):
        service.get("/late")
    assert service.get("/feed?user=user-1").status_code == 200


def test_an_exception_of_the_application_stays_its_own(service):
    response = service.get("/bug")
    assert response.status_code == 500
    assert "degraded" not in response.headers
    assert service.get("/feed?user=user-1").status_code == 200


def test_within_a_framework_refusals_and_marks_are_the_same(service):
    async def feed(request):
        return JSONResponse(await ranking(request.query_params["user"]))

    async def pay(request):
        return PlainTextResponse(await checkout())

    async def through(request, call_next):  # runs the application in a task of its own
        return await call_next(request)

    app = Starlette(
        routes=[Mount("/shop", routes=[Route("/feed", feed), Route("/pay", pay)])],
        middleware=[
            Middleware(BaseHTTPMiddleware, dispatch=through),
            Middleware(DegradeMiddleware, subject=subject_of),
            Middleware(BaseHTTPMiddleware, dispatch=through),
        ],
    )
    with serving(app) as url:
        assert httpx.get(f"{url}/shop/feed?user=ana").json() == ["for ana"]
        service.runtime.tick()
        service.hold(ranking="degraded", checkout="degraded")
        marked = httpx.get(f"{url}/shop/feed?user=ana")
        refused = httpx.get(f"{url}/shop/pay")
        health = httpx.get(f"{url}/degrade/health")

    assert marked.json() == ["for ana"]
    assert marked.headers["degraded"].startswith("asgi.ranking;rung=snapshot;age=")
    assert (refused.status_code, refused.json()["flag"]) == (503, "asgi.checkout")
    assert (health.status_code, health.json()["status"]) == (503, "fail")


def test_health_follows_the_flags(service):
    service.feeds(USERS[:1])
    service.get("/checkout")
    healthy = service.health("pass")
    service.hold(ranking="degraded")
    degraded = service.health("warn")
    service.hold(checkout="degraded")
    failing = service.health("fail")

    assert (healthy.status_code, healthy.json()["status"]) == (200, "pass")
    assert (degraded.status_code, degraded.json()["status"]) == (200, "warn")
    assert (failing.status_code, failing.json()["status"]) == (503, "fail")
    (check,) = failing.json()["checks"]["asgi.checkout:mode"]
    assert (check["observedValue"], check["status"]) == ("degraded", "fail")
    assert healthy.headers["content-type"] == "application/health+json"
    assert b"ana" not in failing.content.replace(b"analytics", b"")


def test_the_classes_of_a_scrape_add_up_to_the_requests(service):
    service.feeds(USERS)
    service.runtime.tick()
    service.hold(ranking="degraded", checkout="degraded")
    service.feeds(USERS[:7])
    service.get("/broken")
    for _ in range(2):
        service.get("/checkout")

    counted = {}
    for family in text_string_to_metric_families(service.get("/metrics").text):
        for sample in family.samples:
            if sample.name in ("degrade_calls_total", "degrade_rung_served_total") and sample.value:
                kind = sample.labels.get("class") or sample.labels["rung"]
                counted[sample.labels["flag"].removeprefix("asgi."), kind] = sample.value

    assert counted == {
        ("ranking", "full"): 40, ("ranking", "degraded"): 7, ("ranking", "snapshot"): 7,
        ("analytics", "full"): 12 + 3,
        ("broken", "degraded"): 1, ("broken", "default"): 1,
        ("checkout", "failed"): 2,
    }  # fmt: skip
