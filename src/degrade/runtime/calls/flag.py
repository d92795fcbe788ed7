"""Declared flags, and what a declaration says.

A flag exists without a runtime. The first guarded call, or a runtime that starts later, binds
it: `Flag.bind` hands every guard and wrapper of the flag the watch of that runtime. What happens
when a name is declared again stands in `registry`.
"""

from __future__ import annotations

import logging
import threading
import weakref
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Self

from degrade.context import context
from degrade.core.enums import FLAG_NAME, NAME_RULE, Outcome, RungKind
from degrade.core.policy import SLA, Recovery
from degrade.core.probe_permits import Permit
from degrade.core.records import FlagInfo
from degrade.errors import ConfigError, UnknownFlagError, UsageError
from degrade.fallback.rung import code_of
from degrade.interrupts import is_interrupt
from degrade.runtime.calls.flag_checks import check_errors, check_ignore, check_text
from degrade.runtime.calls.guarded_block import GuardedBlock
from degrade.runtime.calls.outcomes import Errors, Ignore, outcome_of
from degrade.runtime.calls.registry import FLAG_ATTRIBUTE, Place, registry, scope_place
from degrade.runtime.current_runtime import current, existing
from degrade.runtime.monitoring.fast_path import UNBOUND, FastPath
from degrade.runtime.monitoring.flag_monitor import RUN, FlagMonitor, Route

if TYPE_CHECKING:
    from degrade.fallback.rung import BoundRung, Rung
    from degrade.fallback.snapshots.memory_tier import MemoryTier
    from degrade.runtime.calls.guarded_function import GuardedFunction

__all__ = ("Flag", "declared", "flag")

log = logging.getLogger("degrade.runtime")

_LEVELS = (1, 2, 3)
_RECOVERY = Recovery()
"""What every flag shares that says nothing else: less memory, and less for a tick to touch."""

PROPERTIES = ("sla", "level", "owner", "message", "required", "recovery", "failures", "ignore")
"""What a declaration says of its flag."""


