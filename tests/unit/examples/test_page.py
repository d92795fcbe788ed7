from __future__ import annotations

import re

import pytest

from degrade import Served
from degrade.core.words import RungKind
from examples.news_feed.page import ago, render
from examples.news_feed.stories import Story, bundled, newest

NOW = 1_800_000_000.0
STORIES = newest(bundled(now=NOW))


def notice(rung: RungKind, age_s: float | None) -> Served:
    return Served(flag="feed.ranking", rung=rung, age_s=age_s, reason="breach: p99", since=NOW)


def page(served: Served | None, stories: list[Story] = STORIES) -> str:
    text = render(stories, "reader-0001", served, personal=served is None, now=NOW)
    return re.sub(r"\s+", " ", text)


def test_a_healthy_page_has_every_story_and_no_notice():
    text = page(None)
    assert text.count("<article") == len(STORIES)
    assert all(story.title in text for story in STORIES)
    assert "notice" not in text.partition("<body>")[2]
    assert "chosen for reader-0001" in text


def test_a_page_from_a_snapshot_says_from_when_its_choice_is():
    text = page(notice(RungKind.SNAPSHOT, 312.0))
    assert (
        "in plain order for the moment, newest first. We chose them for you 5 minutes ago" in text
    )
    assert 'role="status"' in text


def test_a_default_page_says_that_it_is_the_same_for_everyone():
    text = page(notice(RungKind.DEFAULT, None))
    assert "everyone sees the same page" in text
    assert "chosen for" not in text


def test_the_reason_is_for_operators_and_not_on_the_page():
    assert "breach" not in page(notice(RungKind.SNAPSHOT, 3.0))


def test_the_page_loads_nothing_from_elsewhere():
    assert not re.search(r'(?:src|href)="(?!$)', page(None))
    assert "@import" not in page(None)
    assert "url(" not in page(None)


def test_text_of_a_feed_cannot_become_markup():
    hostile = Story(
        id="x", section="<i>", title="<script>alert(1)</script>", summary='"><img src=x>',
        author="&copy;", published=NOW, link="https://example.org/?a=1&b='\"",
    )  # fmt: skip
    body = page(None, [hostile]).partition("<body>")[2]
    assert "<script" not in body
    assert "<img" not in body
    assert "<i>" not in body
    assert 'href="https://example.org/?a=1&amp;b=&#39;&#34;"' in body


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (-5, "just now"),
        (59, "just now"),
        (60, "1 minute ago"),
        (3_599, "59 minutes ago"),
        (3_600, "1 hour ago"),
        (7_300, "2 hours ago"),
        (86_400, "1 day ago"),
        (400_000, "4 days ago"),
    ],
)
def test_ages_are_told_as_people_say_them(seconds, words):
    assert ago(NOW - seconds, NOW) == words
