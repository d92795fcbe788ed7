"""Guarded views of Flask under gunicorn, with threads and with gevent, and under werkzeug's own server."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.integration.stacks.processes import Service, serving
from tests.servers.waiting import until

pytestmark = pytest.mark.real

SHOP = "tests.integration.stacks.flask_shop"
SERVERS = {
    "gunicorn": ("-m", "gunicorn", "--bind", "fd://{fd}", "--threads", "4", f"{SHOP}:app"),
    "gevent": ("-m", "gunicorn", "--bind", "fd://{fd}", "-k", "gevent", f"{SHOP}:app"),
    "werkzeug": ("-m", SHOP, "{fd}"),
}
WHOLE = {"stories": ["new"]}
NONE = {"stories": []}


@pytest.fixture(scope="module", params=SERVERS)
def shop(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Service]:
    with serving(tmp_path_factory.mktemp("flask"), *SERVERS[request.param]) as service:
        yield service


def test_a_view_of_any_form_answers_as_unguarded_and_from_its_ladder_when_it_fails(shop: Service):
    whole = {
        "function/7": WHOLE | {"number": 7},
        "decorated": WHOLE | {"shop": "the shop", "session": "of the decorator"},
        "method": WHOLE,
        "page": WHOLE,
        "coroutine": WHOLE,
    }
    assert {path: shop.get(path).json() for path in whole} == whole
    for path in whole:
        degraded = shop.get(path, params={"down": 1})
        assert (path, degraded.status_code, degraded.json()) == (path, 200, NONE)
        assert path.startswith(degraded.headers["Degraded-Flags"])
    assert shop.get("page-again").json() == WHOLE, "the class is decorated a second time"
    for path in whole:
        shop.await_figures(path.partition("/")[0], success=1 + (path == "page"), failure=1)


def test_a_view_that_keeps_failing_is_degraded(shop: Service):
    shop.await_degraded("judged", instead=NONE)


def test_a_refusal_reaches_the_visitor_also_from_a_rung(shop: Service):
    expected = {
        "aborted/400": 400,
        "aborted/403": 403,
        "aborted/404": 404,
        "aborted/429": 429,
        "raised/routing": 404,
        "raised/exception": 410,
        "rung?down=1": 403,
    }
    answers = {path: shop.get(path) for path in expected}
    assert {path: answer.status_code for path, answer in answers.items()} == expected
    assert not any("stories" in answer.text for answer in answers.values())


def test_redirects_and_responses_that_are_raised_reach_the_visitor(shop: Service):
    for path, status in {"raised/redirect": 308, "raised/aborted-redirect": 302}.items():
        answer = shop.get(path)
        assert (path, answer.status_code) == (path, status)
        assert answer.headers["Location"].endswith("/login")
    assert (shop.get("raised/aborted-response").text) == "made"


def test_an_error_of_the_server_is_a_failure_that_the_ladder_answers(shop: Service):
    for path in ("aborted/500", "aborted/503", "raised/unavailable"):
        assert (path, shop.get(path).json()) == (path, NONE)


def test_a_timeout_that_is_no_exception_is_one_that_the_ladder_answers(shop: Service):
    for how in ("gevent", "func_timeout"):
        assert (how, shop.get(f"limited/{how}").json()) == (how, NONE)
    shop.await_figures("limited", timeout=2)


def test_a_visitor_never_gets_the_session_of_another_one_with_a_fallback(shop: Service):
    ana = shop.get("shared", params={"login": "ana"})
    stranger = shop.get("shared")
    assert (ana.json(), stranger.json()) == (NONE, NONE)
    assert ("session" in ana.cookies, "session" in stranger.cookies) == (True, False)


def test_one_response_for_all_requests_is_refused_as_a_default(shop: Service):
    assert shop.get("refused").json() == {"response": "shared-value"}


def test_users_named_before_the_request_get_their_own_snapshots_only(shop: Service):
    with shop.visitor() as ana, shop.visitor() as ben:
        assert ana.get("inbox", params={"login": "ana"}).json() == ["mail of ana"]
        until(lambda: ana.get("inbox", params={"down": 1}).json() == ["mail of ana"])
        assert ben.get("inbox", params={"down": 1, "login": "ben"}).json() == []
        assert shop.get("inbox", params={"down": 1}).json() == []


def test_an_order_of_the_operator_reaches_the_views_and_ends(shop: Service):
    assert shop.get("operated").json() == WHOLE
    shop.hold("operated", "degraded")
    assert shop.get("operated").json() == NONE
    shop.release("operated")
    assert shop.get("operated").json() == WHOLE
