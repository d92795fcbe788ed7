"""Telling an interrupt from an error of the code that was called.

A signal handler, or another thread through `PyThreadState_SetAsyncExc`, can raise an exception
between any two instructions of the library. That exception belongs to the caller: a handler that
catches `Exception` must not take it for an error of a rung, a key or a validator.
"""

from __future__ import annotations

import builtins
import inspect
from _signal import (  # type: ignore[import-not-found] # it has no types, and signal is slow
    NSIG,
    getsignal,
)
from pathlib import Path
from types import CodeType, TracebackType
from typing import Any, Never

__all__ = ("is_interrupt", "is_of_signal", "raise_as_it_is", "traceback_of")

_OWN_CODE = (f"{Path(__file__).parent}/", "<degrade wrapper")
_STANDARD = (f"{Path(inspect.__file__).parent}/", "<frozen ")
_EXPECTED = frozenset(kind for kind in vars(builtins).values() if isinstance(kind, type)) - {
    TimeoutError,
    InterruptedError,
}
"""What an instruction of the library may raise by itself. The two that are left out come from
waiting, which nothing on the call path does."""
_EXPECTED_PACKAGES = frozenset({"degrade", "pydantic", "pydantic_core", "pydantic_settings"})


_CONTEXT: Any = vars(BaseException)["__context__"]
_TRACEBACK: Any = vars(BaseException)["__traceback__"]
"""Read and written here, because a class may refuse or fake its attributes."""


def raise_as_it_is(error: BaseException) -> Never:
    """Raise an exception again that was caught elsewhere, with the context that it had."""
    context = _CONTEXT.__get__(error)
    try:
        raise error
    finally:
        _CONTEXT.__set__(error, context)
        del error


def traceback_of(error: BaseException) -> TracebackType | None:
    """Return the traceback of an exception, whatever its class makes of the attribute."""
    found: TracebackType | None = _TRACEBACK.__get__(error)
    return found


def is_interrupt(error: BaseException) -> bool:
    """Return whether an exception came from outside of the code that was called.

    It did if it passed through the frame of a signal handler, or if it was raised in a frame of
    this library, or of a standard module or pydantic called by it, and is of a class that no
    instruction of these raises.

    Cost:
        Microseconds, and linear in the depth of the traceback. For exceptions alone.
    """
    codes = _codes_of(error)
    files = (code.co_filename for code in reversed(codes))
    nearest = next((file for file in files if not _is_standard(file)), "")
    if nearest.startswith(_OWN_CODE) and not _is_expected(type(error)):
        return True
    return not set(codes).isdisjoint(_handlers())


def is_of_signal(error: BaseException) -> bool:
    """Return whether an exception passed through the frame of a signal handler."""
    return not set(_codes_of(error)).isdisjoint(_handlers())


def _is_standard(file: str) -> bool:
    return "/pydantic" in file or (file.startswith(_STANDARD) and "site-packages" not in file)


def _codes_of(error: BaseException) -> list[CodeType]:
    """Return the code of each frame of a traceback, the one that raised last."""
    trace, codes = traceback_of(error), []
    while trace is not None:
        codes.append(trace.tb_frame.f_code)
        trace = trace.tb_next
    return codes


def _is_expected(kind: type) -> bool:
    if kind in _EXPECTED:
        return True
    module = type.__dict__["__module__"].__get__(kind)
    return str(module).partition(".")[0] in _EXPECTED_PACKAGES


def _handlers() -> list[CodeType]:
    """Return the code of the functions that handle signals now."""
    handlers = filter(None, map(getsignal, range(1, NSIG)))
    codes = (getattr(getattr(each, "__func__", each), "__code__", None) for each in handlers)
    return [code for code in codes if isinstance(code, CodeType)]
