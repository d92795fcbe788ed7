"""The page of the protocol shows records as they are written, and names every key and field."""

from __future__ import annotations

import inspect
import json
import re

import pytest
from pydantic import BaseModel

from degrade.core.records import (
    Event,
    FlagInfo,
    FleetVerdict,
    Hold,
    InstanceReport,
    LevelOrder,
    Release,
    Vote,
)
from degrade.fallback.ladder import snapshot
from degrade.fallback.rung import Target
from degrade.fallback.snapshots.codec import Codec
from degrade.fallback.snapshots.snapshot_rung import BoundSnapshot
from degrade.stores.redis.keys import Keys
from degrade.stores.redis.state.hash_codec import INCARNATION, _Written
from degrade.stores.redis.state.hints import MOST_BYTES, Hint, _Message, _versioned, parsed
from tests.docs.pages import ROOT

PAGE = (ROOT / "docs" / "reference" / "redis.md").read_text("utf-8")
RECORDS: dict[str, type[BaseModel]] = {
    "hold": Hold,
    "released": Release,
    "level": LevelOrder,
    "verdict": FleetVerdict,
    "vote": Vote,
    "declaration": FlagInfo,
    "heartbeat": InstanceReport,
    "event": Event,
}


def examples() -> dict[str, str]:
    """Return heading to the JSON below it."""
    sections = re.findall(r"^### (\w+)$(.*?)(?=^##)", PAGE, re.MULTILINE | re.DOTALL)
    return {
        name: found[1]
        for name, text in sections
        if (found := re.search(r"^```json\n(.*?)\n```", text, re.MULTILINE | re.DOTALL))
    }


def test_every_example_is_of_a_record_that_is_checked_here():
    assert set(examples()) == {*RECORDS, "hint", "snapshot"}
    assert PAGE.count("```json") == len(examples())


@pytest.mark.parametrize("name", RECORDS)
def test_an_example_has_every_field_and_is_written_as_it_is_read(name: str):
    text = examples()[name]
    record = RECORDS[name].model_validate_json(text)
    assert json.loads(text).keys() == RECORDS[name].model_fields.keys()
    assert json.loads(record.model_dump_json()) == json.loads(text)
    assert ": " not in re.sub(r'"[^"]*"', "", text), "as it is stored: without spaces"


def test_the_example_of_a_hint_is_what_is_sent():
    text = examples()["hint"]
    hint = parsed(text.encode())
    assert hint is not None
    assert len(text) <= MOST_BYTES
    message = _Message.model_validate_json(text)
    assert _versioned(message.model_dump_json(exclude_defaults=True).encode()) == text.encode()
    assert hint._asdict() == message.model_dump(exclude={"v"})
    section = PAGE.partition("### hint")[2].partition("###")[0]
    assert {"flag", "mode", "dial", "until", "now"} <= set(Hint._fields)
    assert all(f"`{name}`" in section for name in ("flag", "mode", "dial", "until", "now"))


def test_the_example_of_a_snapshot_is_what_lies_there():
    def ranked_feed(user: str) -> list[str]:
        return ["first story", "second story"]

    ranked_feed.__module__, ranked_feed.__qualname__ = "shop.feed", "ranked_feed"
    target = Target.of(ranked_feed, "feed")
    rung = snapshot(max_age="1h").bind(target)
    assert isinstance(rung, BoundSnapshot)
    key = rung.keys.key(("ana",), {}, None)
    assert key is not None
    body = Codec(target).encode(
        ranked_feed("ana"), key=rung.text(key), created=1795576316.2448483, epoch=4
    )
    assert examples()["snapshot"] == body.decode()


def test_what_a_hand_may_write_is_in_the_table():
    table = PAGE.partition("## What a hand may write")[2].partition("Only a")[0]
    names = {field.alias or name for name, field in _Written.model_fields.items()}
    assert set(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)) == names


def test_every_key_has_its_row():
    keys = Keys("NAMESPACE")
    plain = [
        getattr(keys, name)
        for name, value in inspect.getmembers(Keys)
        if isinstance(value, property)
    ]
    wanted = {*plain, keys.lease("count"), keys.lease("probe:FLAG"), keys.snapshot("FLAG", "HASH")}
    table = PAGE.partition("## The keys")[2].partition("### control")[0]
    assert set(re.findall(r"^\| `(degrade:[^`]+)` \|", table, re.MULTILINE)) == wanted


def test_every_field_of_control_has_its_row():
    table = PAGE.partition("### control")[2].partition("###")[0]
    rows = re.findall(r"^\| (`[^|]+`) \|", table, re.MULTILINE)
    shown = {name for row in rows for name in re.findall(r"`(\w+)", row)}
    source = inspect.getdoc(inspect.getmodule(_Written)) or ""
    described = source.partition("control")[2].partition("both")[0]
    named = set(re.findall(r"\b(\w+)(?=:flag|,|\n)", described)) - {"flag", "hand"}
    assert {"hold", "released", "epoch", "trail", "v"} <= named
    assert shown == named | {INCARNATION}
