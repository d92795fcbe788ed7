"""`@degradable`: declare a flag next to the function that it guards."""

from __future__ import annotations

import contextlib
import functools
import inspect
import sys
import types
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import replace
from typing import (
    TYPE_CHECKING,
    Any,
    Generic,
    Never,
    ParamSpec,
    TypedDict,
    TypeVar,
    Unpack,
    overload,
)

from degrade.core.enums import RungKind
from degrade.core.policy import SLA, Recovery
from degrade.errors import ConfigError, UsageError
from degrade.fallback.ladder import ladder
from degrade.fallback.rung import (
    BoundRung,
    Rung,
    Target,
    form_of,
    is_coroutine_callable,
    is_generator_callable,
    name_of,
    own_signature,
)
from degrade.fallback.snapshots.return_types import names_at
from degrade.runtime.calls.awaitables import promises_awaitable
from degrade.runtime.calls.callables import as_function, has_guard, like
from degrade.runtime.calls.flag import Flag
from degrade.runtime.calls.guarded_function import GuardedFunction
from degrade.runtime.calls.outcomes import Errors, Ignore
from degrade.runtime.calls.registry import FLAG_ATTRIBUTE, registry, stands_at
from degrade.runtime.calls.wrapper_codegen import wrapper_of
from degrade.units import Duration, seconds

if TYPE_CHECKING:
    from degrade.runtime.calls.deadline import Deadline

__all__ = ("Degradable", "degradable")

_DESCRIPTORS = (
    types.ClassMethodDescriptorType,
    types.MethodDescriptorType,
    types.MethodWrapperType,
    types.WrapperDescriptorType,
)

_DECORATORS: tuple[Any, ...] = (contextlib.contextmanager, contextlib.asynccontextmanager)
_CONTEXT_MANAGERS = tuple(decorator(lambda: None).__code__ for decorator in _DECORATORS)
"""The code that all functions under these decorators share."""

P = ParamSpec("P")
T = TypeVar("T")
R = TypeVar("R")
F = TypeVar("F")


class Degradable(Generic[F]):
    """What `degradable(...)` returns: apply it to a function.

    The type parameter is what the ladder may serve beyond the function's own results.
    """

    __slots__ = (
        "_accept",
        "_deadline_s",
        "_declare",
        "_flag",
        "_known",
        "_late",
        "_name",
        "_rungs",
    )

    def __init__(
        self,
        name: str,
        declare: Callable[[Callable[..., Any]], Flag],
        *,
        rungs: tuple[Rung[Any], ...],
        accept: Callable[[Any], bool] | None,
        deadline_s: float | None,
        late: str,
    ) -> None:
        self._name = name
        self._declare = declare
        self._rungs = rungs
        self._accept = accept
        self._deadline_s = deadline_s
        self._late = late
        self._flag: Flag | None = None
        self._known: dict[object, tuple[Target, tuple[BoundRung, ...]]] = {}  # of the last form

    def __reduce__(self) -> tuple[Any, ...]:
        """Travel with the flag, whose declaration has a place that the other process cannot tell."""
        declare = self._declare if self._flag is None else functools.partial(_share, self._flag)
        keywords: dict[str, Any] = {
            "accept": self._accept,
            "deadline_s": self._deadline_s,
            "late": self._late,
        }
        return functools.partial(Degradable, rungs=self._rungs, **keywords), (self._name, declare)

    @overload
    def __call__(
        self, fn: Callable[P, Coroutine[Any, Any, R]], /
    ) -> Callable[P, Coroutine[Any, Any, R | F]]: ...

    @overload
    def __call__(self, fn: Callable[P, T], /) -> Callable[P, T | F]: ...

    def __call__(self, fn: Callable[..., Any], /) -> Any:
        """Guard a function, coroutine function, method, partial or callable object.

        Raises:
            UsageError: It cannot be guarded; the code names the reason.
            DuplicateFlagError: The flag is declared elsewhere.
        """
        return self._guarded(fn, names_at(sys._getframe(1)))  # noqa: SLF001 - annotations may name what the place that decorates can see

    def _guarded(self, fn: Any, scope: Mapping[str, Any]) -> Any:
        if isinstance(fn, (staticmethod, classmethod)):
            return type(fn)(self._guarded(fn.__func__, scope))
        _check_function(self._name, fn)
        form = form_of(fn)
        known = self._known.get(form)
        if known is None:
            target = Target.of(fn, self._name, scope=scope)
            if not target.is_async and promises_awaitable(target.returns):
                target = replace(target, is_async=True)
            known = target, tuple(rung.bind(target) for rung in self._rungs)
        target, rungs = known
        awaits = is_coroutine_callable(fn)
        if self._deadline_s is not None and not target.is_async:
            raise UsageError(
                f"{self._name!r}: deadline= bounds coroutine functions, and {name_of(fn)} is none; "
                "give the timeout to the client that it calls, and limit it by SLA(p99=...)",
                code="sync-deadline",
            )
        flag = self._flag
        if flag is None or flag.gone or registry.get(flag.name) is None:
            flag = self._flag = self._declare(fn)
        if isinstance(fn, functools.partial) and getattr(fn, FLAG_ATTRIBUTE, None) is flag:
            return (
                fn  # Django binds a method of a base class, which the flag guards, for a subclass
            )
        rungs = tuple(map(flag.shared, self._rungs, rungs))
        if form is not None and not any(rung.kind is RungKind.SNAPSHOT for rung in rungs):
            self._known = {form: (target.unbound(), rungs)}
        guard = GuardedFunction(
            flag,
            as_function(fn, is_method=target.is_method),
            awaits=awaits,
            awaits_result=not awaits and (target.is_async or flag.returns_awaitables(fn)),
            rungs=rungs,
            accept=self._accept,
            deadline=_deadline(self._deadline_s, self._late),
            bounds=[_bound(rung, self._deadline_s) for rung in rungs],
            declared_by=(self, fn),
        )
        wrapper = like(fn, wrapper_of(guard, own_signature(guard.fn)))
        setattr(wrapper, FLAG_ATTRIBUTE, flag)
        flag.guarded_by(guard)
        return wrapper


