"""What lies in a tier that others may write to is served only with a signature of ours."""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from degrade.errors import CodecError
from degrade.ports import Blob, UntrustedError
from degrade.stores.signed_snapshots import SignedBlobs
from tests.shelf import Shelf

KEY, OTHER = b"k" * 32, b"o" * 32
ENVELOPE = (
    json.dumps(
        {"v": 1, "schema": "5", "key": "feed(user='ana')", "created": 9.5, "epoch": 4}
    ).encode()
    + b'\n[["for ana"]]'
)


def tier(shelf: Shelf, *keys: bytes, namespace: str = "shop") -> SignedBlobs:
    return SignedBlobs(shelf, keys, namespace=namespace)


def put(blobs: SignedBlobs, flag: str = "feed", key: str = "ana", body: bytes = ENVELOPE) -> None:
    blobs.put([Blob(flag, key, body, 60.0)])


def got(blobs: SignedBlobs, flag: str = "feed", key: str = "ana") -> bytes | None:
    return blobs.get(flag, key, within_s=1.0)


def refused(blobs: SignedBlobs, flag: str = "feed", key: str = "ana") -> str:
    with pytest.raises(UntrustedError) as caught:
        got(blobs, flag, key)
    assert isinstance(caught.value, CodecError)
    return str(caught.value)


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()


def test_what_was_put_is_got_back_and_what_is_not_there_is_none(shelf: Shelf):
    put(tier(shelf, KEY))
    assert got(tier(shelf, KEY)) == ENVELOPE
    assert got(tier(shelf, KEY), key="ben") is None


def test_without_a_key_nothing_is_signed(shelf: Shelf):
    put(tier(shelf))
    assert shelf.bodies == {("feed", "ana"): ENVELOPE}
    assert got(tier(shelf)) == ENVELOPE


def test_the_signature_is_the_one_that_the_page_describes(shelf: Shelf):
    put(tier(shelf, KEY))
    parts = [b"degrade snapshot", b"shop", b"feed", b"ana", ENVELOPE]
    message = b"".join(len(part).to_bytes(8, "big") + part for part in parts)
    line = b"hmac-sha256:" + hmac.new(KEY, message, hashlib.sha256).hexdigest().encode()
    assert shelf.bodies["feed", "ana"] == line + b"\n" + ENVELOPE


def test_with_a_key_what_is_not_signed_is_refused(shelf: Shelf):
    put(tier(shelf))
    assert "it is not signed" in refused(tier(shelf, KEY))


def test_without_a_key_what_is_signed_is_refused(shelf: Shelf):
    put(tier(shelf, KEY))
    assert "no key to check it" in refused(tier(shelf))


def test_a_key_is_changed_while_processes_run(shelf: Shelf):
    """First all processes learn the new key, then it signs, then the old one goes."""
    old, both, turned, new = (
        tier(shelf, KEY), tier(shelf, KEY, OTHER), tier(shelf, OTHER, KEY), tier(shelf, OTHER)
    )  # fmt: skip
    for writer, readers in [
        (old, (old, both, turned)), (both, (old, both, turned)), (turned, (both, turned, new)),
        (new, (both, turned, new)),
    ]:  # fmt: skip
        put(writer)
        assert [got(reader) for reader in readers] == [ENVELOPE] * 3
    assert "no key of this process" in refused(old)


@pytest.mark.parametrize(
    ("flag", "key", "namespace"),
    [
        ("feed", "ben", "shop"),
        ("feeda", "na", "shop"),
        ("ads", "ana", "shop"),
        ("feed", "ana", "lab"),
    ],
)
def test_what_was_moved_to_another_key_flag_or_namespace_is_refused(
    shelf: Shelf, flag: str, key: str, namespace: str
):
    put(tier(shelf, KEY))
    shelf.bodies[flag, key] = shelf.bodies["feed", "ana"]
    assert "no key of this process" in refused(tier(shelf, KEY, namespace=namespace), flag, key)


@given(st.data())
def test_no_edit_of_what_lies_there_is_served(data: st.DataObject):
    shelf = Shelf()
    put(tier(shelf, KEY))
    body = bytearray(shelf.bodies["feed", "ana"])
    at = data.draw(st.integers(0, len(body) - 1))
    edit = data.draw(st.sampled_from(["flip", "cut", "insert", "append"]))
    if edit == "flip":
        body[at] ^= data.draw(st.integers(1, 255))
    elif edit == "cut":
        del body[at:]
    else:
        place = at if edit == "insert" else len(body)
        body[place:place] = data.draw(st.binary(min_size=1, max_size=80))
    shelf.bodies["feed", "ana"] = bytes(body)
    refused(tier(shelf, KEY))


@given(st.binary(max_size=200))
def test_no_bytes_of_a_stranger_are_served(body: bytes):
    shelf = Shelf()
    shelf.bodies["feed", "ana"] = body
    for line in (b"", b"hmac-sha256:" + b"0" * 64 + b"\n"):
        shelf.bodies["feed", "ana"] = line + body
        refused(tier(shelf, KEY))


@given(st.text(), st.text(), st.binary(max_size=50))
def test_any_text_and_body_comes_back(flag: str, key: str, body: bytes):
    shelf = Shelf()
    put(tier(shelf, KEY), flag, key, body)
    assert got(tier(shelf, KEY), flag, key) == body


def test_each_kind_of_refusal_is_said_once_and_shows_neither_key_nor_result(
    shelf: Shelf, caplog: pytest.LogCaptureFixture
):
    blobs = tier(shelf, KEY)
    put(tier(shelf))
    put(tier(shelf, OTHER), key="ben")
    with caplog.at_level(logging.WARNING, "degrade.stores"):
        for _ in range(3):
            refused(blobs)
            refused(blobs, key="ben")
    assert len(caplog.messages) == 2
    assert all(
        line.startswith("refused a snapshot of feed in the store") for line in caplog.messages
    )
    shown = f"{caplog.text} {blobs!r}"
    for secret in ("kkkk", "oooo", "ana", "ben"):
        assert secret not in shown


def test_the_signature_counts_against_the_limit_of_the_tier():
    shelf = Shelf(limit=1_000)
    assert tier(shelf).limit == 1_000
    blobs = tier(shelf, KEY)
    put(blobs, body=b"x" * blobs.limit)
    assert len(shelf.bodies["feed", "ana"]) == 1_000
    assert got(blobs) == b"x" * blobs.limit


def test_what_replaces_nothing_and_how_long_it_is_kept_stay_as_they_were(shelf: Shelf):
    asked: list[Blob] = []

    class Noting(Shelf):
        def put(self, blobs: Sequence[Blob]) -> None:
            asked.extend(blobs)

    tier(Noting(), KEY).put([Blob("feed", "ana", ENVELOPE, 7.0, replaces=False)])
    assert [(b.flag, b.key, b.keep_s, b.replaces) for b in asked] == [("feed", "ana", 7.0, False)]
