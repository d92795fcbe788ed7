"""The two streams of a command, which go on whatever becomes of them.

A stream may be closed (`>&-`), full, a pipe without a reader, or of an encoding that has no word
for what is written. None of it stops a command: an order is carried out, an arrival is waited for,
and the exit code says what became of it.
"""

from __future__ import annotations

import errno
import io
import os
import sys
from typing import TextIO

from degrade.cli.terminal_text import clean

__all__ = ("Output", "take_streams")


class Output(io.TextIOBase):
    """A stream that remembers the first failure, and drops what comes after it.

    Args:
        stream: Where it writes; None when that is closed.
        plain: Nothing in it may command a terminal: no colours are written to it.

    Attributes:
        failure: Why it cannot be written; None while it can.
        ordered: An order was carried out, of which it shall tell.
    """

    def __init__(self, stream: TextIO | None, *, plain: bool = False) -> None:
        self._stream = stream
        self._plain = plain
        self.failure = OSError(errno.EBADF, "it is closed") if stream is None else None
        self.ordered = False
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")

    def write(self, text: str) -> int:
        if self._plain:
            text = "\n".join(map(clean, text.split("\n")))
        if self._stream is not None and self.failure is None:
            try:
                self._stream.write(text)
            except OSError as error:
                self._fail(error)
        return len(text)

    def flush(self) -> None:
        if self._stream is not None and self.failure is None:
            try:
                self._stream.flush()
            except OSError as error:
                self._fail(error)

    def isatty(self) -> bool:
        return self._stream is not None and self._stream.isatty()

    def fileno(self) -> int:
        return io.TextIOBase.fileno(self) if self._stream is None else self._stream.fileno()

    def writable(self) -> bool:
        return True

    @property
    def encoding(self) -> str:  # type: ignore[override] # typeshed has it writable, io has not
        """The encoding of the stream, which decides what can be shown."""
        return getattr(self._stream, "encoding", None) or "utf-8"

    def _fail(self, error: OSError) -> None:
        self.failure = error
        if isinstance(self._stream, io.TextIOWrapper):  # what it still has goes nowhere
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())
            os.close(nowhere)


def take_streams() -> Output:
    """Put both streams of the process in the place of `sys.stdout` and `sys.stderr`.

    Returns:
        That of the standard output.
    """
    nowhere = os.open(os.devnull, os.O_RDWR)
    while nowhere <= 2:  # a store must not get the number of a stream that is closed
        nowhere = os.open(os.devnull, os.O_RDWR)
    os.close(nowhere)
    output = Output(sys.stdout)
    sys.stdout, sys.stderr = output, Output(sys.stderr, plain=True)
    return output