def _deadline(after_s: float | None, late: str = "cancel") -> Deadline | None:
    if after_s is None:
        return None
    from degrade.runtime.calls.deadline import Deadline  # noqa: PLC0415 - needs asyncio, which `import degrade` must not load

    return Deadline(after_s, "keep" if late == "keep" else "cancel")


def _bound(rung: BoundRung, deadline_s: float | None) -> Deadline | None:
    """Return what bounds a rung: its own timeout, else the deadline of the function."""
    if not rung.is_async:
        return None
    return _deadline(deadline_s if rung.timeout_s is None else rung.timeout_s)


class Options(TypedDict, total=False):
    """What `degradable` takes beside the name and the ladder; for type checkers."""

    sla: SLA | None
    level: int | None
    owner: str | None
    message: str | None
    required: bool
    recovery: Recovery | None
    failures: Errors | None
    ignore: Ignore | None
    accept: Callable[[Any], bool] | None
    deadline: Duration | None
    late: str


# The result is `T | F`. The order matters: a coroutine function in the ladder serves what it
# resolves to; and mypy, which finds no common type of a rung and a bare function in one list,
# takes the last one, with `Any` for F.
@overload
def degradable(name: str | Flag, /, **options: Unpack[Options]) -> Degradable[Never]: ...
@overload
def degradable(
    name: str | Flag,
    /,
    *,
    fallback: Callable[..., Coroutine[Any, Any, F]]
    | Sequence[Rung[F] | Callable[..., Coroutine[Any, Any, F]]],
    **options: Unpack[Options],
) -> Degradable[F]: ...
@overload
def degradable(
    name: str | Flag,
    /,
    *,
    fallback: Rung[F] | Callable[..., F] | Sequence[Rung[F] | Callable[..., F]],
    **options: Unpack[Options],
) -> Degradable[F]: ...
@overload
def degradable(
    name: str | Flag,
    /,
    *,
    fallback: Sequence[Rung[Any] | Callable[..., Any]],
    **options: Unpack[Options],
) -> Degradable[Any]: ...
def degradable(
    name: str | Flag,
    /,
    *,
    sla: SLA | None = None,
    fallback: Rung[Any] | Callable[..., Any] | Sequence[Rung[Any] | Callable[..., Any]] = (),
    level: int | None = None,
    owner: str | None = None,
    message: str | None = None,
    required: bool = False,
    recovery: Recovery | None = None,
    failures: Errors | None = None,
    ignore: Ignore | None = None,
    accept: Callable[[Any], bool] | None = None,
    deadline: Duration | None = None,
    late: str = "cancel",
) -> Degradable[Any]:
    """Declare a flag and guard a function with it.

    Args:
        name: The flag's name, or a `Flag` declared before, which then has the properties
            `sla`, `level`, `owner`, `message`, `required`, `recovery`, `failures` and `ignore`
            already.
        sla: The limits that its calls must keep.
        fallback: The ladder: rungs in order (`simplified`, `snapshot`, `default`, `omit`), or
            one; a bare function is `simplified`.
        level: How much users lose: 3 (hardly notice) to 1 (emergency only).
        owner: Who answers for it.
        message: What users may be told.
        required: Without an answer of it the process is of no use: its health is `fail` then.
        recovery: How it comes back.
        failures: Exceptions that count as failures, `Exception` by default.
        ignore: Exceptions, or a predicate, that pass through and count for nothing; by default
            `PermissionError` and the 4xx exceptions of web frameworks. Control flow of
            frameworks (retries, redirects, exits) passes whatever is given.
        accept: Says of a result whether it is good; a rejected one counts as a failure.
        deadline: What the caller of a coroutine waits at most, then the ladder answers.
        late: What becomes of a coroutine past its deadline: `"cancel"`, or `"keep"` to let it
            finish in the background and refresh the snapshot.

    Returns:
        The decorator. The wrapper has the exact signature of the function and its type, with the
        types of the ladder's own values added to the result.

    Raises:
        ConfigError: A property cannot be used.
        UsageError: The ladder cannot be used.

    Guarantees:
        No I/O, lock or import on the call path. Exceptions of the function are never replaced;
        the only one of the library is `UnavailableError`, when no rung can serve.

    Cost:
        A healthy call reads the mode, reads the clock twice and appends to two queues.
    """
    if callable(name):
        raise UsageError(
            f"@degradable on {name_of(name)} has no name; write @degradable('feed.ranking')",
            code="not-callable",
        )
    rungs = ladder(fallback)
    if late not in ("cancel", "keep"):
        raise ConfigError(f"late={late!r}: give 'cancel' or 'keep'")
    if late == "keep" and deadline is None:
        raise ConfigError("late='keep' needs a deadline=, past which a call is late")
    if accept is not None and not callable(accept):
        raise ConfigError(f"accept={accept!r}: give a function that says whether a result is good")
    if is_coroutine_callable(accept):
        raise ConfigError(f"accept={name_of(accept)}: give a plain function, nobody would await it")
    deadline_s = None if deadline is None else seconds(deadline, what="deadline")
    if deadline_s == 0:
        raise ConfigError("deadline=0: a deadline must be above zero")
    given = {
        "sla": sla, "level": level, "owner": owner, "message": message,
        "required": required or None, "recovery": recovery, "failures": failures, "ignore": ignore,
    }  # fmt: skip
    properties = {key: value for key, value in given.items() if value is not None}
    if isinstance(name, Flag):
        if properties:
            raise ConfigError(
                f"degradable({name!r}, {', '.join(properties)}=...): the flag is declared already; "
                "give these to Flag(...)"
            )
        known = name
        text, declare = known.name, functools.partial(_share, known)
    else:
        text = name
        declare = functools.partial(_declared, name, properties)
    return Degradable(text, declare, rungs=rungs, accept=accept, deadline_s=deadline_s, late=late)


