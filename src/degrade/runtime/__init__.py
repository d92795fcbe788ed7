"""The imperative shell: the only room with threads and locks.

calls            what runs in the thread of a caller; no I/O
monitoring       one flag: the queues of its calls, and what they add up to
orders           orders of humans, as this process obeys them
current_runtime  the runtime of this process
background       threads, and what they do
fleet            what a runtime has with a store that joins several hosts
joining          loads `fleet` when there is such a store
runtime          composes the parts: start, stop, fork, close
fork_hooks       what a forked child does differently
internal_errors  what went wrong inside the library
"""

import logging

from degrade.runtime import fork_hooks as _fork  # registers what a forked child does
from degrade.runtime.current_runtime import current
from degrade.runtime.runtime import Runtime

__all__ = ("Runtime", "current")

logging.getLogger("degrade").addHandler(logging.NullHandler())

del _fork
