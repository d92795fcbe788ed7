"""The runtime of this process: one slot, and the composer that fills it when it is empty."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from degrade.errors import ConfigError
from degrade.runtime.calls.registry import registry

if TYPE_CHECKING:
    from degrade.runtime.runtime import Runtime

__all__ = ("compose_with", "current", "enter", "existing", "leave", "renew_lock", "swap")


class _Slot:
    """What the process has; one object, so that a forked child can renew its lock."""

    __slots__ = ("composer", "lock", "runtime")

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.runtime: Runtime | None = None
        self.composer: Callable[[], Runtime] | None = None


_slot = _Slot()


def compose_with(composer: Callable[[], Runtime]) -> None:
    """Set what makes the runtime when one is needed and none was configured."""
    _slot.composer = composer


def current() -> Runtime:
    """Return the runtime of this process, made from the settings when there is none yet.

    Raises:
        ConfigError: Nothing can make one (code `bad-setting`).
    """
    found = _slot.runtime
    if found is not None:
        return found
    with _slot.lock:
        if _slot.runtime is None:
            if _slot.composer is None:
                raise ConfigError("no runtime is configured; call degrade.configure() first")
            swap(_slot.composer())
        return current()


def swap(runtime: Runtime | None) -> Runtime | None:
    """Put another runtime in the slot, bind every flag to it, and return the one before."""
    with _slot.lock:
        before, _slot.runtime = _slot.runtime, runtime
        if before is not None:
            before.let_go()
        if runtime is not None:
            runtime.adopt_all()
        return before


def enter(runtime: Runtime) -> Runtime | None:
    """Swap, and let names that are declared from now on belong to the runtime."""
    registry.open(runtime)
    return swap(runtime)


def leave(runtime: Runtime, before: Runtime | None) -> None:
    """Swap back, and forget the names that belong to the runtime."""
    registry.close(runtime)
    swap(before)


def existing() -> Runtime | None:
    """Return the runtime without making one."""
    return _slot.runtime


def renew_lock() -> None:
    """Replace the lock after a fork: another thread of the parent may have held it."""
    _slot.lock = threading.RLock()
