"""What clients, caches and probes see of a degraded service, over a real connection."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import fastapi
import httpx
import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily
from starlette.background import BackgroundTask
from starlette.responses import JSONResponse, RedirectResponse, Response, StreamingResponse

import degrade
from degrade import SLA, Runtime, default, degradable, omit, simplified, snapshot
from degrade.control import Control
from degrade.integrations.asgi import DegradeMiddleware
from tests.integration.serving import serving
from tests.servers.waiting import until

pytestmark = pytest.mark.real

state = {"up": True}
WHOLE = {
    "Cache-Control": "public, s-maxage=86400",
    "ETag": '"v1"',
    "CDN-Cache-Control": "max-age=600",
}


def guarded(name: str, *ladder):
    @degradable(f"honest.{name}", sla=SLA(errors="5%"), fallback=ladder)
    def part() -> str:
        if not state["up"]:
            raise ConnectionError
        return "whole"

    return part


PARTS = {
    "snapshot": guarded("snapshot", snapshot(max_age="1h"), default("x")),
    "default": guarded("default", default("nothing today")),
    "omit": guarded("omit", omit()),
    "simplified": guarded("simplified", simplified(lambda: "cheaper")),
    "side-effect": guarded("side-effect", omit(side_effect=True)),
}
refusing = guarded("refusing")
recommended = degrade.Flag("honest.recommended")
app = fastapi.FastAPI()
service = DegradeMiddleware(app)


@app.get("/page/{names}")
@app.head("/page/{names}")
def page(names: str, request: fastapi.Request) -> Response:
    said = {name: PARTS[name]() for name in names.split("+")}
    if request.headers.get("if-none-match") == WHOLE["ETag"]:
        return Response(status_code=304, headers=WHOLE)
    return JSONResponse(said, headers=WHOLE)


@app.get("/branch")
def branch() -> Response:
    return JSONResponse({"degraded": recommended.degraded}, headers=WHOLE)


@app.get("/refused")
def refused() -> Response:
    try:
        return JSONResponse(refusing(), headers=WHOLE)
    except degrade.UnavailableError:  # the page goes on without that part
        return JSONResponse("without", headers=WHOLE)


@app.get("/moved")
def moved() -> Response:
    return RedirectResponse(f"/{PARTS['default']()}", 301)


@app.get("/empty")
def empty() -> Response:
    PARTS["snapshot"]()
    return Response(status_code=204)


@app.get("/stream")
def stream(control: str = "public, max-age=60") -> Response:
    def chunks() -> Iterator[str]:
        yield "begun, "
        yield PARTS["default"]()

    return StreamingResponse(chunks(), headers={"Cache-Control": control})


@app.get("/afterwards")
def afterwards() -> Response:
    task = BackgroundTask(PARTS["default"])
    return JSONResponse("done", headers=WHOLE, background=task)


@pytest.fixture
def runtime() -> Iterator[Runtime]:
    state["up"] = True
    with Runtime(threads="manual") as runtime:
        yield runtime


@pytest.fixture
def client(runtime: Runtime) -> Iterator[httpx.Client]:
    with serving(service) as url, httpx.Client(base_url=url) as client:
        yield client


def kept(client: httpx.Client, runtime: Runtime) -> None:
    """Let the service keep a snapshot: on a slow machine, captures are skipped."""

    def tried() -> bool:
        client.get("/page/snapshot")
        runtime.tick()
        return len(runtime.tier) > 0

    until(tried, every_s=0.05, what="a snapshot")
    state["up"] = False


def about_caches(response: httpx.Response) -> dict[str, str]:
    names = ("cache-control", "etag", "cdn-cache-control", "age", "degraded")
    found = {name: response.headers.get_list(name) for name in names}
    assert all(len(values) <= 1 for values in found.values())
    return {name: values[0] for name, values in found.items() if values}


def test_a_whole_page_says_what_the_application_said(client: httpx.Client):
    for names in ("snapshot", "default+omit"):
        assert about_caches(client.get(f"/page/{names}")) == {
            name.lower(): value for name, value in WHOLE.items()
        }


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize(
    ("names", "control"),
    [
        ("snapshot", "private, no-cache"),
        ("snapshot+side-effect", "private, no-cache"),
        ("default", "no-store"),
        ("omit", "no-store"),
        ("simplified", "no-store"),
        ("snapshot+default", "no-store"),
        ("side-effect+omit", "no-store"),
    ],
)
def test_a_degraded_page_is_kept_by_no_cache_as_a_whole_one(
    client: httpx.Client, runtime: Runtime, names: str, control: str, method: str
):
    kept(client, runtime)
    response = client.request(method, f"/page/{names}")
    seen = about_caches(response)
    assert seen.pop("cache-control") == control
    marks = seen.pop("degraded")
    assert [mark.partition(";")[0] for mark in marks.split(", ")] == [
        f"honest.{name}" for name in names.split("+")
    ]
    assert set(seen) == ({"age"} if "snapshot" in names else set())


def test_a_page_without_a_side_effect_is_a_whole_one_that_tells_of_it(client: httpx.Client):
    state["up"] = False
    assert about_caches(client.get("/page/side-effect")) == {
        **{name.lower(): value for name, value in WHOLE.items()},
        "degraded": "honest.side-effect;rung=omit",
    }


def test_a_client_that_has_the_whole_page_keeps_it_and_asks_again(
    client: httpx.Client, runtime: Runtime
):
    etag = client.get("/page/snapshot").headers["etag"]
    kept(client, runtime)
    response = client.get("/page/snapshot+default", headers={"If-None-Match": etag})
    assert response.status_code == 304
    assert about_caches(response) == {
        "cache-control": "no-cache", "etag": '"v1"', "cdn-cache-control": "no-cache",
    }  # fmt: skip
    assert "cache-status" not in response.headers


def test_a_client_that_has_a_degraded_page_is_never_told_that_it_is_up_to_date(
    client: httpx.Client, runtime: Runtime
):
    kept(client, runtime)
    degraded = client.get("/page/snapshot+default")
    state["up"] = True
    known = {"If-None-Match": degraded.headers["etag"]} if "etag" in degraded.headers else {}
    assert client.get("/page/snapshot+default", headers=known).json()["default"] == "whole"


def test_a_branch_that_was_taken_makes_a_page_incomplete(client: httpx.Client, runtime: Runtime):
    assert client.get("/branch").headers["cache-control"] == WHOLE["Cache-Control"]
    assert client.get("/refused").headers["cache-control"] == WHOLE["Cache-Control"]
    control = Control(runtime.store, actor="ana")
    for name in ("recommended", "refusing"):
        control.hold(f"honest.{name}", "degraded", for_=None, reason="drill")
    for path in ("/branch", "/refused"):
        assert about_caches(client.get(path)) == {"cache-control": "no-store"}


def test_a_redirect_to_a_fallback_is_not_remembered(client: httpx.Client):
    state["up"] = False
    response = client.get("/moved")
    assert response.status_code == 301
    assert response.headers["cache-control"] == "no-store"


def test_an_answer_without_content_has_no_age(client: httpx.Client, runtime: Runtime):
    kept(client, runtime)
    response = client.get("/empty")
    assert response.status_code == 204
    assert set(about_caches(response)) == {"cache-control", "degraded"}


def test_a_part_that_is_degraded_after_the_headers_went_out_is_told_in_the_log(
    client: httpx.Client, caplog
):
    state["up"] = False
    for control in ("no-store", "max-age=60, no-cache"):
        assert client.get("/stream", params={"control": control}).text == "begun, nothing today"
    assert client.get("/afterwards").json() == "done"  # what comes after the response is not in it
    told = [message for message in caplog.messages if "after its headers" in message]
    assert told == []
    response = client.get("/stream")
    assert response.text == "begun, nothing today"
    assert about_caches(response) == {"cache-control": "public, max-age=60"}
    told = [message for message in caplog.messages if "after its headers" in message]
    assert len(told) == 1


def test_an_option_leaves_the_headers_for_caches_alone(runtime: Runtime):
    state["up"] = False
    with serving(DegradeMiddleware(app, caching=False)) as url:
        assert about_caches(httpx.get(f"{url}/page/default")) == {
            **{name.lower(): value for name, value in WHOLE.items()},
            "degraded": "honest.default;rung=default",
        }


# ------------------------------------------------------------------ pages of our own


class Slow:
    """A collector that a test holds back, and that counts its scrapes."""

    def __init__(self) -> None:
        self.scrapes = 0
        self.begun, self.going = threading.Event(), threading.Event()

    def describe(self) -> list[GaugeMetricFamily]:
        return []

    def collect(self) -> Iterator[GaugeMetricFamily]:
        self.scrapes += 1
        self.begun.set()
        assert self.going.wait(10)
        yield GaugeMetricFamily("slow", "Slow.", value=self.scrapes)


def test_a_slow_scrape_holds_up_nobody_and_is_made_once_for_all(runtime: Runtime):
    registry, slow = CollectorRegistry(), Slow()
    registry.register(slow)
    metered = DegradeMiddleware(app, metrics_path="/metrics", registry=registry)
    with serving(metered) as url, ThreadPoolExecutor(8) as pool:
        scrapes = [pool.submit(httpx.get, f"{url}/metrics", timeout=30) for _ in range(8)]
        assert slow.begun.wait(10)
        assert httpx.get(f"{url}/page/default").json() == {"default": "whole"}
        assert httpx.get(f"{url}/degrade/health").json()["status"] == "pass"
        slow.going.set()
        assert {scrape.result(30).text for scrape in scrapes} == {
            "# HELP slow Slow.\n# TYPE slow gauge\nslow 1.0\n"
        }
    assert slow.scrapes == 1


def test_health_stays_an_answer_while_the_executor_of_the_loop_is_full(runtime: Runtime):
    going = threading.Event()
    busy = fastapi.FastAPI()

    @busy.get("/block")
    async def block() -> str:
        loop = asyncio.get_running_loop()
        tasks = [loop.run_in_executor(None, going.wait, 30) for _ in range(100)]
        assert len(tasks) == 100
        return "blocked"

    with serving(DegradeMiddleware(busy)) as url:
        try:
            assert httpx.get(f"{url}/block").json() == "blocked"
            assert httpx.get(f"{url}/degrade/health", timeout=10).status_code == 200
        finally:
            going.set()
