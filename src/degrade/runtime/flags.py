"""Declared flags: the registry of the process, and what a declaration says.

A flag exists without a runtime. The first guarded call, or a runtime that starts later, binds
it: `Flag.bind` hands every guard and wrapper of the flag the watch of that runtime.
"""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from degrade.core.permits import Permit
from degrade.core.policy import SLA, Recovery
from degrade.core.records import FlagInfo
from degrade.core.words import FLAG_NAME, NAME_RULE, Outcome
from degrade.errors import ConfigError, DuplicateFlagError, UnknownFlagError, UsageError
from degrade.interrupts import is_interrupt
from degrade.runtime.block import Block
from degrade.runtime.gate import UNBOUND, Gate
from degrade.runtime.outcomes import Errors, Ignore, outcome_of
from degrade.runtime.provenance import context
from degrade.runtime.slot import current, existing
from degrade.runtime.watch import RUN, Route, Watch

if TYPE_CHECKING:
    from degrade.fallback.memory import MemoryTier
    from degrade.runtime.guard import Guard

__all__ = ("Flag", "declared", "flag")

log = logging.getLogger("degrade.runtime")

FLAG_ATTRIBUTE = "__degrade_flag__"
"""Where a wrapper keeps its flag."""

_LEVELS = (1, 2, 3)
_RECOVERY = Recovery()
"""What every flag shares that says nothing else: less memory, and less for a tick to touch."""

Place = tuple[str, str, str]
"""Where a declaration stands: module, file, and the name of the function or scope."""


class _Registry:
    """The declared flags; one object, so that a forked child can renew its lock."""

    __slots__ = ("flags", "lock")

    def __init__(self) -> None:
        self.flags: dict[str, Flag] = {}
        self.lock = threading.RLock()


_registry = _Registry()


