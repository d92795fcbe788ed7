"""Who is asking, and what was served: the context that travels with a request.

    request(subject="user-42")          opened by the middlewares, read by served()
      ├── request(subject="user-43")    an inner request keeps its subject to itself
      └── capturing scope               opened around a call whose result is due for a snapshot
            └── note                    left by every degraded answer given inside

A note is passed on at once to every scope and request around it, so a result or a response that
was built on a degraded part is known as such, also when the part ran in a child task.

A call has two subjects. `subject` is the name that was given, for the dial. `who` is for keys of
snapshots: the same name inside an open request, and `UNKNOWN` where a call may serve anybody. That
is outside of all requests, once a request with a name was opened in this process; and in an
anonymous request, once a subject was named inside of it, because a thread may have lost the name.
"""

from __future__ import annotations

import copyreg
from collections import deque
from collections.abc import Callable
from contextvars import ContextVar, Token
from dataclasses import dataclass
from enum import Enum
from types import TracebackType
from typing import Any, Final, Literal, NamedTuple, Self

from degrade.core.enums import RungKind
from degrade.errors import ConfigError, UsageError

__all__ = (
    "OUTSIDE",
    "CaptureScope",
    "Context",
    "DegradedStatus",
    "Request",
    "Served",
    "ServedNote",
    "context",
    "identify",
    "request",
    "served",
    "subject",
    "who",
)

MOST_NOTES: Final = 1_000
"""Notes kept of one request, the newest: it may last for days, as a worker's loop does."""


class _Unknown(Enum):
    UNKNOWN = "unknown"


UNKNOWN: Final = _Unknown.UNKNOWN
"""The subject of a call that may serve anybody: only snapshots of everyone are for it."""

Subject = str | Literal[_Unknown.UNKNOWN] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """One degraded answer given within a request.

    Attributes:
        flag: Name of the flag.
        rung: The kind of rung that answered.
        age_s: Age of the snapshot served, seconds; None for rungs without one.
        reason: Why it was degraded, one line.
        since: When the flag left normal, Unix seconds; None for a single failed call.
        side_effect: Nothing of the call is in the response: `omit(side_effect=True)`.
    """

    flag: str
    rung: RungKind
    age_s: float | None
    reason: str
    since: float | None
    side_effect: bool = False


class DegradedStatus(NamedTuple):
    """What all answers of a flag share until it changes: `(flag, reason, since)`.

    A call only points to it, so that a note costs one small tuple.
    """

    flag: str
    reason: str
    since: float | None
    side_effect: bool = False


ServedNote = tuple[DegradedStatus, RungKind, float | None]
"""One degraded answer: the flag's stamp, the rung, the age of the snapshot in seconds."""


def _served(note: ServedNote) -> Served:
    stamp, rung, age_s = note
    return Served(
        flag=stamp.flag,
        rung=rung,
        age_s=age_s,
        reason=stamp.reason,
        since=stamp.since,
        side_effect=stamp.side_effect,
    )


class Outside:
    """Where a call is that no request is around.

    Attributes:
        who: None until a request with a subject was opened, `UNKNOWN` from then on.
    """

    __slots__ = ("who",)

    def __init__(self) -> None:
        self.who: Subject = None

    def __reduce__(self) -> str:
        return "OUTSIDE"


OUTSIDE: Final = Outside()


class _Around:
    """What a request and a scope share: notes, and the context around it.

    Attributes:
        around: The context around it.
        branched: A degraded branch was taken inside.
        notes: The newest notes.
    """

    __slots__ = ("_token", "around", "branched", "notes")

    def __init__(self, around: Context | None) -> None:
        self.around = around
        self.notes: deque[ServedNote] = deque((), MOST_NOTES)  # noqa: RUF037 - half the cost of a keyword, for every request
        self.branched = False
        self._token: Token[Context | None] | None = None

    @property
    def tainted(self) -> bool:
        """Whether a degraded answer went into what is made here, or a degraded branch was taken."""
        return self.branched or any(not note[0].side_effect for note in self.notes.copy())

    def aside(self, note: ServedNote) -> None:
        """Take the note of a side effect that was skipped: what is made here stays whole."""
        if not note[0].side_effect:
            note = (note[0]._replace(side_effect=True), *note[1:])
        if len(self.notes) < MOST_NOTES:  # it must not displace the note of a part
            self.notes.append(note)
        if self.around is not None:
            self.around.aside(note)

    def branch(self) -> None:
        """Mark what is made here as incomplete: a degraded branch was taken."""
        self.branched = True
        if self.around is not None:
            self.around.branch()

    def leave(self) -> None:
        """Put the context around this one back in its place."""
        token, self._token = self._token, None
        if token is not None:
            try:  # noqa: SIM105 - on the request path, and `suppress` costs more
                _context.reset(token)
            except ValueError:
                pass  # left in another context than entered, as generators may be: nothing to undo


