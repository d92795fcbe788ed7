"""The records that cross a border: holds, orders, events, reports; one JSON schema each.

Every record carries `v`, its schema version. Unknown fields are kept when a record is written
back, so that an older process never erases what a newer one wrote. Times are Unix seconds in
the time of the store.
"""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from degrade.core.enums import HoldMode, Mode, Phase

__all__ = (
    "ControlState",
    "Event",
    "EventType",
    "FlagInfo",
    "FlagReport",
    "FleetVerdict",
    "Hold",
    "InstanceReport",
    "LevelOrder",
    "Release",
    "Vote",
    "declared_models",
)

EventType = Literal[
    "hold", "extended", "released", "expired",
    "level", "level_released", "level_expired",
    "transition", "declared", "restored",
    "fleet_degraded", "fleet_recovering", "fleet_over", "fleet_capped",
]  # fmt: skip


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="allow", defer_build=True)

    v: Literal[1] = 1

    def but(self, **changes: Any) -> Self:
        """Return it with some attributes changed, which are not checked.

        Cost:
            A fraction of that of `model_copy`, which does the same.
        """
        made = type(self).__new__(type(self))
        put = object.__setattr__  # as pydantic does: the records are frozen
        put(made, "__dict__", self.__dict__ | changes)
        put(made, "__pydantic_fields_set__", self.__pydantic_fields_set__ | changes.keys())
        put(made, "__pydantic_extra__", self.__pydantic_extra__)
        put(made, "__pydantic_private__", self.__pydantic_private__)
        return made


class Hold(_Record):
    """A human's order for one flag, or for every flag under the name `*`.

    Attributes:
        mode: What was ordered.
        dial: Share of calls that a `degraded` hold degrades, 0 to 1.
        actor: Who ordered it.
        reason: Why.
        at: When.
        until: When it ends by itself; None means until released.
        epoch: The store's epoch when it was written.
    """

    mode: HoldMode
    dial: float = Field(default=1.0, ge=0, le=1)
    actor: str
    reason: str
    at: float
    until: float | None = None
    epoch: int = 0


class LevelOrder(_Record):
    """An order for every flag whose level is at least `level` (3 is hardly noticed, 1 emergency)."""

    level: int = Field(ge=1, le=3)
    actor: str
    reason: str
    at: float
    until: float | None = None
    epoch: int = 0


class Release(_Record):
    """A tombstone: a hold or the level order that ended, kept for a day.

    Attributes:
        now: The operator asked for full traffic at once, without recovery steps.
        expired: It ended by its own time, not by a release.
        of: `at` and `epoch` of the order that expired; None when it was released, and in what
            releases wrote that do not know this.
    """

    actor: str
    reason: str
    at: float
    epoch: int
    now: bool = False
    expired: bool = False
    of: tuple[float, int] | None = None


class FleetVerdict(_Record):
    """The judgement of a fleet on one flag: an event into the machine of every instance.

    Attributes:
        id: The store's epoch when it came; tells one verdict from the next.
        at: When, store time.
        cause: What was breached, one line, in the words of most voters.
        voters, live: How many instances voted so, of how many with traffic on the flag.
        recovering: The first recovery step was kept by the holder of the probe lease, so that
            every instance may begin its own recovery.
        retry_at: Before then nobody takes the probe lease anew, store time.
    """

    id: int
    at: float
    cause: str
    voters: int
    live: int
    recovering: bool = False
    retry_at: float = 0.0


class Vote(_Record):
    """What one instance says of one flag: its own calls were breached, and it is not STEADY yet.

    Attributes:
        cause: What was breached, one line.
        recovering: It is coming back, and only the past speaks against it.
    """

    cause: str
    recovering: bool = False


