"""The ladder as users write it: `simplified`, `snapshot`, `default`, `omit`."""

from __future__ import annotations

import inspect
from collections import deque
from collections.abc import Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Never, TypeVar, overload

from degrade.core.enums import RungKind
from degrade.errors import ConfigError, UsageError
from degrade.fallback.constant_copy import copier, refuse_shared
from degrade.fallback.responses import find_response, is_response
from degrade.fallback.rung import (
    Answer,
    BoundRung,
    Call,
    Rung,
    Target,
    check_callable_alike,
    is_coroutine_callable,
    is_generator_callable,
    name_of,
)
from degrade.fallback.snapshots.snapshot_rung import SnapshotRung
from degrade.units import Duration, seconds

__all__ = ("default", "ladder", "omit", "simplified", "snapshot")

F = TypeVar("F")
F_co = TypeVar("F_co", covariant=True)


@overload
def simplified(
    fn: Callable[..., Coroutine[Any, Any, F]], /, *, limit: int = 64, timeout: Duration | None = ...
) -> Rung[F]: ...
@overload
def simplified(fn: Callable[..., F], /, *, limit: int = 64) -> Rung[F]: ...
def simplified(
    fn: Callable[..., Any], /, *, limit: int = 64, timeout: Duration | None = None
) -> Rung[Any]:
    """Serve what a cheaper function of the same arguments returns.

    Args:
        fn: Called with the arguments of the call; a coroutine function only under another.
        limit: How many calls may run it at once, at least 1; more go to the next rung.
        timeout: What a call waits for a coroutine function at most, then the next rung is asked;
            by default the `deadline=` of the guarded function.

    Raises:
        UsageError: `fn` is a class (`bare-class`), or not a function (`bad-rung`); or `timeout`
            was given for a plain function, which cannot be left behind (`sync-deadline`).
        ConfigError: `limit` is not a whole number above zero, or `timeout` is no duration above
            zero.

    Guarantees:
        An exception of `fn` counts for the rung and sends the call to the next one; so does a
        result that `accept=` of the function rejects. What `ignore=` matches, a refusal, ends the
        ladder and reaches the caller.

    Cost:
        The cost of `fn`, on the caller's thread; no lock is held meanwhile.
    """
    _check_function(fn, "simplified")
    if isinstance(limit, bool) or not isinstance(limit, int) or limit < 1:
        raise ConfigError(f"simplified(limit={limit!r}): must be a whole number, at least 1")
    if timeout is None:
        return _Simplified(fn, limit)
    timeout_s = seconds(timeout, what="simplified(timeout=)")
    if timeout_s <= 0:
        raise ConfigError(f"simplified(timeout={timeout!r}): must be above zero")
    if not is_coroutine_callable(fn):
        raise UsageError(
            f"simplified({name_of(fn)}, timeout={timeout!r}): only a coroutine function can be left "
            "behind; give the timeout to the client that it calls",
            code="sync-deadline",
        )
    return _Simplified(fn, limit, timeout_s)


