"""A connection on its way.

It is made in a thread of its own, since the resolution of a name obeys no timeout: with a dead
name server `socket.create_connection(..., timeout=0.2)` takes ten seconds and more. Whoever
needs the connection waits as long as it likes; the next one finds what became of it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from degrade.stores.redis.transport.connection import Connection

__all__ = ("PendingConnection",)


class PendingConnection:
    """One attempt to connect; it starts at once.

    Args:
        dial: Makes the connection; whatever it raises is raised again by `wait`.
    """

    def __init__(self, dial: Callable[[], Connection]) -> None:
        self._dial = dial
        self._done = threading.Event()
        self._lock = threading.Lock()
        self._wire: Connection | None = None
        self._error: Exception | None = None
        self._abandoned = False
        try:
            threading.Thread(target=self._run, name="degrade-connect", daemon=True).start()
        except RuntimeError:  # out of threads, or the interpreter ends: better slow than not at all
            self._run()

    def wait(self, within_s: float) -> Connection | None:
        """Return the connection, or None when it is still on its way after so many seconds."""
        if not self._done.wait(max(0.0, within_s)):
            return None
        if self._error is not None:
            raise self._error
        return self._wire

    def abandon(self) -> None:
        """Close the connection, now or when it is made."""
        with self._lock:
            self._abandoned = True
            wire, self._wire = self._wire, None
        if wire is not None:
            wire.close()

    def _run(self) -> None:
        wire = None
        try:
            wire = self._dial()
        except Exception as error:  # noqa: BLE001 - belongs to whoever waits, not to this thread
            self._error = error
        with self._lock:
            if not self._abandoned:
                self._wire, wire = wire, None
        if wire is not None:
            wire.close()
        self._done.set()
