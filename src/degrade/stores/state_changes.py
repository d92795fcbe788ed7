"""What a change makes of the state and of the log; the one implementation that all stores share.

Pure: a store gives its state, the head of its log and its time, and writes what it gets back.

    change   holds and level of the change replace or remove those of the state; an end leaves
             a tombstone until the next hold; epoch + 1; one event a part. With nothing to do,
             nothing changes.
    sweep    the same for everything past its `until`.
    append   events only; the epoch stays.

The log is a chain: `prev` of an event is the digest of the event before it, so that a missing
or altered entry shows.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic_core import to_jsonable_python

from degrade.core.reconciliation import is_off
from degrade.core.records import (
    ControlState,
    Event,
    EventType,
    Hold,
    LevelOrder,
    Release,
)
from degrade.errors import ConfigError
from degrade.ports import Change, EventDraft

__all__ = (
    "AUTOMATION",
    "EVENT_CAP",
    "TOMBSTONE_S",
    "LogHead",
    "Written",
    "append_drafts",
    "apply_change",
    "apply_sweep",
    "broken_links",
    "digest",
    "ended",
    "event_id",
    "sequence",
    "valid_text",
)

AUTOMATION = "automation"
"""The actor of what no human did."""

EVENT_CAP = 100_000
"""Events a store keeps; the oldest go first."""

TOMBSTONE_S = 86_400.0
"""How long a tombstone stays, seconds: a process that was away for a day reads no release."""


@dataclass(frozen=True, slots=True)
class LogHead:
    """The end of the log: the number of its newest event, and that event's digest."""

    seq: int = 0
    link: str = ""


@dataclass(frozen=True, slots=True)
class Written:
    """What a store has to write, in one transaction."""

    state: ControlState
    events: tuple[Event, ...]
    head: LogHead


def event_id(seq: int) -> str:
    """Return the id of the event with a number; ids sort as their numbers do."""
    return f"{seq:012d}"


def sequence(since: str) -> int:
    """Return the number of an event id; leading zeros may be left out.

    Raises:
        ConfigError: `since` is no id of ours (code `bad-setting`).
    """
    if not (since.isascii() and since.isdigit() and len(since) <= 18):
        raise ConfigError(f"since={since!r} is not an event id; take one from `degrade events`")
    return int(since)


def digest(event: Event) -> str:
    """Return the SHA-256 (hex) of an event's canonical JSON: keys sorted, no spaces, UTF-8."""
    text = json.dumps(
        event.model_dump(mode="json"), sort_keys=True, separators=(",", ":"), ensure_ascii=False
    )
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def broken_links(events: Iterable[Event]) -> list[str]:
    """Return the ids of the events whose `prev` is not the digest of the one given before it."""
    broken: list[str] = []
    link: str | None = None
    for event in events:
        if link is not None and event.prev != link:
            broken.append(event.id)
        link = digest(event)
    return broken


def ended(order: Hold | LevelOrder, now: float) -> bool:
    """Whether an order is past its `until` at the wall time `now`."""
    return order.until is not None and order.until <= now


def apply_change(state: ControlState, head: LogHead, change: Change, *, now: float) -> Written:
    """Return the state and the events after a human's change at the store's time `now`."""
    epoch = state.epoch + 1
    holds, released, off_ended = dict(state.holds), dict(state.released), dict(state.off_ended)
    drafts: list[EventDraft] = []

    def log(flag: str | None, evidence: Mapping[str, Any]) -> None:
        drafts.append(
            EventDraft(
                type=change.type,
                flag=flag,
                actor=change.actor,
                cause=change.reason,
                instance=change.instance,
                evidence=evidence,
            )
        )

    for flag, asked in change.holds.items():
        before = holds.get(flag)
        after = _new_hold(before, asked, extends=change.type == "extended", epoch=epoch, now=now)
        if after is None:
            if before is None or change.type == "extended":
                continue
            del holds[flag]
            released[flag] = Release(
                actor=change.actor, reason=change.reason, at=now, epoch=epoch, now=change.now
            )
            log(flag, {"hold": _dump(before), "now": change.now})
        else:
            holds[flag] = after
            released.pop(flag, None)
            log(flag, {"hold": _dump(after), "replaced": _dump(before)})
        if is_off(before) and not is_off(after):
            off_ended[flag] = now

    level, level_released = state.level, state.level_released
    if change.level is None and level is not None:
        level_released = Release(
            actor=change.actor, reason=change.reason, at=now, epoch=epoch, now=change.now
        )
        log(None, {"level": _dump(level), "now": change.now})
        level = None
    elif isinstance(change.level, LevelOrder):
        order = change.level.model_copy(update={"at": now, "epoch": epoch})
        log(None, {"level": _dump(order), "replaced": _dump(level)})
        level, level_released = order, None

    if not drafts:
        return Written(state, (), head)
    after_state = state.model_copy(
        update={
            "epoch": epoch,
            "now": now,
            "holds": holds,
            "level": level,
            "off_ended": off_ended,
            "released": _recent(released, now),
            "level_released": level_released,
        }
    )
    return append_drafts(after_state, head, drafts, now=now)


