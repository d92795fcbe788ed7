"""What an exception means for a flag: a failure, a timeout, a refusal, or neither.

`TABLE` says it for the exceptions of frameworks. The rule is what the framework itself makes of
the exception when nothing catches it: a retry, a redirect or the end of a command is control
flow, an answer of 4xx is a refusal, and the end of a task or process belongs to the caller.
What is not in the table is a failure if it is an `Exception`.

Classes are recognised by their package and name, in the order of the exception's ancestors:
nothing is imported or looked up in a module, so a module may be half loaded, lazy, renamed
between versions, or not installed at all.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from enum import Enum, StrEnum
from typing import Any, NamedTuple

from degrade.core.enums import Outcome

__all__ = ("TABLE", "Depends", "Errors", "Ignore", "Meaning", "is_countable", "outcome_of")

Errors = type[BaseException] | tuple[type[BaseException], ...]
Ignore = Errors | Callable[[Any], bool]


class Meaning(StrEnum):
    """What an exception of the table is."""

    CONTROL = "control flow"
    """It steers the program: it passes, and is not judged."""
    REFUSAL = "refusal"
    """It is an answer of the application: it passes, unless `ignore=` says otherwise."""
    FAILURE = "failure"
    """It is a failure although it is no `Exception`."""
    TIMEOUT = "timeout"
    """A timer ended the call: a failure, and slow for every latency limit."""
    OUTER = "timeout of the caller"
    """A timer around the call ended it: it passes, the call is abandoned, unless it is named."""
    END = "end of the caller"
    """The caller's own task, thread or process is to end: it passes, the call is abandoned."""


class Depends(NamedTuple):
    """The meaning of a class whose exceptions differ.

    Attributes:
        text: What it depends on, for the documentation.
        meaning: Returns the meaning of one, None for a plain exception.
    """

    text: str
    meaning: Callable[[Any], Meaning | None]


def _read(found: object, path: str) -> object:
    """Return what an attribute of an attribute says; None also when reading it raises."""
    for name in path.split("."):
        try:
            found = getattr(found, name, None)
        except Exception:  # noqa: BLE001 - a property of the application's own exception
            return None
    return found


def _status(given: object) -> int:
    """Return a status: a number, an enum of numbers, or a line such as `404 Not Found`."""
    if isinstance(given, Enum):
        given = given.value
    if isinstance(given, bytes):
        given = given.decode("latin-1")
    if isinstance(given, str):
        digits = given[:3]
        return int(digits) if len(digits) == 3 and digits.isdecimal() else 0
    return given if isinstance(given, int) else 0


def _by_status(error: object, *paths: str) -> Meaning | None:
    """Judge by the first status: of HTTP, or from 1000 on a close code of WebSocket (RFC 6455)."""
    status = next(filter(None, (_status(_read(error, path)) for path in paths)), 0)
    if 100 <= status < 400 or status in {1000, 1001}:
        return Meaning.CONTROL
    if 400 <= status < 500 or (status > 1001 and not 1011 <= status <= 1014):
        return Meaning.REFUSAL
    return None


_BY_STATUS = "by its status"
_BY_TIMER = "timeout if its timer was set in the call, else timeout of the caller"


def _status_in(*paths: str) -> Depends:
    return Depends(_BY_STATUS, lambda error: _by_status(error, *paths))


def _by_task(_: BaseException) -> Meaning:
    """Judge a cancellation: it is the caller's if the caller was asked to end."""
    return Meaning.END if _is_asked_to_end() else Meaning.FAILURE


def _is_asked_to_end() -> bool:
    current_task = getattr(sys.modules.get("asyncio.tasks"), "current_task", None)
    try:
        task = None if current_task is None else current_task()
    except RuntimeError:  # no loop runs in this thread
        task = None
    if task is None:
        return _is_worker_asked_to_end()
    cancelling = getattr(task, "cancelling", None)  # a task of another library may not tell
    return cancelling is None or cancelling() > 0


def _is_worker_asked_to_end() -> bool:
    """Whether this is a worker thread of anyio whose caller was cancelled."""
    check = getattr(sys.modules.get("anyio.from_thread"), "check_cancelled", None)
    try:
        if check is not None:
            check()
    except Exception:  # noqa: BLE001 - no worker thread of anyio
        return False
    except (KeyboardInterrupt, SystemExit, GeneratorExit):
        raise
    except BaseException:  # noqa: BLE001 - the cancellation, of asyncio or of trio
        return True
    return False


def _by_timer(error: BaseException) -> Meaning:
    """Judge a timer that is an exception: it is the caller's while its own block is still open.

    The block that sets the timer closes it when the exception leaves the block. A timer set
    inside of the call is closed when it gets here, a timer around the call is not.
    """
    timer = _read(error, "timer")
    closed = timer is None or type(timer).__name__ == "_FakeTimer"
    return Meaning.TIMEOUT if closed else Meaning.OUTER


