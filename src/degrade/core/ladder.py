"""Which rungs a call may walk.

    mode       rungs
    normal     all, in order (a failed call is answered from the ladder)
    degraded   all, in order
    off        the last one, if it is static; else none

`off` says that the content is wrong: nothing that was computed may be served, so only a rung
that computes nothing is left.
"""

from __future__ import annotations

from collections.abc import Sequence

from degrade.core.enums import Mode, RungKind

__all__ = ("STATIC", "choose")

STATIC: frozenset[RungKind] = frozenset({RungKind.DEFAULT, RungKind.OMIT})
"""The kinds that serve nothing the function ever computed."""


def choose(kinds: Sequence[RungKind], mode: Mode) -> tuple[int, ...]:
    """Return the positions of the rungs to try, in order.

    Args:
        kinds: The kinds of the flag's rungs, best first.
        mode: The mode of the call.

    Cost:
        Linear in the rungs; worth keeping per flag and mode.
    """
    if mode is not Mode.OFF:
        return tuple(range(len(kinds)))
    last = len(kinds) - 1
    return (last,) if kinds and kinds[last] in STATIC else ()
