"""The ASGI middleware, driven message by message as a server would."""

from __future__ import annotations

import asyncio
import json
import logging
import subprocess
import sys

import pytest
import trio
from prometheus_client import CollectorRegistry, Counter

from degrade import Flag, Runtime
from degrade.context import DegradedStatus, context, served, subject
from degrade.control import Control
from degrade.core.enums import Mode, RungKind
from degrade.errors import ConfigError, StoreError, UnavailableError
from degrade.integrations.asgi import DegradeMiddleware
from degrade.stores.memory import MemoryStore
from tests.unit.integrations.figures import Figures, flag


def http(path="/feed", method="GET", **more):
    return {"type": "http", "method": method, "path": path, "root_path": "", "headers": [], **more}


def websocket(**more):
    return {"type": "websocket", "path": "/degrade/health", "headers": [], **more}


def serve(flag_name="feed.ranking", rung=RungKind.SNAPSHOT, age_s=312.0):
    """Leave the note that a degraded answer leaves."""
    inner = context()
    assert inner is not None
    inner.note((DegradedStatus(flag_name, "breach", 1.0), rung, age_s))


async def respond(send, *chunks, status=200, headers=((b"content-type", b"text/plain"),)):
    await send({"type": "http.response.start", "status": status, "headers": headers})
    for i, chunk in enumerate(chunks):
        more = i < len(chunks) - 1
        await send({"type": "http.response.body", "body": chunk, "more_body": more})


async def receive():
    return {"type": "http.request", "body": b"", "more_body": False}


class Response:
    """What a server would have put on the wire."""

    def __init__(self):
        self.messages = []

    async def send(self, message):
        self.messages.append(message)

    @property
    def status(self):
        return self.messages[0]["status"]

    @property
    def headers(self):
        pairs = list(self.messages[0]["headers"])
        assert len(dict(pairs)) == len(pairs), "a header is there twice"
        return {name.decode(): value.decode() for name, value in pairs}

    @property
    def body(self):
        return b"".join(message["body"] for message in self.messages[1:])


def ask(app, scope=None):
    response = Response()
    asyncio.run(app(http() if scope is None else scope, receive, response.send))
    return response


async def degraded_app(scope, receive, send):
    serve()
    await respond(send, b"old news")


async def healthy_app(scope, receive, send):
    await respond(send, b"news")


def unavailable(name="feed.ranking", retry_after_s=4.2):
    return UnavailableError(
        name, since=None, retry_after_s=retry_after_s, cause="breach: p99 on db-7.internal"
    )


# ---------------------------------------------------------------------- marking


def test_a_degraded_answer_is_marked():
    response = ask(DegradeMiddleware(degraded_app))

    assert response.status == 200
    assert response.body == b"old news"
    assert response.headers == {
        "content-type": "text/plain",
        "age": "312",
        "cache-status": "degrade;hit;ttl=-312;detail=stale-fallback",
        "degraded": "feed.ranking;rung=snapshot;age=312",
        "cache-control": "private, no-cache",
    }


def test_a_full_answer_is_as_the_application_made_it():
    plain, wrapped = ask(healthy_app), ask(DegradeMiddleware(healthy_app))
    assert wrapped.headers == plain.headers
    assert wrapped.messages[1:] == plain.messages[1:]


def test_a_response_without_headers_can_be_marked():
    async def app(scope, receive, send):
        serve(rung=RungKind.OMIT, age_s=None)
        await send({"type": "http.response.start", "status": 204})
        await send({"type": "http.response.body"})

    assert ask(DegradeMiddleware(app)).headers == {
        "degraded": "feed.ranking;rung=omit", "cache-control": "no-store",
    }  # fmt: skip


def test_a_stream_is_marked_with_what_was_served_before_it_began_and_is_not_held_back():
    response = Response()
    on_the_wire = []

    async def app(scope, receive, send):
        serve("before", RungKind.OMIT, None)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        serve("after", RungKind.OMIT, None)
        for i in range(3):
            await send({"type": "http.response.body", "body": b"%d" % i, "more_body": i < 2})
            on_the_wire.append(len(response.messages))

    asyncio.run(DegradeMiddleware(app)(http(), receive, response.send))

    assert response.headers["degraded"] == "before;rung=omit"
    assert response.body == b"012"
    assert on_the_wire == [2, 3, 4]


