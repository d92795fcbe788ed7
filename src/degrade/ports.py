"""The protocols between rooms: what a store must do, and what the runtime shows to observers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal, NamedTuple, Protocol

from degrade.core.enums import CallClass, Mode, Outcome, Phase, RungKind, Sharing
from degrade.core.records import (
    ControlState,
    Event,
    EventType,
    FlagInfo,
    Hold,
    InstanceReport,
    LevelOrder,
    Vote,
)
from degrade.errors import CodecError, StoreError

__all__ = (
    "Blob",
    "Blobs",
    "Change",
    "EventDraft",
    "FlagStats",
    "Fleet",
    "Keep",
    "PartlyStoredError",
    "StatsSource",
    "Store",
    "UntrustedError",
)

Keep = Literal["keep"]


@dataclass(frozen=True, slots=True, kw_only=True)
class EventDraft:
    """An event before the store gives it an id, a time, an epoch and its link to the one before."""

    type: EventType
    flag: str | None
    actor: str
    cause: str
    instance: str
    evidence: Mapping[str, Any] = field(default_factory=dict)
    incident: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A human's change: what to write, and the event of every part of it, in one write.

    An `extended` change takes only `until` from the holds it brings: the standing hold keeps
    everything else, and a flag without a standing hold is left alone.

    Attributes:
        type: Type of the events it leads to.
        actor: Who.
        reason: Why.
        instance: The process that writes it.
        holds: Flag (or `*`) to its new hold; None removes the hold and leaves a tombstone.
        level: The new level order; None removes it; "keep" leaves it alone.
        now: For removals: full traffic at once, without recovery steps.
    """

    type: EventType
    actor: str
    reason: str
    instance: str
    holds: Mapping[str, Hold | None] = field(default_factory=dict)
    level: LevelOrder | Keep | None = "keep"
    now: bool = False


class Store(Protocol):
    """Where a namespace keeps what humans ordered, and the log of everything.

    Every method may block and may raise `StoreError`; none is called on the request path.
    Methods are safe to call from several threads. Times are the store's own.
    """

    @property
    def url(self) -> str:
        """What it is, for people, with secrets left out."""
        ...

    @property
    def shared(self) -> bool:
        """Whether other processes see it."""
        ...

    @property
    def fleet(self) -> Fleet | None:
        """What joins the processes of several hosts; None for a store of one host."""
        ...

    @property
    def blobs(self) -> Blobs | None:
        """The tier of snapshots that it offers; None without one."""
        ...

    def now(self) -> float:
        """Return the store's time, Unix seconds, as well as it is known without asking."""
        ...

    def read(self) -> ControlState:
        """Return everything ordered, consistently; expired holds may still be in it."""
        ...

    def changed(self, since: ControlState | None = None) -> bool:
        """Whether something may have changed, cheaply; may say yes in vain.

        Args:
            since: The state that the caller has; the one that was read last by default, whoever
                read it.
        """
        ...

    def change(self, change: Change) -> tuple[Event, ...]:
        """Write, raise the epoch and append one event a flag (and one for the level), atomically.

        Holds and orders get the new epoch and the store's time as `at`. Removing what is not
        there writes nothing and returns no event for it.
        """
        ...

    def sweep(self, instance: str) -> tuple[Event, ...]:
        """End every hold and order past its `until`, with tombstones and events, atomically.

        Whoever comes second finds nothing left and returns nothing.
        """
        ...

    def append(self, drafts: Sequence[EventDraft]) -> tuple[Event, ...]:
        """Append events of the automation; the epoch stays."""
        ...

    def events(
        self, *, since: str | None = None, flag: str | None = None, limit: int = 1_000
    ) -> list[Event]:
        """Return events after the id `since`, oldest first; without it the newest `limit`."""
        ...

    def declare(self, flags: Sequence[FlagInfo]) -> None:
        """Record what the flags are; the newest declaration of a name wins."""
        ...

    def flags(self) -> dict[str, FlagInfo]:
        """Return every flag ever declared here, by name."""
        ...

    def report(self, report: InstanceReport) -> None:
        """Write one instance's heartbeat over its last one."""
        ...

    def goodbye(self, instance: str) -> None:
        """Forget an instance that ends in order."""
        ...

    def instances(self, *, within_s: float = 600.0) -> list[InstanceReport]:
        """Return the heartbeats not older than `within_s` seconds, newest first."""
        ...

    def subscribe(self, callback: Callable[[ControlState | None], None]) -> None:
        """Call back after every change made through this object, in the thread that made it.

        Args:
            callback: Called with the state after the change where it is known without asking
                anew, else with None.
        """

    def close(self) -> None:
        """Give back files and sockets; further calls raise `StoreError`."""
        ...


