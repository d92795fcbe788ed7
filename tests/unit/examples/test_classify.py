from __future__ import annotations

import json

import pytest

from examples.news_feed.classify import Classifier, Kind, Says, read_headers

NEWEST = ["c", "b", "a"]
PUBLISHED = {"a": 1.0, "b": 2.0, "c": 3.0}


def body(
    ids: str,
    *,
    nonce: str | None = "n1",
    scores: tuple[float, ...] = (0.9, 0.5, 0.1),
    user: str = "ada",
    receipt: int | None = 1,
) -> bytes:
    stories = [
        {"id": id_, "published": PUBLISHED[id_], "score": score}
        for id_, score in zip(ids, scores, strict=False)
    ]
    page = {"user": user, "nonce": nonce, "receipt": receipt, "stories": stories}
    return json.dumps(page).encode()


def kind(classifier: Classifier, page: bytes, status: int = 200) -> Kind:
    return classifier.classify(status, page, "ada").kind


@pytest.fixture
def classifier() -> Classifier:
    return Classifier(NEWEST)


def test_a_new_nonce_in_ranked_order_is_a_full_answer(classifier):
    assert kind(classifier, body("bca")) is Kind.FULL


def test_a_former_nonce_in_ranked_order_is_a_stale_answer_in_disguise(classifier):
    kind(classifier, body("bca"))
    assert kind(classifier, body("bca")) is Kind.WRONG


def test_a_nonce_with_the_stories_newest_first_is_a_snapshot(classifier):
    kind(classifier, body("bca"))
    assert kind(classifier, body("cba", scores=(0.5, 0.9, 0.1))) is Kind.SNAPSHOT


def test_where_both_orders_are_the_same_the_nonce_decides(classifier):
    assert kind(classifier, body("cba")) is Kind.FULL
    assert kind(classifier, body("cba")) is Kind.SNAPSHOT
    assert kind(classifier, body("cba", nonce="n2")) is Kind.FULL


def test_a_nonce_in_neither_order_is_wrong(classifier):
    assert kind(classifier, body("bac", scores=(0.1, 0.9, 0.5))) is Kind.WRONG


def test_the_newest_stories_without_a_nonce_are_the_default(classifier):
    assert kind(classifier, body("cba", nonce=None, scores=(0, 0, 0))) is Kind.DEFAULT


@pytest.mark.parametrize("ids", ["abc", "bca", "cb"])
def test_other_stories_without_a_nonce_are_wrong(classifier, ids):
    assert kind(classifier, body(ids, nonce=None, scores=(0, 0, 0))) is Kind.WRONG


def test_the_page_of_another_reader_is_wrong(classifier):
    assert kind(classifier, body("bca", user="bob")) is Kind.WRONG


@pytest.mark.parametrize("page", [b"", b"[]", b"{}", b"null", b"<html>", body("")])
def test_what_is_no_page_is_wrong(classifier, page):
    assert kind(classifier, page) is Kind.WRONG


@pytest.mark.parametrize("status", [204, 302, 404, 500, 503])
def test_any_status_but_200_is_a_failure(classifier, status):
    assert kind(classifier, body("bca"), status) is Kind.FAILED


def test_the_receipt_tells_whether_the_view_was_recorded(classifier):
    assert classifier.classify(200, body("bca"), "ada").viewed
    assert not classifier.classify(200, body("bca", nonce="n2", receipt=None), "ada").viewed


SNAPSHOT = {
    "Degraded": "feed.ranking;rung=snapshot;age=12, feed.analytics;rung=omit",
    "Age": "12",
    "Cache-Status": "degrade;hit;ttl=-12;detail=stale-fallback",
}


def test_the_headers_of_a_snapshot_are_read_with_its_age():
    says = read_headers(SNAPSHOT, "feed.ranking")
    assert says == Says(rung="snapshot", age_s=12, aged=True, unaged=False)


def test_another_flag_is_not_mistaken_for_the_one_asked_for():
    says = read_headers({"Degraded": "feed.analytics;rung=omit"}, "feed.ranking")
    assert says == Says(rung=None, age_s=None, aged=False, unaged=True)
    assert read_headers(SNAPSHOT, "feed.rank").rung is None


def test_no_headers_say_that_nothing_was_degraded():
    assert read_headers({}, "feed.ranking") == Says(rung=None, age_s=None, aged=False, unaged=True)


@pytest.mark.parametrize(
    "change",
    [
        {"Age": "13"},
        {"Cache-Status": "degrade;hit;ttl=-11"},
        {"Cache-Status": "varnish;hit;ttl=-12"},
        {"Degraded": "feed.ranking;rung=snapshot;age=11"},
    ],
)
def test_headers_that_contradict_each_other_are_noticed(change):
    assert not read_headers({**SNAPSHOT, **change}, "feed.ranking").aged


@pytest.mark.parametrize("gone", ["Age", "Cache-Status"])
def test_a_header_that_is_missing_is_noticed(gone):
    headers = {name: value for name, value in SNAPSHOT.items() if name != gone}
    says = read_headers(headers, "feed.ranking")
    assert not says.aged
    assert not says.unaged