def test_answers_of_child_tasks_are_collected():
    async def app(scope, receive, send):
        async def part(name):
            await asyncio.sleep(0)
            serve(name, RungKind.DEFAULT, None)

        await asyncio.gather(part("a"), part("b"))
        await respond(send, b"")

    shown = ask(DegradeMiddleware(app)).headers["degraded"]
    assert sorted(shown.split(", ")) == ["a;rung=default", "b;rung=default"]


def test_a_hostile_name_does_not_become_a_header():
    async def app(scope, receive, send):
        serve("x\r\nSet-Cookie: admin=1", RungKind.OMIT, None)
        await respond(send, b"")

    response = ask(DegradeMiddleware(app))
    assert response.headers["degraded"] == '"x%0D%0ASet-Cookie: admin=1";rung=omit'


def test_an_answer_that_cannot_be_marked_still_goes_out(caplog):
    async def app(scope, receive, send):
        context().note("no record")
        await respond(send, b"news")

    response = ask(DegradeMiddleware(app))

    assert (response.status, response.body) == (200, b"news")
    assert response.headers == {"content-type": "text/plain"}
    assert "not marked as degraded" in caplog.text


def test_mounted_twice_an_answer_is_marked_once():
    response = ask(DegradeMiddleware(DegradeMiddleware(degraded_app)))
    assert response.headers["degraded"] == "feed.ranking;rung=snapshot;age=312"


# ---------------------------------------------------------------------- subjects


def whose(seen):
    async def app(scope, receive, send):
        seen.append(subject())
        await respond(send, b"")

    return app


def test_the_subject_of_the_request_is_known_inside_and_forgotten_afterwards():
    seen = []

    async def main():
        middleware = DegradeMiddleware(whose(seen), subject=lambda scope: scope["user"])
        await middleware(http(user="ana"), receive, Response().send)
        seen.append(subject())

    asyncio.run(main())
    assert seen == ["ana", None]


def test_mounted_twice_the_outer_subject_counts():
    seen = []
    inner = DegradeMiddleware(whose(seen))
    ask(DegradeMiddleware(inner, subject=lambda _scope: "ana"))
    assert seen == ["ana"]


@pytest.mark.parametrize("make", [http, websocket], ids=["http", "websocket"])
def test_mounted_twice_the_inner_subject_names_the_request(make):
    seen = []
    inner = DegradeMiddleware(whose(seen), subject=lambda _scope: "ben")
    for outer in (None, lambda _scope: "ana", lambda _scope: None):
        ask(DegradeMiddleware(inner, subject=outer), make())
    assert seen == ["ben"] * 3


def test_mounted_twice_a_subject_that_cannot_be_read_is_shared_with_nobody(caplog):
    seen = []
    inner = DegradeMiddleware(whose(seen), subject=lambda scope: scope["user"])
    for _ in range(2):
        ask(DegradeMiddleware(inner, subject=lambda _scope: "ana"))
    assert len({*seen, "ana", None}) == 4


def test_a_request_without_a_subject_is_anonymous():
    seen = []
    ask(DegradeMiddleware(whose(seen)))
    ask(DegradeMiddleware(whose(seen), subject=lambda _scope: None))
    assert seen == [None, None]


@pytest.mark.parametrize("broken", [lambda scope: scope["user"], lambda _scope: 42])
def test_a_subject_that_cannot_be_read_is_shared_with_nobody_and_logged_once_a_minute(
    broken, clock, caplog
):
    seen = []
    middleware = DegradeMiddleware(whose(seen), subject=broken, clock=clock)
    for _ in range(3):
        assert ask(middleware).status == 200

    assert len(set(seen)) == 3
    assert None not in seen
    assert len(caplog.records) == 1
    clock.advance(60)
    ask(middleware)
    assert len(caplog.records) == 2


# ---------------------------------------------------------------------- refusals


def refuse(error):
    async def app(scope, receive, send):
        raise error

    return app


