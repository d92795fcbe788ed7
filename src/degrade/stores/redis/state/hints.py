"""Hints: a few bytes that tell every process what changed, so that it need not wait for its poll.

    {"v":1,"incarnation":"5f0c...","epoch":12,"flag":"feed.ranking","mode":"degraded","dial":0.25}

A hint is applied at once if its epoch is the next one after what is known; anything else, also a
hint that names no flag, only says that the state wants to be read. It carries what calls obey,
not who ordered it and why: that comes with the next poll.
"""

from __future__ import annotations

import functools
import re
from collections import deque
from dataclasses import replace
from typing import TYPE_CHECKING, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from degrade.core.enums import HoldMode
from degrade.core.reconciliation import TRAIL_CAP, change_id, trail_of
from degrade.core.records import ControlState, Event, Hold, Release
from degrade.stores.state_changes import digest
from degrade.units import MOST_S

if TYPE_CHECKING:
    from degrade.stores.redis.state.hash_codec import StateView

__all__ = ("MOST_BYTES", "Hint", "HintedState", "applied", "hint_of", "parsed")

MOST_BYTES = 200

_BY = "the fleet"
_WHY = "ordered a moment ago"


class Hint(NamedTuple):
    """What changed.

    Attributes:
        incarnation, epoch: Of the store, after the change.
        change: The digest that tells it from another change of this epoch; see `change_id`.
        flag: The one flag (or `*`) whose hold changed; None when something else did.
        mode: Of its hold; None when it was released.
        dial, until: Of its hold.
        now: It was released with the wish to skip recovery.
    """

    incarnation: str
    epoch: int
    change: str | None = None
    flag: str | None = None
    mode: HoldMode | None = None
    dial: float = 1.0
    until: float | None = None
    now: bool = False


class _Message(BaseModel):
    """A hint as it is sent."""

    model_config = ConfigDict(frozen=True, extra="ignore", defer_build=True)

    v: Literal[1] = 1
    incarnation: str
    epoch: int
    change: str | None = Field(default=None, pattern="^[0-9a-f]{8}$")
    flag: str | None = None
    mode: HoldMode | None = None
    dial: float = Field(default=1.0, gt=0, le=1)
    until: float | None = None
    now: bool = False


_OURS = re.compile(
    rb'\{"v":1,"incarnation":"([0-9a-f]{1,64})","epoch":(0|[1-9][0-9]{0,17})'
    rb'(?:,"change":"([0-9a-f]{8})")?'
    rb'(?:,"flag":"([A-Za-z0-9_.*-]{1,100})")?'
    rb'(?:,"mode":"(normal|degraded|off|observe)")?'
    rb'(?:,"dial":(0\.[0-9]{0,16}[1-9]))?'
    rb'(?:,"until":([1-9][0-9]{0,10}\.[0-9]{1,9}))?'
    rb'(?:,"now":(true))?\}'
)
"""Messages as this release sends them; they mean what `_Message` says, which takes far longer."""

_OFF = HoldMode.OFF
_MODES = {mode.value.encode(): mode for mode in HoldMode}


def hint_of(state: ControlState, events: tuple[Event, ...]) -> bytes:
    """Return the hint of a change that led to a state, at most `MOST_BYTES` long."""
    change = digest(events[-1])[:8] if events else None
    hint = _Message(incarnation=state.incarnation, epoch=state.epoch, change=change)
    if len(events) == 1 and events[0].flag is not None and events[0].type in _SINGLE:
        flag = events[0].flag
        hold, release = state.holds.get(flag), state.released.get(flag)
        named = hint.model_copy(update={"flag": flag})
        if hold is not None:
            named = named.model_copy(
                update={"mode": hold.mode, "dial": hold.dial, "until": hold.until}
            )
        elif release is not None:
            named = named.model_copy(update={"now": release.now})
        body = named.model_dump_json(exclude_defaults=True).encode()
        if len(body) + _VERSION <= MOST_BYTES:
            return _versioned(body)
    return _versioned(hint.model_dump_json(exclude_defaults=True).encode())


