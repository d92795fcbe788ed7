"""What a forked child does differently: new locks, a new identity, new threads at its first call."""

from __future__ import annotations

import os

from degrade.runtime import current_runtime
from degrade.runtime.calls import flag

__all__: tuple[str, ...] = ()


def _in_child() -> None:
    current_runtime.renew_lock()
    flag.after_fork()
    runtime = current_runtime.existing()
    if runtime is not None:
        runtime.reborn()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)
