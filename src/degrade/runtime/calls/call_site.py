"""Where a guarded call stood when an exception met it: in the function, or in our instructions.

The traceback of an exception that a wrapper or the driver catches begins with their own frame. Of
a function of Python's, its frame comes next; where it does not, the exception was raised between
the instructions of that first frame. In a wrapper, the line says how far the call had got.
"""

from __future__ import annotations

from collections.abc import Callable
from types import CodeType, FunctionType, TracebackType
from typing import Any

from degrade.interrupts import traceback_of

__all__ = ("CallSite",)


class CallSite:
    """The place of one guarded function in its wrapper.

    Args:
        fn: The function.
        is_direct: It is called by the wrapper or the driver itself, not by a deadline's task.
    """

    __slots__ = ("_call_line", "_end_line", "_fn_code", "_wrapper_code", "is_direct")

    def __init__(self, fn: Callable[..., Any], *, is_direct: bool) -> None:
        plain = getattr(fn, "__func__", fn)
        self._fn_code = plain.__code__ if type(plain) is FunctionType else None
        self.is_direct = is_direct
        self.place(None, 0, 0)

    def place(self, wrapper_code: CodeType | None, call_line: int, end_line: int) -> None:
        """Set the wrapper's code, and its lines that call the function and record the end."""
        self._wrapper_code = wrapper_code
        self._call_line = call_line
        self._end_line = end_line

    def was_recorded(self, error: BaseException) -> bool:
        """Whether an exception came after the wrapper had recorded the end of the call."""
        trace = traceback_of(error)
        return (
            trace is not None
            and trace.tb_frame.f_code is self._wrapper_code
            and trace.tb_lineno == self._end_line
        )

    def was_interrupted(self, error: BaseException) -> bool:
        """Whether an exception met our own instructions, and not those of the function."""
        trace = traceback_of(error)
        if trace is None:
            return False
        if trace.tb_frame.f_code is self._wrapper_code and trace.tb_lineno != self._call_line:
            return True
        if self._fn_code is None or not self.is_direct:
            return False
        return not _is_of(self._fn_code, trace.tb_next)


def _is_of(code: CodeType, trace: TracebackType | None) -> bool:
    """Whether a traceback goes on in a frame of a function; a debugger may have copied its code."""
    if trace is None:
        return False
    found = trace.tb_frame.f_code
    return (found.co_qualname, found.co_filename) == (code.co_qualname, code.co_filename)