class Flag:
    """A named capability that can run degraded.

    Args:
        name: Letters, digits, `_`, `.` and `-`, at most 100: `"feed.ranking"`.
        sla: The limits that its calls must keep; without them only people and orders degrade it.
        level: How much users lose: 3 (hardly notice) to 1 (emergency only); None is never
            degraded in bulk.
        owner: Who answers for it: a team, a channel.
        message: What users may be told while it is degraded.
        recovery: How it comes back.
        failures: Exceptions that count as failures.
        ignore: Exceptions, or a predicate, that pass through untouched and count for nothing;
            by default `PermissionError` and the 4xx exceptions of web frameworks.

    Raises:
        ConfigError: The name or another argument cannot be used (codes `bad-name`,
            `bad-setting`).
        DuplicateFlagError: The name is declared in another place.

    Guarantees:
        Declaring the same name again from the same place replaces the flag, so that modules
        can be reloaded.
    """

    __slots__ = (
        "_gate",
        "_seen",
        "_watch",
        "failures",
        "guards",
        "ignore",
        "level",
        "message",
        "name",
        "owner",
        "place",
        "recovery",
        "sla",
    )

    def __init__(
        self,
        name: str,
        *,
        sla: SLA | None = None,
        level: int | None = None,
        owner: str | None = None,
        message: str | None = None,
        recovery: Recovery | None = None,
        failures: Errors = Exception,
        ignore: Ignore | None = None,
        _place: Place | None = None,
    ) -> None:
        if not isinstance(name, str) or not FLAG_NAME.fullmatch(name):
            raise ConfigError(
                f"Flag({name!r}): {NAME_RULE}, such as 'feed.ranking'", code="bad-name"
            )
        if level not in (None, *_LEVELS) or isinstance(level, bool):
            raise ConfigError(
                f"Flag({name!r}, level={level!r}): a level is 3 (hardly noticed), 2 or "
                "1 (emergency only), or None"
            )
        if sla is not None and not isinstance(sla, SLA):
            raise ConfigError(f"Flag({name!r}, sla={sla!r}): give an SLA, such as SLA(p99='250ms')")
        if recovery is not None and not isinstance(recovery, Recovery):
            raise ConfigError(f"Flag({name!r}, recovery={recovery!r}): give a Recovery(...)")
        _check_text(name, "owner", owner)
        _check_text(name, "message", message)
        _check_errors(name, "failures", failures)
        if ignore is not None and (isinstance(ignore, (type, tuple)) or not callable(ignore)):
            _check_errors(name, "ignore", ignore)
        self.name = name
        self.sla = sla
        self.level = level
        self.owner = owner
        self.message = message
        self.recovery = recovery or _RECOVERY
        self.failures = failures
        self.ignore = ignore
        self.place = _place or _calling_place()
        self.guards: list[Guard] = []
        self._gate: Gate = UNBOUND
        self._watch: Watch | None = None
        self._seen: set[object] | None = None
        _register(self)

    # ------------------------------------------------------------------ for applications

    @property
    def degraded(self) -> bool:
        """Whether the current subject gets degraded answers now; nothing is recorded.

        Cost:
            Two attribute reads while everything is normal.
        """
        gate = self._gate
        if not gate.shut:
            return False
        if gate.still and context() is None:
            return True
        return self._degraded(gate)

    def call(self) -> Block:
        """Guard a block: `with flag.call() as call:` (also `async with`).

        `call.degraded` says which branch to take; the block's time and outcome count only when
        it was not degraded.

        Raises:
            UsageError: The flag has functions with a ladder, which a block cannot serve
                (code `ladder-on-block`).
        """
        if any(guard.rungs for guard in self.guards):
            raise UsageError(
                f"{self.name!r} has a ladder, which a block cannot serve: a context manager cannot "
                "replace an exception; use `if call.degraded:` with a flag of its own",
                code="ladder-on-block",
            )
        return Block(self)

    def __repr__(self) -> str:
        level = "" if self.level is None else f" level={self.level}"
        return f"<flag {self.name}{level}>"

    # ------------------------------------------------------------------ for the runtime

    def info(self) -> FlagInfo:
        """Return what operators may know of it."""
        return FlagInfo(
            name=self.name,
            level=self.level,
            owner=self.owner,
            message=self.message,
            sla=None if self.sla is None else str(self.sla),
            where=f"{self.place[0]}:{self.place[2]}",
        )

    def guarded_by(self, guard: Guard) -> None:
        """Add a guarded function."""
        with _registry.lock:
            self.guards.append(guard)
        if existing() is not None:
            _adopted(self)

    def bind(self, watch: Watch | None) -> None:
        """Let every call go by this watch from now on."""
        with _registry.lock:
            self._watch = watch
            self._gate = UNBOUND if watch is None else watch.gate
            deadlines = [guard.deadline for guard in self.guards]
            if watch is not None and deadlines and None not in deadlines:
                watch.expect(max(deadline.after_s for deadline in deadlines if deadline))
            for guard in self.guards:
                guard.bind(watch)

    def bound(self) -> Watch:
        """Return the watch of the current runtime, which adopts the flag when it is new to it.

        A flag that was declared anew goes by the watch of the one that replaced it.
        """
        return self._watch or _adopted(self)

    def attach(self, tier: MemoryTier) -> None:
        """Keep the snapshots of every ladder in this tier from now on."""
        for rung, guard in enumerate(self.guards):
            if guard.snapshot is not None:
                guard.snapshot.attach(tier, rung)

    def admit(self, watch: Watch) -> Route | Permit:
        """Decide for one call, starting what the runtime needs; never raises."""
        runtime = existing() or current()
        try:
            runtime.wake()
            return watch.admit()
        except Exception as error:  # a bug of ours must not reach the call: it runs
            if is_interrupt(error):
                raise
            runtime.troubles.note("admit")
            return RUN

    def leave(self, watch: Watch, route: Route | Permit) -> None:
        """Give back what `admit` gave, whatever became of the call."""
        self.give_back(watch, route)
        if watch.inline:
            current().tick_inline()

    def give_back(self, watch: Watch, route: Route | Permit) -> None:
        """Return the permit of a call, if it has one; harmless to repeat."""
        if isinstance(route, Permit):
            watch.permits.give_back(route)

    def outcome(self, error: BaseException) -> Outcome:
        """Say what an exception of a guarded call means."""
        return self._outcome(error, self.failures)

    def _outcome(self, error: BaseException, failures: Errors) -> Outcome:
        try:
            return outcome_of(error, failures, self.ignore)
        except Exception as broken:  # the user's predicate: said once, and it ignores nothing
            if is_interrupt(broken):
                raise
            if self.first("ignore"):
                log.exception("ignore= of %s raised; the call counts as a failure", self.name)
            return Outcome.FAILURE

    def refusal(self, error: BaseException) -> Outcome | None:
        """Return the outcome of an exception of a rung that ends the ladder, None if it goes on."""
        outcome = self._outcome(error, Exception)
        return outcome if outcome in (Outcome.IGNORED, Outcome.ABANDONED) else None

    def first(self, what: object) -> bool:
        """Return whether it is the first time that this flag has something to tell of a kind."""
        if self._seen is None:
            self._seen = set()
        if what in self._seen:
            return False
        self._seen.add(what)
        return True

    def _degraded(self, gate: Gate) -> bool:
        degraded = gate.still
        if not degraded:
            watch = self.bound()
            current().wake()  # a program that only asks must follow orders too
            degraded = watch.degraded_now()
        if degraded:
            around = context()
            if around is not None:
                around.branch()
        return degraded