def _by_thread(error: BaseException) -> Meaning:
    """Judge a timeout of func_timeout, which stops the thread of the late function with a subclass."""
    raised = _name(type(error))
    return Meaning.TIMEOUT if raised == "FunctionTimedOut" else Meaning.OUTER


_CONTROL, _REFUSAL, _, _TIMEOUT, _, _END = Meaning
_CANCELLED = Depends("end of the caller if that was asked to end, else failure", _by_task)
_TIMER = Depends(_BY_TIMER, _by_timer)

TABLE: dict[str, dict[str, Meaning | Depends]] = {
    # Python
    "builtins": {
        "GeneratorExit": _END,
        "KeyboardInterrupt": _END,
        "PermissionError": _REFUSAL,
        "StopAsyncIteration": _CONTROL,
        "StopIteration": _CONTROL,
        "SystemExit": _END,
    },
    "asyncio": {"CancelledError": _CANCELLED},
    "concurrent": {"CancelledError": _CANCELLED},
    "trio": {"Cancelled": _END},
    "greenlet": {"GreenletExit": _END},
    "gevent": {"Timeout": _TIMER},
    "eventlet": {"Timeout": _TIMER},
    "func_timeout": {"FunctionTimedOut": Depends(_BY_TIMER, _by_thread)},
    "tenacity": {"TryAgain": _CONTROL},
    # task queues
    "celery": {"TaskPredicate": _CONTROL},
    "billiard": {
        "SoftTimeLimitExceeded": _TIMEOUT,
        "Terminated": _END,
        "TimeLimitExceeded": _TIMEOUT,
    },
    "dramatiq": {
        "Interrupt": _END,
        "RateLimitExceeded": _CONTROL,
        "Retry": _CONTROL,
        "SkipMessage": _CONTROL,
        "TimeLimitExceeded": _TIMEOUT,
    },
    "rq": {
        "BaseTimeoutException": _TIMEOUT,
        "ShutDownImminentException": _END,
        "StopRequested": _END,
    },
    "arq": {"Retry": _CONTROL, "RetryJob": _CONTROL},
    "huey": {
        "CancelExecution": _CONTROL,
        "RateLimitExceeded": _CONTROL,
        "RetryTask": _CONTROL,
        "TaskLockedException": _CONTROL,
    },
    # web frameworks
    "django": {
        "BadRequest": _REFUSAL,
        "Http404": _REFUSAL,
        "MultiPartParserError": _REFUSAL,
        "PermissionDenied": _REFUSAL,
        "RequestAborted": _CONTROL,
        "SuspiciousOperation": _REFUSAL,
        "UnreadablePostError": _CONTROL,
    },
    "rest_framework": {"APIException": _status_in("status_code")},
    "ninja": {"HttpError": _status_in("status_code"), "ValidationError": _REFUSAL},
    "werkzeug": {"HTTPException": _status_in("response.status_code", "code")},
    "starlette": {
        "ClientDisconnect": _CONTROL,
        "HTTPException": _status_in("status_code"),
        "WebSocketDisconnect": _CONTROL,
        "WebSocketException": _status_in("code"),
    },
    "fastapi": {"RequestValidationError": _REFUSAL, "WebSocketRequestValidationError": _REFUSAL},
    "litestar": {
        "HTTPException": _status_in("status_code"),
        "WebSocketDisconnect": _CONTROL,
        "WebSocketException": _status_in("code"),
    },
    "aiohttp": {"HTTPException": _status_in("status", "status_code")},
    "tornado": {"Finish": _CONTROL, "HTTPError": _status_in("status_code"), "Return": _CONTROL},
    "falcon": {
        "HTTPError": _status_in("status"),
        "HTTPStatus": _status_in("status"),
        "WebSocketDisconnected": _CONTROL,
    },
    "sanic": {"SanicException": _status_in("status_code")},
    "bottle": {"HTTPResponse": _status_in("status_code")},
    "pyramid": {"HTTPException": _status_in("status_code")},
    # commands
    "click": {"Abort": _CONTROL, "Exit": _CONTROL, "UsageError": _REFUSAL},
    "typer": {"Abort": _CONTROL, "Exit": _CONTROL, "UsageError": _REFUSAL},
}
"""By package and name of the class; subclasses mean what their nearest ancestor here means."""

# The real ones, whatever a metaclass says that these are.
_ancestors = type.__dict__["__mro__"].__get__
_module = type.__dict__["__module__"].__get__
_name = type.__dict__["__name__"].__get__
_members = BaseExceptionGroup.__dict__["exceptions"].__get__


def _rule_of(kind: type) -> Meaning | Depends | None:
    """Return what the table says of a class, or of its nearest ancestor there."""
    for ancestor in _ancestors(kind):
        module = _module(ancestor)
        rules = TABLE.get(module.partition(".")[0]) if isinstance(module, str) else None
        if rules is not None and (rule := rules.get(_name(ancestor))) is not None:
            return rule
    return None


def _meaning_of(error: BaseException) -> Meaning | None:
    rule = _rule_of(type(error))
    return rule.meaning(error) if isinstance(rule, Depends) else rule