_context: ContextVar[Context | None] = ContextVar("degrade_context", default=None)


def _pickle_context_var(var: ContextVar[Any]) -> tuple[Any, ...]:
    """Let a wrapper travel that is pickled by value; other context variables do not, as ever."""
    if var is not _context:
        raise TypeError(f"cannot pickle {type(var).__module__}.{type(var).__name__!r} object")
    return _own_context_var, ()


def _own_context_var() -> ContextVar[Context | None]:
    return _context


copyreg.pickle(ContextVar, _pickle_context_var)

context = _context.get
"""Return the innermost request or scope, None outside of both."""


def subject() -> str | None:
    """Return the subject of the current request, None outside of one."""
    around = _context.get()
    return None if around is None else around.subject


def who() -> Subject:
    """Return for whom the current call may keep a snapshot and be served one."""
    return (_context.get() or OUTSIDE).who


class _Inherit(Enum):
    INHERIT = "inherit"


_INHERIT: Final = _Inherit.INHERIT


class Request(_Around):
    """A request in progress: `with degrade.request(subject="user-42") as current:`.

    Args:
        subject: Who asks. It makes the dial stick to a user and keeps snapshots apart. Without
            one, the subject is that of the request around it.

    Raises:
        ConfigError: The subject is no text (code `bad-subject`).
        UsageError: It is entered while it is open (code `request-reused`).

    Guarantees:
        Degraded answers of child tasks, of threads that copy the context, and of requests that
        are opened inside, are collected too. A task that outlives the request is outside of any
        request, as far as snapshots are concerned.
    """

    __slots__ = ("_first", "_inherits", "_serves_two", "note", "subject", "who")

    def __init__(self, subject: str | Literal[_Inherit.INHERIT] | None = _INHERIT) -> None:
        super().__init__(None)
        self._inherits = subject is _INHERIT
        self._first: str | None = None
        self._serves_two = False
        if subject is _INHERIT:
            subject = None
        elif subject is not None and type(subject) is not str:
            _check_subject("request", subject)
        self.subject = subject
        self.who: Subject = None
        self.note: Callable[[ServedNote], None] = self.notes.append

    @property
    def served(self) -> tuple[Served, ...]:
        """What was served degraded so far, oldest note first; the newest 1,000."""
        return tuple(map(_served, self.notes.copy()))  # threads of the request may add to it

    def identify(self, subject: str | None) -> None:
        """Name whom it serves; what was answered before keeps the subject of then."""
        _check_subject("identify", subject)
        self.subject = subject
        if self._token is not None:  # else it is over, and what is left of it serves nobody
            self._name(subject)

    def _name(self, subject: str | None) -> None:
        if subject is not None:
            self._first = self._first or subject
            self._serves_two = self._serves_two or subject != self._first
        self.who = UNKNOWN if self._serves_two else subject
        if subject is None:
            return
        OUTSIDE.who = UNKNOWN
        around = self.around
        while around is not None:  # an anonymous request may work for this subject, too
            if isinstance(around, Request) and around.who is None:
                around.who = UNKNOWN
            around = around.around

    def __enter__(self) -> Self:
        if self._token is not None:
            raise UsageError(
                f"{self!r} is open already; open each request by a `with degrade.request(...)` "
                "of its own",
                code="request-reused",
            )
        around = self.around = _context.get()
        if around is not None:
            self.note = _both(self.notes.append, around.note)
        if self._inherits and around is not None:
            self.subject, self.who = around.subject, around.who
        else:
            self._name(self.subject)
        self._token = _context.set(self)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.leave()
        self.who = OUTSIDE.who

    def __repr__(self) -> str:
        return f"<request subject={self.subject!r} served={len(self.notes)}>"


