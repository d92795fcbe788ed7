"""Who is asking, and what was served: the context that travels with a request.

    request(subject="user-42")          opened by the middlewares, read by served()
      └── capturing scope               opened around a call whose result is due for a snapshot
            └── note                    left by every degraded answer given inside

A note left inside a scope reaches the request around it when the scope closes, so a result that
was built on a degraded part is known as such, also when the part ran in a child task.
"""

from __future__ import annotations

from collections import deque
from contextvars import ContextVar, Token
from dataclasses import dataclass
from types import TracebackType
from typing import Final, NamedTuple, Self

from degrade.core.words import RungKind

__all__ = (
    "Context",
    "Note",
    "Request",
    "Scope",
    "Served",
    "Stamp",
    "context",
    "request",
    "served",
    "subject",
)

MOST_NOTES: Final = 1_000
"""Notes kept of one request, the newest: it may last for days, as a worker's loop does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """One degraded answer given within a request.

    Attributes:
        flag: Name of the flag.
        rung: The kind of rung that answered.
        age_s: Age of the snapshot served, seconds; None for rungs without one.
        reason: Why it was degraded, one line.
        since: When the flag left normal, Unix seconds; None for a single failed call.
    """

    flag: str
    rung: RungKind
    age_s: float | None
    reason: str
    since: float | None


class Stamp(NamedTuple):
    """What all answers of a flag share until it changes: `(flag, reason, since)`.

    A call only points to it, so that a note costs one small tuple.
    """

    flag: str
    reason: str
    since: float | None


Note = tuple[Stamp, RungKind, float | None]
"""One degraded answer: the flag's stamp, the rung, the age of the snapshot in seconds."""


def _served(note: Note) -> Served:
    stamp, rung, age_s = note
    return Served(flag=stamp.flag, rung=rung, age_s=age_s, reason=stamp.reason, since=stamp.since)


class Context:
    """A place for notes; `note` is the bound append of `notes`, which calls use directly."""

    __slots__ = ("_token", "around", "note", "notes", "subject")

    def __init__(self, subject: str | None) -> None:
        self.subject = subject
        self.notes: deque[Note] = deque((), MOST_NOTES)  # noqa: RUF037 - half the cost of a keyword, for every request
        self.note = self.notes.append
        self.around: Context | None = None
        self._token: Token[Context | None] | None = None

    def branch(self) -> None:
        """Take notice that what is made here is not whole: a degraded branch was taken."""
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

context = _context.get
"""Return the innermost request or scope, None outside of both."""


def subject() -> str | None:
    """Return the subject of the current request, None outside of one."""
    around = _context.get()
    return None if around is None else around.subject


class Request(Context):
    """A request in progress: `with degrade.request(subject="user-42") as current:`.

    Args:
        subject: Who asks. It makes the dial stick to a user and keeps snapshots apart.

    Guarantees:
        Degraded answers of child tasks, and of threads that copy the context, are collected too.
    """

    __slots__ = ()

    def __init__(self, subject: str | None = None) -> None:
        super().__init__(subject)

    @property
    def served(self) -> tuple[Served, ...]:
        """What was served degraded so far, oldest note first; the newest 1,000."""
        return tuple(map(_served, self.notes.copy()))  # threads of the request may add to it

    def __enter__(self) -> Self:
        self.around = _context.get()
        self._token = _context.set(self)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.leave()
        if self.notes:
            self.branch()

    def __repr__(self) -> str:
        return f"<request subject={self.subject!r} served={len(self.notes)}>"


def request(subject: str | None = None) -> Request:
    """Open a request: `with degrade.request(subject="user-42"):`.

    Inside it `degrade.served()` collects every degraded answer, the dial of a flag sticks to the
    subject, and snapshots of different subjects are kept apart.

    Args:
        subject: Who asks: a user id, a tenant; None for an anonymous request.

    Cost:
        One context variable; no I/O.
    """
    return Request(subject)


def served() -> tuple[Served, ...]:
    """Return what was served degraded in the current request so far.

    Returns:
        One `Served` an answer, oldest first; empty outside of a request. Of more than 1,000 the
        newest are kept, so that a request may last as long as a worker's loop.
    """
    inner = _context.get()
    found: list[Note] = []
    while inner is not None:
        found = [*inner.notes.copy(), *found]
        inner = inner.around if isinstance(inner, Scope) else None
    return tuple(map(_served, found[-MOST_NOTES:]))


class Scope(Context):
    """Around a call whose result will be captured: tells whether a degraded part went into it."""

    __slots__ = ("_branched",)

    def __init__(self) -> None:
        around = _context.get()
        super().__init__(None if around is None else around.subject)
        self.around = around
        self._branched = False

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
        if self.around is not None and self.notes:
            self.around.notes.extend(self.notes)

    def branch(self) -> None:
        self._branched = True
        super().branch()

    @property
    def tainted(self) -> bool:
        """Whether a degraded answer was given inside, or a degraded branch taken."""
        return self._branched or bool(self.notes)
