"""Guarded handlers of aiohttp under its own server."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.integration.stacks.processes import Service, serving
from tests.servers.waiting import until

pytestmark = pytest.mark.real

WHOLE = {"stories": ["new"]}
NONE = {"stories": []}


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    command = ("-m", "tests.integration.stacks.aiohttp_shop", "{fd}")
    with serving(tmp_path_factory.mktemp("aiohttp"), *command) as service:
        yield service


def test_a_handler_of_any_form_answers_as_unguarded_and_from_its_ladder_when_it_fails(
    shop: Service,
):
    whole = {
        "coroutine": WHOLE,
        "decorated": WHOLE | {"shop": "the shop", "session": "of the decorator"},
        "awaitable": WHOLE,
        "view": WHOLE,
        "method": WHOLE,
    }
    assert {path: shop.get(path).json() for path in whole} == whole
    for path in whole:
        degraded = shop.get(path, params={"down": 1})
        assert (path, degraded.status_code, degraded.json()) == (path, 200, NONE)
        assert degraded.headers["Degraded-Flags"] == path
    for path in whole:
        shop.await_figures(path, success=1, failure=1)


def test_a_handler_that_keeps_failing_is_degraded(shop: Service):
    shop.await_degraded("judged", instead=NONE)


def test_what_a_raised_response_says_reaches_the_visitor_unless_the_server_failed(shop: Service):
    passed = {
        "HTTPNoContent": 204, "HTTPFound": 302, "HTTPNotModified": 304, "HTTPPermanentRedirect": 308,
        "HTTPForbidden": 403, "HTTPNotFound": 404, "HTTPTooManyRequests": 429,
    }  # fmt: skip
    assert {name: shop.get(f"raised/{name}").status_code for name in passed} == passed
    assert shop.get("raised/HTTPFound").headers["Location"] == "/login"
    for name in ("HTTPInternalServerError", "HTTPServiceUnavailable"):
        assert (name, shop.get(f"raised/{name}").json()) == (name, NONE)
    shop.await_figures("raised", ignored=8, failure=2)


def test_a_refusal_of_a_rung_reaches_the_visitor(shop: Service):
    assert shop.get("rung", params={"down": 1}).status_code == 403


def test_a_visitor_never_gets_the_cookie_of_another_one_with_a_fallback(shop: Service):
    ana = shop.get("shared", params={"login": "ana"})
    stranger = shop.get("shared")
    assert (ana.json(), stranger.json()) == (NONE, NONE)
    assert ("user" in ana.cookies, "user" in stranger.cookies) == (True, False)


def test_one_response_for_all_requests_is_refused_as_a_default(shop: Service):
    assert shop.get("refused").json() == {"response": "shared-value"}


def test_users_whom_a_middleware_names_get_their_own_snapshots_only(shop: Service):
    with shop.visitor() as ana, shop.visitor() as ben:
        assert ana.get("inbox", params={"login": "ana"}).json() == ["mail of ana"]
        until(lambda: ana.get("inbox", params={"down": 1}).json() == ["mail of ana"])
        assert ben.get("inbox", params={"down": 1, "login": "ben"}).json() == []
        assert shop.get("inbox", params={"down": 1}).json() == []


def test_an_order_of_the_operator_reaches_the_handlers_and_ends(shop: Service):
    assert shop.get("operated").json() == WHOLE
    shop.hold("operated", "degraded")
    assert shop.get("operated").json() == NONE
    shop.release("operated")
    assert shop.get("operated").json() == WHOLE
