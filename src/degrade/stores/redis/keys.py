"""The names of the keys; `docs/reference/redis.md` documents them as a public protocol.

The braces are literal. They are a hash tag: all control keys of a namespace lie in one slot of
a cluster, so that one script can change them together. Snapshots and sketches have none, and
spread over the slots.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ("Keys",)


@dataclass(frozen=True, slots=True)
class Keys:
    """The keys of one namespace."""

    namespace: str

    @property
    def holds(self) -> str:
        """Hash: flag (or `*`) to hold, and `_incarnation`."""
        return self._control("holds")

    @property
    def control(self) -> str:
        """Hash: `_incarnation`, `epoch`, and everything else that belongs to the state."""
        return self._control("control")

    @property
    def flags(self) -> str:
        """Hash: flag to what was declared."""
        return self._control("flags")

    @property
    def votes(self) -> str:
        """Hash: `flag instance` (one space) to vote."""
        return self._control("votes")

    @property
    def instances(self) -> str:
        """Hash: instance to its newest heartbeat."""
        return self._control("instances")

    @property
    def active(self) -> str:
        """Hash: instance to the flags whose calls it judges, space between."""
        return self._control("active")

    @property
    def deadlines(self) -> str:
        """Sorted set: field of `instances` or `votes` to when it ends, in server time."""
        return self._control("deadlines")

    @property
    def events(self) -> str:
        """Stream: the log; the number of an event is the first part of its id."""
        return self._control("events")

    @property
    def hint(self) -> str:
        """Channel: what changed, in at most 200 bytes."""
        return self._control("hint")

    def lease(self, name: str) -> str:
        """String: who holds a lease, with its fencing token."""
        return self._control(f"lease:{name}")

    def snapshot(self, flag: str, key_hash: str) -> str:
        """String: one snapshot."""
        return f"degrade:snap:{self.namespace}:{flag}:{key_hash}"

    def _control(self, name: str) -> str:
        return f"degrade:{{{self.namespace}}}:{name}"
