"""What is slow the first time, done by the I/O worker under a lock that a fork waits for.

A child could never finish an import that a thread of its parent had begun, nor get the lock that
pydantic holds for the whole process while it builds a model, and would wait for them for good.
"""

from __future__ import annotations

import threading

from degrade.core.records import declared_models
from degrade.forks import follow_forks

__all__ = ("build_models", "version")


class _Firsts:
    """What was looked up, and the lock that a fork takes."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.version: str | None = None
        follow_forks(self)

    def before_fork(self) -> None:
        self.lock.acquire()

    def after_fork_in_parent(self) -> None:
        self.lock.release()

    def after_fork_in_child(self) -> None:
        self.lock = threading.Lock()


_firsts = _Firsts()


def version() -> str:
    """Return the version of the library.

    Cost:
        The first call imports what takes some milliseconds.
    """
    with _firsts.lock:
        if _firsts.version is None:
            from importlib.metadata import version as of  # noqa: PLC0415 - see above

            _firsts.version = of("degrade")
        return _firsts.version


def build_models() -> None:
    """Build the library's models that were only declared so far.

    Cost:
        About 20 ms the first time.
    """
    for model in declared_models():
        with _firsts.lock:
            model.model_rebuild()
