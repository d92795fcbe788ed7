"""The page of a reader: a newspaper's front, and a calm notice while it is degraded."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from degrade import Served
from examples.news_feed.stories import Story

_environment = Environment(
    loader=FileSystemLoader(Path(__file__).with_name("templates")), autoescape=True,
    undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True,
)  # fmt: skip


def render(
    stories: Sequence[Story], user: str, notice: Served | None, *, personal: bool, now: float
) -> str:
    """Return the page; `notice` says how its order was served instead of ranked, if it was."""
    today = datetime.fromtimestamp(now, UTC)
    return _environment.get_template("front.html").render(
        stories=[(story, ago(story.published, now)) for story in stories],
        user=user, notice=notice, personal=personal, today=f"{today:%A}, {today.day} {today:%B %Y}",
        chosen=None if notice is None or notice.age_s is None else ago(now - notice.age_s, now),
    )  # fmt: skip


def ago(then: float, now: float) -> str:
    """Return how long ago something was, as people say it."""
    minutes = int(max(0.0, now - then) // 60)
    for unit, size in (("day", 1_440), ("hour", 60), ("minute", 1)):
        if count := minutes // size:
            return f"{count} {unit}{'s' if count > 1 else ''} ago"
    return "just now"