def test_a_refusal_is_a_problem_with_a_time_to_retry():
    response = ask(DegradeMiddleware(refuse(unavailable())))

    assert response.status == 503
    assert response.headers == {
        "content-type": "application/problem+json",
        "cache-control": "no-store",
        "retry-after": "5",
        "content-length": str(len(response.body)),
    }
    assert json.loads(response.body) == {
        "type": "about:blank",
        "title": "Service Unavailable",
        "status": 503,
        "detail": "feed.ranking is degraded and nothing stands in for it; try again in 5 s",
        "code": "unavailable",
        "flag": "feed.ranking",
        "retry_after": 5,
    }


def test_a_refusal_does_not_tell_the_network_why():
    assert b"internal" not in ask(DegradeMiddleware(refuse(unavailable()))).body


@pytest.mark.parametrize(
    ("retry_after_s", "header"),
    [(0.0, "1"), (-5.0, "1"), (59.01, "60"), (1e9, "3600"), (float("nan"), "1")],
)
def test_the_time_to_retry_lies_between_a_second_and_an_hour(retry_after_s, header):
    response = ask(DegradeMiddleware(refuse(unavailable(retry_after_s=retry_after_s))))
    assert response.headers["retry-after"] == header
    assert json.loads(response.body)["retry_after"] == int(header)


def test_a_refusal_marks_what_was_served_before_it():
    async def app(scope, receive, send):
        serve("feed.analytics", RungKind.OMIT, None)
        raise unavailable()

    assert ask(DegradeMiddleware(app)).headers["degraded"] == "feed.analytics;rung=omit"


def test_a_refusal_of_a_hostile_name_stays_data():
    name = 'x\r\n\r\n"}<script>\ud800'
    response = ask(DegradeMiddleware(refuse(unavailable(name))))
    assert json.loads(response.body)["flag"] == name
    assert response.body.isascii()
    assert not any("script" in value for value in response.headers.values())


def test_a_refusal_of_a_head_request_has_no_body():
    response = ask(DegradeMiddleware(refuse(unavailable())), http(method="HEAD"))
    assert (response.status, response.body) == (503, b"")
    assert int(response.headers["content-length"]) > 0


def test_a_refusal_after_the_response_has_started_is_left_to_the_server():
    error = unavailable()

    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise error

    with pytest.raises(UnavailableError) as caught:
        ask(DegradeMiddleware(app))
    assert caught.value is error


def test_any_other_exception_passes_untouched():
    error = LookupError("bug")
    with pytest.raises(LookupError) as caught:
        ask(DegradeMiddleware(refuse(error)))
    assert caught.value is error


# ---------------------------------------------------------------------- other protocols


def test_a_websocket_is_a_request_whose_messages_are_left_alone():
    seen, messages = [], []

    async def app(scope, receive, send):
        seen.append(subject())
        serve()
        for message in messages:
            await send(message)
        seen.append(len(served()))

    messages += [
        {"type": "websocket.accept", "headers": [(b"a", b"b")]},
        {"type": "websocket.send", "text": "news"},
        {"type": "websocket.close"},
    ]
    middleware = DegradeMiddleware(app, metrics_path="/metrics", subject=lambda s: s["user"])
    response = ask(middleware, websocket(user="ana"))
    assert response.messages == messages
    assert seen == ["ana", 1]


def test_a_refused_websocket_is_a_response_and_marked():
    async def app(scope, receive, send):
        serve(rung=RungKind.DEFAULT, age_s=None)
        start = {"type": "websocket.http.response.start", "status": 403, "headers": []}
        await send(start)
        await send({"type": "websocket.http.response.body", "body": b"no"})

    response = ask(DegradeMiddleware(app), websocket())
    assert response.headers == {
        "degraded": "feed.ranking;rung=default", "cache-control": "no-store",
    }  # fmt: skip


def test_what_a_websocket_raises_is_left_to_the_server():
    error = unavailable()
    with pytest.raises(UnavailableError) as caught:
        ask(DegradeMiddleware(refuse(error)), websocket())
    assert caught.value is error


