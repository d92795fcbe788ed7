"""The headers of a degraded answer, read back by an independent parser of structured fields."""

from __future__ import annotations

import math
from urllib.parse import unquote

import http_sf
import pytest
from hypothesis import given
from hypothesis import strategies as st

from degrade.context import Served
from degrade.core.enums import RungKind
from degrade.integrations.headers import MOST_BYTES, degraded, mark

HOSTILE = (
    "x\r\nSet-Cookie: admin=1",
    'a", b;rung=full, "c',
    "back\\slash",
    "semi;rung=none",
    "semi;colon",
    "com,ma",
    "trailing\n",
    "comma, other",
    "tab\tand\x00nul\x7f",
    "größe",
    "\U0001f525",
    "lone\ud800surrogate",
    "%0d%0aX: 1",
    "",
    " ",
    "7feeds",
    "a b%41",
)


def answer(flag="feed.ranking", rung=RungKind.SNAPSHOT, age_s=312.9, since=1_700_000_000.0):
    return Served(flag=flag, rung=rung, age_s=age_s, reason="x\r\nY: z", since=since)


def one(headers, name):
    (value,) = [value for key, value in headers if key.lower() == name]
    return value.decode("ascii")


def flag_of(item):
    """Undo what the module says it does to names that are no tokens."""
    if isinstance(item, http_sf.Token):
        return str(item)
    return unquote(item, encoding="utf-8", errors="surrogatepass")


def members(value):
    return [
        (flag_of(item), params) for item, params in http_sf.parse(value.encode(), tltype="list")
    ]


ANSWERS = st.lists(
    st.builds(
        answer,
        flag=st.one_of(
            st.sampled_from(("feed.ranking", "feed.analytics", *HOSTILE)),
            st.text(st.characters(codec=None), max_size=30),
        ),
        rung=st.sampled_from(RungKind),
        age_s=st.none() | st.floats(),
        since=st.none() | st.floats(0, 2e9),
    ),
    max_size=8,
)


def test_a_degraded_answer_is_marked_as_the_design_says():
    headers = mark(
        [(b"content-type", b"text/html")],
        [answer(), answer("feed.analytics", RungKind.OMIT, age_s=None)],
    )

    assert headers == [
        (b"content-type", b"text/html"),
        (b"age", b"312"),
        (b"cache-status", b"degrade;hit;ttl=-312;detail=stale-fallback"),
        (b"degraded", b"feed.ranking;rung=snapshot;age=312, feed.analytics;rung=omit"),
    ]


def test_an_answer_that_was_not_degraded_keeps_its_headers():
    headers = [(b"Age", b"7"), (b"Cache-Status", b"cdn;hit")]
    assert mark(headers, []) == headers


def test_an_answer_without_a_snapshot_claims_no_cache():
    headers = mark([], [answer(rung=RungKind.DEFAULT, age_s=None)])
    assert headers == [(b"degraded", b"feed.ranking;rung=default")]


def test_a_snapshot_after_a_failed_call_says_that_the_function_was_asked():
    headers = mark([], [answer(since=None)])
    assert one(headers, b"cache-status") == "degrade;fwd=stale;ttl=-312;detail=stale-on-error"


@pytest.mark.parametrize("status", [204, 205])
def test_an_answer_without_content_has_no_age(status):
    headers = mark([(b"age", b"7")], [answer()], status=status)
    assert headers == [(b"age", b"7"), (b"degraded", b"feed.ranking;rung=snapshot;age=312")]


def test_a_304_has_no_mark_because_caches_would_write_it_into_what_they_have():
    headers = [(b"etag", b'"v1"')]
    assert mark(headers, [answer(), answer("a", RungKind.DEFAULT, None)], status=304) == headers


def test_the_oldest_snapshot_decides():
    headers = mark([], [answer("a", age_s=5.0), answer("b", age_s=90.0, since=None), answer("a")])

    assert one(headers, b"age") == "312"
    assert "hit;ttl=-312" in one(headers, b"cache-status")
    assert one(headers, b"degraded") == "a;rung=snapshot;age=312, b;rung=snapshot;age=90"


@pytest.mark.parametrize(
    ("existing", "age"), [(b"400", "400"), (b"12", "312"), (b"soon", "312"), (b"-9", "312")]
)
def test_an_older_age_of_the_application_stays(existing, age):
    assert one(mark([(b"Age", existing)], [answer()]), b"age") == age


def test_members_are_appended_to_what_the_application_set():
    headers = mark(
        [(b"Cache-Status", b"origin;fwd=miss"), (b"Degraded", b"stock;rung=default")], [answer()]
    )
    lines = {name: [v for k, v in headers if k.lower() == name] for name, _ in headers}

    statuses = http_sf.parse(b", ".join(lines[b"cache-status"]), tltype="list")
    assert [str(item) for item, _ in statuses] == ["origin", "degrade"]
    assert [flag for flag, _ in members(b", ".join(lines[b"degraded"]).decode())] == [
        "stock", "feed.ranking",
    ]  # fmt: skip


def test_the_headers_of_the_application_are_not_changed_in_place():
    headers = [(b"age", b"1")]
    mark(headers, [answer()])
    assert headers == [(b"age", b"1")]


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_name_stays_one_name(name):
    value = degraded([answer(name), answer("feed.analytics", RungKind.OMIT, age_s=None)])

    assert members(value) == [
        (name, {"rung": "snapshot", "age": 312}), ("feed.analytics", {"rung": "omit"}),
    ]  # fmt: skip


@given(ANSWERS)
def test_no_answer_can_inject_a_header(served):
    headers = mark([(b"content-type", b"text/plain")], served)

    assert {name for name, _ in headers} <= {b"content-type", b"age", b"cache-status", b"degraded"}
    for name, value in headers:
        assert all(0x20 <= byte <= 0x7E for byte in value)
        if name in (b"cache-status", b"degraded"):
            http_sf.parse(value, tltype="list")


@given(ANSWERS)
def test_every_answer_reads_back_and_the_ages_agree(served):
    headers = mark([], served)
    if not served:
        assert headers == []
        return
    expected = {}
    for each in served:
        age_s = -1
        if each.age_s is not None:
            age_s = 0 if math.isnan(each.age_s) else int(min(max(each.age_s, 0), 2**31 - 1))
        key = (each.flag, each.rung.value)
        expected[key] = max(expected.get(key, -1), age_s)

    read = members(one(headers, b"degraded"))

    shown = {(flag, str(p["rung"])): p.get("age", -1) for flag, p in read}
    assert shown == expected
    assert list(shown) == list(expected)
    oldest = max(expected.values())
    if oldest >= 0:
        assert one(headers, b"age") == str(oldest)
        ((cache, params),) = http_sf.parse(one(headers, b"cache-status").encode(), tltype="list")
        assert cache == http_sf.Token("degrade")
        assert params["ttl"] == -oldest
        assert ("hit" in params) is not ("fwd" in params)
    else:
        assert [name for name, _ in headers] == [b"degraded"]


@given(st.integers(0, 400), st.integers(1, 300))
def test_however_much_was_served_the_value_stays_short_and_tells_how_many_are_left_out(n, length):
    served = [answer(f"flag{i}." + "x" * length) for i in range(n)]
    value = degraded(served)

    assert len(value) <= MOST_BYTES
    read = members(value)
    left_out = read.pop()[1]["more"] if read and read[-1][0] == "*" else 0
    assert len(read) + left_out == n
