"""What went wrong inside the library: counted, and told at most once a minute a kind."""

from __future__ import annotations

import logging
import sys
from collections import Counter

from degrade.clock import Clock
from degrade.errors import DegradeError
from degrade.interrupts import is_of_signal

__all__ = ("InternalErrors",)

log = logging.getLogger("degrade.runtime")

_TELL_EVERY_S = 60.0


class InternalErrors:
    """Counts troubles by kind; a trouble never reaches a guarded call.

    Attributes:
        counts: How often each kind happened.
    """

    def __init__(self, clock: Clock) -> None:
        self.counts: Counter[str] = Counter()
        self._clock = clock
        self._told: dict[str, float] = {}

    def note(self, what: str, *, tell: bool = True) -> None:
        """Count a trouble, with the exception being handled as its cause.

        Args:
            what: Its kind.
            tell: Whether it is worth a line in the log.

        Raises:
            BaseException: It is no trouble of ours, but one that a signal handler raised for the
                caller, whose thread does this work where no other can.
        """
        error = sys.exception()
        if error is not None and is_of_signal(error):
            raise error
        self.counts[what] += 1
        now = self._clock.monotonic()
        if tell and now - self._told.get(what, -_TELL_EVERY_S) >= _TELL_EVERY_S:
            self._told[what] = now
            explained = isinstance(error, DegradeError)  # its message says what to do
            log.warning(
                "%s failed (%d times so far); the last known state stays in force%s",
                what,
                self.counts[what],
                f": {error}" if explained else "",
                exc_info=None if explained else error,
            )
