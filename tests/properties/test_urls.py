"""However an address is mangled, what stands before its host is not shown."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from degrade.stores.urls import redact

SECRET = "s3cret"  # noqa: S105 - a word to look for

marks = st.text(":/?#@,[]&= +\\\n1x", max_size=4)
schemes = st.sampled_from(["", "redis", "rediss", "redis+cluster", "redis+sentinel", "unix", "x"])


@given(
    scheme=schemes,
    before=marks,
    user=st.sampled_from(["", "user", "a.b"]),
    colon=st.sampled_from([":", "", "::", ":1", ":/", ":a@"]),
    after=marks,
    host=st.sampled_from(["host", "host:6379/0", "h1:1,h2:2", "[::1]:6379", "/run/x.sock?db=0"]),
)
def test_no_secret_is_shown_whatever_else_is_written(scheme, before, user, colon, after, host):
    url = f"{scheme}{before}{user}{colon}{SECRET}{after}@{host}"
    assert SECRET not in redact(url)
