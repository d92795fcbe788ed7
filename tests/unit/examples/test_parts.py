from __future__ import annotations

import json
import re

import numpy as np
import pytest

from degrade import Flag, Runtime, Served, default, degradable
from degrade.clock import ManualClock
from degrade.core.enums import Mode, Phase, RungKind
from degrade.integrations.health import health
from examples.news_feed.answers import Classifier, Kind, Says, nearest_rank, read_headers
from examples.news_feed.demo import busy, busy_times
from examples.news_feed.fleet import FlagState, Seen, seen_in
from examples.news_feed.page import ago, render
from examples.news_feed.processes import ScriptError
from examples.news_feed.ranker import Interactions, generate, train
from examples.news_feed.redis_server import find_redis
from examples.news_feed.stories import Story, bundled, from_feed, load, newest, save
from examples.news_feed.watching import Second, row
from tests.unit.examples.test_checks import visit

NOW = 1_800_000_000.0
STORIES = bundled(now=NOW)
FRONT = newest(STORIES)
WRONG, DEFAULT, FULL, SNAPSHOT = Kind.WRONG, Kind.DEFAULT, Kind.FULL, Kind.SNAPSHOT


def body(ids: str, scores: str = "951", nonce: str | None = "n", **more: object) -> bytes:
    times = {"a": 1.0, "b": 2.0, "c": 3.0}
    stories = [
        {"id": i, "published": times[i], "score": s} for i, s in zip(ids, scores, strict=False)
    ]
    return json.dumps(
        {"user": "ada", "nonce": nonce, "receipt": 1, "stories": stories, **more}
    ).encode()


@pytest.mark.parametrize(
    ("bodies", "kinds"),
    [
        ([body("bca"), body("bca")], [FULL, WRONG]),
        ([body("bca"), body("cba", "591")], [FULL, SNAPSHOT]),
        ([body("cba"), body("cba"), body("cba", nonce="m")], [FULL, SNAPSHOT, FULL]),
        ([body("bac", "195"), body("bca", user="bob"), body("")], [WRONG] * 3),
        ([body(ids, nonce=None) for ids in ("cba", "abc", "cb")], [DEFAULT, WRONG, WRONG]),
        ([b"", b"[]", b"{}", b"null", b"<html>"], [WRONG] * 5),
    ],
)  # fmt: skip
def test_the_body_tells_what_an_answer_is(bodies, kinds):
    classifier = Classifier(["c", "b", "a"])
    assert [classifier.classify(200, each, "ada").kind for each in bodies] == kinds
    assert {classifier.classify(s, bodies[0], "ada").kind for s in (204, 302, 404, 503)} == {
        Kind.FAILED
    }


def test_the_receipt_tells_whether_the_view_was_recorded():
    looks = [Classifier([]).classify(200, body("bca", receipt=each), "ada") for each in (1, None)]
    assert [each.viewed for each in looks] == [True, False]


def test_headers_are_read_for_one_flag_and_contradictions_are_noticed():
    good = {
        "Degraded": "feed.ranking;rung=snapshot;age=12, feed.analytics;rung=omit",
        "Age": "12", "Cache-Status": "degrade;hit;ttl=-12;detail=stale-fallback",
    }  # fmt: skip
    none = Says(rung=None, age_s=None, aged=False, unaged=True)
    assert read_headers(good, "feed.ranking") == Says(
        rung="snapshot", age_s=12, aged=True, unaged=False
    )
    assert read_headers(good, "feed.rank").rung is None
    assert read_headers({}, "f") == read_headers({"Degraded": "g;rung=omit"}, "f") == none
    for name, value in (("Age", "13"), ("Cache-Status", "degrade;hit;ttl=-11"),
                        ("Cache-Status", "varnish;hit;ttl=-12"), ("Degraded", "feed.ranking;age=11")):  # fmt: skip
        assert not read_headers({**good, name: value}, "feed.ranking").aged
        assert not read_headers({**good, name: ""}, "feed.ranking").aged


def test_the_nearest_rank_is_a_measured_value():
    assert [nearest_rank(range(1, 101), share) for share in (0.0, 0.5, 0.99, 1.0)] == [
        1,
        50,
        99,
        100,
    ]
    assert (nearest_rank(range(1, 102), 0.99), nearest_rank([], 0.5)) == (100, None)


