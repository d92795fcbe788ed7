"""Hints: a few bytes that tell every process what changed, so that it need not wait for its poll.

    {"v":1,"incarnation":"5f0c...","epoch":12,"flag":"feed.ranking","mode":"degraded","dial":0.25}

A hint is applied at once if its epoch is the next one after what is known; anything else, also a
hint that names no flag, only says that the state wants to be read. It carries what calls obey,
not who ordered it and why: that comes with the next poll.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from degrade.core.agreement import change_id
from degrade.core.records import ControlState, Event, Hold, Release
from degrade.core.words import HoldMode
from degrade.stores.apply import digest

__all__ = ("MOST_BYTES", "Hint", "applied", "hint_of", "parsed")

MOST_BYTES = 200

_BY = "the fleet"
_WHY = "ordered a moment ago"


class Hint(BaseModel):
    """What changed.

    Attributes:
        incarnation, epoch: Of the store, after the change.
        change: The digest that tells it from another change of this epoch; see `change_id`.
        flag: The one flag (or `*`) whose hold changed; None when something else did.
        mode: Of its hold; None when it was released.
        dial, until: Of its hold.
        now: It was released with the wish to skip recovery.
    """

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

    @property
    def trail(self) -> tuple[str, ...]:
        """What it adds to the trail of the store."""
        return () if self.change is None else (change_id(self.epoch, self.change),)


def hint_of(state: ControlState, events: tuple[Event, ...]) -> bytes:
    """Return the hint of a change that led to a state, at most `MOST_BYTES` long."""
    change = digest(events[-1])[:8] if events else None
    hint = Hint(incarnation=state.incarnation, epoch=state.epoch, change=change)
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
    if len(message) > 10 * MOST_BYTES:
        return None
    try:
        return Hint.model_validate_json(message)
    except ValidationError:
        return None


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
    holds, released, off_ended = dict(state.holds), dict(state.released), dict(state.off_ended)
    before = holds.pop(flag, None)
    if hint.mode is not None:
        if before is not None and (before.mode, before.dial) == (hint.mode, hint.dial):
            update = {"until": hint.until, "epoch": hint.epoch}  # extended: it keeps who and why
            holds[flag] = before.model_copy(update=update)
        else:
            holds[flag] = Hold(
                mode=hint.mode, dial=hint.dial, until=hint.until,
                actor=_BY, reason=_WHY, at=now, epoch=hint.epoch,
            )  # fmt: skip
        released.pop(flag, None)
    else:
        released[flag] = Release(actor=_BY, reason=_WHY, at=now, epoch=hint.epoch, now=hint.now)
    if before is not None and before.mode is HoldMode.OFF and hint.mode is not HoldMode.OFF:
        off_ended[flag] = now
    return state.model_copy(
        update={
            "epoch": hint.epoch,
            "now": now,
            "holds": holds,
            "released": released,
            "off_ended": off_ended,
        }
    )