def snapshot(
    *,
    max_age: Duration,
    refresh: Duration = "30s",
    key: Sequence[str] | Callable[..., Any] | None = None,
    everyone: bool = False,
    transform: Callable[[Any], Any] | None = None,
    copy: bool = True,
    share: bool = False,
) -> Rung[Never]:
    """Serve the last good result for the same arguments and the same subject.

    Args:
        max_age: No result older than this is served, counted from the start of its call.
        refresh: How often a healthy result replaces the stored one, at most half of `max_age`.
        key: Names of the parameters that tell results apart, or a function of the arguments
            that returns what does. Without it all bound arguments do; methods need it.
        everyone: Share results between subjects. Only for what may be shown to anybody.
        transform: Called with the stored result at each serving; what it returns is served,
            such as a default order. It may change what it gets, unless that is shared by `share`
            or `copy=False`.
        copy: Store an encoded copy, for which the function needs a return annotation. False
            keeps the object itself, in memory only, and serves this one object to everybody:
            neither the function nor any caller may change it afterwards. Responses of web
            frameworks are not kept.
        share: Decode a result once and serve it to all calls. True is your promise that no caller
            changes what it gets. What nobody can change is shared anyway: text, numbers, tuples,
            frozen dataclasses and frozen models of such.

    Raises:
        ConfigError: A duration is no duration, or not above zero.
        UsageError: `key` is no sequence of names and no function (code `snapshot-key`).

    Guarantees:
        Changing a result after it was returned or served never changes what is served to others,
        unless `share` or `copy=False` says so. Two subjects never share a result unless `everyone`
        says so. A call whose arguments have no stable key is not answered by this rung, and its
        result is not stored.

    Cost:
        A healthy call that is not due: one dictionary look-up. A due one is encoded on the
        caller's thread, within 2 % of a core per process; the rest happens on another thread.
        Serving a result that can be changed decodes it on the caller's thread, for a coroutine on
        that of the event loop: 30 microseconds, and 10 to 40 for each kilobyte of JSON.
    """
    max_age_s = seconds(max_age, what="snapshot(max_age=)")
    refresh_s = seconds(refresh, what="snapshot(refresh=)")
    if max_age_s <= 0:
        raise ConfigError(f"snapshot(max_age={max_age!r}): must be above zero")
    if transform is not None and (not callable(transform) or is_coroutine_callable(transform)):
        raise UsageError(
            f"snapshot(transform={name_of(transform)}) must be a plain function of the stored "
            "result, such as transform=newest_first",
            code="bad-rung",
        )
    return SnapshotRung(
        max_age_s=max_age_s,
        refresh_s=min(refresh_s, max_age_s / 2),
        key=_checked_key(key),
        everyone=everyone,
        transform=transform,
        copy=copy,
        share=share,
    )


@overload
def default(value: Callable[..., F], /) -> Rung[F]: ...
@overload
def default(value: F, /) -> Rung[F]: ...
def default(value: Any, /) -> Rung[Any]:
    """Serve a constant, or what a local function of the same arguments returns.

    Args:
        value: The constant: scalars, containers, dataclasses, named tuples, pydantic models,
            classes of attrs, and whatever of these they hold. Or a function called with the
            arguments of the call, which must not depend on what may be failing: it also serves
            while the flag is `off`.

    Raises:
        UsageError: `value` is a class (`bare-class`), a coroutine function (`async-rung`), an
            iterator or another rung (`bad-rung`), or one object for all callers that cannot be
            copied, such as a response (`shared-value`).

    Guarantees:
        Each caller gets a copy of its own, whose objects lie to each other as in the constant.
        Only what cannot be changed is shared, and what stands for itself: enum members, classes,
        functions, sentinels. What a function returns is served as it is.

    Cost:
        A copy takes 0.15 microseconds for each list and dictionary in it, 1 for each object.
    """
    if isinstance(value, Rung):
        raise UsageError(
            f"default({value!r}): a rung inside a rung; put both in a list: "
            "fallback=[snapshot(...), default(...)]",
            code="bad-rung",
        )
    if isinstance(value, Iterator) or inspect.isawaitable(value):
        raise UsageError(
            f"default(<{type(value).__name__}>) can be used only once; give a list, or a function "
            "that makes a new one for each call",
            code="bad-rung",
        )
    if not callable(value):
        return _Constant(copier(value))
    _check_function(value, "default")
    if is_coroutine_callable(value):
        raise UsageError(
            f"default({name_of(value)}): a coroutine function; the last rung must answer by "
            "itself. Use a plain function, or simplified() with a default() after it",
            code="async-rung",
        )
    return _DefaultFunction(value)