_SINGLE = frozenset({"hold", "extended", "released"})
_VERSION = len(b'"v":1,')


def _versioned(body: bytes) -> bytes:
    return b'{"v":1,' + body[1:]


def parsed(message: bytes) -> Hint | None:
    """Return the hint in a message, None when there is none that this release understands."""
    found = _OURS.fullmatch(message)
    if found is None:
        return _validated(message)
    incarnation, epoch, change, flag, mode, dial, until, now = found.groups()
    said = (
        incarnation.decode(),
        int(epoch),
        None if change is None else change.decode(),
        None if flag is None else flag.decode(),
        None if mode is None else _MODES[mode],
        1.0 if dial is None else float(dial),
        None if until is None else float(until),
        now is not None,
    )
    return tuple.__new__(Hint, said)


def _validated(message: bytes) -> Hint | None:
    if len(message) > 10 * MOST_BYTES:
        return None
    try:
        said = _Message.model_validate_json(message)
    except ValidationError:
        return None
    return Hint(**said.model_dump(exclude={"v"}))


def applied(state: ControlState, hint: Hint, *, now: float) -> ControlState | None:
    """Return the state after a hint, None when the hint is not enough to know it.

    Args:
        state: What is known.
        hint: What changed.
        now: Server time.
    """
    flag = hint.flag
    if (hint.incarnation, hint.epoch) != (state.incarnation, state.epoch + 1) or flag is None:
        return None
    if hint.until is not None and not 0 <= hint.until <= now + MOST_S:
        return None
    holds, released, off_ended = dict(state.holds), state.released, state.off_ended
    before = holds.pop(flag, None)
    if hint.mode is not None:
        if before is not None and (before.mode, before.dial) == (hint.mode, hint.dial):
            holds[flag] = before.but(until=hint.until, epoch=hint.epoch)  # it keeps who and why
        else:
            holds[flag] = _a_hold().but(
                mode=hint.mode, dial=hint.dial, until=hint.until, at=now, epoch=hint.epoch
            )
        if flag in released:
            released = {name: end for name, end in released.items() if name != flag}
    else:
        end = _a_release().but(at=now, epoch=hint.epoch, now=hint.now)
        released = released | {flag: end}
    if before is not None and before.mode is _OFF and hint.mode is not _OFF:
        off_ended = off_ended | {flag: now}
    return state.but(epoch=hint.epoch, now=now, holds=holds, released=released, off_ended=off_ended)


@functools.cache
def _a_hold() -> Hold:
    """Return a hold of which everything that a hint tells is still to be said."""
    return Hold(mode=HoldMode.DEGRADED, actor=_BY, reason=_WHY, at=0.0)


@functools.cache
def _a_release() -> Release:
    return Release(actor=_BY, reason=_WHY, at=0.0, epoch=0)


class HintedState:
    """What hints told since a reading; the ledger's lock guards it.

    Args:
        read: What was read.

    Attributes:
        state: What it has become by the hints.
        at: When the last one was heard, monotonic seconds.
    """

    __slots__ = ("_changes", "_read", "at", "state")

    def __init__(self, read: StateView) -> None:
        self._read = read
        self._changes: deque[Hint] = deque(maxlen=TRAIL_CAP)
        self.state = read.state
        self.at = float("-inf")

    def take(self, hint: Hint, state: ControlState, at: float) -> None:
        """Take one more hint, which led to a state."""
        self._changes.append(hint)
        self.state = state
        self.at = at

    @property
    def view(self) -> StateView:
        """All of it together.

        Cost:
            Sorts the trail, which hints therefore leave to whoever wants to judge a store.
        """
        life = self._read.life
        changes = [change_id(hint.epoch, hint.change) for hint in self._changes if hint.change]
        trail = trail_of(life.trail, changes)
        named = {hint.flag for hint in self._changes}  # what a hand wrote for them was adopted
        return replace(
            self._read,
            state=self.state,
            life=replace(life, trail=trail),
            by_hand={flag: hold for flag, hold in self._read.by_hand.items() if flag not in named},
        )
