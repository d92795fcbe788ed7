"""The state of a namespace as the SQLite file has it, and what to write when it was lost; pure.

    known   shown                                    written
    -       nothing                                  the first life
    -       a life                                   nothing
    a life  it at the same epoch or a later one,     nothing
            or a life that continues it
    a life  nothing, an older state, another life    the next life: both states, merged

A record that this release cannot read (a newer form, damaged JSON) counts as not written. It
changes nothing, is shown as not understood, and stays in the file until it is written over.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from pydantic import BaseModel, Field, ValidationError

from degrade.core.reconciliation import (
    StoreAssessment,
    StoreIdentity,
    change_id,
    judged,
    lineage_of,
    merged,
    trail_of,
)
from degrade.core.records import ControlState, FleetVerdict, Hold, LevelOrder, Release
from degrade.ports import EventDraft
from degrade.stores.state_changes import AUTOMATION, LogHead, Written, append_drafts

__all__ = ("Kept", "body_of", "filled", "is_lost", "next_life", "state_of", "with_change")

_MANY: Mapping[str, type[BaseModel]] = {
    "holds": Hold, "released": Release, "verdicts": FleetVerdict,
}  # fmt: skip
_ONE: Mapping[str, type[BaseModel]] = {"level": LevelOrder, "level_released": Release}
_SHOWN = 80


class Kept(ControlState):
    """The state, with what tells whether it continues what another process knows.

    Attributes:
        lineage: Lives that this one continues, with the last epoch of each.
        trail: Its newest changes, oldest first: see `degrade.core.reconciliation.change_id`.
        unread: Field of the state to the records in it that this release cannot read, by name.
    """

    lineage: dict[str, int] = Field(default_factory=dict)
    trail: tuple[str, ...] = ()
    unread: dict[str, dict[str, Any]] = Field(default_factory=dict)


def state_of(body: str) -> Kept:
    """Return the state that was written.

    Raises:
        ValueError: More of it than single records cannot be read.
    """
    try:
        return Kept.model_validate_json(body)
    except ValidationError:
        raw: Any = json.loads(body)
        if not isinstance(raw, dict):
            raise
    unread: dict[str, dict[str, Any]] = {}
    for place, kind in _MANY.items():
        records = raw.get(place)
        if isinstance(records, dict):
            unfit = {name: item for name, item in records.items() if not _is_readable(kind, item)}
            raw[place] = {name: item for name, item in records.items() if name not in unfit}
            if unfit:
                unread[place] = unfit
    for place, kind in _ONE.items():
        if raw.get(place) is not None and not _is_readable(kind, raw[place]):
            unread[place] = {place: raw.pop(place)}
    nonsense = {name: json.dumps(item)[:_SHOWN] for name, item in unread.get("holds", {}).items()}
    return Kept.model_validate(raw | {"unread": unread, "nonsense": nonsense})


def body_of(state: Kept) -> str:
    """Return what to write, with the records that could not be read where none replaces them."""
    if not state.unread:
        return state.model_dump_json(exclude={"unread", "nonsense"})
    body = state.model_dump(mode="json", exclude={"unread", "nonsense"})
    for place, records in state.unread.items():
        if place in _MANY:
            body[place] = records | body[place]
        elif body[place] is None:
            body[place] = records[place]
    return json.dumps(body)


def filled(state: Kept, known: Kept | None) -> Kept:
    """Return a state with what was known in the place of what cannot be read."""
    if known is None or not state.unread:
        return state
    update: dict[str, Any] = {}
    for place, records in state.unread.items():
        before = getattr(known, place)
        if place in _ONE:
            update[place] = before
        else:
            update[place] = {name: before[name] for name in records if name in before} | getattr(
                state, place
            )
    return state.model_copy(update=update)


def is_lost(known: Kept | None, shown: Kept | None) -> bool:
    """Whether the file shows less than is known, or nothing at all."""
    if shown is None:
        return True
    before = None if known is None else (known.incarnation, known.epoch)
    life = StoreIdentity(
        markers=(shown.incarnation, shown.incarnation),
        epoch=shown.epoch,
        lineage=shown.lineage,
        trail=shown.trail,
    )
    trail = () if known is None else known.trail
    return judged(before, life, trail=trail) is not StoreAssessment.TAKE


def next_life(
    known: Kept | None,
    shown: Kept | None,
    head: LogHead,
    *,
    incarnation: str,
    writer: str,
    now: float,
) -> Written:
    """Return the first state of a namespace, or a state that continues what was known.

    Args:
        known: The newest state that was read from the store.
        shown: What the file has now.
        head: The end of the log, of what is known and of the file.
        incarnation: Id of the new life.
        writer: The process that writes it.
        now: The store's time.
    """
    empty = Kept(incarnation="", epoch=0, now=now)
    if known is None:
        return Written(empty.model_copy(update={"incarnation": incarnation}), (), head)
    there = empty if shown is None else shown
    lineage = lineage_of(
        (there.incarnation or None, there.epoch, there.lineage),
        (known.incarnation, known.epoch, known.lineage),
    )
    update = {
        "incarnation": incarnation,
        "now": now,
        "not_before": now,
        "lineage": lineage,
        "trail": trail_of(known.trail, there.trail),
        "unread": {
            place: known.unread.get(place, {}) | there.unread.get(place, {})
            for place in {*known.unread, *there.unread}
        },
    }
    state = merged(known, there).model_copy(update=update)
    draft = EventDraft(
        type="restored",
        flag=None,
        actor=AUTOMATION,
        instance=writer,
        cause=_loss(known, shown),
        evidence={"lineage": lineage, "holds": sorted(state.holds)},
    )
    return with_change(append_drafts(state, head, [draft], now=now))


def with_change(written: Written) -> Written:
    """Return what to write, with the change in the state's trail."""
    state, made = written.state, change_id(written.state.epoch, written.head.link)
    trail = trail_of(getattr(state, "trail", ()), (made,))
    return replace(written, state=state.model_copy(update={"trail": trail}))


def _loss(known: Kept, shown: Kept | None) -> str:
    """Say what became of the store, for people."""
    if shown is None:
        return "the file of the store was lost"
    if shown.incarnation != known.incarnation:
        return "another file took the place of the store"
    if shown.epoch < known.epoch:
        return f"the store went back from epoch {known.epoch} to {shown.epoch}"
    return "the store was changed in two places apart"


def _is_readable(kind: type[BaseModel], raw: object) -> bool:
    try:
        kind.model_validate(raw)
    except ValidationError:
        return False
    return True
