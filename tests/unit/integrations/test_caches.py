"""What caches are told about a degraded answer, read as a cache would read it."""

from __future__ import annotations

import http_sf
import pytest
from hypothesis import given
from hypothesis import strategies as st

from degrade.integrations.caches import keeps_fresh, restrain

WHOLE_FOR_A_DAY = [
    (b"content-type", b"text/html"),
    (b"Cache-Control", b"public, s-maxage=86400, stale-while-revalidate=60"),
    (b"ETag", b'"2026-11-29"'),
    (b"Last-Modified", b"Sun, 29 Nov 2026 08:00:00 GMT"),
    (b"Expires", b"Mon, 30 Nov 2026 08:00:00 GMT"),
    (b"Pragma", b"cache"),
    (b"CDN-Cache-Control", b"max-age=600"),
    (b"Cloudflare-CDN-Cache-Control", b"max-age=600"),
    (b"X-LiteSpeed-Cache-Control", b"public,max-age=600"),
    (b"Surrogate-Control", b"max-age=600"),
    (b"Edge-Control", b"max-age=600"),
    (b"X-Accel-Expires", b"600"),
    (b"vary", b"accept-encoding"),
]
UNTOUCHED = [(b"content-type", b"text/html"), (b"vary", b"accept-encoding")]


def control_of(headers):
    (value,) = [value for name, value in headers if name.lower() == b"cache-control"]
    return value.decode()


def without_control(headers):
    return [header for header in headers if header[0] != b"cache-control"]


@pytest.mark.parametrize("status", [200, 203, 204, 206, 301, 302, 308, 404, 410, 500])
@pytest.mark.parametrize(
    ("whole_once", "control"), [(False, "no-store"), (True, "private, no-cache")]
)
def test_what_was_said_of_a_whole_answer_is_not_said_of_a_degraded_one(status, whole_once, control):
    headers = restrain(WHOLE_FOR_A_DAY, status=status, whole_once=whole_once)
    assert control_of(headers) == control
    assert without_control(headers) == UNTOUCHED


@pytest.mark.parametrize("whole_once", [False, True])
def test_a_304_keeps_what_the_client_has_and_makes_it_ask_again(whole_once):
    headers = restrain(WHOLE_FOR_A_DAY, status=304, whole_once=whole_once)
    assert control_of(headers) == "no-cache"
    assert without_control(headers) == [
        (b"content-type", b"text/html"),
        (b"ETag", b'"2026-11-29"'),
        (b"Last-Modified", b"Sun, 29 Nov 2026 08:00:00 GMT"),
        (b"CDN-Cache-Control", b"no-cache"),
        (b"Cloudflare-CDN-Cache-Control", b"no-cache"),
        (b"X-LiteSpeed-Cache-Control", b"no-cache"),
        (b"Surrogate-Control", b"max-age=0"),
        (b"Edge-Control", b"max-age=0"),
        (b"X-Accel-Expires", b"0"),
        (b"vary", b"accept-encoding"),
    ]


@pytest.mark.parametrize(
    ("lines", "status", "whole_once", "control"),
    [
        ([], 200, True, "private, no-cache"),
        ([], 200, False, "no-store"),
        ([], 304, False, "no-cache"),
        ([b"no-store"], 200, True, "no-store"),
        ([b"max-age=1", b"public, NO-STORE"], 200, True, "no-store"),
        ([b"no-store", b"max-age=1"], 200, True, "no-store"),
        ([b" max-age=5 ,No-Store "], 304, True, "no-store"),
        ([b"must-understand, no-store, max-age=9"], 200, True, "no-store"),
        ([b"private, max-age=9"], 304, False, "private, no-cache"),
        ([b'private="x-user", max-age=9'], 304, False, "private, no-cache"),
        ([b"public, No-Transform"], 200, False, "no-store, no-transform"),
        ([b"no-transform"], 200, True, "private, no-cache, no-transform"),
        ([b'ext="no-store, no-transform", max-age=9'], 200, True, "private, no-cache"),
        ([b'ext="never ends, no-store'], 200, True, "private, no-cache"),
        ([b'ext="a\\", no-store", max-age=9'], 200, True, "private, no-cache"),
        ([b""], 200, True, "private, no-cache"),
    ],
)
def test_what_is_stricter_stays(lines, status, whole_once, control):
    headers = [(b"Cache-Control", line) for line in lines]
    assert control_of(restrain(headers, status=status, whole_once=whole_once)) == control


NAMES = st.sampled_from([name for name, _ in WHOLE_FOR_A_DAY] + [b"X-Other", b"Set-Cookie"])
NAME = st.one_of(NAMES, NAMES.map(bytes.upper), NAMES.map(bytes.lower), NAMES.map(bytes.swapcase))
VALUE = st.one_of(
    st.binary(max_size=20),
    st.lists(
        st.sampled_from(
            [b"public", b"max-age=86400", b"S-MaxAge=1", b"immutable", b"no-store", b"NO-CACHE",
             b"private", b'x="no-store"', b"stale-if-error=9", b"no-transform", b"must-understand"]
        ),
        max_size=4,
    ).map(b", ".join),
)  # fmt: skip


@given(
    st.lists(st.tuples(NAME, VALUE), max_size=8), st.sampled_from([200, 206, 304]), st.booleans()
)
def test_whatever_the_application_says_no_cache_may_use_it_without_asking(
    given_, status, whole_once
):
    headers = restrain(given_, status=status, whole_once=whole_once)

    said = http_sf.parse(control_of(headers).encode(), tltype="dictionary")
    assert set(said) <= {"no-store", "private", "no-cache", "no-transform"}
    assert "no-store" in said or "no-cache" in said
    if status != 304:
        assert "no-store" in said or ("private" in said and whole_once)
    for name, value in without_control(headers):
        if name.lower().endswith((b"-control", b"-expires")):
            assert value in (b"no-cache", b"max-age=0", b"0")
        assert name.lower() not in (b"expires", b"pragma")
        assert status == 304 or name.lower() not in (b"etag", b"last-modified")
    others = [each for each in given_ if each[0].lower() in (b"x-other", b"set-cookie", b"vary")]
    assert [
        each for each in headers if each[0].lower() in (b"x-other", b"set-cookie", b"vary")
    ] == others


@pytest.mark.parametrize(
    ("headers", "fresh"),
    [
        ([], False),
        ([(b"content-type", b"text/html")], False),
        ([(b"Cache-Control", b"max-age=60")], True),
        ([(b"Cache-Control", b"PUBLIC")], True),
        ([(b"Cache-Control", b"s-maxage=60"), (b"Cache-Control", b"no-store")], False),
        ([(b"CDN-Cache-Control", b"max-age=60")], True),
        ([(b"Surrogate-Control", b"max-age=60"), (b"Cache-Control", b"no-store")], True),
        ([(b"Expires", b"Mon, 30 Nov 2026 08:00:00 GMT")], True),
        ([(b"Cache-Control", b"no-cache")], False),
    ],
)
def test_a_response_that_caches_may_keep_is_known(headers, fresh):
    assert keeps_fresh(headers) is fresh