@pytest.mark.parametrize("kind", ["lifespan", "something new"])
def test_other_protocols_pass_through_untouched(kind):
    seen = []

    async def app(*arguments):
        seen.extend((*arguments, context()))

    scope, send = {"type": kind, "path": "/degrade/health"}, Response().send
    middleware = DegradeMiddleware(
        app, metrics_path="/metrics", subject=lambda _scope: "ana", ready=None
    )
    asyncio.run(middleware(scope, receive, send))

    assert seen == [scope, receive, send, None]
    assert set(scope) == {"type", "path"}


# ---------------------------------------------------------------------- the start


async def starting(scope, receive, send):
    await send({"type": "lifespan.startup.complete"})
    await send({"type": "lifespan.shutdown.complete"})


def start(runtime, **options):
    """Start an application; return what the server heard, with whether the store was read."""
    heard = []

    async def send(message):
        heard.append((message["type"], getattr(runtime, "orders", None) and runtime.orders.known))

    middleware = DegradeMiddleware(starting, runtime=runtime, **options)
    asyncio.run(middleware({"type": "lifespan"}, receive, send))
    return heard


class Away(MemoryStore):
    """A store that cannot be read."""

    def read(self):
        raise StoreError("nobody listens there")


def test_the_application_has_started_once_the_store_was_read():
    with Runtime() as runtime:
        assert not runtime.orders.known
        assert start(runtime, ready="10s")[0] == ("lifespan.startup.complete", True)


def test_a_store_that_is_away_delays_the_start_and_does_not_refuse_it(caplog):
    with Runtime(Away(), threads="manual") as runtime:
        heard = start(runtime, ready="20ms")
    assert [what for what, _ in heard] == [
        "lifespan.startup.complete",
        "lifespan.shutdown.complete",
    ]
    assert caplog.messages[-1] == "the store was not read within 20ms; starting all the same"


def test_the_start_waits_on_another_loop_than_asyncios_too():
    heard = []

    async def send(message):
        heard.append(runtime.orders.known)

    with Runtime() as runtime:
        middleware = DegradeMiddleware(starting, runtime=runtime, ready="10s")
        trio.run(middleware, {"type": "lifespan"}, receive, send)
    assert heard[0] is True


def test_the_start_waits_for_nothing_without_ready():
    with Runtime() as runtime:
        assert start(runtime, ready=None)[0] == ("lifespan.startup.complete", False)


def test_what_is_no_runtime_is_not_waited_for():
    assert start(Figures())[0] == ("lifespan.startup.complete", None)


def test_a_start_that_cannot_wait_is_told_and_goes_on(caplog):
    class Broken(Runtime):
        def wait_ready(self, timeout="500ms"):
            raise LookupError("bug")

    with Broken(threads="manual") as runtime:
        assert start(runtime)[0] == ("lifespan.startup.complete", False)
    assert "the start does not wait for the store" in caplog.messages[-1]


def test_the_most_to_wait_must_be_a_duration():
    with pytest.raises(ConfigError, match="ready"):
        DegradeMiddleware(starting, ready="soon")


# ---------------------------------------------------------------------- health and metrics


def test_health_is_served():
    figures = Figures(flag(mode=Mode.DEGRADED, dial=1.0))
    response = ask(DegradeMiddleware(healthy_app, runtime=figures), http("/degrade/health"))

    assert response.status == 200
    assert response.headers["content-type"] == "application/health+json"
    assert response.headers["cache-control"] == "max-age=1"
    assert int(response.headers["content-length"]) == len(response.body)
    assert json.loads(response.body)["status"] == "warn"


def test_health_fails_when_nothing_can_answer():
    figures = Figures(flag(mode=Mode.OFF, dial=1.0, ladder=(), required=True))
    response = ask(DegradeMiddleware(healthy_app, runtime=figures), http("/degrade/health"))
    assert (response.status, json.loads(response.body)["status"]) == (503, "fail")


@pytest.mark.parametrize(
    ("path", "root_path"),
    [("/api/degrade/health", "/api"), ("/degrade/health", "/api"), ("/degrade/health", "/")],
)
def test_health_is_found_below_a_root_path(path, root_path):
    middleware = DegradeMiddleware(healthy_app, runtime=Figures())
    assert ask(middleware, http(path, root_path=root_path)).body.startswith(b'{"status": "pass"')