def apply_sweep(state: ControlState, head: LogHead, instance: str, *, now: float) -> Written:
    """Return the state and the events after ending everything past its `until`."""
    over = {flag: hold for flag, hold in state.holds.items() if ended(hold, now)}
    level = state.level
    level_over = level is not None and ended(level, now)
    if not over and not level_over:
        return Written(state, (), head)
    epoch = state.epoch + 1

    def draft(kind: EventType, flag: str | None, order: Hold | LevelOrder, name: str) -> EventDraft:
        return EventDraft(
            type=kind,
            flag=flag,
            actor=AUTOMATION,
            instance=instance,
            evidence={name: _dump(order)},
            cause=f"ordered by {order.actor} ({order.reason}), its time is over",
        )

    def tombstone(order: Hold | LevelOrder) -> Release:
        return Release(
            actor=AUTOMATION, reason=f"time over: {order.reason}", at=now, epoch=epoch,
            expired=True, of=(order.at, order.epoch),
        )  # fmt: skip

    drafts = [draft("expired", flag, hold, "hold") for flag, hold in over.items()]
    update: dict[str, Any] = {
        "epoch": epoch,
        "now": now,
        "holds": {flag: hold for flag, hold in state.holds.items() if flag not in over},
        "released": _recent(
            state.released | {flag: tombstone(hold) for flag, hold in over.items()}, now
        ),
        "off_ended": state.off_ended
        | {flag: hold.until for flag, hold in over.items() if is_off(hold)},
    }
    if level is not None and level_over:
        drafts.append(draft("level_expired", None, level, "level"))
        update |= {"level": None, "level_released": tombstone(level)}
    return append_drafts(state.model_copy(update=update), head, drafts, now=now)


def append_drafts(
    state: ControlState, head: LogHead, drafts: Sequence[EventDraft], *, now: float
) -> Written:
    """Return the events of drafts, chained to the log, with the state's epoch."""
    events: list[Event] = []
    for draft in drafts:
        event = Event(
            id=event_id(head.seq + 1),
            at=now,
            instance=draft.instance,
            flag=draft.flag,
            incident=draft.incident,
            type=draft.type,
            actor=valid_text(draft.actor),
            cause=valid_text(draft.cause),
            evidence=_plain(draft.evidence),
            epoch=state.epoch,
            prev=head.link,
        )
        head = LogHead(head.seq + 1, digest(event))
        events.append(event)
    return Written(state, tuple(events), head)


def _new_hold(
    before: Hold | None, asked: Hold | None, *, extends: bool, epoch: int, now: float
) -> Hold | None:
    if asked is None:
        return None
    if not extends:
        return asked.model_copy(update={"at": now, "epoch": epoch})
    if before is None or ended(before, now):
        return None
    return before.model_copy(update={"until": asked.until, "epoch": epoch})


def _recent(released: Mapping[str, Release], now: float) -> dict[str, Release]:
    return {flag: end for flag, end in released.items() if end.at > now - TOMBSTONE_S}


def _dump(record: Hold | LevelOrder | None) -> dict[str, Any] | None:
    return None if record is None else record.model_dump(mode="json")


def valid_text(text: str) -> str:
    """Return text that can be written as UTF-8; what cannot (lone surrogates) becomes `?`."""
    return text.encode("utf-8", "replace").decode()


def _plain(evidence: Mapping[str, Any]) -> dict[str, Any]:
    """Return evidence as JSON values: what the log cannot hold becomes its text."""
    text = json.dumps(to_jsonable_python(dict(evidence), fallback=str), ensure_ascii=False)
    plain: dict[str, Any] = json.loads(valid_text(text), parse_constant=str)
    return plain
