"""Processes that end with the one that started them, also when that one is killed.

`python -m examples.news_feed.bound PROGRAM ...` becomes a program that is no part of the example,
and whose life is bound like that of the others.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

__all__ = ("die_with_parent",)

_PR_SET_PDEATHSIG = 1


def die_with_parent() -> None:
    """Ask Linux to kill this process when the one that started it ends, however it ends."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL))


if __name__ == "__main__":
    die_with_parent()
    os.execv(sys.argv[1], sys.argv[1:])  # noqa: S606 - what it is told to become
