"""The state of a namespace as one process knows it, and every change of it.

    look    two hashes in one read; what was known before tells whether they may be believed
    settle  adopt what was written by hand, begin a life, or restore one that was lost
    write   decide in Python, then write by one script, unless something moved or it is late

When nothing can be written, what is known and what was written by hand stay in force.

Invariants: what is known was read live, and is replaced only by what was read later. A store that
shows less than what is known never takes its place.
"""

from __future__ import annotations

import logging
import random
import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from degrade.clock import Clock
from degrade.core.reconciliation import StoreAssessment, judged
from degrade.core.records import ControlState, Event
from degrade.errors import StoreError
from degrade.forks import follow_forks
from degrade.stores.redis.event_stream import RedisLog
from degrade.stores.redis.keys import Keys
from degrade.stores.redis.state import hints
from degrade.stores.redis.state.hash_codec import (
    INCARNATION,
    MARKS,
    StateView,
    after_changes,
    changes,
    commands_of,
    filled,
    named,
    view,
)
from degrade.stores.redis.state.repair import adopted, begun, in_force, lost, restored
from degrade.stores.redis.transport.base import Check, Command, Transport
from degrade.stores.state_changes import LogHead, Written

__all__ = ("StateRepository",)

log = logging.getLogger("degrade.stores")

_LATE_S = 2.0
"""How long a write may be under way, seconds of server time."""
_APART_S = 0.5
"""A store went back when two readings so far apart say so, or two on the way to a write."""
_TRIES = 60
_LONGEST_WAIT_S = 0.05

Decide = Callable[[ControlState, LogHead, float], Written]


