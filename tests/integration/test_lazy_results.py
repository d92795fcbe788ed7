"""Lazy objects of libraries that applications use: a due snapshot leaves them as they are."""

from __future__ import annotations

import asyncio
import io
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flask import Flask, request
from flask import Response as FlaskResponse
from starlette.responses import StreamingResponse
from werkzeug.datastructures import ImmutableMultiDict
from werkzeug.local import LocalProxy

from degrade import Runtime, default, degradable, snapshot
from degrade.clock import ManualClock
from tests.integration.children import run

DJANGO = """
    import logging
    logging.basicConfig(format="%(message)s", stream=sys.stderr)
    from django.conf import settings
    settings.configure(
        DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
        INSTALLED_APPS=[], USE_TZ=True, DEBUG=True,
    )
    import django
    django.setup()
    from collections.abc import Sequence
    from typing import Any
    from django.db import connection, models
    from django.utils.functional import SimpleLazyObject
    from django.utils.translation import gettext_lazy

    class Story(models.Model):
        title = models.TextField()
        class Meta:
            app_label = "stories"

    with connection.schema_editor() as editor:
        editor.create_model(Story)
    Story.objects.create(title="a")
    connection.queries_log.clear()
    made = []

    def person():
        made.append(1)
        return {"name": "ana"}

    ladder = [snapshot(max_age="1h"), default([])]

    @degradable("stories", fallback=ladder)
    def stories() -> Sequence[Any]:
        return Story.objects.all()

    @degradable("titles", fallback=ladder)
    def titles() -> dict[str, Any]:
        return {"titles": Story.objects.values_list("title", flat=True)}

    @degradable("person", fallback=ladder)
    def who() -> dict[str, Any]:
        return SimpleLazyObject(person)

    @degradable("word", fallback=ladder)
    def word() -> Any:
        return [gettext_lazy("a")]

    @degradable("kept", fallback=[snapshot(max_age="1h", copy=False), default([])])
    def kept():
        return Story.objects.all()

    with Runtime(threads="manual") as runtime:
        found = [stories(), titles(), who(), word(), kept()]
        runtime.tick()
        tell(queries=len(connection.queries), made=len(made))
        tell(story=found[0][0].title, titles=list(found[1]["titles"]), who=dict(found[2]))
"""


def test_a_lazy_object_of_django_is_not_made_and_asks_no_database(tmp_path: Path):
    done = run(DJANGO, home=tmp_path)
    assert done.code == 0, done.stderr
    assert done.all == {
        "queries": 0, "made": 0, "story": "a", "titles": ["a"], "who": {"name": "ana"},
    }  # fmt: skip
    assert done.stderr.count("return lists and dicts of what it yields") == 4


def rows() -> Iterator[Any]:
    yield from ("a", "b")


def cursor() -> sqlite3.Cursor:
    return sqlite3.connect(":memory:").execute("select 'a' union select 'b'")


async def collected(parts: Any) -> list[str]:
    return [part async for part in parts]


def text_file() -> Any:
    return io.TextIOWrapper(io.BytesIO(b"a\nb\n"))


UNTOUCHED: dict[str, Any] = {
    "a cursor": (cursor, lambda found: [row[0] for row in found]),
    "a file": (text_file, lambda found: found.read().split()),
    "a streamed response of Flask": (
        lambda: FlaskResponse(rows()),
        lambda found: list(found.response),
    ),
    "a streamed response of Starlette": (
        lambda: StreamingResponse(rows()),
        lambda found: asyncio.run(collected(found.body_iterator)),
    ),
    "an array": (lambda: np.array(["a", "b"]), list),
    "a dictionary with many values": (lambda: ImmutableMultiDict([("a", 1), ("b", 2)]), list),
}


@pytest.mark.parametrize("name", UNTOUCHED)
@pytest.mark.parametrize("returns", [Any, Sequence[Any], dict[str, Any]])
def test_a_lazy_object_is_handed_on_as_it_was(name: str, returns: Any, clock: ManualClock):
    make, read = UNTOUCHED[name]
    value = make()

    def feed() -> Any:
        return value

    feed.__annotations__["return"] = returns
    with Runtime(clock=clock, threads="manual"):
        guarded = degradable("lazy.result", fallback=[snapshot(max_age="1h"), default(0)])(feed)
        assert guarded() is value
    assert read(value) == ["a", "b"]


def test_a_proxy_of_a_request_is_not_asked_what_it_stands_for(clock: ManualClock):
    asked: list[int] = []
    proxy = LocalProxy(lambda: asked.append(1) or {"a": 1})

    def feed() -> Any:
        return {"proxy": proxy, "args": request.args}

    with Runtime(clock=clock, threads="manual"):
        guarded = degradable("lazy.proxy", fallback=[snapshot(max_age="1h"), default(0)])(feed)
        with Flask("app").test_request_context("/?a=1"):
            assert guarded()["args"]["a"] == "1"
        assert not asked
