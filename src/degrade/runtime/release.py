"""The version of the library, looked up late: what tells it is slow to import.

The courier is the first to want it. A child could never finish an import that a thread of its
parent had begun, and would wait for it for good; so a fork waits for this one.
"""

from __future__ import annotations

import threading

from degrade.stores.forks import follow_forks

__all__ = ("version",)


class _Release:
    """What was looked up, and the lock that a fork takes."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._version: str | None = None
        follow_forks(self)

    def version(self) -> str:
        with self._lock:
            if self._version is None:
                from importlib.metadata import version as of  # noqa: PLC0415 - see above

                self._version = of("degrade")
            return self._version

    def before_fork(self) -> None:
        self._lock.acquire()

    def after_fork_in_parent(self) -> None:
        self._lock.release()

    def after_fork_in_child(self) -> None:
        self._lock = threading.Lock()


_release = _Release()


def version() -> str:
    """Return the version of the library.

    Cost:
        The first call imports what takes some milliseconds.
    """
    return _release.version()
