"""What every rung is: declared once by the user, bound to a function, asked to serve.

A `Rung`, bound to a `Target`, is a `BoundRung`; asked to serve a `Call`, it gives an `Answer`,
or None: then the next rung is asked.
"""

from __future__ import annotations

import functools
import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from types import FunctionType, MethodType
from typing import Any, Generic, TypeVar

from degrade.context import UNKNOWN, Subject
from degrade.core.enums import RungKind
from degrade.errors import UsageError

__all__ = (
    "UNKNOWN",
    "Answer",
    "BoundRung",
    "Call",
    "Rung",
    "Subject",
    "Target",
    "check_callable_alike",
    "code_of",
    "form_of",
    "is_coroutine_callable",
    "is_generator_callable",
    "name_of",
    "own_signature",
    "signature_of",
)

F_co = TypeVar("F_co", covariant=True)


_ANYTHING = inspect.Signature(
    [
        inspect.Parameter("args", inspect.Parameter.VAR_POSITIONAL),
        inspect.Parameter("kwargs", inspect.Parameter.VAR_KEYWORD),
    ]
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """The guarded function, as the rungs need to know it.

    Attributes:
        fn: The function itself.
        name: The flag's name.
        is_async: Whether calling it gives a coroutine.
        is_method: Whether its first argument is the instance or the class.
        signature: Its signature, which decorators below ours may only claim.
        own: The parameters that it takes itself.
        returns: Its return annotation as written, `Signature.empty` without one.
        scope: Local names of the place that decorates, for annotations that need them.
    """

    fn: Callable[..., Any]
    name: str
    is_async: bool
    is_method: bool
    signature: inspect.Signature
    own: inspect.Signature
    returns: Any
    scope: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(
        cls, fn: Callable[..., Any], name: str, *, scope: Mapping[str, Any] | None = None
    ) -> Target:
        """Describe a function; one that does not tell its signature takes anything."""
        signature = signature_of(fn) or _ANYTHING
        return cls(
            fn=fn,
            name=name,
            is_async=is_coroutine_callable(fn),
            is_method=_is_method(fn, signature),
            signature=signature,
            own=own_signature(fn) or signature,
            returns=signature.return_annotation,
            scope=scope or {},
        )

    def unbound(self) -> Target:
        """Return the same without what belongs to one function of its form alone."""
        return replace(self, fn=unbound, scope={})


@dataclass(slots=True)
class Call:
    """One call that wants an answer.

    Attributes:
        args, kwargs: Its arguments, as the function would have got them.
        subject: Whom the request serves; None for an anonymous one, and outside of requests until
            one had a subject.
        monotonic_s, wall_s: When it was made.
    """

    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    subject: Subject
    monotonic_s: float
    wall_s: float


@dataclass(slots=True)
class Answer:
    """What a rung served; `age_s` is how old it is, None for what was made for this call."""

    value: Any
    age_s: float | None = None


class BoundRung(ABC):
    """A rung that knows its function.

    Attributes:
        kind: Which kind, for metrics, headers and `served()`.
        static: Whether it also serves under `off`: nothing the function computed is in it.
        is_async: Whether only `serve_async` can serve.
        side_effect: Whether its answers are in no result, so that what is around stays whole.
        timeout_s: What bounds `serve_async`, seconds; None for the deadline of the function.
    """

    __slots__ = ("is_async", "kind", "side_effect", "static", "timeout_s")

    def __init__(
        self,
        kind: RungKind,
        *,
        static: bool = False,
        is_async: bool = False,
        side_effect: bool = False,
        timeout_s: float | None = None,
    ) -> None:
        self.timeout_s = timeout_s
        self.kind = kind
        self.static = static
        self.is_async = is_async
        self.side_effect = side_effect

    @abstractmethod
    def serve(self, call: Call) -> Answer | None:
        """Return an answer, or None when this rung has none for this call.

        Raises:
            Exception: Whatever a function of the user raises.
        """

    async def serve_async(self, call: Call) -> Answer | None:
        """Do the same for a coroutine; the same as `serve` unless `is_async`."""
        return self.serve(call)

    def after_fork(self) -> None:  # noqa: B027 - most rungs share nothing with other threads
        """Forget what other threads of the parent held."""

    def __repr__(self) -> str:
        return f"<{self.kind.value} rung>"


class Rung(ABC, Generic[F_co]):
    """One step of a ladder, made by `simplified`, `snapshot`, `default` or `omit`.

    The type parameter is what it serves beyond the function's own results.
    """

    __slots__ = ()

    @property
    @abstractmethod
    def kind(self) -> RungKind:
        """Which kind of rung it is."""

    @property
    def final(self) -> bool:
        """Whether it always serves, so that no rung after it is ever asked."""
        return False

    @abstractmethod
    def bind(self, target: Target) -> BoundRung:
        """Return the rung for one function.

        Raises:
            UsageError: It cannot work for this function; the code names the mistake.
        """


def signature_of(fn: Callable[..., Any]) -> inspect.Signature | None:
    """Return the signature of a function, None when it does not tell.

    A partial has its own, whatever `functools.wraps` has copied to it: Django binds methods so.
    """
    try:
        inner = inspect.unwrap(fn, stop=lambda layer: isinstance(layer, functools.partial))
        is_partial = isinstance(inner, functools.partial)
        return inspect.signature(inner if is_partial else fn, follow_wrapped=not is_partial)
    except (TypeError, ValueError):
        return None


def unbound(*_: Any, **__: Any) -> None:
    """Stand for a function that may be gone."""


def form_of(fn: Callable[..., Any]) -> object:
    """Return what tells functions with another signature apart, None where only it can.

    Functions of one `def`, methods of many objects and partials of them have one form.
    """
    layers: list[object] = []
    inner: Any = fn
    while isinstance(inner, functools.partial):
        layers.append((len(inner.args), *inner.keywords))
        inner = inner.func
    if inspect.ismethod(inner):
        layers.append("bound")
        inner = inner.__func__
    plain = inspect.isfunction(inner) and not (
        inner.__defaults__ or inner.__kwdefaults__ or vars(inner)
    )
    return (inner.__code__, *layers) if plain else None


def code_of(fn: Any) -> object:
    """Return the code of a function, of what a partial or a method holds, else the type."""
    while isinstance(fn, functools.partial):
        fn = fn.func
    return getattr(getattr(fn, "__func__", fn), "__code__", type(fn))


def own_signature(fn: Callable[..., Any]) -> inspect.Signature | None:
    """Return the parameters of a callable itself, not of what a decorator says that it wraps.

    None for what is no plain function or method: only calling it shows what it takes.
    """
    bound = fn if isinstance(fn, (MethodType, FunctionType)) else getattr(fn, "__call__", None)  # noqa: B004 - of a callable object
    if isinstance(bound, MethodType):
        signature = own_signature(bound.__func__)
        first = None if signature is None else next(iter(signature.parameters.values()), None)
        if signature is None or first is None or first.kind is first.VAR_POSITIONAL:
            return None
        return signature.replace(parameters=list(signature.parameters.values())[1:])
    if type(fn) is not FunctionType:
        return None
    bare = FunctionType(fn.__code__, {}, fn.__name__, fn.__defaults__, fn.__closure__)
    bare.__kwdefaults__ = fn.__kwdefaults__
    return inspect.signature(bare)


def name_of(fn: object) -> str:
    """Return the name by which people know a function."""
    if isinstance(fn, functools.partial):
        return f"partial({name_of(fn.func)})"
    return getattr(fn, "__qualname__", None) or type(fn).__qualname__


def is_coroutine_callable(fn: object) -> bool:
    """Whether calling `fn` gives a coroutine: functions, methods, partials, callable objects."""
    while isinstance(fn, functools.partial):
        fn = fn.func
    return inspect.iscoroutinefunction(fn) or (
        not inspect.isroutine(fn) and inspect.iscoroutinefunction(getattr(fn, "__call__", None))  # noqa: B004 - asks for its kind, not whether it is callable
    )


def is_generator_callable(fn: object) -> bool:
    """Whether calling `fn` gives a generator, synchronous or not."""
    while isinstance(fn, functools.partial):
        fn = fn.func
    if not inspect.isroutine(fn):
        fn = getattr(fn, "__call__", fn)  # noqa: B004 - as above
    return inspect.isgeneratorfunction(fn) or inspect.isasyncgenfunction(fn)


def check_callable_alike(fn: Callable[..., Any], target: Target, *, what: str, code: str) -> None:
    """Refuse a function that cannot take the arguments of the guarded one.

    Raises:
        UsageError: Neither by position nor by name do the arguments fit (code `code`).
    """
    try:
        signature = inspect.signature(fn)
    except (TypeError, ValueError):
        return  # a builtin that does not tell its signature: only a call can show
    fits = any(_accepts(signature, *shape) for shape in _shapes(target.signature))
    if not fits and target.own.parameters.keys() == target.signature.parameters.keys():
        raise UsageError(
            f"{target.name!r}: {what} {name_of(fn)}{signature} cannot be called with the arguments "
            f"of {name_of(target.fn)}{target.signature}; give it the same parameters, or *_ and **_ "
            "for those that it does not need",
            code=code,
        )


_Shape = tuple[list[None], dict[str, None]]


def _shapes(signature: inspect.Signature) -> tuple[_Shape, _Shape]:
    """Return the two purest ways to call it: by position, and by name."""
    by_position: _Shape = ([], {})
    by_name: _Shape = ([], {})
    for name, parameter in signature.parameters.items():
        if parameter.kind is parameter.POSITIONAL_ONLY:
            by_position[0].append(None)
            by_name[0].append(None)
        elif parameter.kind is parameter.POSITIONAL_OR_KEYWORD:
            by_position[0].append(None)
            by_name[1][name] = None
        elif parameter.kind is parameter.KEYWORD_ONLY:
            by_position[1][name] = None
            by_name[1][name] = None
    return by_position, by_name


def _accepts(signature: inspect.Signature, args: list[None], kwargs: dict[str, None]) -> bool:
    try:
        signature.bind(*args, **kwargs)
    except TypeError:
        return False
    return True


def _is_method(fn: Callable[..., Any], signature: inspect.Signature) -> bool:
    """Whether `fn` stands in a class body and gets the instance or the class first."""
    owner = getattr(fn, "__qualname__", "").rpartition(".")[0]
    first = next(iter(signature.parameters), "")
    return bool(owner) and not owner.endswith("<locals>") and first in {"self", "cls"}