RSS = """<rss version="2.0"><channel><title>Coast &amp; Country</title>
<item><title>A &lt;b&gt;bold&lt;/b&gt; story</title><link>https://example.org/1</link><guid>g</guid>
<category>Sea</category><description>&lt;p&gt;Salt &amp;amp; wind&lt;/p&gt;</description></item>
<item><title>Second</title><link>javascript:alert(1)</link></item><item><link>x</link></item>
</channel></rss>"""
ATOM = """<feed xmlns="http://www.w3.org/2005/Atom"><entry><title>Snow</title><author><name>Ada</name>
</author><updated>2027-01-14T06:30:00Z</updated></entry></feed>"""


def test_a_feed_becomes_stories_without_markup_or_links_that_are_no_web_page(tmp_path):
    path = tmp_path / "feed.xml"
    path.write_text(RSS)
    one, two = from_feed(str(path), now=NOW)
    assert (one.id, one.section, one.title, one.summary) == (
        "g",
        "Sea",
        "A bold story",
        "Salt & wind",
    )
    assert (one.author, one.link, two.link) == ("Coast & Country", "https://example.org/1", "")
    assert (two.section, two.published) == ("Coast & Country", NOW - 60)
    path.write_text(ATOM)
    assert [(s.author, s.published) for s in from_feed(str(path))] == [("Ada", 1_799_908_200.0)]
    path.write_text("<html>hello</html>")
    with pytest.raises(ValueError, match="no RSS or Atom feed"):
        from_feed(str(path))


def test_the_bundled_stories_are_many_and_minutes_old_and_saved_as_they_are(tmp_path):
    save(STORIES, tmp_path / "stories")
    assert load(tmp_path / "stories") == STORIES
    assert len({each.id for each in STORIES}) == len({each.title for each in STORIES}) >= 200
    assert NOW - newest(STORIES)[0].published == pytest.approx(240.0, abs=0.01)


def page(served: Served | None, stories: list[Story] = FRONT) -> str:
    text = render(stories, "reader-0001", served, personal=served is None, now=NOW)
    return re.sub(r"\s+", " ", text).partition("<body>")[2]


def test_the_page_says_how_it_was_served_and_not_why():
    notices = [
        Served(flag="f", rung=rung, age_s=age_s, reason="breach: p99", since=NOW)
        for rung, age_s in ((RungKind.SNAPSHOT, 312.0), (RungKind.DEFAULT, None))
    ]
    full, snapshot, plain = page(None), page(notices[0]), page(notices[1])
    assert "chosen for reader-0001" in full
    assert full.count("<article") == len(FRONT)
    assert "notice" not in full
    assert "newest first. We chose them for you 5 minutes ago" in snapshot
    assert "everyone sees the same page" in plain
    assert "breach" not in snapshot + plain
    assert not re.search(r'(?:src|href)="|@import|url\(', full), "it loads something from elsewhere"
    ages = {
        -5: "just now",
        59: "just now",
        60: "1 minute ago",
        7_300: "2 hours ago",
        86_400: "1 day ago",
    }
    assert {seconds: ago(NOW - seconds, NOW) for seconds in ages} == ages


def test_text_of_a_feed_cannot_become_markup():
    markup = {
        "title": "<script>",
        "summary": '"><img src=x>',
        "link": "https://example.org/?a=1&b='\"",
    }
    text = page(None, [Story(id="x", section="<i>", author="&copy;", published=NOW, **markup)])
    assert not re.search("<script|<img|<i>", text)
    assert 'href="https://example.org/?a=1&amp;b=&#39;&#34;"' in text


