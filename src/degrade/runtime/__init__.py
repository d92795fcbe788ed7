"""The imperative shell: the only room with threads and locks."""

import logging

from degrade.runtime import fork_hooks as _fork  # registers what a forked child does
from degrade.runtime.current_runtime import current
from degrade.runtime.runtime import Runtime

__all__ = ("Runtime", "current")

logging.getLogger("degrade").addHandler(logging.NullHandler())

del _fork
