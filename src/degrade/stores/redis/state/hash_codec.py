"""The two hashes that hold the state: reading them, and what to write for a new state.

    holds     flag -> hold            the operator's desk: written by us and by hand
    control   hold:flag -> the same   what is in force; a desk that differs was changed by hand
              released:flag, off_ended:flag, verdict:flag, level, level_released,
              epoch, change, trail, head, lineage, not_before, capped, fence, v
    both      _incarnation            the life of the store

What is on the desk and means nothing changes nothing: the record in `control` stays in force.
Fields that this release does not know are never touched.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from degrade.core.enums import HoldMode, is_orderable
from degrade.core.reconciliation import StoreIdentity, change_id, trail_of
from degrade.core.records import ControlState, FleetVerdict, Hold, LevelOrder, Release
from degrade.errors import ConfigError
from degrade.stores.redis.transport.base import Command
from degrade.stores.state_changes import LogHead
from degrade.units import MOST_S, Duration, seconds

__all__ = (
    "BY_HAND",
    "INCARNATION",
    "MARKS",
    "NO_REASON",
    "Fields",
    "StateView",
    "after_changes",
    "body_of",
    "changes",
    "commands_of",
    "filled",
    "named",
    "portions",
    "view",
)

INCARNATION = "_incarnation"
MARKS = (INCARNATION, "epoch", "change")
"""Fields of `control` that tell one state from another."""
BY_HAND = "redis-cli"
"""The actor of what was written without us."""

NO_REASON = "none given"

_SCHEMA = "1"
_CHANGE = re.compile(r"[0-9]{1,18}-[0-9a-f]{0,8}", re.ASCII)
_KINDS: dict[str, type[BaseModel]] = {
    "hold": Hold,
    "released": Release,
    "verdict": FleetVerdict,
    "level": LevelOrder,
    "level_released": Release,
}
_WORDS = {mode.value: mode for mode in HoldMode}
_SHOWN = 80
_PORTION = 1_000
_MAX_BYTES = 64 * 1024
"""A hold larger than this means nothing."""

Fields = Mapping[str, bytes]
RecordT = TypeVar("RecordT", bound=BaseModel)
ItemT = TypeVar("ItemT")


class _Written(BaseModel):
    """A hold as a human writes it: a mode, and what else they care to say."""

    model_config = ConfigDict(extra="ignore", defer_build=True)

    mode: HoldMode
    dial: float = Field(default=1.0, gt=0, le=1)
    actor: str = BY_HAND
    reason: str = NO_REASON
    until: float | None = Field(default=None, allow_inf_nan=False)
    for_: Duration | None = Field(default=None, alias="for")


@dataclass(frozen=True, slots=True, kw_only=True)
class StateView:
    """What the two hashes say.

    Attributes:
        life: Of the store.
        state: What is in force, hand-written changes not included.
        by_hand: Flag to the hold that was written by hand, None for one that was deleted.
        head: The end of the log.
        holds, control: The raw fields.
        unreadable: Fields of `control` that another release wrote in a way that this one cannot
            read; what was known of them stays.
    """

    life: StoreIdentity
    state: ControlState
    by_hand: Mapping[str, Hold | None]
    head: LogHead
    holds: Fields
    control: Fields
    unreadable: frozenset[str] = frozenset()


def view(holds: Mapping[bytes, bytes], control: Mapping[bytes, bytes], *, now: float) -> StateView:
    """Read the two hashes at a server time; never raises, whatever is in them."""
    desk, kept = named(holds), named(control)
    incarnation = _text(kept.get(INCARNATION))
    life = StoreIdentity(
        markers=(incarnation, _text(desk.get(INCARNATION))),
        epoch=_number(kept.get("epoch")),
        lineage=_lineage(kept.get("lineage")),
        trail=_trail(kept.get("trail")),
    )
    left = bool(kept.keys() - {INCARNATION})  # of a life; the words of a hand are none of it
    standing = {
        name: hold for name, hold in _group(kept, "hold:", Hold).items() if is_orderable(name)
    }
    by_hand: dict[str, Hold | None] = {}
    nonsense: dict[str, str] = {}
    for name, raw in desk.items():
        if name == INCARNATION:
            continue
        if raw == kept.get(f"hold:{name}"):
            if name not in standing:
                nonsense[name] = _shortened(raw)
            continue
        fit = is_orderable(name)
        ours = None if life.whole else _record(Hold, raw)
        if fit and ours is not None and ours.epoch > 0:  # its copy was lost, or is another
            standing[name] = max(ours, standing.get(name, ours), key=lambda hold: hold.epoch)
            left = True
        elif fit and (written := _by_hand(raw, now)) is not None:
            by_hand[name] = written
        else:
            nonsense[name] = _shortened(raw)
    if life.whole:
        by_hand |= {name: None for name in standing if name not in desk}
    state = ControlState(
        incarnation=incarnation or "",
        epoch=life.epoch or 0,
        now=now,
        holds=standing,
        level=_record(LevelOrder, kept.get("level")),
        released=_group(kept, "released:", Release),
        level_released=_record(Release, kept.get("level_released")),
        off_ended={
            name.partition(":")[2]: at
            for name, raw in kept.items()
            if name.startswith("off_ended:") and (at := _real(raw)) is not None
        },
        verdicts=_group(kept, "verdict:", FleetVerdict),
        not_before=_real(kept.get("not_before")) or 0.0,
        capped=tuple((_text(kept.get("capped")) or "").split()),
        nonsense=nonsense,
    )
    unreadable = {
        name
        for name in kept
        if (kind := name.partition(":")[0]) in _KINDS and _record(_KINDS[kind], kept[name]) is None
    }
    return StateView(
        life=replace(life, empty=not left), state=state, by_hand=by_hand, head=_head(kept.get("head")),
        holds=desk, control=kept, unreadable=frozenset(unreadable),
    )  # fmt: skip


def filled(found: StateView, known: ControlState) -> StateView:
    """Return a view with what was known in the place of what cannot be read."""
    update: dict[str, Any] = {}
    for name in found.unreadable:
        kind, _, flag = name.partition(":")
        if kind in ("level", "level_released"):
            update[kind] = getattr(known, kind)
            continue
        place = {"hold": "holds", "released": "released", "verdict": "verdicts"}[kind]
        record = getattr(known, place).get(flag)
        if record is not None:
            records = update.setdefault(place, dict(getattr(found.state, place)))
            records[flag] = record
    return replace(found, state=found.state.model_copy(update=update)) if update else found


def changes(
    before: StateView,
    after: ControlState,
    head: LogHead,
    *,
    lineage: Mapping[str, int] | None = None,
    trail: Iterable[str] = (),
) -> tuple[dict[str, str | None], dict[str, str | None]]:
    """Return what to write so that the hashes say `after`: field to value, None to remove it.

    Args:
        before: What they say now. Of what is the same in both states nothing is written, unless
            the desk differs from it.
        after: What they shall say.
        head: The end of the log then.
        lineage: Of a new incarnation; None keeps the old one.
        trail: Changes that belong to its trail, besides those of `before`.

    Returns:
        The fields of `holds` and those of `control`.
    """
    desk, kept = _changed_holds(before, after, new_life=lineage is not None)
    state = before.state
    _diff(kept, "released:", state.released, after.released)
    _diff(kept, "verdict:", state.verdicts, after.verdicts)
    for name in {*state.off_ended, *after.off_ended}:
        at = after.off_ended.get(name)
        kept[f"off_ended:{name}"] = None if at is None else repr(at)
    kept["level"] = None if after.level is None else body_of(after.level)
    end = after.level_released
    kept["level_released"] = None if end is None else body_of(end)
    kept["capped"] = " ".join(after.capped) or None
    kept["not_before"] = repr(after.not_before)
    kept["epoch"] = str(after.epoch)
    if lineage is not None or after.epoch != state.epoch:
        made = change_id(after.epoch, head.link)
        kept["change"] = made
        kept["trail"] = " ".join(trail_of(before.life.trail, trail, (made,)))
    kept["head"] = f"{head.seq} {head.link}"
    if lineage is not None:
        desk[INCARNATION] = kept[INCARNATION] = after.incarnation
        kept["lineage"] = json.dumps(lineage, separators=(",", ":"))
        kept["v"] = _SCHEMA
    for name in ("level", "level_released"):
        if name in before.unreadable and getattr(after, name) == getattr(state, name):
            del kept[name]
    return desk, {
        name: value for name, value in kept.items() if _text(before.control.get(name)) != value
    }


def _changed_holds(
    before: StateView, after: ControlState, *, new_life: bool
) -> tuple[dict[str, str | None], dict[str, str | None]]:
    desk: dict[str, str | None] = {}
    kept: dict[str, str | None] = {}
    # Never a field of the hash itself, such as its life, whatever a hint or another release says.
    for name in filter(is_orderable, {*before.state.holds, *after.holds, *before.by_hand}):
        hold, known = after.holds.get(name), f"hold:{name}"
        raw, same = before.control.get(known), hold == before.state.holds.get(name)
        if hold is None:
            value = kept[known] = None
        elif same and raw is not None:
            value = raw.decode()
        else:
            value = kept[known] = body_of(hold)
        # Nonsense is shown by `status` until somebody repairs it; what a hand wrote waits to be
        # adopted, also by a new life.
        stays = same and name in before.state.nonsense
        stays = stays or (name in before.by_hand and (same or new_life))
        if _text(before.holds.get(name)) != value and not stays:
            desk[name] = value
    return desk, kept


def commands_of(key: str, fields: Mapping[str, str | None]) -> list[Command]:
    """Return the commands that write fields of a hash."""
    written = [(name, value) for name, value in fields.items() if value is not None]
    removed = [name for name, value in fields.items() if value is None]
    return [
        *(("HSET", key, *(word for pair in some for word in pair)) for some in portions(written)),
        *(("HDEL", key, *some) for some in portions(removed)),
    ]


def portions(items: Sequence[ItemT]) -> Iterator[Sequence[ItemT]]:
    """Return items in portions that a script can pass on: Lua unpacks some thousand at most."""
    return (items[at : at + _PORTION] for at in range(0, len(items), _PORTION))


def after_changes(fields: Fields, written: Mapping[str, str | None]) -> dict[str, bytes]:
    """Return what a hash holds after fields were written."""
    found = dict(fields)
    for name, value in written.items():
        if value is None:
            found.pop(name, None)
        else:
            found[name] = value.encode()
    return found


def body_of(record: BaseModel) -> str:
    """Return a record as it is stored: JSON without spaces."""
    return record.model_dump_json()


def _diff(
    kept: dict[str, str | None],
    prefix: str,
    old: Mapping[str, BaseModel],
    new: Mapping[str, BaseModel],
) -> None:
    for name in {*old, *new}:
        record = new.get(name)
        if record != old.get(name):
            kept[f"{prefix}{name}"] = None if record is None else body_of(record)


def _by_hand(raw: bytes, now: float) -> Hold | None:
    """Return the hold that a human meant, None when it cannot be told."""
    if len(raw) > _MAX_BYTES:
        return None
    word = raw.strip().lower().decode("ascii", "ignore")
    if word in _WORDS:
        return Hold(mode=_WORDS[word], actor=BY_HAND, reason=NO_REASON, at=now)
    written = _record(_Written, raw)
    if written is None or (written.mode is not HoldMode.DEGRADED and written.dial != 1):
        return None
    until = written.until
    if written.for_ is not None:
        try:
            until = now + seconds(written.for_, what="for")
        except ConfigError:
            return None
    if until is not None and not 0 <= until <= now + MOST_S:
        return None
    return Hold(
        mode=written.mode,
        dial=written.dial,
        actor=written.actor[:200] or BY_HAND,
        reason=written.reason[:1_000] or NO_REASON,
        at=now,
        until=until,
    )


def named(fields: Mapping[bytes, bytes]) -> dict[str, bytes]:
    """Return raw fields with their names as text; bytes that are no text are spelled out."""
    return {name.decode("utf-8", "backslashreplace"): raw for name, raw in fields.items()}


def _shortened(raw: bytes) -> str:
    return raw[:_SHOWN].decode("utf-8", "backslashreplace")


def _group(fields: Fields, prefix: str, kind: type[RecordT]) -> dict[str, RecordT]:
    return {
        name[len(prefix) :]: record
        for name, raw in sorted(fields.items())
        if name.startswith(prefix) and (record := _record(kind, raw)) is not None
    }


def _record(kind: type[RecordT], raw: bytes | None) -> RecordT | None:
    if raw is None or len(raw) > _MAX_BYTES:
        return None
    try:
        return kind.model_validate_json(raw)
    except ValidationError:
        return None


def _text(raw: bytes | None) -> str | None:
    return None if raw is None else raw.decode("utf-8", "backslashreplace")


def _number(raw: bytes | None) -> int | None:
    return int(raw) if raw is not None and raw.isdigit() and len(raw) <= 18 else None


def _real(raw: bytes | None) -> float | None:
    try:
        return None if raw is None else float(raw)
    except ValueError:
        return None


def _lineage(raw: bytes | None) -> dict[str, int]:
    try:
        found: Any = json.loads(raw or b"{}")
    except (ValueError, RecursionError):
        return {}
    if not isinstance(found, dict):
        return {}
    return {name: epoch for name, epoch in found.items() if isinstance(epoch, int)}


def _trail(raw: bytes | None) -> tuple[str, ...]:
    found = (_text(raw) or "").split()
    return tuple(filter(_CHANGE.fullmatch, found))


def _head(raw: bytes | None) -> LogHead:
    seq, _, link = (raw or b"0 ").partition(b" ")
    return LogHead(_number(seq) or 0, _text(link) or "")