class Flag:
    """A named capability that can run degraded.

    Args:
        name: Letters, digits, `_`, `.` and `-`, at most 100: `"feed.ranking"`.
        sla: The limits that its calls must keep; without them only people and orders degrade it.
        level: How much users lose: 3 (hardly notice) to 1 (emergency only); None is never
            degraded in bulk.
        owner: Who answers for it: a team, a channel.
        message: What users may be told while it is degraded.
        required: Without an answer of it the process is of no use: its health is `fail` then.
        recovery: How it comes back.
        failures: Exceptions that count as failures.
        ignore: Exceptions, or a predicate, that pass through untouched and count for nothing;
            by default `PermissionError` and the 4xx exceptions of web frameworks. Control flow
            of frameworks (retries, redirects, exits) passes whatever is given.

    Raises:
        ConfigError: The name or another argument cannot be used (codes `bad-name`,
            `bad-setting`).
        DuplicateFlagError: The name is declared in another place.

    Guarantees:
        An equal declaration from the same place gives the same object, with its windows and its
        history, however often it is made. A different one from the same place replaces it, so
        that modules can be reloaded, and keeps the history where the SLA is the same.
        What is declared inside of `with Runtime(...)` is forgotten after it, unless a module
        declares it that is being imported.
    """

    __slots__ = (
        "_awaitable", "_gate", "_guards", "_seen", "_shared", "_tier", "_watch", "failures", "gone", "ignore",
        "ladders", "level", "message", "name", "owner", "place", "recovery", "required", "skipped", "sla",
    )  # fmt: skip
    name: str
    sla: SLA | None
    level: int | None
    owner: str | None
    message: str | None
    recovery: Recovery
    failures: Errors
    ignore: Ignore | None
    required: bool

    place: Place
    """Where it was declared first."""
    gone: bool
    """Whether the runtime to which its name belonged has ended."""
    ladders: dict[tuple[RungKind, ...], None]
    """The ladders of its functions, also of those that live no more."""
    skipped: dict[str, int] | None
    """Captures that its functions did not make, by reason."""
    _awaitable: set[object] | None
    _gate: FastPath
    _guards: dict[weakref.ref[GuardedFunction], None]
    _watch: FlagMonitor | None
    _tier: MemoryTier | None
    _seen: set[object] | None
    _shared: weakref.WeakValueDictionary[Rung[Any], BoundRung] | None

    def __new__(
        cls,
        name: str,
        *,
        sla: SLA | None = None,
        level: int | None = None,
        owner: str | None = None,
        message: str | None = None,
        required: bool = False,
        recovery: Recovery | None = None,
        failures: Errors = Exception,
        ignore: Ignore | None = None,
        _place: Place | None = None,
    ) -> Self:
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
        check_text(name, "owner", owner)
        check_text(name, "message", message)
        if not isinstance(required, bool):
            raise ConfigError(f"Flag({name!r}, required={required!r}): give True or False")
        check_errors(name, "failures", failures)
        check_ignore(name, ignore)
        self = super().__new__(cls)
        self.name = name
        self.sla = sla
        self.level = level
        self.owner = owner
        self.message = message
        self.required = required
        self.recovery = recovery or _RECOVERY
        self.failures = failures
        self.ignore = ignore
        self.place = _place or scope_place()
        self.gone = False
        self.ladders = {}
        self.skipped = None
        self._gate = UNBOUND
        self._guards = {}
        self._watch = self._tier = self._seen = self._shared = self._awaitable = None
        return _declare(self)  # type: ignore[return-value] # nobody makes subclasses

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

    def call(self) -> GuardedBlock:
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
        return GuardedBlock(self)

    def __reduce__(self) -> tuple[Any, ...]:
        """Travel as the declaration, which the other process makes again."""
        properties = {key: getattr(self, key) for key in PROPERTIES}
        return partial(Flag, _place=self.place, **properties), (self.name,)

    def __repr__(self) -> str:
        level = "" if self.level is None else f" level={self.level}"
        return f"<flag {self.name}{level}>"

    # ------------------------------------------------------------------ for the runtime

    @property
    def guards(self) -> list[GuardedFunction]:
        """The guarded functions that live: those of a request, or of an object, go with it."""
        return [guard for ref in list(self._guards) if (guard := ref()) is not None]

    def says(self, other: Flag) -> bool:
        """Whether another declaration says the same."""
        return all(_alike(getattr(self, key), getattr(other, key)) for key in PROPERTIES)

    def info(self) -> FlagInfo:
        """Return what operators may know of it."""
        return FlagInfo(
            name=self.name,
            level=self.level,
            owner=self.owner,
            message=self.message,
            sla=None if self.sla is None else str(self.sla),
            where=f"{self.place[0]}:{self.place[2]}",
            required=self.required,
        )

    def shared(self, rung: Rung[Any], bound: BoundRung) -> BoundRung:
        """Return the bound rung that an equal one of this flag uses, so that its limit is one."""
        if bound.kind is not RungKind.SIMPLIFIED:
            return bound
        with registry.lock, suppress(TypeError):  # a callable object without a hash
            if self._shared is None:
                self._shared = weakref.WeakValueDictionary()
            return self._shared.setdefault(rung, bound)
        return bound

    def note_awaitable(self, fn: Callable[..., Any]) -> None:
        """Remember for the next application of a decorator that a function returns awaitables."""
        self._awaitable = {*(self._awaitable or ()), code_of(fn)}

    def returns_awaitables(self, fn: Callable[..., Any]) -> bool:
        """Return whether functions of the same code were seen to return awaitables."""
        return self._awaitable is not None and code_of(fn) in self._awaitable

    def guarded_by(self, guard: GuardedFunction) -> None:
        """Add a guarded function; it is held by its wrapper alone."""
        with registry.lock:
            self._guards[weakref.ref(guard, self._guards.pop)] = None
            self.ladders[guard.kinds] = None
            watch = self._watch
            if watch is not None:
                self._bind(guard, watch)
        if watch is None and existing() is not None:
            _adopted(self)

    def bind(self, watch: FlagMonitor | None, tier: MemoryTier | None = None) -> None:
        """Let every call go by this watch from now on, and every ladder by this tier."""
        with registry.lock:
            self._watch = watch
            self._tier = tier
            self._gate = UNBOUND if watch is None else watch.gate
            for guard in self.guards:
                self._bind(guard, watch)

    def _bind(self, guard: GuardedFunction, watch: FlagMonitor | None) -> None:
        if watch is not None:
            if guard.deadline is not None:
                deadlines = [guard.deadline for guard in self.guards]
                if None not in deadlines:
                    watch.expect(max(deadline.after_s for deadline in deadlines if deadline))
            if self._tier is not None:
                self._attach(guard, self._tier)
        guard.bind(watch)

    def attach(self, tier: MemoryTier) -> None:
        """Keep the snapshots of every ladder in this tier from now on."""
        for guard in self.guards:
            self._attach(guard, tier)

    def _attach(self, guard: GuardedFunction, tier: MemoryTier) -> None:
        snapshot = guard.snapshot
        if snapshot is not None:
            if self.skipped is None:
                self.skipped = snapshot.skipped
            snapshot.skipped = self.skipped
            snapshot.attach(tier, getattr(guard.fn, "__code__", None))

    def bound(self) -> FlagMonitor:
        """Return the watch of the current runtime, which adopts the flag when it is new to it.

        A flag that was declared anew goes by the watch of the one that replaced it.
        """
        return self._watch or _adopted(self)

    def admit(self, watch: FlagMonitor) -> Route | Permit:
        """Decide for one call, starting what the runtime needs; never raises."""
        runtime = existing() or current()
        try:
            runtime.wake()
            return watch.admit()
        except Exception as error:  # a bug of ours must not reach the call: it runs
            if is_interrupt(error):
                raise
            runtime.internal_errors.note("admit")
            return RUN

    def leave(self, watch: FlagMonitor, route: Route | Permit) -> None:
        """Give back what `admit` gave, whatever became of the call."""
        self.give_back(watch, route)
        if watch.inline:
            current().tick_inline()

    def give_back(self, watch: FlagMonitor, route: Route | Permit) -> None:
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

    def _degraded(self, gate: FastPath) -> bool:
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
    return [known for _, known in sorted(registry.all().items())]


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
    found = registry.get(name_or_function)
    if found is None:
        known = registry.all()
        import difflib  # noqa: PLC0415 - for a mistake alone

        close = difflib.get_close_matches(str(name_or_function), known, n=3)
        hint = (
            f"did you mean {', '.join(map(repr, close))}?"
            if close
            else (f"declared: {', '.join(sorted(known)) or 'none'}")
        )
        raise UnknownFlagError(f"no flag {name_or_function!r} is declared; {hint}")
    return found


