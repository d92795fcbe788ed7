"""Forks: a child must use neither the locks nor the connections of its parent.

SQLite remembers in the process which file locks it holds, but a child does not inherit those
locks, so even a new connection in the child would trust locks that nobody holds. Therefore
connections are closed before a fork, and each side opens its own when it needs one.
"""

from __future__ import annotations

import os
import weakref
from typing import Protocol

__all__ = ("Forkable", "follow_forks")


class Forkable(Protocol):
    """What has to be told about forks; none of the methods may raise."""

    def before_fork(self) -> None:
        """Take the own lock, and close what a child must not inherit."""
        ...

    def after_fork_in_parent(self) -> None:
        """Give the lock back."""
        ...

    def after_fork_in_child(self) -> None:
        """Replace the lock; no other thread runs yet. May come without `before_fork`."""
        ...


_ALIVE: weakref.WeakSet[Forkable] = weakref.WeakSet()
_FORKING: list[Forkable] = []


def follow_forks(item: Forkable) -> None:
    """Tell `item` about every fork from now on, as long as it lives."""
    _ALIVE.add(item)


def _before() -> None:
    _FORKING[:] = list(_ALIVE)
    for item in _FORKING:
        item.before_fork()


def _in_parent() -> None:
    for item in _FORKING:
        item.after_fork_in_parent()
    _FORKING.clear()


def _in_child() -> None:
    _FORKING.clear()
    for item in list(_ALIVE):
        item.after_fork_in_child()


if hasattr(os, "register_at_fork"):  # absent on Windows, where nothing forks
    os.register_at_fork(before=_before, after_in_parent=_in_parent, after_in_child=_in_child)