def is_countable(kind: type[BaseException]) -> bool:
    """Return whether `failures=` and `ignore=` may name a class: not if it always ends the caller.

    `BaseException` includes such classes. `asyncio.CancelledError` may be named: it means the
    cancellations of a dependency, as a call whose own task was asked to end stays abandoned.
    """
    return kind is not BaseException and _rule_of(kind) is not Meaning.END


def _is_explicit(kind: type) -> bool:
    """Whether naming a class decides alone: a group, or in the table and of one meaning.

    Of a class whose exceptions have different statuses, each is judged by its own.
    """
    if issubclass(kind, BaseExceptionGroup):
        return True
    rule = _rule_of(kind)
    if isinstance(rule, Depends) and rule.text == _BY_STATUS:
        return rule.meaning(kind) is not None  # such as a class whose status is always 404
    return rule is not None


def _kinds(named: Errors | Ignore | None) -> tuple[type, ...]:
    if isinstance(named, tuple):
        return named
    return (named,) if isinstance(named, type) else ()


def _names(named: Errors | Ignore | None, error: BaseException) -> bool:
    """Whether `error` is named explicitly, not by a base as wide as `Exception`."""
    raised = type(error)
    return any(issubclass(raised, kind) and _is_explicit(kind) for kind in _kinds(named))


def _matches(kinds: tuple[type, ...], error: BaseException, meaning: Meaning | None) -> bool:
    """Whether `error` is one of these classes, or, by the table, stands for one."""
    if issubclass(type(error), kinds):
        return True
    if meaning is Meaning.TIMEOUT:
        return issubclass(TimeoutError, kinds)
    return meaning is Meaning.FAILURE and issubclass(Exception, kinds)


def _is_abandoned(
    error: BaseException, meaning: Meaning | None, failures: Errors, ignore: Ignore | None
) -> bool:
    if meaning is Meaning.END:
        return True
    if meaning is Meaning.OUTER:
        return not _names(failures, error) and not _names(ignore, error)
    if meaning is not None or issubclass(type(error), Exception):
        return False
    return not issubclass(type(error), _kinds(failures) + _kinds(ignore))


def _judge(
    error: BaseException, meaning: Meaning | None, failures: Errors, ignore: Ignore | None
) -> Outcome:
    """Judge an exception that is no group and does not end the caller."""
    if isinstance(ignore, (type, tuple)):
        if _matches(_kinds(ignore), error, meaning):
            return Outcome.IGNORED
    elif ignore is not None and ignore(error):
        return Outcome.IGNORED
    if meaning is Meaning.CONTROL or (meaning is Meaning.REFUSAL and ignore is None):
        is_failure = _names(failures, error)
    else:
        is_failure = _matches(_kinds(failures), error, meaning)
    if not is_failure:
        return Outcome.IGNORED
    timed_out = meaning is Meaning.TIMEOUT or meaning is Meaning.OUTER
    return Outcome.TIMEOUT if timed_out else Outcome.FAILURE


def _leaves(error: BaseException) -> Iterator[BaseException]:
    """Yield an exception, or those in a group and in its groups, each group once."""
    todo, seen = [error], set()
    while todo:
        found = todo.pop()
        if not issubclass(type(found), BaseExceptionGroup):
            yield found
        elif id(found) not in seen:
            seen.add(id(found))
            todo.extend(_members(found))


def outcome_of(error: BaseException, failures: Errors, ignore: Ignore | None) -> Outcome:
    """Say what an exception is: abandoned, ignored, a timeout or a failure.

    In this order, the first that holds:

    1. It ends the caller, or is no `Exception` and named nowhere: abandoned.
    2. `ignore` names it, or a predicate given as `ignore` says so: ignored.
    3. `failures` names a class of the table that it is: a failure.
    4. It is control flow, or, without an `ignore`, a refusal: ignored.
    5. `failures` names it or a base of it: a failure. Else ignored.

    A group is abandoned if one of its leaves is, else a failure if one of them is, else
    ignored. Only a class that is a group itself names a group as a whole.

    Raises:
        Exception: What a predicate given as `ignore` raises.

    Cost:
        Runs only for a call that failed: a look into a dictionary for each ancestor.
    """
    if not issubclass(type(error), BaseExceptionGroup):
        meaning = _meaning_of(error)
        if _is_abandoned(error, meaning, failures, ignore):
            return Outcome.ABANDONED
        return _judge(error, meaning, failures, ignore)
    leaves = [(leaf, _meaning_of(leaf)) for leaf in _leaves(error)]
    if any(_is_abandoned(leaf, meaning, failures, ignore) for leaf, meaning in leaves):
        return Outcome.ABANDONED
    if _names(ignore, error):
        return Outcome.IGNORED
    if _names(failures, error):
        return Outcome.FAILURE
    outcomes = {_judge(leaf, meaning, failures, ignore) for leaf, meaning in leaves}
    worst = (Outcome.FAILURE, Outcome.TIMEOUT, Outcome.IGNORED)
    return next(outcome for outcome in worst if outcome in outcomes)
