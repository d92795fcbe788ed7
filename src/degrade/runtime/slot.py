"""The runtime of this process: one slot, and the composer that fills it when it is empty."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from degrade.errors import ConfigError

if TYPE_CHECKING:
    from degrade.runtime.runtime import Runtime

__all__ = ("compose_with", "current", "swap")

_lock = threading.RLock()
_runtime: Runtime | None = None
_composer: Callable[[], Runtime] | None = None


def compose_with(composer: Callable[[], Runtime]) -> None:
    """Set what makes the runtime when one is needed and none was configured."""
    global _composer
    _composer = composer


def current() -> Runtime:
    """Return the runtime of this process, made from the settings when there is none yet.

    Raises:
        ConfigError: Nothing can make one (code `bad-setting`).
    """
    found = _runtime
    if found is not None:
        return found
    with _lock:
        if _runtime is None:
            if _composer is None:
                raise ConfigError("no runtime is configured; call degrade.configure() first")
            swap(_composer())
        return current()


def swap(runtime: Runtime | None) -> Runtime | None:
    """Put another runtime in the slot, bind every flag to it, and return the one before."""
    global _runtime
    with _lock:
        before, _runtime = _runtime, runtime
        if runtime is not None:
            runtime.adopt_all()
        return before


def existing() -> Runtime | None:
    """Return the runtime without making one."""
    return _runtime


def renew_lock() -> None:
    """Replace the lock after a fork: another thread of the parent may have held it."""
    global _lock
    _lock = threading.RLock()
