"""Which calls may share a snapshot: the bound arguments with their types, and the subject.

A key has two forms that agree. When every argument is a plain scalar it is a tuple of values
and types, which a wrapper can build inline:

    feed("u1", limit=3)   ->   ("u1", str, 3, int, subject)

Anything else that is stable becomes a text (see `canonical`). A tuple is only ever *stored*
when equal tuples mean equal calls (so never with 0.0, which equals -0.0, nor with datetimes,
of which equal ones may differ in their zone). A wrapper may therefore *look up* the tuple of
any arguments: it finds nothing, or the snapshot of an equal call.

Invariants: calls that differ in a bound argument, by type or value and however nested, never
have the same key; keyword order and spelled-out defaults never matter; no key, no snapshot.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping
from datetime import date, timedelta
from enum import Enum, Flag
from functools import lru_cache
from inspect import Parameter
from typing import Any
from uuid import UUID

from degrade.context import UNKNOWN, Subject
from degrade.errors import UsageError
from degrade.fallback.rung import Target, check_callable_alike, name_of
from degrade.fallback.snapshots.function_identity import fleet_name, stands_alone
from degrade.fallback.snapshots.stable_text import UnstableError, shortened, stable_text, type_name
from degrade.interrupts import is_interrupt

__all__ = ("Key", "KeyMaker")

Key = tuple[Any, ...] | str


_log = logging.getLogger("degrade.fallback")
_SCALARS = frozenset({str, bytes, int, bool, type(None), date, timedelta, UUID})
_PLAIN_EQ = frozenset({str.__eq__, int.__eq__})
_NOT_MADE = frozenset({Enum._missing_.__func__, Flag._missing_.__func__})  # type: ignore[attr-defined] # class methods
_UNSTABLE = (
    "snapshot of %s is skipped for a call without a stable key: %s; "
    "name the parameters that tell results apart with key="
)
_BARRED = (
    "snapshot of %s is skipped for a call outside of any request, or in an anonymous one inside of "
    "which another one has a subject: nobody knows whose this call is; name the open request by "
    "degrade.identify(...), open degrade.request(...) around the call, hand the context on to its "
    "thread (asyncio.to_thread does, run_in_executor does not), or say snapshot(everyone=True) if "
    "anybody may see the results"
)


class KeyMaker:
    """Makes the keys of one snapshot rung.

    Args:
        target: The guarded function.
        key: Names of parameters, a function of the arguments, or None for all parameters.
        everyone: Leave the subject out.

    Raises:
        UsageError: A name is no parameter, or the function does not fit the arguments
            (`snapshot-key`); a method without `key` (`snapshot-method-key`).

    Attributes:
        everyone: The subject is left out.
        name: The function's name in the fleet; None when its keys mean nothing elsewhere.
        parameters: Names of the parameters that the arguments of a call are bound to.
        alone: Others of its name and place give other results, so they may not see its keys.
        by_function: A function of the user makes the keys, so they may hold what names cannot.
    """

    __slots__ = (
        "_extra", "_fixed", "_flag", "_function", "_signature", "_star", "_told", "alone",
        "by_function", "everyone", "name", "parameters",
    )  # fmt: skip

    def __init__(
        self,
        target: Target,
        key: tuple[str, ...] | Callable[..., Any] | None,
        *,
        everyone: bool,
    ) -> None:
        self.everyone = everyone
        self.name = fleet_name(target.fn, told_apart=key is not None)
        self.alone = stands_alone(target.fn)
        self.by_function = callable(key)
        self._flag = target.name
        self._signature = target.signature if key is not None else target.own
        self._told: set[str] = set()
        self._function: Callable[..., Any] | None = None
        self.parameters = tuple(self._signature.parameters)
        names = self.parameters
        if callable(key):
            check_callable_alike(key, target, what="snapshot(key=)", code="snapshot-key")
            self._function = key
        elif key is not None:
            _check_names(key, target)
            names = tuple(name for name in names if name in key)
        elif target.is_method:
            first = next(iter(names), "self")
            raise UsageError(
                f"{target.name!r}: snapshot() on the method {name_of(target.fn)} needs key=, "
                f"because {first!r} has no stable key; name the parameters that tell results "
                f"apart, such as key=({_example(names)!r},)",
                code="snapshot-method-key",
            )
        kinds = {name: self._signature.parameters[name].kind for name in names}
        self._fixed = tuple(
            name
            for name, kind in kinds.items()
            if kind not in {Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD}
        )
        self._star = next((n for n, k in kinds.items() if k is Parameter.VAR_POSITIONAL), None)
        self._extra = next((n for n, k in kinds.items() if k is Parameter.VAR_KEYWORD), None)

    def key(self, args: tuple[Any, ...], kwargs: Mapping[str, Any], subject: Subject) -> Key | None:
        """Return the key of a call; None when an argument has no stable one, or `bars` the call.

        To be called before the function runs, which may change its arguments.

        Guarantees:
            Raises nothing, whatever the arguments; the first call without a key is logged,
            without its values, and so is the first that is barred.

        Cost:
            Microseconds for scalars; otherwise grows with the arguments, up to a bound.
        """
        try:
            if subject is UNKNOWN:
                if not self.everyone:
                    self._tell(_BARRED, self._flag)
                    return None
                subject = None
            return self._key(args, kwargs, subject)
        except Exception as error:  # properties and key functions may raise anything
            if is_interrupt(error):
                raise
            reason = str(error) if isinstance(error, UnstableError) else type(error).__name__
            self._tell(_UNSTABLE, self._flag, reason)
            return None

    def bars(self, subject: Subject) -> bool:
        """Return whether a call of this subject may neither keep a snapshot nor be served one."""
        return subject is UNKNOWN and not self.everyone

    def text(self, key: Key) -> str:
        """Return the text of a key, the same in every process, kept inside the snapshot."""
        if isinstance(key, str):
            return key
        count = 2 * len(self._fixed)
        rest = key[count:] if self.everyone else key[count:-1]
        subject = None if self.everyone else key[-1]
        return self._text(key[0:count:2], rest[: len(rest) // 2], {}, subject)

    def fast_expression(
        self,
        names: Mapping[str, str] | None = None,
        *,
        subject: str = "subject()",
        type_: str = "type",
        map_: str = "map",
    ) -> str | None:
        """Return a Python expression for the key of scalar arguments, or None if there is none.

        Args:
            names: Parameter to variable in the place of the expression; missing ones are the same.
            subject: Expression for the subject.
            type_, map_: Names under which the builtins are reached there.

        Guarantees:
            A tuple that it gives is in a book only under an equal call. It may raise
            `TypeError` when looked up (an unhashable argument), or what a `__hash__` raises.
        """
        if self._function is not None:
            return None
        given = names or {}
        parts = []
        for name in self._fixed:
            variable = given.get(name, name)
            parts.append(f"{variable}, {type_}({variable})")
        if self._star is not None:
            variable = given.get(self._star, self._star)
            parts.append(f"*{variable}, *{map_}({type_}, {variable})")
        if not self.everyone:
            parts.append(subject)
        expression = f"({', '.join(parts)},)" if parts else "()"
        if self._extra is not None:
            expression = f"({expression} if not {given.get(self._extra, self._extra)} else None)"
        return expression

    def _tell(self, message: str, *args: object) -> None:
        if message not in self._told:
            self._told.add(message)
            _log.warning(message, *args)

    def _key(
        self, args: tuple[Any, ...], kwargs: Mapping[str, Any], subject: str | None
    ) -> Key | None:
        if self._function is not None:
            return self._text((self._function(*args, **kwargs),), (), {}, subject)
        bound = self._signature.bind(*args, **kwargs)
        bound.apply_defaults()
        found = bound.arguments
        fixed = tuple([found[name] for name in self._fixed])
        star = () if self._star is None else found[self._star]
        extra = {} if self._extra is None else found[self._extra]
        plain = subject is None or type(subject) is str
        if plain and not extra and all(map(_is_scalar, fixed)) and all(map(_is_scalar, star)):
            parts: list[Any] = []
            for value in fixed:
                parts += (value, type(value))
            parts += star
            parts += map(type, star)
            if not self.everyone:
                parts.append(subject)
            return tuple(parts)
        return self._text(fixed, star, extra, subject)

    def _text(
        self,
        fixed: tuple[Any, ...],
        star: tuple[Any, ...],
        extra: Mapping[str, Any],
        subject: str | None,
    ) -> str:
        labels = ("key()",) if self._function is not None else self._fixed
        parts = [
            f"{label}={_part(label, value)}" for label, value in zip(labels, fixed, strict=True)
        ]
        if self._star is not None:
            parts.append(f"*{_part(self._star, star)}")
        if self._extra is not None:
            parts.append(f"**{_part(self._extra, dict(extra))}")
        who = "everyone" if self.everyone else f"subject={_part('subject', subject)}"
        return shortened(f"{', '.join(parts)}; {who}")


def _part(label: str, value: object) -> str:
    try:
        return stable_text(value)
    except UnstableError as error:
        raise UnstableError(f"{label}: {error}") from None


def _is_scalar(value: object) -> bool:
    """Whether equal values of this very type are the same for every function."""
    kind = type(value)
    if kind in _SCALARS:
        return True
    if kind is float:
        return value != 0 and not math.isnan(value)  # type: ignore[arg-type] # it is a float
    return isinstance(value, Enum) and _tells_apart(kind, value) and type_name(kind) is not None


def _tells_apart(kind: Any, value: Enum) -> bool:
    """Whether nothing but this member equals it, members that the enum makes later included."""
    if kind.__eq__ is object.__eq__:
        return kind._member_map_.get(value._name_) is value or isinstance(value, Flag)
    return kind.__eq__ in _PLAIN_EQ and _has_distinct_members(kind)


@lru_cache(maxsize=256)
def _has_distinct_members(kind: Any) -> bool:
    members = {id(member): member for member in kind}
    return kind._missing_.__func__ in _NOT_MADE and len(set(members.values())) == len(members)


def _check_names(key: tuple[str, ...], target: Target) -> None:
    known = tuple(target.signature.parameters)
    for name in key:
        if name not in known:
            from difflib import get_close_matches  # noqa: PLC0415 - for a mistake alone

            close = get_close_matches(name, known, n=1)
            hint = (
                f"did you mean {close[0]!r}?" if close else f"it has {', '.join(known) or 'none'}"
            )
            raise UsageError(
                f"{target.name!r}: snapshot(key={key!r}): {name_of(target.fn)} has no parameter "
                f"{name!r}; {hint}",
                code="snapshot-key",
            )


def _example(names: tuple[str, ...]) -> str:
    return names[1] if len(names) > 1 else "user_id"