def omit(*, side_effect: bool = False) -> Rung[None]:
    """Serve `None`: the work is skipped.

    Args:
        side_effect: Nothing of the call goes into a result, as of counting a view. So what is
            built around the call is whole without it: it is captured, and may be cached.

    Raises:
        ConfigError: `side_effect` is not True or False.

    Guarantees:
        Always serves, also while the flag is `off`.
    """
    if not isinstance(side_effect, bool):
        raise ConfigError(f"omit(side_effect={side_effect!r}): give True or False")
    return _Constant(copier(None), RungKind.OMIT, side_effect)


def ladder(fallback: object) -> tuple[Rung[Any], ...]:
    """Return the rungs of what a user gave as `fallback=`, in order.

    Raises:
        UsageError: A value that is no rung or function (`bare-value`), a class (`bare-class`),
            a response (`shared-value`), a second snapshot, or a rung that can never be reached
            (`bad-rung`).
    """
    if isinstance(fallback, tuple) and not fallback:
        return ()
    if isinstance(fallback, (list, tuple)) and fallback and any(map(_is_step, fallback)):
        rungs = tuple(_step(item) for item in fallback)
    else:
        rungs = (_step(fallback),)
    if sum(rung.kind is RungKind.SNAPSHOT for rung in rungs) > 1:
        raise UsageError(
            f"fallback={rungs!r}: a ladder has one snapshot; keep the one with the longer max_age",
            code="bad-rung",
        )
    for rung, after in pairwise(rungs):
        if rung.final:
            raise UsageError(
                f"fallback={rungs!r}: {rung!r} always serves, so {after!r} is never asked; "
                "put it last",
                code="bad-rung",
            )
    return rungs


def _is_step(item: object) -> bool:
    return isinstance(item, Rung) or callable(item)


def _step(item: object) -> Rung[Any]:
    if isinstance(item, Rung):
        return item
    if isinstance(item, type):
        _check_function(item, "fallback")
    response = find_response(item)
    if response is not None:
        raise refuse_shared("fallback", item, response)
    if callable(item):
        return simplified(item)
    meant = "omit()" if item is None else f"default({_short(item)})"
    raise UsageError(
        f"fallback={_short(item)}: a bare value is not a rung; did you mean {meant}?",
        code="bare-value",
    )


def _short(value: object) -> str:
    """Return a constant as it would be written, or its type when that is long."""
    text = repr(value)
    return text if len(text) <= 60 else f"<{type(value).__name__}>"


def _check_function(fn: object, what: str) -> None:
    if is_response(fn):
        raise refuse_shared(what, fn, fn)
    if isinstance(fn, type):
        raise UsageError(
            f"{what}({fn.__qualname__}): a class is not a rung; did you mean "
            f"default({fn.__qualname__}()), or a function that makes one for each call?",
            code="bare-class",
        )
    if isinstance(fn, Rung) or not callable(fn):
        raise UsageError(
            f"{what}({_short(fn)}) needs a function; did you mean default({_short(fn)})?",
            code="bad-rung",
        )
    if is_generator_callable(fn):
        raise UsageError(
            f"{what}({name_of(fn)}): a generator function; return a list instead",
            code="bad-rung",
        )


def _checked_key(
    key: Sequence[str] | Callable[..., Any] | None,
) -> tuple[str, ...] | Callable[..., Any] | None:
    if key is None:
        return None
    if isinstance(key, str):
        raise UsageError(
            f"snapshot(key={key!r}): names come in a tuple; did you mean key=({key!r},)?",
            code="snapshot-key",
        )
    if isinstance(key, type) or is_coroutine_callable(key):
        raise UsageError(
            f"snapshot(key={name_of(key)}) must be a plain function of the call's arguments",
            code="snapshot-key",
        )
    if callable(key):
        return key
    names = tuple(key) if isinstance(key, Sequence) else ()
    if not names or not all(isinstance(name, str) for name in names):
        raise UsageError(
            f"snapshot(key={key!r}) must name at least one parameter, such as "
            'key=("user_id",), or be a function of the arguments',
            code="snapshot-key",
        )
    return names


