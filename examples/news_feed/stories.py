"""What there is to read: the bundled stories, or any RSS or Atom feed."""

from __future__ import annotations

import html
import json
import re
import time
from calendar import timegm
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import feedparser  # type: ignore[import-untyped, unused-ignore]  # it has no annotations

PAGE = 13
"""Stories on a page: one to lead, and twelve that fill rows of two, three or four."""

_BUNDLED = Path(__file__).with_name("stories.jsonl")
_NEWEST_AGE_S = 4 * 60.0
_TAG = re.compile(r"<[^>]*>")


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """One story; `published` is in Unix seconds, `link` is empty for the bundled ones."""

    id: str
    section: str
    title: str
    summary: str
    author: str
    published: float
    link: str = ""


def bundled(*, now: float | None = None) -> list[Story]:
    """Return the stories that come with the example, as if the newest were four minutes old."""
    rows = [json.loads(line) for line in _BUNDLED.read_text(encoding="utf-8").splitlines()]
    stories = [
        Story(**{**row, "published": datetime.fromisoformat(row["published"]).timestamp()})
        for row in rows
    ]
    shift = (time.time() if now is None else now) - _NEWEST_AGE_S
    shift -= max(story.published for story in stories)
    return [replace(story, published=story.published + shift) for story in stories]


def from_feed(source: str, *, now: float | None = None) -> list[Story]:
    """Return the entries of an RSS or Atom feed, from a path or an http(s) address.

    Entries without a time are counted back from `now`, a minute each. Raises OSError where it
    cannot be read, ValueError where it has no entries with a title.
    """
    parsed = feedparser.parse(_read(source))
    start = time.time() if now is None else now
    stories: dict[str, Story] = {}
    for number, entry in enumerate(parsed.entries):
        story = _story(entry, default=start - 60.0 * number, publisher=parsed.feed)
        if story.title:
            stories.setdefault(story.id, story)
    if not stories:
        raise ValueError(f"{source!r} is no RSS or Atom feed with entries")
    return list(stories.values())


def _read(source: str) -> bytes:
    if not source.startswith(("http://", "https://")):
        return Path(source).read_bytes()
    request = Request(source, headers={"User-Agent": "degrade-news-feed"})  # noqa: S310 - http only
    with urlopen(request, timeout=20) as answer:  # noqa: S310 - http only, see above
        return bytes(answer.read())


def _story(entry: Mapping[str, Any], *, default: float, publisher: Mapping[str, Any]) -> Story:
    moment = entry.get("published_parsed") or entry.get("updated_parsed")
    tags = entry.get("tags") or [{}]
    title = _plain(entry.get("title", ""))
    link = entry.get("link", "")
    return Story(
        id=entry.get("id") or link or title,
        section=_plain(tags[0].get("term") or publisher.get("title") or "News")[:40],
        title=title,
        summary=_plain(entry.get("summary", ""))[:300],
        author=_plain(entry.get("author") or publisher.get("title") or ""),
        published=float(timegm(moment)) if moment else default,
        link=link if link.startswith(("http://", "https://")) else "",
    )


def _plain(markup: str) -> str:
    return " ".join(html.unescape(_TAG.sub(" ", markup)).split())


def newest(stories: Iterable[Story], count: int = PAGE) -> list[Story]:
    """Return the newest stories, newest first; those of the same second in order of their ids."""
    return sorted(stories, key=lambda story: (-story.published, story.id))[:count]


def save(stories: Sequence[Story], path: Path) -> None:
    """Write stories for the other processes to `load`."""
    text = "".join(json.dumps(asdict(story), ensure_ascii=False) + "\n" for story in stories)
    path.write_text(text, encoding="utf-8")


def load(path: Path) -> list[Story]:
    """Return the stories that `save` wrote, in the same order."""
    return [Story(**json.loads(line)) for line in path.read_text(encoding="utf-8").splitlines()]
