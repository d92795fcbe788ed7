"""What is ordered, read from the raw fields of the server, and what every process must obey.

Nothing here uses the code that it judges: the desk (the hash `holds`) is parsed anew.

    everywhere within one poll     a process that reaches the server obeys the desk one poll after
                                   its last change, and two polls after its own way was mended
    never undone                   of each flag, what a process obeys is never replaced by
                                   something older, and a hold never vanishes without a release
    an off leaves its end          who obeyed an `off` and does no more knows an end of it, before
                                   which no snapshot is served, whatever became of the server
    epochs only grow               on a server within an incarnation, and in every process
    late writes do no harm         what comes after its deadline changes nothing
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from degrade.core.enums import HoldMode, Mode
from degrade.core.records import ControlState, Hold, Release
from tests.simulation.network import Network
from tests.simulation.process import NAMESPACE, Process
from tests.simulation.server import SimServer
from tests.simulation.world import BEGIN_S, World

__all__ = ("POLL_S", "Order", "Truth")

POLL_S = 1.2
"""The longest time between two polls."""
_SLACK_S = 0.1
_DEADLINE_S = 2.0
_EDGE_S = 1.5
_HINTED_S = 1.0
"""How far the time of a change may be off that a process knows by a hint alone."""
_ROUNDED_S = 1e-5
"""A server tells microseconds."""

_HOLDS = f"degrade:{{{NAMESPACE}}}:holds".encode()
_CONTROL = f"degrade:{{{NAMESPACE}}}:control".encode()
_MARK = b"_incarnation"
_WORDS = {mode.value for mode in HoldMode}


@dataclass(frozen=True, slots=True)
class Order:
    """One hold, as calls obey it."""

    mode: str
    dial: float = 1.0
    until: float | None = None


Desk = dict[str, Order]


class Truth:
    """Watches the servers and the processes.

    Args:
        world: Where violations go.
        network: Which server is the primary.
        flags: The names of the flags; `*` stands for all of them.

    Attributes:
        desk: What is ordered.
        level: The ordered level, None without.
        changed: When the desk changed last, true seconds.
        moved: When the epoch, or the life of the server, changed last, true seconds.
    """

    def __init__(self, world: World, network: Network, flags: Iterable[str]) -> None:
        self._world = world
        self._network = network
        self._names = (*flags, "*")
        self._raw: tuple[dict[bytes, bytes], bytes | None] = ({}, None)
        self._lives: dict[int, tuple[bytes | None, int]] = {}
        self._written: dict[tuple[bytes, int], float] = {}
        self._applied: dict[str, tuple[str, int]] = {}
        self._versions: dict[tuple[str, str], tuple[float, int, bool]] = {}
        self._offs: dict[tuple[str, str], float] = {}
        self.desk: Desk = {}
        self.level: int | None = None
        self.changed = self.moved = float("-inf")
        network.touched = self.touched

    # ------------------------------------------------------------------ servers

    def touched(self, server: SimServer, late_s: float) -> None:
        """Look at a server after it did something."""
        values = server.keys.values
        holds, control = values.get(_HOLDS, {}), values.get(_CONTROL, {})
        life = (control.get(_MARK), int(control.get(b"epoch", b"0")))
        before = self._lives.get(id(server))
        moved = before != life
        if before is not None and moved:
            if before[0] == life[0] and life[1] < before[1]:
                self._world.violated(f"the epoch went from {before[1]} to {life[1]}")
            who = "server" if server is self._network.primary else "old server"
            self._world.note(who, "epoch {1} of {0}", *life)
            if late_s > _DEADLINE_S + _SLACK_S:
                self._world.violated(f"a write that came {late_s:.1f} s late changed the state")
        self._lives[id(server)] = life
        if life[0] is not None:
            self._written.setdefault((life[0], life[1]), BEGIN_S + self._world.now)
        if server is self._network.primary:
            if moved:
                self.moved = self._world.now
            self._look(holds, control, moved=moved)

    def lost(self) -> None:
        """Look at the primary after it lost something, or another one took its place."""
        primary = self._network.primary
        self._lives.pop(id(primary), None)
        self.touched(primary, 0.0)
        self.changed = self._world.now + POLL_S  # a store that went back is looked at twice

    def _look(self, holds: dict[bytes, bytes], control: dict[bytes, bytes], *, moved: bool) -> None:
        level = control.get(b"level")
        if self._raw[1] == level and self._raw[0] == holds and not moved:
            return
        self._raw = (dict(holds), level)
        before = (self.desk, self.level)
        self.desk = {
            name: order
            for name in self._names
            if (order := _order(name.encode(), holds, control)) is not None
        }
        self.level = None if level is None else json.loads(level)["level"]
        if (self.desk, self.level) != before:
            self.changed = self._world.now
            self._world.note("server", "desk {} level {}", self.desk, self.level)

    # ------------------------------------------------------------------ processes

    def check(self, process: Process) -> None:
        """Judge what a process obeys now."""
        state = process.runtime.orders.live
        if state is None:
            return
        self._check_growth(process, state)
        if self._must_agree(process):
            self._check_agreement(process, state)

    def _must_agree(self, process: Process) -> bool:
        """Whether a process had the time to learn what is on the desk."""
        since = self._network.reachable_since(process.name)
        if since is None or process.paused_until > self._world.now - 2 * POLL_S:
            return False
        now = self._world.now
        mended = max(since, process.free_at, process.began)
        return now - self.changed > POLL_S + _SLACK_S and now - mended > 2 * POLL_S + _SLACK_S

    def _check_agreement(self, process: Process, state: ControlState) -> None:
        known = {
            name: Order(hold.mode.value, hold.dial, hold.until)
            for name, hold in state.holds.items()
        }
        level = None if state.level is None else state.level.level
        if known != self.desk or level != self.level:
            self._world.violated(
                f"{process.name} obeys {known}, level {level}; ordered are {self.desk}, "
                f"level {self.level}, since {self._world.now - self.changed:.2f} s"
            )
            return
        for flag, watch in process.watches.items():
            self._check_mode(process, flag, watch.resolved.mode, watch.resolved.dial)

    def _check_mode(self, process: Process, flag: str, mode: Mode, dial: float) -> None:
        """Check that the calls of a process obey what is on the desk."""
        now = process.store.now()
        orders = [order for name in (flag, "*") if (order := self.desk.get(name)) is not None]
        ends = [order.until for order in orders if order.until is not None]
        if any(abs(end - now) < _EDGE_S for end in ends):
            return
        for order in orders:
            if order.until is not None and order.until < now:
                continue
            if order.mode == "off" and mode is not Mode.OFF:
                self._say(process, flag, order, mode)
            if order.mode == "normal" and mode is not Mode.NORMAL:
                self._say(process, flag, order, mode)
            if order.mode in ("off", "normal"):
                return
        least = max(
            (order.dial for order in orders if order.mode == "degraded"
             and (order.until is None or order.until > now)),
            default=0.0,
        )  # fmt: skip
        if mode is not Mode.OFF and dial < least:
            self._say(process, flag, orders[0], mode)

    def _say(self, process: Process, flag: str, order: Order, mode: Mode) -> None:
        self._world.violated(f"{process.name}: {flag} is {mode.value}, ordered is {order}")

    def _check_growth(self, process: Process, state: ControlState) -> None:
        known = self._applied.get(process.name)
        if known is not None and state.epoch < known[1]:
            self._world.violated(
                f"{process.name} went from epoch {known[1]} of {known[0]} "
                f"to {state.epoch} of {state.incarnation}"
            )
        if known == (state.incarnation, state.epoch):
            return
        self._applied[process.name] = (state.incarnation, state.epoch)
        self._world.note(process.name, "knows epoch {} of {:.6}", state.epoch, state.incarnation)
        for name in self._names:
            hold, release = state.holds.get(name), state.released.get(name)
            record = hold or release
            if record is not None and record.epoch > state.epoch:
                continue  # written by hand, and not adopted yet: only the desk has it
            key = (process.name, name)
            before = self._versions.get(key)
            if record is None:
                if before is not None and before[2]:
                    self._world.violated(f"{process.name}: the hold on {name} vanished")
                continue
            at, epoch = record.at, record.epoch
            if isinstance(record, Release) and record.of is not None:
                at, epoch = record.of  # nothing was ordered when it expired
            if before is not None and at < before[0] - _HINTED_S and epoch < before[1]:
                self._world.violated(
                    f"{process.name}: {name} went back to what was ordered at {at:.1f} "
                    f"in epoch {epoch}, from {before[0]:.1f} in epoch {before[1]}"
                )
            self._versions[key] = (at, epoch, hold is not None)
        self._check_ends(process, state)

    def _check_ends(self, process: Process, state: ControlState) -> None:
        for name in self._names:
            hold, end = state.holds.get(name), state.off_ended.get(name, 0.0)
            if hold is not None and hold.epoch > state.epoch:
                continue  # written by hand, and not adopted yet
            key = (process.name, name)
            if hold is not None and hold.mode is HoldMode.OFF:
                self._offs[key] = self._began(state.incarnation, hold)
                continue
            began = self._offs.pop(key, 0.0)
            if end < began - _ROUNDED_S:
                self._world.violated(
                    f"{process.name}: the off of {name} from {began:.1f} ended, but the last end "
                    f"that is known of one is {end:.1f}"
                )

    def _began(self, incarnation: str, hold: Hold) -> float:
        """Return since when a hold is in force, server time, also when it is known by a hint alone.

        What a hand wrote may be over when it is adopted: then until when it was.
        """
        written = self._written.get((incarnation.encode(), hold.epoch), hold.at)
        return min(hold.at, written, hold.at if hold.until is None else hold.until)

    # ------------------------------------------------------------------ the end

    def check_fleet(self, processes: Iterable[Process]) -> None:
        """Check that everybody agrees, when everything has been well for two polls."""
        mark, epoch = self._lives[id(self._network.primary)]
        for process in processes:
            state = process.runtime.orders.live
            if self._world.now - process.began < POLL_S:
                continue
            if state is None:
                self._world.violated(f"after all, {process.name} has not read the store")
                continue
            if self._world.now - self.changed > POLL_S + _SLACK_S:
                self._check_agreement(process, state)
            settled = self._world.now - self.moved > POLL_S + _SLACK_S
            if settled and (state.incarnation.encode(), state.epoch) != (mark, epoch):
                self._world.violated(
                    f"after all, {process.name} knows epoch {state.epoch} of {state.incarnation}; "
                    f"the server is at {epoch} of {mark!r}"
                )


def _order(name: bytes, holds: dict[bytes, bytes], control: dict[bytes, bytes]) -> Order | None:
    """Return what is ordered for a flag: nonsense on the desk leaves in force what was."""
    raw = holds.get(name)
    if raw is None:
        return None
    said = _said(raw)
    if said is None:
        stood = control.get(b"hold:" + name)
        return None if stood is None else _said(stood)
    return said


def _said(raw: bytes) -> Order | None:
    """Return the order that a field of the desk means; None for nonsense."""
    word = raw.decode("utf-8", "replace").strip().lower()
    if word in _WORDS:
        return Order(word)
    try:
        found: Any = json.loads(raw)
    except ValueError:
        return None
    if not isinstance(found, dict) or found.get("mode") not in _WORDS:
        return None
    return Order(found["mode"], float(found.get("dial", 1.0)), found.get("until"))
