"""`Control`: what a human can order, in code as on the command line."""

from __future__ import annotations

import os
import shlex
import socket
import time
from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

from degrade.clock import Clock
from degrade.control.queries import WAIT_S, Queries
from degrade.control.results import Held, LevelOrdered, LevelReleased, Released
from degrade.control.status import absolute, deciding, in_force
from degrade.control.validation import (
    bad,
    check_name,
    checked_for,
    checked_reason,
    checked_wait,
    declared_here,
    hold_mode,
    operator,
    unknown,
)
from degrade.core.enums import ALL_FLAGS, HoldMode
from degrade.core.records import Event, EventType, Hold, LevelOrder
from degrade.errors import StoreError
from degrade.ports import Change, Keep, Store
from degrade.stores.local_holds import LocalHolds
from degrade.stores.urls import checked_actor
from degrade.units import Duration, Ratio, duration_text, ratio

__all__ = ("Control",)

_DoneT = TypeVar("_DoneT", Held, Released, LevelOrdered, LevelReleased)


class Control(Queries):
    """The operator's verbs over one store.

    Args:
        store: What the processes read.
        actor: Who acts, for the log; the user of the operating system when None.
        clock: Stamps local holds; holds in the store have the store's time.
        local: The file of local holds; the user's own, of the store's namespace, when None.
        namespace: Which fleet, for people and for the local file.
        sleep: Waits between two looks at the heartbeats.

    Guarantees:
        A verb that returns has written its change and its event, as one. No verb fails because
        somebody else was faster. With `local=True`, `hold` and `release` need no store.

    Cost:
        Blocks: reads or writes the store; with `wait`, until as many instances as asked for
        have applied the change, at most for `timeout`.
    """

    def __init__(
        self,
        store: Store,
        *,
        actor: str | None = None,
        clock: Clock | None = None,
        local: LocalHolds | None = None,
        namespace: str | None = None,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        super().__init__(store, clock=clock, local=local, namespace=namespace, sleep=sleep)
        self._actor = operator() if actor is None else actor
        self._instance = f"{socket.gethostname()}/{os.getpid()}"

    # flags

    def hold(
        self,
        flag: str,
        mode: HoldMode | str,
        *,
        for_: Duration | None,
        reason: str,
        actor: str | None = None,
        dial: Ratio = 1.0,
        force: bool = False,
        local: bool = False,
        wait: Ratio | None = None,
        timeout: Duration = WAIT_S,
    ) -> Held:
        """Order a mode for a flag, whatever the automation thinks.

        Args:
            flag: A declared flag, or `*` for every flag.
            mode: `normal`, `degraded`, `off` or `observe`.
            for_: How long; None means until released.
            reason: Why, for those who read the log.
            actor: Who; that of this `Control` when None.
            dial: The share of calls that a `degraded` hold degrades.
            force: Hold a flag that no process has declared.
            local: On this host alone, by a file; the way to act when the store is dead. It
                replaces the store's hold on that flag here.
            wait: Return once this share of the instances has applied it, such as `"99%"`; see
                `Arrived.enough` in the result, which tells who has not.
            timeout: The longest to wait.

        Raises:
            UnknownFlagError: The flag is not declared; the message has the closest.
            ConfigError: A value cannot be used (codes `bad-hold`, `bad-name`, `bad-ratio`, ...).
            StoreError: The store, or the local file, cannot be used.
        """
        asked = hold_mode(mode)
        share = ratio(dial, what="dial")
        if share == 0 or (asked is not HoldMode.DEGRADED and share != 1):
            raise bad(f"dial={dial!r} with {asked}: only a degraded hold has a dial, above 0")
        for_s, why, who = checked_for(for_), checked_reason(reason), self._who(actor)
        waits = checked_wait(wait, timeout, local=local)
        unchecked = self._check_declared(flag, force=force, tolerant=local)
        check_name(flag)
        now = self._clock.wall() if local else self._store.read().now
        hold = Hold(
            mode=asked,
            dial=share,
            actor=who,
            reason=why,
            at=now,
            until=None if for_s is None else now + for_s,
        )
        if local:
            before = self._local.hold(flag, hold)
            return Held(
                flag=flag, hold=hold, replaced=before, epoch=None, event=None, local=True,
                where=str(self._local.path), unchecked=unchecked,
            )  # fmt: skip
        (event,) = self._change("hold", who, why, holds={flag: hold})
        return self._awaited(self._held(flag, event), waits)

    def extend(
        self,
        flag: str,
        *,
        for_: Duration | None,
        reason: str = "still needed",
        actor: str | None = None,
    ) -> Held:
        """Let a hold last for `for_` from now, or until released; everything else of it stays.

        Raises:
            ConfigError: There is no hold, or it lasts longer already (code `bad-hold`).
            StoreError: The store cannot be read or written.
        """
        for_s, why, who = checked_for(for_), checked_reason(reason), self._who(actor)
        here = in_force(self._here().get(flag), self._clock.wall())
        self._check_declared(flag, force=here, tolerant=False)
        state = self._store.read()
        hold = state.holds.get(flag)
        if hold is None or not in_force(hold, state.now):
            raise bad(
                f"the hold on {flag!r} is of this host alone; hold it again with --local"
                if here
                else f"there is no hold on {flag!r} to extend; make one with hold"
            )
        until = None if for_s is None else state.now + for_s
        if until is not None and (hold.until is None or until < hold.until):
            lasts = (
                "until released" if hold.until is None else duration_text(hold.until - state.now)
            )
            raise bad(
                f"the hold on {flag!r} lasts longer already ({lasts}); "
                "release it, or hold anew, to end it sooner"
            )
        longer = hold.model_copy(update={"until": until})
        events = self._change("extended", who, why, holds={flag: longer})
        if not events:
            raise bad(f"the hold on {flag!r} has ended meanwhile; make one with hold")
        return self._held(flag, events[0])

    def release(
        self,
        flag: str,
        *,
        reason: str,
        actor: str | None = None,
        now: bool = False,
        local: bool = False,
        wait: Ratio | None = None,
        timeout: Duration = WAIT_S,
    ) -> Released:
        """Remove the hold on a flag, or with `*` every hold; traffic comes back step by step.

        Args:
            flag: A flag, or `*`.
            reason: Why.
            actor: Who; that of this `Control` when None.
            now: Full traffic at once, without recovery steps.
            local: Remove this host's local hold, not the store's.
            wait, timeout: As for `hold`.

        Raises:
            UnknownFlagError: The flag is neither held nor declared; the message has the closest.
            ConfigError: The reason is empty (code `bad-hold`).
            StoreError: The store, or the local file, cannot be used.
        """
        why, who = checked_reason(reason), self._who(actor)
        waits = checked_wait(wait, timeout, local=local)
        if local:
            if now:
                raise bad("a local release cannot be --now: hold it normal locally for a while")
            if flag not in self._local.read():
                self._check_declared(flag, force=False, tolerant=True)
            removed = self._local.release(flag)
            return Released(
                flag=flag, holds=removed, epoch=None, now=now, local=True,
                where=str(self._local.path), still=self._still_here(),
            )  # fmt: skip
        state = self._store.read()
        if flag == ALL_FLAGS:
            names = list(state.holds)
        else:
            names = [flag]
            self._check_declared(flag, force=flag in self._here(), tolerant=False)
        events = self._change("released", who, why, holds=dict.fromkeys(names), now=now)
        holds = {
            event.flag: Hold.model_validate(event.evidence["hold"])
            for event in events
            if event.flag is not None
        }
        done = Released(
            flag=flag,
            holds=holds,
            epoch=events[0].epoch if events else None,
            now=now,
            local=False,
            where=self._store.url,
            still=self._still(flag),
        )
        return self._awaited(done, waits)

    # levels

    def order_level(
        self,
        level: int,
        *,
        for_: Duration | None,
        reason: str,
        actor: str | None = None,
        wait: Ratio | None = None,
        timeout: Duration = WAIT_S,
    ) -> LevelOrdered:
        """Degrade every flag whose level is at least `level`; flags without a level stay.

        Args:
            level: 3 (users hardly notice), 2, or 1 (emergency only).
            for_: How long; None means until released.
            reason: Why.
            actor: Who; that of this `Control` when None.
            wait, timeout: As for `hold`.

        Raises:
            ConfigError: A value cannot be used (codes `bad-hold`, `bad-duration`).
            StoreError: The store cannot be read or written.
        """
        if isinstance(level, bool) or level not in (1, 2, 3):
            raise bad(f"level={level!r}: order 3 (users hardly notice), 2, or 1 (emergency only)")
        for_s, why, who = checked_for(for_), checked_reason(reason), self._who(actor)
        waits = checked_wait(wait, timeout)
        now = self._store.read().now
        until = None if for_s is None else now + for_s
        order = LevelOrder(level=level, actor=who, reason=why, at=now, until=until)
        (event,) = self._change("level", who, why, level=order)
        replaced = event.evidence["replaced"]
        state, flags = self._store.read(), self._store.flags()
        concerned = [name for name, info in flags.items() if (info.level or 0) >= level]
        exempt = [
            name
            for name in concerned
            if (key := deciding(name, state)) is not None and absolute(state.holds[key])
        ]
        done = LevelOrdered(
            order=LevelOrder.model_validate(event.evidence["level"]),
            replaced=None if replaced is None else LevelOrder.model_validate(replaced),
            epoch=event.epoch,
            event=event.id,
            flags=tuple(concerned),
            exempt=tuple(exempt),
        )
        return self._awaited(done, waits)

    def release_level(
        self,
        *,
        reason: str,
        actor: str | None = None,
        now: bool = False,
        wait: Ratio | None = None,
        timeout: Duration = WAIT_S,
    ) -> LevelReleased:
        """Remove the ordered level; flags come back one after the other, step by step.

        Args:
            reason: Why.
            actor: Who; that of this `Control` when None.
            now: Full traffic at once, without recovery steps.
            wait, timeout: As for `hold`.

        Raises:
            ConfigError: The reason is empty (code `bad-hold`).
            StoreError: The store cannot be read or written.
        """
        why, who = checked_reason(reason), self._who(actor)
        waits = checked_wait(wait, timeout)
        events = self._change("level_released", who, why, level=None, now=now)
        if not events:
            return LevelReleased(order=None, epoch=None, now=now)
        order = LevelOrder.model_validate(events[0].evidence["level"])
        return self._awaited(LevelReleased(order=order, epoch=events[0].epoch, now=now), waits)

    # helpers

    def _awaited(self, done: _DoneT, waits: tuple[float, float] | None) -> _DoneT:
        if waits is None or done.epoch is None:
            return done
        return replace(done, arrived=self._wait(done.epoch, waits))

    def _change(
        self,
        kind: EventType,
        actor: str,
        reason: str,
        *,
        holds: dict[str, Hold] | dict[str, Hold | None] | None = None,
        level: LevelOrder | Keep | None = "keep",
        now: bool = False,
    ) -> tuple[Event, ...]:
        return self._store.change(
            Change(
                type=kind,
                actor=actor,
                reason=reason,
                instance=self._instance,
                holds=dict(holds or {}),
                level=level,
                now=now,
            )
        )

    def _held(self, flag: str, event: Event) -> Held:
        replaced = event.evidence["replaced"]
        return Held(
            flag=flag,
            hold=Hold.model_validate(event.evidence["hold"]),
            replaced=None if replaced is None else Hold.model_validate(replaced),
            epoch=event.epoch,
            event=event.id,
            local=False,
            where=self._store.url,
        )

    def _who(self, actor: str | None) -> str:
        return checked_actor(self._actor if actor is None else actor)

    def _check_declared(self, flag: str, *, force: bool, tolerant: bool) -> bool:
        """Refuse names that nobody declared; return whether that could not be found out."""
        if flag == ALL_FLAGS:
            return False
        try:
            known = {*self._store.flags(), *self._store.read().holds}
        except StoreError:
            if not tolerant:
                raise
            known = set()
        unchecked = not known and tolerant
        if flag in declared_here():  # this very process may not have reported it yet
            return False
        if flag not in known and not force and not unchecked:
            raise unknown(flag, known)
        return unchecked

    def _still_here(self) -> str | None:
        everyone = self._local.read().get(ALL_FLAGS)
        if everyone is None or not in_force(everyone, self._clock.wall()):
            return None
        return (
            f"the local hold on every flag, {everyone.mode} by {everyone.actor}; "
            "end it by release '*' --local"
        )

    def _here(self) -> dict[str, Hold]:
        """Return the local holds; a damaged file must not keep an order from the fleet."""
        try:
            return self._local.read()
        except StoreError:
            return {}

    def _still(self, flag: str) -> str | None:
        state = self._store.read()
        hold = self._here().get(flag)
        if hold is not None and in_force(hold, self._clock.wall()):
            return (
                f"the local hold on this host, {hold.mode} by {hold.actor}; "
                f"end it by release {shlex.quote(flag)} --local"
            )
        everyone = state.holds.get(ALL_FLAGS)
        if flag != ALL_FLAGS and everyone is not None and in_force(everyone, state.now):
            return f"the hold on every flag, {everyone.mode} by {everyone.actor}; end it by release '*'"
        info, level = self._store.flags().get(flag), state.level
        concerned = flag == ALL_FLAGS or (
            level is not None and info is not None and (info.level or 0) >= level.level
        )
        if level is not None and in_force(level, state.now) and concerned:
            return f"level {level.level}, ordered by {level.actor}; end it by level release"
        return None
