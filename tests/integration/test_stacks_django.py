"""Guarded views of Django under its servers: WSGI, the one for development, and ASGI."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.integration.stacks.processes import Service, serving
from tests.servers.waiting import until

pytestmark = pytest.mark.real

SHOP = "tests.integration.stacks.django_shop"
SERVERS = {
    "gunicorn": ("-m", "gunicorn", "--bind", "fd://{fd}", "--threads", "4", f"{SHOP}:wsgi"),
    "runserver": ("-m", SHOP, "runserver", "--noreload", "{port}"),
    "uvicorn": ("-m", "uvicorn", "--fd", "{fd}", f"{SHOP}:asgi"),
}
WHOLE = {"stories": ["new"]}
NONE = {"stories": []}


@pytest.fixture(scope="module", params=SERVERS)
def shop(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Service]:
    with serving(tmp_path_factory.mktemp("django"), *SERVERS[request.param]) as service:
        yield service


def test_a_view_of_any_form_answers_as_unguarded_and_from_its_ladder_when_it_fails(shop: Service):
    whole = {
        "function/7": WHOLE | {"number": 7},
        "decorated": WHOLE | {"shop": "the shop", "session": "of the decorator"},
        "method": WHOLE,
        "override": WHOLE | {"own": True},
        "coroutine": WHOLE,
        "async-dispatch": WHOLE,
    }
    assert {path: shop.get(path).json() for path in whole} == whole
    for path in whole:
        degraded = shop.get(path, params={"down": 1})
        assert (path, degraded.status_code, degraded.json()) == (path, 200, NONE)
        assert path.startswith(degraded.headers["Degraded-Flags"])
    for path in whole:
        shop.await_figures(path.partition("/")[0], success=1, failure=1)


def test_requests_to_a_guarded_dispatch_are_counted_together_until_it_is_degraded(shop: Service):
    assert shop.get("dispatch").json() == WHOLE
    assert shop.post("dispatch", data={"text": "hello"}).json() == {"posted": "hello"}
    shop.await_degraded("dispatch", instead=NONE)


def test_a_refusal_reaches_the_visitor_also_from_a_rung(shop: Service):
    expected = {
        "raised/missing": 404,
        "raised/denied": 403,
        "raised/bad": 400,
        "raised/suspicious": 400,
        "raised-rest/missing": 404,
        "raised-rest/denied": 403,
        "raised-rest/anonymous": 403,
        "raised-rest/throttled": 429,
        "rung?down=1": 403,
    }
    answers = {path: shop.get(path) for path in expected}
    assert {path: answer.status_code for path, answer in answers.items()} == expected
    assert not any("stories" in answer.text for answer in answers.values())


def test_an_error_of_the_server_is_a_failure_that_the_ladder_answers(shop: Service):
    assert shop.get("raised-rest/broken").json() == NONE


def test_a_redirect_of_a_guarded_view_reaches_the_visitor(shop: Service):
    answer = shop.get("moved")
    assert (answer.status_code, answer.headers["Location"]) == (302, "/login")


def test_a_visitor_never_gets_the_session_of_another_one_with_a_fallback(shop: Service):
    ana = shop.get("shared", params={"login": "ana"})
    stranger = shop.get("shared")
    assert (ana.json(), stranger.json()) == (NONE, NONE)
    assert ("sessionid" in ana.cookies, "sessionid" in stranger.cookies) == (True, False)


def test_one_response_for_all_requests_is_refused_as_a_default(shop: Service):
    assert shop.get("refused").json() == {"response": "shared-value"}


def test_users_whom_a_middleware_names_get_their_own_snapshots_only(shop: Service):
    with shop.visitor() as ana, shop.visitor() as ben:
        assert ana.get("inbox", params={"login": "ana"}).json() == ["mail of ana"]
        until(lambda: ana.get("inbox", params={"down": 1}).json() == ["mail of ana"])
        assert ben.get("inbox", params={"down": 1, "login": "ben"}).json() == []
        assert shop.get("inbox", params={"down": 1}).json() == []


def test_annotations_as_text_are_resolved_in_the_module_of_the_view(shop: Service):
    assert shop.post("api/items", json={"name": "pen"}).json() == {"added": "pen"}
    assert shop.post("api/items", json={}).status_code == 422
    assert shop.post("api/items?down=1", json={"name": "pen"}).json() == {"added": False}


def test_an_order_of_the_operator_reaches_the_views_and_ends(shop: Service):
    assert shop.get("operated").json() == WHOLE
    shop.hold("operated", "degraded")
    assert shop.get("operated").json() == NONE
    shop.release("operated")
    assert shop.get("operated").json() == WHOLE
