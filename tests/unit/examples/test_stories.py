from __future__ import annotations

from collections import Counter
from dataclasses import asdict

import pytest

from examples.news_feed.stories import Story, bundled, from_feed, load, newest, save

NOW = 1_800_000_000.0

RSS = """<?xml version="1.0"?>
<rss version="2.0"><channel><title>Coast &amp; Country</title>
<item><title>First &lt;b&gt;bold&lt;/b&gt; story</title><link>https://example.org/1</link>
<guid>g-1</guid><category>Sea</category>
<pubDate>Fri, 15 Jan 2027 08:00:00 GMT</pubDate>
<description>&lt;p&gt;Salt &amp;amp; wind&lt;/p&gt;</description></item>
<item><title>Second</title><link>javascript:alert(1)</link></item>
<item><link>https://example.org/untitled</link></item>
</channel></rss>"""

ATOM = """<?xml version="1.0"?>
<feed xmlns="http://www.w3.org/2005/Atom"><title>Peaks</title>
<entry><id>tag:1</id><title>Snow</title><updated>2027-01-14T06:30:00Z</updated>
<author><name>Ada</name></author><link href="http://example.org/snow"/>
<summary>Two metres.</summary></entry></feed>"""


def story(id_: str, published: float) -> Story:
    return Story(id=id_, section="s", title="t", summary="", author="", published=published)


def test_at_least_two_hundred_different_stories_are_bundled():
    stories = bundled()
    assert len(stories) >= 200
    assert len({each.id for each in stories}) == len(stories)
    assert len({each.title for each in stories}) == len(stories)
    assert min(Counter(each.section for each in stories).values()) >= 10
    assert all(
        all(value for key, value in asdict(each).items() if key != "link") for each in stories
    )


def test_the_newest_bundled_story_is_minutes_old_whenever_it_is_read():
    ages = [NOW - each.published for each in bundled(now=NOW)]
    assert min(ages) == pytest.approx(240.0, abs=0.01)
    assert max(ages) > 86_400


def test_an_rss_feed_becomes_stories_without_markup(tmp_path):
    path = tmp_path / "feed.xml"
    path.write_text(RSS)
    first, second = from_feed(str(path), now=NOW)
    assert first == Story(
        id="g-1", section="Sea", title="First bold story", summary="Salt & wind",
        author="Coast & Country", published=NOW, link="https://example.org/1",
    )  # fmt: skip
    assert (second.title, second.section, second.published) == (
        "Second",
        "Coast & Country",
        NOW - 60,
    )


def test_an_address_that_is_no_web_page_becomes_no_link(tmp_path):
    path = tmp_path / "feed.xml"
    path.write_text(RSS)
    assert from_feed(str(path), now=NOW)[1].link == ""


def test_an_atom_feed_becomes_stories(tmp_path):
    path = tmp_path / "feed.atom"
    path.write_text(ATOM)
    assert from_feed(str(path)) == [
        Story(
            id="tag:1", section="Peaks", title="Snow", summary="Two metres.", author="Ada",
            published=1_799_908_200.0, link="http://example.org/snow",
        )
    ]  # fmt: skip


def test_a_file_that_is_no_feed_is_refused(tmp_path):
    path = tmp_path / "feed.xml"
    path.write_text("<html><body>hello</body></html>")
    with pytest.raises(ValueError, match="no RSS or Atom feed"):
        from_feed(str(path))


def test_a_file_that_is_not_there_is_an_os_error(tmp_path):
    with pytest.raises(OSError, match="nowhere"):
        from_feed(str(tmp_path / "nowhere.xml"))


def test_newest_takes_the_latest_and_orders_equal_times_by_id():
    stories = [story("b", 2.0), story("c", 1.0), story("a", 2.0), story("d", 3.0)]
    assert [each.id for each in newest(stories, 3)] == ["d", "a", "b"]


def test_stories_are_loaded_as_they_were_saved(tmp_path):
    path = tmp_path / "stories.jsonl"
    stories = bundled(now=NOW)
    save(stories, path)
    assert load(path) == stories