class Fleet(Protocol):
    """What a store adds for the processes of several hosts: hints, votes, verdicts and leases.

    As with `Store`: every method may block and may raise `StoreError`, and none is called on
    the request path.
    """

    def listen(
        self, hear: Callable[[ControlState | None], None], stopping: Callable[[], bool]
    ) -> None:
        """Hear of changes until `stopping`; blocks, so a thread of its own calls it.

        Args:
            hear: Called with the new state when a hint was enough to know it, else with None:
                then something may have changed, and the state wants to be read.
            stopping: Whether to return; asked at least every second.
        """
        ...

    def beat(self, report: InstanceReport, votes: Mapping[str, Vote]) -> int:
        """Write one instance's heartbeat and its votes over its last ones, in one round trip.

        Args:
            report: The heartbeat.
            votes: Flag to vote; votes that are no longer in it are withdrawn.

        Returns:
            How many instances are live, this one included.
        """
        ...

    def decide(self, instance: str) -> tuple[Event, ...]:
        """Count the votes if nobody else did within a second; make and end fleet verdicts.

        Returns:
            The events of what was decided; the verdicts are in the state that is read next.
        """
        ...

    def votes(self) -> dict[str, dict[str, Vote]]:
        """Return the votes that stand: flag to instance to its vote."""
        ...

    def take_probe(self, flag: str, instance: str) -> int | None:
        """Take, or renew, the lease of the first recovery step of a fleet verdict.

        Returns:
            Its fencing token; None while another instance has it, before the verdict's
            `retry_at`, or without a standing verdict.
        """
        ...

    def give_probe(self, flag: str, instance: str, token: int, *, retry_in_s: float) -> None:
        """Give the lease back after a failed step; nobody takes it for `retry_in_s` seconds."""
        ...

    def recovering(self, flag: str, instance: str, token: int) -> tuple[Event, ...]:
        """Tell the fleet that the first step was kept; nothing if the token is out of date."""
        ...


class Blob(NamedTuple):
    """One snapshot on its way into a tier.

    Attributes:
        flag: The flag's name.
        key: What tells it from the other snapshots of the flag; any text.
        body: The envelope, encoded.
        keep_s: How long it is worth keeping, seconds.
        replaces: One that is there already gives way; else that one stays.
    """

    flag: str
    key: str
    body: bytes
    keep_s: float
    replaces: bool = True


class PartlyStoredError(StoreError):
    """A part of a tier is away: some snapshots were stored, and some were not.

    Args:
        message: Why.
        left: Those that were not.
    """

    def __init__(self, message: str, *, left: Sequence[Blob]) -> None:
        super().__init__(message)
        self.left = tuple(left)


class UntrustedError(CodecError):
    """A snapshot whose signature is missing, wrong, or cannot be checked; the tier has logged it."""


class Blobs(Protocol):
    """A tier of snapshots beyond this process's memory.

    Both methods may block and raise `StoreError`; none is called on the request path.
    """

    @property
    def limit(self) -> int:
        """The largest body that it stores or loads, bytes."""
        ...

    def get(self, flag: str, key: str, *, within_s: float) -> bytes | None:
        """Return the body of a snapshot, None when there is none; at the latest after `within_s`.

        Raises:
            CodecError: What lies there is no snapshot: it is larger than `limit`, or no bytes.
            UntrustedError: Its signature is missing, wrong, or cannot be checked.

        Guarantees:
            A body larger than the tier's limit is never loaded.
        """
        ...

    def put(self, blobs: Sequence[Blob]) -> None:
        """Store snapshots over those of the same flag and key, in as few round trips as can be.

        One that is larger than `limit` is left out, and so is one that `replaces` nothing where
        one is already.

        Raises:
            PartlyStoredError: Some were stored; after another error, all are to be stored again.
        """
        ...


class FlagStats(NamedTuple):
    """One flag's figures, all counted since the process started.

    Attributes:
        calls: Answers by class; they add up to the calls that ended.
        primary: Runs of the function by outcome.
        rungs: Answers by rung kind.
        age_sum_s, age_count, oldest_age_s: Ages of the snapshots served; the oldest of the
            last minute, None without one.
        transitions: `(from, to)` to count.
        durations: Upper bound in seconds to the number of runs at most as long, cumulative,
            with the last bound infinite; over the bounds of `degrade.telemetry.names`.
        duration_sum_s: Sum of the durations of all runs.
        drops: What was not recorded or delivered, by kind.
        captures_skipped: Captures not made, by reason.
        ladder: Kinds of the flag's rungs, in order; None when unknown.
        sharing: What came of snapshots on their way from and to the shared tier.
        required: Without an answer of it the node is of no use.
    """

    name: str
    level: int | None
    owner: str | None
    message: str | None
    phase: Phase
    mode: Mode
    dial: float
    since: float | None
    reason: str
    calls: Mapping[CallClass, int]
    primary: Mapping[Outcome, int]
    rungs: Mapping[str, int]
    age_sum_s: float
    age_count: int
    oldest_age_s: float | None
    transitions: Mapping[tuple[Phase, Phase], int]
    durations: Mapping[float, int]
    duration_sum_s: float
    drops: Mapping[str, int]
    captures_skipped: Mapping[str, int]
    ladder: tuple[RungKind, ...] | None = None
    sharing: Mapping[Sharing, int] = MappingProxyType({})
    required: bool = False


class StatsSource(Protocol):
    """What telemetry and health read; the runtime is one."""

    def stats(self) -> Sequence[FlagStats]:
        """Return the figures of every flag, at most a second old."""
        ...

    def state_age_s(self) -> float | None:
        """Return how old the store's state is, seconds; None before the first read."""
        ...