def _share(flag: Flag, _: object) -> Flag:
    return flag


def _declared(name: str, properties: dict[str, Any], fn: Callable[..., Any]) -> Flag:
    return Flag(name, _place=stands_at(fn), **properties)


def _check_function(flag: str, fn: object) -> None:
    """Refuse what cannot be guarded, each kind with its own words.

    Raises:
        UsageError: `fn` is a class, a property, a builtin, a generator function, guarded
            already, or not callable at all.
    """
    what = name_of(fn)
    if isinstance(fn, type):
        raise UsageError(
            f"{flag!r} cannot guard the class {what}: guard the function that makes it, "
            "or one of its methods",
            code="decorated-class",
        )
    if isinstance(fn, (property, functools.cached_property)):
        raise UsageError(
            f"{flag!r} cannot guard a property: put @degradable under @property, on the function",
            code="decorated-property",
        )
    if inspect.isbuiltin(fn) or isinstance(fn, _DESCRIPTORS):
        raise UsageError(
            f"{flag!r} cannot guard the builtin {what}: guard a function of yours that calls it",
            code="decorated-builtin",
        )
    if not callable(fn):
        raise UsageError(
            f"{flag!r} cannot guard {fn!r}, which cannot be called; put @degradable above a def",
            code="not-callable",
        )
    if is_generator_callable(fn):
        raise UsageError(
            f"{flag!r} cannot guard the generator function {what}: guard the function that "
            "consumes it, or return a list",
            code="decorated-generator",
        )
    if _is_context_manager(fn):
        raise UsageError(
            f"{flag!r} cannot guard the context manager {what}, whose work begins after the call; "
            "guard the function that connects, or the block with flag.call()",
            code="decorated-context-manager",
        )
    other = getattr(fn, FLAG_ATTRIBUTE, None)
    if other is not None and (not isinstance(fn, functools.partial) or has_guard(fn)):
        raise UsageError(
            f"{flag!r} cannot guard {what}, which {other.name!r} guards already; "
            "one function has one flag",
            code="decorated-twice",
        )


def _is_context_manager(fn: Any) -> bool:
    """Whether calling it gives what `contextmanager` or `asynccontextmanager` makes."""
    while fn is not None:
        while isinstance(fn, functools.partial):
            fn = fn.func
        fn = getattr(fn, "__func__", fn)
        if getattr(fn, "__code__", None) in _CONTEXT_MANAGERS:
            return True
        fn = getattr(fn, "__wrapped__", None)
    return False
