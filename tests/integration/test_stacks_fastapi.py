"""Guarded endpoints of FastAPI under uvicorn: its current release, and the oldest supported."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from websockets.sync.client import connect

from tests.integration.stacks.processes import OLDER, Service, serving
from tests.servers.waiting import until

pytestmark = pytest.mark.real

SERVER = ("-m", "uvicorn", "--fd", "{fd}", "tests.integration.stacks.fastapi_shop:app")
WHOLE = {"stories": ["new"]}
NONE = {"stories": []}


@pytest.fixture(scope="module", params=["current", "0.115"])
def shop(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Service]:
    older = request.param != "current"
    home = tmp_path_factory.mktemp("fastapi")
    with serving(home, *SERVER, path=[OLDER] if older else []) as service:
        version = service.get("/figures").json()["versions"]["fastapi"]
        assert version.startswith("0.115.") is older, "run .ci/bootstrap test"
        yield service


def test_an_endpoint_of_any_form_answers_as_unguarded_and_from_its_ladder_when_it_fails(
    shop: Service,
):
    whole = {
        "coroutine/7?tag=a": WHOLE | {"number": 7, "tag": "a"},
        "function/7": WHOLE | {"number": 7, "tag": "none"},
        "decorated?": WHOLE | {"session": "of the decorator"},
        "dependency?": WHOLE | {"plain": ["new"]},
        "callable?": WHOLE,
    }
    assert {path: shop.get(path).json() for path in whole} == whole
    for path in whole:
        degraded = shop.get(path + ("&" if "?" in path else "?") + "down=1")
        expected = NONE | {"plain": []} if path == "dependency?" else NONE
        assert (path, degraded.status_code, degraded.json()) == (path, 200, expected)
        assert path.replace("/", "?").partition("?")[0] in degraded.headers["Degraded"]
    for flag in (
        "coroutine",
        "function",
        "decorated",
        "dependency",
        "plain-dependency",
        "callable",
    ):
        shop.await_figures(flag, success=1, failure=1)


def test_parameters_are_checked_and_converted_as_for_the_function_itself(shop: Service):
    assert shop.get("coroutine/seven").status_code == 422
    assert shop.post("items", json={}).json()["detail"][0]["loc"] == ["body", "name"]
    described = shop.get("openapi.json").json()["paths"]["/items"]["post"]
    assert "requestBody" in described
    assert [each["name"] for each in described["parameters"]] == ["down"]


def test_results_and_fallbacks_pass_through_the_model_of_the_response(shop: Service):
    assert shop.post("items", json={"name": "pen"}).json() == {"name": "pen"}
    assert shop.post("items?down=1", json={"name": "pen"}).json() == {"name": "none"}


def test_an_endpoint_that_keeps_failing_is_degraded(shop: Service):
    shop.await_degraded("judged", instead=NONE)


@pytest.mark.parametrize("path", ["raised", "raised-plain"])
def test_what_an_http_exception_says_reaches_the_visitor_unless_the_server_failed(
    shop: Service, path: str
):
    for status in (304, 307, 401, 403, 404, 429):
        answer = shop.get(f"{path}/{status}")
        assert (answer.status_code, answer.headers["Location"]) == (status, "/login")
    for status in (500, 503):
        assert shop.get(f"{path}/{status}").json() == NONE
    shop.await_figures(path, ignored=6, failure=2)


def test_a_refusal_of_a_rung_reaches_the_visitor(shop: Service):
    assert shop.get("rung", params={"down": 1}).status_code == 403


@pytest.mark.parametrize(
    "path", ["inbox/function", "inbox/coroutine", "inbox/opened-coroutine", "mail/inbox"]
)
def test_users_who_are_named_late_get_their_own_snapshots_only(shop: Service, path: str):
    ana, ben = f"ana-{path}", f"ben-{path}"

    def read(user: str, **params: int) -> list[str]:
        found: list[str] = shop.get(path, headers={"user": user}, params=params).json()
        return found

    assert read(ana) == [f"mail of {ana}"]
    until(lambda: read(ana, down=1) == [f"mail of {ana}"], what="a snapshot")
    answer = shop.get(path, headers={"user": ben}, params={"down": 1})
    assert answer.json() == []
    assert "rung=default" in answer.headers["Degraded"]


def test_a_request_that_a_plain_dependency_opens_in_a_thread_leads_to_no_snapshot(shop: Service):
    """The endpoint is in the anonymous request of the middleware, and works for the user."""

    def read(path: str, user: str, **params: int) -> list[str]:
        found: list[str] = shop.get(path, headers={"user": user}, params=params).json()
        return found

    assert read("inbox/opened", "dan") == ["mail of dan"]
    assert read("inbox/function", "dan") == ["mail of dan"]
    until(lambda: read("inbox/function", "dan", down=1) == ["mail of dan"], what="a snapshot")
    for user in ("ben", "dan"):
        assert read("inbox/opened", user, down=1) == []


def test_threads_share_the_snapshots_of_their_request_or_have_none(shop: Service):
    shop.get("inbox/function", headers={"user": "eve"})

    def read(path: str, user: str) -> list[str]:
        found: list[str] = shop.get(path, headers={"user": user}, params={"down": 1}).json()
        return found

    until(lambda: read("inbox/thread", "eve") == ["mail of eve"], what="a snapshot")
    assert read("inbox/thread", "mallory") == []
    shop.get("inbox/pool", headers={"user": "eve"})
    assert read("inbox/pool", "eve") == []
    assert read("inbox/pool", "mallory") == []


@pytest.mark.parametrize("path", ["live", "mail/live"])
def test_users_of_web_sockets_get_their_own_snapshots_only(shop: Service, path: str):
    ana, ben = f"ana-{path}", f"ben-{path}"

    def read(user: str, *, down: int = 0) -> list[str]:
        address = f"{shop.url}/{path}?down={down}".replace("http", "ws", 1)
        with connect(address, additional_headers={"user": user}, proxy=None) as socket:
            found: list[str] = json.loads(socket.recv(timeout=10))
            return found

    assert read(ana) == [f"mail of {ana}"]
    until(lambda: read(ana, down=1) == [f"mail of {ana}"], what="a snapshot")
    assert read(ben, down=1) == []


def test_a_visitor_never_gets_the_cookie_of_another_one_with_a_fallback(shop: Service):
    ana = shop.get("shared", params={"login": "ana"})
    stranger = shop.get("shared")
    assert (ana.json(), stranger.json()) == (NONE, NONE)
    assert ("user" in ana.cookies, "user" in stranger.cookies) == (True, False)


def test_one_response_for_all_requests_is_refused_as_a_default(shop: Service):
    assert shop.get("refused").json() == {"response": "shared-value"}


def test_no_cache_keeps_a_degraded_page_as_a_whole_one(shop: Service):
    whole = shop.get("front/kept")
    assert whole.headers["Cache-Control"] == "public, s-maxage=86400"
    assert (whole.headers["ETag"], "Degraded" in whole.headers) == ('"today"', False)

    fallback = shop.get("front/other", params={"down": 1})
    assert fallback.headers["Cache-Control"] == "no-store"
    assert fallback.headers["Degraded"] == "front;rung=default"

    until(lambda: shop.get("front/kept", params={"down": 1}).json() == WHOLE, what="a snapshot")
    kept = shop.get("front/kept", params={"down": 1})
    assert kept.headers["Cache-Control"] == "private, no-cache"
    assert int(kept.headers["Age"]) >= 0
    assert kept.headers["Degraded"].startswith("front;rung=snapshot;age=")
    assert not {"etag", "last-modified"} & (set(fallback.headers) | set(kept.headers))


def test_an_order_of_the_operator_reaches_the_endpoints_and_ends(shop: Service):
    assert shop.get("operated").json() == WHOLE
    shop.hold("operated", "degraded")
    degraded = shop.get("operated")
    assert (degraded.json(), degraded.headers["Degraded"]) == (NONE, "operated;rung=default")
    shop.release("operated")
    assert shop.get("operated").json() == WHOLE


def test_an_endpoint_without_a_ladder_refuses_with_a_time_to_retry(shop: Service):
    assert shop.get("alone").json() == WHOLE
    shop.hold("alone", "degraded")
    refused = shop.get("alone")
    assert (refused.status_code, refused.json()["flag"]) == (503, "alone")
    assert int(refused.headers["Retry-After"]) >= 1
    shop.release("alone")
    assert shop.get("alone").json() == WHOLE