def declared() -> list[Flag]:
    """Return every declared flag, by name."""
    with _registry.lock:
        return [_registry.flags[name] for name in sorted(_registry.flags)]


def flag(name_or_function: str | Callable[..., Any]) -> Flag:
    """Look up a declared flag by its name or by a function that it guards.

    Raises:
        UnknownFlagError: There is none; the message names the closest ones.
    """
    if callable(name_or_function):
        found = getattr(name_or_function, FLAG_ATTRIBUTE, None)
        if isinstance(found, Flag):
            return found
        raise UnknownFlagError(
            f"{getattr(name_or_function, '__qualname__', name_or_function)!r} is not guarded by a "
            "flag; decorate it with @degradable(...)"
        )
    found = _registry.flags.get(name_or_function)
    if found is None:
        import difflib  # noqa: PLC0415 - for a mistake alone

        close = difflib.get_close_matches(str(name_or_function), _registry.flags, n=3)
        hint = (
            f"did you mean {', '.join(map(repr, close))}?"
            if close
            else (f"declared: {', '.join(sorted(_registry.flags)) or 'none'}")
        )
        raise UnknownFlagError(f"no flag {name_or_function!r} is declared; {hint}")
    return found


def _register(new: Flag) -> None:
    with _registry.lock:
        old = _registry.flags.get(new.name)
        if old is not None and not _same_place(old.place, new.place):
            raise DuplicateFlagError(
                f"flag {new.name!r} is declared in {old.place[0]} ({old.place[2]}) already; "
                f"{new.place[0]} ({new.place[2]}) must look it up with degrade.flag({new.name!r}), "
                "or take another name"
            )
        _registry.flags[new.name] = new
    if old is not None:
        old.bind(None)
    if existing() is not None:
        _adopted(new)


def _adopted(flag: Flag) -> Watch:
    """Let the current runtime adopt a flag, or what replaced it; again, if it changes meanwhile.

    Never under the registry's lock: who adopts holds the runtime's, and wants that one then.
    """
    while True:
        runtime = current()
        watch = runtime.adopt(_registry.flags.get(flag.name, flag))
        flag.attach(runtime.tier)
        if existing() is runtime:
            return watch


def _same_place(old: Place, new: Place) -> bool:
    """Whether two declarations are one: by module, or by file when one of them ran as `__main__`."""
    return old[2] == new[2] and (old[0] == new[0] or old[1] == new[1])


def place_of(fn: Callable[..., Any]) -> Place | None:
    """Return where a function stands, None when it does not tell."""
    code = getattr(fn, "__code__", None)
    qualname = getattr(fn, "__qualname__", None)
    if code is None or qualname is None:
        return None
    return (fn.__module__, code.co_filename, qualname)


def _calling_place() -> Place:
    """Return where the first caller outside of this package stands."""
    frame = sys._getframe(1)  # noqa: SLF001 - a place is told by frames alone
    while frame.f_back is not None and str(frame.f_globals.get("__name__", "")).startswith(
        "degrade."
    ):
        frame = frame.f_back
    code = frame.f_code
    return (str(frame.f_globals.get("__name__", "?")), code.co_filename, code.co_qualname)


def _check_text(name: str, what: str, text: object) -> None:
    if text is None:
        return
    if not isinstance(text, str):
        raise ConfigError(f"Flag({name!r}, {what}={text!r}): give a str")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ConfigError(
            f"Flag({name!r}, {what}={text!r}): give a str without lone surrogates"
        ) from None


def _check_errors(name: str, what: str, errors: object) -> None:
    kinds = errors if isinstance(errors, tuple) else (errors,)
    if not kinds or not all(
        isinstance(kind, type) and issubclass(kind, Exception) for kind in kinds
    ):
        raise ConfigError(
            f"Flag({name!r}, {what}={errors!r}): give an Exception class or a tuple of them; "
            "KeyboardInterrupt and its like are never counted"
        )


def after_fork() -> None:
    """Renew in a child what other threads of the parent may have held: the lock, and rungs."""
    _registry.lock = threading.RLock()
    for known in _registry.flags.values():
        for guard in known.guards:
            for rung in guard.rungs:
                rung.after_fork()