def test_the_application_answers_on_paths_that_are_not_served():
    middleware = DegradeMiddleware(healthy_app, health_path=None, runtime=Figures())
    for path in ("/degrade/health", "/metrics", "/degrade/health/more", ""):
        assert ask(middleware, http(path)).body == b"news"


def test_health_answers_questions_only():
    middleware = DegradeMiddleware(healthy_app, runtime=Figures())
    post = ask(middleware, http("/degrade/health", method="POST"))
    head = ask(middleware, http("/degrade/health", method="HEAD"))

    assert (post.status, post.headers["allow"]) == (405, "GET, HEAD")
    assert (head.status, head.body) == (200, b"")


def test_pages_are_made_once_a_second_for_all(clock):
    figures = Figures(flag())
    middleware = DegradeMiddleware(
        healthy_app, metrics_path="/metrics", runtime=figures, clock=clock
    )

    def seen():
        health, metrics = (ask(middleware, http(path)) for path in ("/degrade/health", "/metrics"))
        return json.loads(health.body)["status"], b'mode="degraded"} 1.0' in metrics.body

    assert seen() == ("pass", False)
    figures.flags = (flag(mode=Mode.DEGRADED, dial=1.0),)
    clock.advance(0.99)
    assert seen() == ("pass", False)
    clock.advance(0.02)
    assert seen() == ("warn", True)


def test_the_pages_of_another_runtime_are_shown_at_once(clock, forget_flags):
    Flag("feed.ranking")
    middleware = DegradeMiddleware(healthy_app, clock=clock)
    statuses = []
    for mode in ("observe", "degraded"):
        with Runtime(clock=clock, threads="manual") as runtime:
            control = Control(runtime.store, actor="ana", clock=clock)
            control.hold("feed.ranking", mode, for_=None, reason="drill")
            body = ask(middleware, http("/degrade/health")).body
            statuses.append(json.loads(body)["status"])
    assert statuses == ["pass", "warn"]


class Broken(Figures):
    def stats(self):
        raise ValueError("no figures")


def test_a_node_stays_in_service_when_the_flags_cannot_be_read(caplog):
    response = ask(DegradeMiddleware(healthy_app, runtime=Broken()), http("/degrade/health"))
    assert response.status == 200
    assert json.loads(response.body)["status"] == "warn"
    assert "cannot be read" in caplog.text


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        ([], "text/plain"),
        ([(b"accept", b"application/openmetrics-text;version=1.0.0")], "application/openmetrics"),
    ],
)
def test_metrics_are_served_when_asked_to(accept, content_type):
    middleware = DegradeMiddleware(healthy_app, metrics_path="/metrics", runtime=Figures(flag()))
    response = ask(middleware, http("/metrics", headers=accept))

    assert response.status == 200
    assert response.headers["content-type"].startswith(content_type)
    assert b'degrade_dial{flag="feed.ranking"} 0.0' in response.body


def test_metrics_of_the_application_are_served_when_its_registry_is_given():
    registry = CollectorRegistry()
    Counter("orders", "Orders.", registry=registry).inc()
    middleware = DegradeMiddleware(healthy_app, metrics_path="/metrics", registry=registry)

    body = ask(middleware, http("/metrics")).body
    assert b"orders_total 1.0" in body
    assert b"degrade" not in body  # the application registers the flags where it wants them


def test_a_scrape_that_fails_is_an_error_of_the_page_alone(caplog):
    class BrokenCollector:
        def collect(self):
            raise ValueError("no metrics")

    registry = CollectorRegistry()
    registry.register(BrokenCollector())
    middleware = DegradeMiddleware(healthy_app, metrics_path="/metrics", registry=registry)
    with caplog.at_level(logging.WARNING):
        response = ask(middleware, http("/metrics"))

    assert (response.status, response.body) == (500, b"")
    assert "cannot be shown" in caplog.text
    assert ask(middleware).body == b"news"


def test_the_middleware_loads_no_framework_and_no_metrics_until_asked():
    code = (
        "import sys, degrade.integrations.asgi\n"
        "print([m for m in ('starlette', 'fastapi', 'uvicorn', 'prometheus_client') if m in sys.modules])"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout == "[]\n"