def test_the_model_ranks_the_stories_that_were_read_above_those_that_were_not():
    seen = generate(STORIES, 120, seed=3)
    assert np.array_equal(seen.read, generate(STORIES, 120, seed=3).read)
    kept = np.random.default_rng(0).random(len(seen.read)) < 0.8
    learned = Interactions(seen.reader[kept], seen.story[kept], seen.read[kept])
    model = train(learned, STORIES, readers=120)
    scores = np.array([model.scores(r)[s] for r, s in zip(seen.reader, seen.story, strict=True)])[
        ~kept
    ]
    read = seen.read[~kept] == 1
    assert (scores[read][:, None] > scores[~read][None, :]).mean() > 0.62, "the AUC"
    assert len({tuple(s for s, _ in model.top(reader, 12)) for reader in range(120)}) > 100
    best = [score for _, score in model.top(None, 12)]
    assert best == sorted(best, reverse=True)


def test_what_the_processes_say_of_their_health_is_understood_and_the_worst_counts():
    with Runtime(clock=ManualClock(), threads="manual") as runtime:
        flag = Flag("f", level=3)
        assert degradable(flag, fallback=[default("none")])(lambda: "ranked")() == "ranked"
        runtime.tick()
        one = json.loads(health(runtime)[1])["checks"]
    two = {"f:mode": [{"componentId": "f", "observedValue": "off", "degrade:phase": "recovering",
                       "degrade:dial": 0.5}], "store:age": [{"observedValue": 3.2}]}  # fmt: skip
    assert seen_in([one]).flags["f"].normal
    state = FlagState(phase=Phase.RECOVERING, mode=Mode.OFF, dial=0.25)
    assert (seen_in([one, two]).flags["f"], seen_in([{}, two]).state_age) == (state, 3.2)


def test_the_programs_on_the_path_come_first_then_those_unpacked_with_their_libraries(tmp_path):
    for name in ("on", "usr/bin", "usr/lib/x"):
        (tmp_path / name).mkdir(parents=True)
    with pytest.raises(ScriptError, match=r"\.ci/bootstrap demo-fleet"):
        find_redis(str(tmp_path / "on"), tmp_path / "usr")
    for name in ("on/redis-server", "usr/bin/redis-server", "usr/bin/redis-cli"):
        (tmp_path / name).touch(mode=0o755)
    folder, before = find_redis(str(tmp_path / "on"), tmp_path / "usr")
    assert (folder, before[0]) == (tmp_path / "usr/bin", "env")
    assert before[1].startswith(f"LD_LIBRARY_PATH={tmp_path}/usr/lib/x")
    (tmp_path / "on/redis-cli").touch()
    assert find_redis(str(tmp_path / "on"), tmp_path / "usr") == (tmp_path / "on", [])


@pytest.mark.parametrize(
    ("state", "words"),
    [
        (FlagState(phase=Phase.RECOVERING, mode=Mode.DEGRADED, dial=0.95), "recovering 95%"),
        (FlagState(phase=Phase.STEADY, mode=Mode.OFF, dial=1.0), "off 100%"),
        (FlagState(phase=Phase.STEADY, mode=Mode.DEGRADED, dial=1.0), "ordered 100%"),
    ],
)
def test_a_second_is_a_line_of_what_readers_got_and_how_the_flags_stood(state, words):
    answers = [
        visit(165.0, kind, done=165.2, nonce="n") for kind in (FULL, SNAPSHOT, DEFAULT, WRONG)
    ]
    seen = Seen(flags={"feed.ranking": state}, state_age=2.0)
    line = row(Second.of(165, answers, {"n": 134.0}, seen), 100.0, "oldest").plain
    assert line.split() == [
        "1:05", "4", "200", "200", "25%", "50%", "25.0%", *words.split(), "-", "31", "s",
    ]  # fmt: skip
    assert len(line) <= 80
    assert row(Second.of(165, [], {}, Seen()), 100.0, "state").plain.split()[2:4] == ["-", "-"]


def test_the_share_of_the_cores_in_use_is_that_between_two_counts(tmp_path):
    counts = []
    for text in ("cpu 10 0 5 100 5 0 0 0 0 0\n", "cpu 25 0 10 160 15 3 1 6 9 0\n"):
        (tmp_path / "stat").write_text(text)
        counts.append(busy_times(tmp_path / "stat"))
    assert busy(*counts) == pytest.approx(0.3)
    assert busy(counts[0], counts[0]) is None
    assert busy(busy_times(tmp_path / "x"), busy_times(tmp_path / "x")) is None
