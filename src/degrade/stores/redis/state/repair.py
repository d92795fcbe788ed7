"""What to write when the two hashes do not say what is in force: pure.

adopted    a hand wrote on the desk: its words become holds and releases, with their events
begun      nothing was there: the first life of a namespace
restored   a life was lost: the next one, with everything that is known of it
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from degrade.core.reconciliation import contains, is_off, lineage_of, merged
from degrade.core.records import ControlState, Event, Hold, Release
from degrade.ports import Change, EventDraft
from degrade.stores.redis.state.hash_codec import BY_HAND, NO_REASON, StateView
from degrade.stores.state_changes import AUTOMATION, LogHead, Written, append_drafts, apply_change

__all__ = ("NOT_BEFORE_S", "adopted", "begun", "in_force", "lost", "restored")

NOT_BEFORE_S = 15.0
"""No fleet verdict comes so soon after a new incarnation, seconds: the votes are gone, too."""


def adopted(
    state: ControlState,
    head: LogHead,
    by_hand: Mapping[str, Hold | None],
    *,
    writer: str,
    now: float,
) -> Written:
    """Return the state and the events after what was written by hand."""
    events: list[Event] = []
    for flag, hold in sorted(by_hand.items()):
        change = Change(
            type="released" if hold is None else "hold",
            actor=BY_HAND if hold is None else hold.actor,
            reason=NO_REASON if hold is None else hold.reason,
            instance=writer,
            holds={flag: hold},
        )
        written = apply_change(state, head, change, now=now)
        state, head = written.state, written.head
        events += written.events
    return Written(state, tuple(events), head)


def begun(found: StateView, incarnation: str, *, now: float) -> Written:
    """Return the first state of a namespace."""
    update = {"incarnation": incarnation, "now": now, "not_before": now + NOT_BEFORE_S}
    return Written(found.state.model_copy(update=update), (), found.head)


def restored(
    known: StateView | None,
    found: StateView,
    logged: LogHead,
    *,
    incarnation: str,
    writer: str,
    now: float,
) -> tuple[Written, dict[str, int]]:
    """Return the state of a new life that continues what is known and what is left.

    Args:
        known: What was read live last.
        found: What the store shows now.
        logged: The end of the log as the stream has it.
        incarnation: Id of the new life.
        writer: Who restores it.
        now: The store's time.

    Returns:
        What to write, and the lineage of the new life.
    """
    last = ControlState(incarnation="", epoch=0, now=now) if known is None else in_force(known)
    lineage = lineage_of(
        (found.life.markers[0], found.state.epoch, found.life.lineage),
        (last.incarnation or None, last.epoch, {} if known is None else known.life.lineage),
    )
    heads = (found.head, LogHead() if known is None else known.head, logged)
    head = max(heads, key=lambda end: end.seq)
    update: dict[str, Any] = {
        "incarnation": incarnation, "now": now, "not_before": now + NOT_BEFORE_S,
    }  # fmt: skip
    if known is not None and contains(found.life.trail, known.life.trail):
        update["verdicts"] = found.state.verdicts  # those that are known and not there are over
    state = merged(last, found.state).model_copy(update=update)
    draft = EventDraft(
        type="restored",
        flag=None,
        actor=AUTOMATION,
        instance=writer,
        cause=lost(known, found),
        evidence={"lineage": lineage, "holds": sorted(state.holds)},
    )
    return append_drafts(state, head, [draft], now=now), lineage


def in_force(known: StateView) -> ControlState:
    """Return what is known, with what a hand wrote and nobody could adopt, as of its reading."""
    state = known.state
    holds, released, off_ended = dict(state.holds), dict(state.released), dict(state.off_ended)
    for flag, hold in known.by_hand.items():
        if is_off(holds.get(flag)) and not is_off(hold):
            off_ended[flag] = state.now
        if hold is not None:
            holds[flag] = hold
        elif holds.pop(flag, None) is not None:
            released[flag] = Release(
                actor=BY_HAND, reason=NO_REASON, at=state.now, epoch=state.epoch
            )
    return state.model_copy(update={"holds": holds, "released": released, "off_ended": off_ended})


def lost(known: StateView | None, found: StateView) -> str:
    """Say what became of the store, for people."""
    life = found.life
    if life.empty and life.markers == (None, None):
        return "the store was emptied"
    if known is None or not life.whole:
        return "the store lost a part of its state"
    if life.markers[0] == known.state.incarnation and known.state.epoch <= (life.epoch or 0):
        return "the store was changed in two places apart"
    if life.markers[0] == known.state.incarnation:
        return f"the store went back from epoch {known.state.epoch} to {life.epoch}"
    return "another life of the store took its place"