def _both(
    here: Callable[[ServedNote], None], around: Callable[[ServedNote], None]
) -> Callable[[ServedNote], None]:
    """Return what takes a note in two places; no method, which would be a cycle of references."""

    def note(note: ServedNote) -> None:
        here(note)
        around(note)

    return note


def _check_subject(what: str, subject: object) -> None:
    if subject is not None and not isinstance(subject, str):
        raise ConfigError(
            f"{what}({subject!r}): a subject is text, such as str(user.id), or None for an "
            f"anonymous request; this is of type {type(subject).__name__}",
            code="bad-subject",
        )


def request(subject: str | Literal[_Inherit.INHERIT] | None = _INHERIT) -> Request:
    """Open a request: `with degrade.request(subject="user-42"):`.

    Inside it `degrade.served()` collects every degraded answer, the dial of a flag sticks to the
    subject, and snapshots of different subjects are kept apart. An inner request has its own
    answers, which also belong to the one around it.

    Args:
        subject: Who asks: a user id, a tenant; None for an anonymous request. By default the
            subject of the request around it; without one around it is anonymous.

    Raises:
        ConfigError: The subject is no text (code `bad-subject`).

    Guarantees:
        Once a request of this process had a subject, a call outside of any request neither keeps
        a snapshot nor is served one, unless the rung says `everyone=True`. The same holds for
        the calls of an anonymous request once a request inside of it had a subject.

    Cost:
        One context variable; no I/O.
    """
    return Request(subject)


def identify(subject: str | None) -> None:
    """Name whom the open request serves, as soon as it is known: `degrade.identify(user.id)`.

    A middleware opens the request before anybody has authenticated. Call this where the user is
    known, also in a thread that has a copy of the context, as a plain dependency of FastAPI has.

    Args:
        subject: Who asks; the last one counts, and None makes the request anonymous again.

    Raises:
        ConfigError: The subject is no text (code `bad-subject`).
        UsageError: No request is open here (code `no-request`).

    Guarantees:
        Calls that begin afterwards have this subject, wherever the request's context reaches.
        Once a request was given two different subjects, maybe by two tasks at once, no call in it
        keeps a snapshot or is served one.
        What was answered or captured before keeps the subject of then; a result that is being
        computed meanwhile is not captured.

    Cost:
        One look at the context; no I/O.
    """
    around = _context.get()
    while around is not None and not isinstance(around, Request):
        around = around.around
    if around is None:
        _check_subject("identify", subject)
        raise UsageError(
            "identify(...) was called where no request is open; call it inside of "
            "`with degrade.request():`, which a middleware such as DegradeMiddleware opens, and "
            "hand the context on to threads (asyncio.to_thread does, run_in_executor does not)",
            code="no-request",
        )
    around.identify(subject)


def served() -> tuple[Served, ...]:
    """Return what was served degraded in the current request so far, inner requests included.

    Returns:
        One `Served` an answer, oldest first; empty outside of a request. Of more than 1,000 the
        newest are kept, so that a request may last as long as a worker's loop.
    """
    around = _context.get()
    while around is not None and not isinstance(around, Request):
        around = around.around
    return () if around is None else around.served


class CaptureScope(_Around):
    """Around a call whose result will be captured: tells whether the result may be kept."""

    __slots__ = ("_subject",)

    def __init__(self) -> None:
        super().__init__(_context.get())
        self._subject = self.subject

    def __enter__(self) -> Self:
        self._token = _context.set(self)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.leave()

    def leave(self) -> None:
        """Put the context around this scope back, if it is the innermost; harmless to repeat."""
        if _context.get() is self:
            _context.set(self.around)

    @property
    def subject(self) -> str | None:
        """The subject of the request around it, as of now."""
        return None if self.around is None else self.around.subject

    @property
    def who(self) -> Subject:
        """The same for keys of snapshots."""
        return (self.around or OUTSIDE).who

    def note(self, note: ServedNote) -> None:
        """Take the note of a degraded answer."""
        self.notes.append(note)
        if self.around is not None:
            self.around.note(note)

    @property
    def tainted(self) -> bool:
        """Whether a degraded part is in the result, or the request was named meanwhile."""
        return super().tainted or self.subject != self._subject


Context = Request | CaptureScope
"""What is around a call; its `note` takes the note of a degraded answer."""
