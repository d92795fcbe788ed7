"""The law of snapshots as bytes: what was put in comes out, or `CodecError`; never anything else."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from degrade.errors import CodecError
from degrade.fallback.rung import Target
from degrade.fallback.snapshots.codec import Codec
from tests.properties.strategies import typed_values

KEY = "user_id='u1'; subject='ana'"


def codec(returns: Any) -> Codec:
    def feed(user_id: str) -> None: ...

    feed.__annotations__["return"] = returns
    return Codec(Target.of(feed, "feed"))


def same(one: Any, other: Any) -> bool:
    if type(one) is not type(other):
        return False
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    return bool(one == other)


@given(typed_values(), st.floats(0, 4e9), st.integers(0, 2**60))
def test_a_typed_value_comes_back_as_it_was(typed: tuple[Any, Any], created: float, epoch: int):
    returns, value = typed
    made = codec(returns)
    found = made.decode(made.encode(value, key=KEY, created=created, epoch=epoch), key=KEY)
    assert same(found.value, value)
    assert (found.created, found.epoch) == (created, epoch)


@given(typed_values(), typed_values())
def test_a_value_of_any_type_is_stored_faithfully_under_any_annotation_or_not_at_all(
    typed: tuple[Any, Any], wrong: tuple[Any, Any]
):
    made = codec(typed[0] | wrong[0])
    for value in (typed[1], wrong[1]):
        try:
            blob = made.encode(value, key=KEY, created=1.0, epoch=0)
        except CodecError:
            continue
        found = made.decode(blob, key=KEY).value
        assert same(found, value)


LIST = codec(list[dict[str, int | str]])
VALUE = [{"id": number, "title": "a story"} for number in range(50)]
PLAIN = LIST.encode(VALUE[:2], key=KEY, created=1.0, epoch=0)
PACKED = LIST.encode(VALUE, key=KEY, created=1.0, epoch=0)


@given(st.binary(max_size=300))
def test_random_bytes_are_a_codec_error(blob: bytes):
    for hostile in (blob, PLAIN.partition(b"\n")[0] + b"\n" + blob):
        try:
            LIST.decode(hostile, key=KEY)
        except CodecError:
            continue
        raise AssertionError("random bytes were read as a snapshot")


@given(st.sampled_from([PLAIN, PACKED]), st.data())
def test_damaged_bytes_are_a_codec_error_or_a_value_of_the_type(blob: bytes, data: st.DataObject):
    damaged = bytearray(blob)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(damaged) - 1))
        damaged[at] = data.draw(st.integers(0, 255))
    try:
        found = LIST.decode(bytes(damaged), key=KEY).value
    except CodecError:
        return
    assert isinstance(found, list)
    assert all(isinstance(item, dict) for item in found)


@given(st.sampled_from([PLAIN, PACKED]), st.text(max_size=40))
def test_bytes_made_for_another_key_are_a_codec_error(blob: bytes, key: str):
    try:
        LIST.decode(blob, key=key)
    except CodecError:
        assert key != KEY
    else:
        assert key == KEY