@dataclass(frozen=True, slots=True, repr=False)
class _Simplified(Rung[F_co]):
    """What `simplified` makes."""

    fn: Callable[..., Any]
    limit: int
    timeout_s: float | None = None

    @property
    def kind(self) -> RungKind:
        return RungKind.SIMPLIFIED

    def bind(self, target: Target) -> BoundRung:
        is_async = is_coroutine_callable(self.fn)
        if is_async and not target.is_async:
            raise UsageError(
                f"{target.name!r}: simplified({name_of(self.fn)}) is a coroutine function, but "
                f"{name_of(target.fn)} is not; give it a plain function",
                code="async-rung",
            )
        check_callable_alike(self.fn, target, what="simplified", code="bad-rung")
        return _BoundSimplified(self.fn, self.limit, is_async=is_async, timeout_s=self.timeout_s)

    def __repr__(self) -> str:
        return f"simplified({name_of(self.fn)})"


@dataclass(frozen=True, slots=True, repr=False)
class _Constant(Rung[F_co]):
    """What `default` of a constant makes, and `omit`."""

    make: Callable[[], Any]
    as_kind: RungKind = RungKind.DEFAULT
    side_effect: bool = False

    @property
    def kind(self) -> RungKind:
        return self.as_kind

    @property
    def final(self) -> bool:
        return True

    def bind(self, target: Target) -> BoundRung:  # noqa: ARG002 - a constant fits every function
        return _BoundConstant(self.make, self.as_kind, side_effect=self.side_effect)

    def __repr__(self) -> str:
        if self.as_kind is RungKind.OMIT:
            return "omit(side_effect=True)" if self.side_effect else "omit()"
        return f"default({_short(self.make())})"


@dataclass(frozen=True, slots=True, repr=False)
class _DefaultFunction(Rung[F_co]):
    """What `default` of a function makes."""

    fn: Callable[..., Any]

    @property
    def kind(self) -> RungKind:
        return RungKind.DEFAULT

    def bind(self, target: Target) -> BoundRung:
        check_callable_alike(self.fn, target, what="default", code="bad-rung")
        return _BoundDefaultFunction(self.fn)

    def __repr__(self) -> str:
        return f"default({name_of(self.fn)})"


class _BoundSimplified(BoundRung):
    __slots__ = ("__weakref__", "_fn", "_limit", "_tokens")

    def __init__(
        self, fn: Callable[..., Any], limit: int, *, is_async: bool, timeout_s: float | None
    ) -> None:
        super().__init__(RungKind.SIMPLIFIED, is_async=is_async, timeout_s=timeout_s)
        self._fn = fn
        self._limit = limit
        self._tokens = deque([None] * limit)

    def serve(self, call: Call) -> Answer | None:
        tokens = self._tokens  # the one it came from gets it back, also over a fork
        try:
            tokens.pop()
        except IndexError:
            return None
        try:
            return Answer(self._fn(*call.args, **call.kwargs))
        finally:
            tokens.append(None)

    async def serve_async(self, call: Call) -> Answer | None:
        if not self.is_async:
            return self.serve(call)
        tokens = self._tokens
        try:
            tokens.pop()
        except IndexError:
            return None
        try:
            return Answer(await self._fn(*call.args, **call.kwargs))
        finally:
            tokens.append(None)

    def after_fork(self) -> None:
        self._tokens = deque([None] * self._limit)


class _BoundConstant(BoundRung):
    __slots__ = ("_make",)

    def __init__(self, make: Callable[[], Any], kind: RungKind, *, side_effect: bool) -> None:
        super().__init__(kind, static=True, side_effect=side_effect)
        self._make = make

    def serve(self, call: Call) -> Answer:  # noqa: ARG002 - the same for every call
        return Answer(self._make())


class _BoundDefaultFunction(BoundRung):
    __slots__ = ("_fn",)

    def __init__(self, fn: Callable[..., Any]) -> None:
        super().__init__(RungKind.DEFAULT, static=True)
        self._fn = fn

    def serve(self, call: Call) -> Answer:
        return Answer(self._fn(*call.args, **call.kwargs))
