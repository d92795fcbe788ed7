"""The imperative shell: the only room with threads and locks."""

from degrade.runtime import fork as _fork  # registers what a forked child does
from degrade.runtime.runtime import Runtime
from degrade.runtime.slot import current

__all__ = ("Runtime", "current")

del _fork