class Event(_Record):
    """One entry of the append-only log, from which everything about an incident is folded.

    Attributes:
        id: Assigned by the store; unique, and later in the log than every id before it.
        at: Store time.
        instance: The process that wrote it.
        flag: The flag concerned, `*` for every flag, None for the level order.
        incident: The incident it belongs to, None outside of one.
        type: What happened, past tense.
        actor: A human's name, or `automation`.
        cause: Why, one line.
        evidence: Numbers behind it, or the record that was written; JSON.
        epoch: The store's epoch after it.
        prev: SHA-256 (hex) of the canonical JSON of the event before it, empty for the first.
    """

    id: str
    at: float
    instance: str
    flag: str | None
    incident: str | None = None
    type: EventType
    actor: str
    cause: str
    evidence: dict[str, Any] = Field(default_factory=dict)
    epoch: int
    prev: str


class FlagInfo(_Record):
    """What a declaration says of a flag, for operators who cannot see the code.

    Attributes:
        required: Without an answer of it the node is of no use, so its health is `fail`.
    """

    name: str
    level: int | None = None
    owner: str | None = None
    message: str | None = None
    sla: str | None = None
    where: str = ""
    required: bool = False


class FlagReport(_Record):
    """What one instance says of one flag.

    Attributes:
        phase: What its automation thinks.
        mode: What its calls obey.
        dial: Share of its calls that are degraded, 0 to 1.
        since: When mode or phase changed last, Unix seconds.
        reason: Which layer decided, one line: `hold by ana: bad model`, `breach: p99 ...`.
        verdict: The newest judgement explained, one line a limit.
        rungs: The ladder, as names.
        calls: Calls so far, by class.
        oldest_age_s: Age of the oldest answer served in the last minute, None without one.
        p50_s, p99_s: Durations of the function's runs in the last minute or two, seconds.
        active: Calls came in the last half minute, so that its judgement counts in the fleet.
    """

    phase: Phase
    mode: Mode
    dial: float
    since: float
    reason: str
    verdict: tuple[str, ...] = ()
    rungs: tuple[str, ...] = ()
    calls: dict[str, int] = Field(default_factory=dict)
    oldest_age_s: float | None = None
    p50_s: float | None = None
    p99_s: float | None = None
    active: bool = True


class InstanceReport(_Record):
    """A heartbeat: who is there, what it has applied, and what it says of its flags."""

    id: str
    host: str
    pid: int
    version: str
    started: float
    at: float
    epoch: int
    flags: dict[str, FlagReport] = Field(default_factory=dict)


class ControlState(_Record):
    """Everything that humans ordered, as one consistent read of a store.

    Attributes:
        incarnation: Random id of the store's life; differs after it was emptied.
        epoch: Raised by every change.
        now: The store's time at the read, Unix seconds.
        holds: Flag (or `*`) to hold; may contain holds past their `until`: see `Hold.until`.
        level: The ordered level.
        released: Flag to the tombstone of its last hold, until the next hold, at most for a day.
        level_released: The tombstone of the last level order, until the next.
        off_ended: Flag (or `*`) to when its last `off` hold ended, whatever ended it; snapshots
            made before are never served again.
        verdicts: Flag to the fleet's standing verdict on it.
        not_before: No fleet verdict comes before this store time.
        capped: Flags with a quorum for a verdict that the cap forbids.
        nonsense: Flag to what was written by hand for it and means nothing; changes nothing.
    """

    incarnation: str
    epoch: int
    now: float
    holds: dict[str, Hold] = Field(default_factory=dict)
    level: LevelOrder | None = None
    released: dict[str, Release] = Field(default_factory=dict)
    level_released: Release | None = None
    off_ended: dict[str, float] = Field(default_factory=dict)
    verdicts: dict[str, FleetVerdict] = Field(default_factory=dict)
    not_before: float = 0.0
    capped: tuple[str, ...] = ()
    nonsense: dict[str, str] = Field(default_factory=dict)


def declared_models() -> list[type[BaseModel]]:
    """Return every model of the library that was declared so far; most are built at their first use."""
    found: list[type[BaseModel]] = []
    bases: list[type[BaseModel]] = [BaseModel]
    while bases:
        for model in bases.pop().__subclasses__():
            bases.append(model)
            if model.__module__.startswith("degrade."):
                found.append(model)
    return found