class StateRepository:
    """Reads and writes the state.

    Args:
        link: The way to the server.
        keys: Of the namespace.
        log: The stream of events.
        clock: For the time between two readings of the server's time.
        server_time: Whether the store's time is the server's; else it is the clock's wall time.
        writer: Says who writes what no instance does for itself; another one after a fork.
        rng: Randomness of waits and ids.
    """

    def __init__(
        self,
        link: Transport,
        keys: Keys,
        events: RedisLog,
        *,
        clock: Clock,
        server_time: bool,
        writer: Callable[[], str],
        rng: random.Random,
    ) -> None:
        self._link = link
        self._keys = keys
        self._events = events
        self._clock = clock
        self._server_time = server_time
        self._writer = writer
        self._rng = rng
        self._lock = threading.Lock()  # of what follows; never held during a round trip
        self._known: StateView | None = None
        self._known_at = float("-inf")
        self._heard: hints.HintedState | None = None
        self._given: tuple[str, int] | None = None
        self._back_at: float | None = None
        self._ahead_s: float | None = None
        self._told: set[tuple[str, str]] = set()
        self._logged = LogHead()  # where the stream was found to end, when ahead of `control`
        follow_forks(self)

    # ------------------------------------------------------------------ time

    def now(self) -> float:
        """Return the store's time without asking; the wall time before the first reading."""
        if not self._server_time:
            return self._clock.wall()
        ahead_s = self._ahead_s
        return self._clock.wall() if ahead_s is None else self._clock.monotonic() + ahead_s

    def deadline(self) -> float:
        """Return until when a write may happen, in server time, which is asked for the first time."""
        if self._ahead_s is None:
            (clock,) = self._link.read(self._keys.control, [("TIME",)])
            self.note_time(_seconds(clock))
        return self._clock.monotonic() + (self._ahead_s or 0.0) + _LATE_S

    def note_time(self, server_s: float) -> None:
        """Note the server's time, read just now."""
        self._ahead_s = server_s - self._clock.monotonic()

    # ------------------------------------------------------------------ reading

    @property
    def known(self) -> StateView | None:
        """What was read last."""
        return self._known

    def read(self) -> ControlState:
        """Return the state, settled.

        Raises:
            StoreError: It cannot be read.
        """
        state = self._read()
        self._given = (state.incarnation, state.epoch)
        return state

    def _read(self, *, to_write: bool = False) -> ControlState:
        for attempt in range(_TRIES):
            known, asked_at = self._latest(), self._clock.monotonic()
            found = self._filled(self._look(), known)
            standing = self._judge(known, found, to_write=to_write)
            if standing is StoreAssessment.TAKE and not found.by_hand:
                return self._learn(found, asked_at)
            if standing is StoreAssessment.BACK and known is not None:
                return known.state.model_copy(update={"now": self.now()})
            try:
                made = self._settle(known, found, standing)
            except StoreError as error:
                if to_write:
                    raise
                self._say("unwritten", str(error), "%s; what is known stays in force", error)
                return self._unwritten(known, found, standing, asked_at)
            if made is not None:
                self._learn(made, asked_at)
                if not made.by_hand:
                    return made.state
            else:
                self._pause(attempt)
        raise self._too_busy("read")

    def changed(self, since: ControlState | None = None) -> bool:
        """Return whether the state differs from what was read; one round trip, of plain reads."""
        known = self._known
        if known is None or known.by_hand or self._in_doubt:
            return True
        given = self._given if since is None else (since.incarnation, since.epoch)
        if given != (known.state.incarnation, known.state.epoch):
            return True
        keys = self._keys
        clock, holds, marks = self._link.read(
            keys.control,
            [("TIME",), ("HGETALL", keys.holds), ("HMGET", keys.control, *MARKS)],
        )
        self.note_time(_seconds(clock))
        wanted = [known.control.get(mark) for mark in MARKS]
        return list(marks) != wanted or named(holds) != known.holds

    def heard(self, hear: Callable[[ControlState | None], None], message: bytes | None) -> None:
        """Take a message of the hint channel; None means that some may have been lost.

        Calls `hear` with the new state if the message was enough to know it, with None if the
        state wants to be read, and not at all if it says what is known already.
        """
        hint = None if message is None else hints.parsed(message)
        state = None
        with self._lock:
            known, heard = self._known, self._heard
            if known is not None and hint is not None:
                before = known.state if heard is None else heard.state
                if before.incarnation == hint.incarnation and hint.epoch <= before.epoch:
                    return
                state = hints.applied(before, hint, now=self.now())
                if state is not None:
                    if heard is None:
                        heard = self._heard = hints.HintedState(known)
                    heard.take(hint, state, self._clock.monotonic())
        hear(state)
        if state is not None:
            self._given = None  # a hint may overtake a read that knew more: it is read once more

    # ------------------------------------------------------------------ writing

    def write(
        self,
        decide: Decide,
        *,
        checks: Sequence[Check] = (),
        commands: Sequence[Command] = (),
        keys: Sequence[str] = (),
    ) -> tuple[Event, ...]:
        """Write what a decision makes of the state, with its events and the hint.

        Args:
            decide: Called with the newest state, and again whenever another writer was faster.
            checks: What else must be so; where it is not, nothing is written or returned.
            commands: What else to write.
            keys: The keys that those touch.

        Raises:
            StoreError: It cannot be read or written, or not in time.
        """
        fresh = False
        for attempt in range(_TRIES):
            known = self._known
            if known is None or self._in_doubt or (known.by_hand and not fresh):
                self._read(to_write=True)
                fresh = True
                continue
            written = decide(known.state, known.head, self.now())
            if not written.events and written.state is known.state:
                if fresh:
                    return ()
                self._read(to_write=True)  # what is known may be old
                fresh = True
                continue
            asked_at = self._clock.monotonic()
            wanted, kept = self._commit(known, written, checks=checks, more=commands, keys=keys)
            if not wanted:
                return ()
            if kept is not None:
                self._learn(kept, asked_at)
                return written.events
            if attempt:
                self._pause(attempt)
            self._read(to_write=True)
            fresh = True
        raise self._too_busy("change")

    # ------------------------------------------------------------------ forks

    def before_fork(self) -> None:
        self._lock.acquire()

    def after_fork_in_parent(self) -> None:
        self._lock.release()

    def after_fork_in_child(self) -> None:
        self._lock = threading.Lock()

    # ------------------------------------------------------------------ helpers

    @property
    def _in_doubt(self) -> bool:
        """Whether what was read last may be less than what is in force."""
        return self._heard is not None or self._back_at is not None

    def _latest(self) -> StateView | None:
        """Return what was read last, and heard since: a store that shows less has lost it."""
        with self._lock:
            return self._known if self._heard is None else self._heard.view

    def _look(self) -> StateView:
        keys = self._keys
        clock, holds, control = self._link.read(
            keys.control,
            [("TIME",), ("HGETALL", keys.holds), ("HGETALL", keys.control)],
        )
        self.note_time(_seconds(clock))
        found = view(holds, control, now=self.now())
        return replace(found, head=max(found.head, self._logged, key=lambda head: head.seq))

    def _filled(self, found: StateView, known: StateView | None) -> StateView:
        """Return a view with what was known in the place of what cannot be read."""
        for name in found.unreadable:
            self._say(
                "unreadable", name, "%s was written by another release; it stays as known", name
            )
        return found if known is None else filled(found, known.state)

    def _judge(
        self, known: StateView | None, found: StateView, *, to_write: bool
    ) -> StoreAssessment:
        before = None if known is None else (known.state.incarnation, known.state.epoch)
        trail = known.life.trail if known else ()
        standing = judged(before, found.life, trail=trail)
        now, first = self._clock.monotonic(), self._back_at
        is_back = standing is StoreAssessment.BACK
        self._back_at = (now if first is None else first) if is_back else None
        sure = first is not None and (to_write or now - first >= _APART_S)
        return StoreAssessment.RESTORE if is_back and sure else standing

    def _learn(self, found: StateView, asked_at: float) -> ControlState:
        """Take what was read, unless what is known was read later."""
        for flag, text in found.state.nonsense.items():
            self._say(
                flag, text,
                "what was written by hand for %r means nothing and changes nothing: %r; "
                "write degraded, off, normal or observe", flag, text,
            )  # fmt: skip
        with self._lock:
            if asked_at >= self._known_at:
                self._known, self._known_at = found, asked_at
                heard = self._heard
                if heard is not None and (
                    asked_at > heard.at or found.state.epoch >= heard.state.epoch
                ):
                    self._heard = None
        self._back_at = None
        return found.state.model_copy(update={"now": self.now()})

    def _settle(
        self, known: StateView | None, found: StateView, standing: StoreAssessment
    ) -> StateView | None:
        """Write what makes the store whole again; None when another was faster."""
        now, writer = self.now(), self._writer()
        if standing is StoreAssessment.TAKE:
            written = adopted(found.state, found.head, found.by_hand, writer=writer, now=now)
            return self._commit(found, written)[1]
        incarnation = uuid.UUID(int=self._rng.getrandbits(128)).hex
        if standing is StoreAssessment.BEGIN:
            return self._commit(found, begun(found, incarnation, now=now), lineage={})[1]
        written, lineage = restored(
            known, found, self._events.head(), incarnation=incarnation, writer=writer, now=now
        )
        log.warning("%s: the last known state was restored", lost(known, found))
        trail = known.life.trail if known else ()
        return self._commit(found, written, lineage=lineage, trail=trail)[1]

    def _unwritten(
        self, known: StateView | None, found: StateView, standing: StoreAssessment, asked_at: float
    ) -> ControlState:
        """Return what is in force when nothing can be written."""
        base = found.state if known is None else in_force(known)
        if standing is StoreAssessment.TAKE:
            base = self._learn(found, asked_at)
        elif known is None and not base.incarnation:
            base = base.model_copy(update={"incarnation": "unwritten"})
        made = adopted(base, found.head, found.by_hand, writer=self._writer(), now=self.now())
        return made.state.model_copy(update={"epoch": base.epoch})

    def _commit(
        self,
        known: StateView,
        written: Written,
        *,
        checks: Sequence[Check] = (),
        more: Sequence[Command] = (),
        keys: Sequence[str] = (),
        lineage: Mapping[str, int] | None = None,
        trail: Sequence[str] = (),
    ) -> tuple[bool, StateView | None]:
        """Write, if all is as it is known.

        Returns:
            Whether the further checks held, and what is known then; None when it is out of date.
        """
        names = self._keys
        desk, kept = changes(known, written.state, written.head, lineage=lineage, trail=trail)
        own = [
            Check(("HGET", names.control, INCARNATION), known.control.get(INCARNATION)),
            Check(("HGET", names.holds, INCARNATION), known.holds.get(INCARNATION)),
            Check(("HGET", names.control, "head"), known.control.get("head")),
            Check(("HGET", names.control, "epoch"), known.control.get("epoch")),
        ]
        own += [
            Check(("HGET", names.holds, flag), known.holds.get(flag))
            for flag in desk
            if flag != INCARNATION
        ]
        # The log first: refused there (its key is of another type), nothing is written yet.
        commands = [*self._events.commands(written.events), *commands_of(names.holds, desk)]
        commands += [*commands_of(names.control, kept), *more]
        if written.state is not known.state:
            commands.append(("PUBLISH", names.hint, hints.hint_of(written.state, written.events)))
        try:
            result = self._link.transact(
                [names.holds, names.control, names.events, names.hint, *keys],
                [*own, *checks],
                commands,
                deadline=self.deadline(),
            )
        except StoreError as error:
            if getattr(error, "reason", "") != "STREAMID":
                raise
            # The stream is ahead of `head`: one hash was lost, or a hand wrote to the log.
            logged = self._events.head_past(written.events[0])
            if logged is None:
                raise
            self._logged = logged
            return True, None
        self.note_time(result.now)
        if not result.done:
            differ = [
                reply != _raw(check.expected)
                for reply, check in zip(result.replies, (*own, *checks), strict=False)
            ]
            return not any(differ[len(own) :]) or any(differ[: len(own)]), None
        life = replace(
            known.life,
            markers=(written.state.incarnation, written.state.incarnation),
            epoch=written.state.epoch,
            lineage=known.life.lineage if lineage is None else lineage,
            trail=tuple((kept.get("trail") or "").split()) or known.life.trail,
            empty=False,
        )
        nonsense = {flag: text for flag, text in known.state.nonsense.items() if flag not in desk}
        return True, StateView(
            life=life,
            state=written.state.model_copy(update={"nonsense": nonsense}),
            by_hand={} if lineage is None else known.by_hand,
            head=written.head,
            holds=after_changes(known.holds, desk),
            control=after_changes(known.control, kept),
            unreadable=known.unreadable,
        )

    def _pause(self, attempt: int) -> None:
        """Wait a little before trying again, longer each time."""
        time.sleep(self._rng.uniform(0, min(_LONGEST_WAIT_S, 0.002 * 2**attempt)))

    def _say(self, what: str, said: str, message: str, *args: object) -> None:
        if (what, said) not in self._told and len(self._told) < 1_000:
            self._told.add((what, said))
            log.warning(message, *args)

    def _too_busy(self, what: str) -> StoreError:
        return StoreError(
            f"the store {self._link.url} cannot be used: others change it so fast that no {what} "
            "came through; try again"
        )


def _seconds(clock: Sequence[int]) -> float:
    return float(clock[0]) + float(clock[1]) / 1e6


def _raw(expected: str | bytes | None) -> bytes | None:
    return expected.encode() if isinstance(expected, str) else expected