def _declare(new: Flag) -> Flag:
    flag, replaced = registry.declare(new)
    if replaced is not None:
        replaced.bind(None)
    if flag is new and existing() is not None:
        _adopted(new)
    return flag


def _adopted(flag: Flag) -> FlagMonitor:
    """Let the current runtime adopt a flag, or what replaced it; again, if it changes meanwhile.

    Never under the registry's lock: who adopts holds the runtime's, and wants that one then.
    """
    while True:
        runtime = current()
        watch = runtime.adopt(registry.in_force(flag))
        flag.attach(runtime.tier)
        if existing() is runtime:
            return watch


def _alike(one: Any, other: Any) -> bool:
    """Whether two properties say the same; a predicate may have been made anew."""
    try:
        if one is other or one == other:
            return True
        return all(
            getattr(one, part) == getattr(other, part)
            for part in ("__code__", "__closure__", "__defaults__", "__kwdefaults__")
        )
    except Exception:  # noqa: BLE001 - no functions, or an `__eq__` of the user
        return False


def after_fork() -> None:
    """Renew in a child what other threads of the parent may have held: the lock, and rungs."""
    registry.lock = threading.RLock()
    for known in registry.all().values():
        for guard in known.guards:
            for rung in guard.rungs:
                rung.after_fork()
