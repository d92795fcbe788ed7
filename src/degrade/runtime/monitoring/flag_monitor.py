"""One flag under one runtime: its calls, its machine, its orders, and the gate they add up to.

    calls ──> recorder ──fold──> tally ──> windows ──> judge ──> machine ─┐
    operators, levels ────────────────────────────────────────────────────┴─> resolve ──> gate

Only the thread that ticks (and whoever holds the runtime's lock) writes here; calls read the
gate, append to queues and take permits.
"""

from __future__ import annotations

import functools
import math
import random
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from degrade.context import DegradedStatus, subject
from degrade.core import state_machine
from degrade.core.dial import is_degraded
from degrade.core.enums import CallClass, Mode, Phase, RungKind
from degrade.core.policy import SLA
from degrade.core.probe_permits import Permit, Permits, probe_limit
from degrade.core.resolve import Resolved, resolve
from degrade.core.state_machine import MachineState, Transition, at_rest, has_probe
from degrade.core.verdict import NEWEST_BUCKETS, Judge, Verdict
from degrade.runtime.monitoring.call_recorder import CallRecorder
from degrade.runtime.monitoring.fast_path import FastPath
from degrade.runtime.monitoring.flag_metrics import FlagMetrics
from degrade.runtime.monitoring.sla_counter import HUNG_AFTER_S, SlaCounter

if TYPE_CHECKING:
    from degrade.core.records import Hold, LevelOrder
    from degrade.runtime.calls.flag import Flag

__all__ = ("RUN", "SERVE", "FlagMonitor", "Route")


class Route:
    """A way that a call may take."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return self.name


RUN: Final = Route("RUN")
SERVE: Final = Route("SERVE")

_NORMAL: Final = Mode.NORMAL
_DEGRADED: Final = Mode.DEGRADED
_OFF: Final = Mode.OFF
_STEADY: Final = Phase.STEADY
_RECOVERING: Final = Phase.RECOVERING
"""Read once: a member of an enumeration is slow to read from its class, and a tick reads many."""
_PEAK_MEMORY_S = 60.0
_EPISODE_S = 600.0
_TELL_EVERY_S = 60.0
_ACTIVE_S = 30.0
"""How long after its last call a flag counts as called."""
_MOST_LOOKS = 10_000
"""How many calls a second look whether their result is due for a snapshot; of more, a share."""
_FLOOD_CALLS: Final = 500_000
"""Calls between two ticks above which calls take the slow way: about 50 MB wait to be counted."""
_EBB_CALLS: Final = 100_000
"""Calls between two ticks below which the short way is open again."""


@functools.lru_cache(maxsize=256)
def _judge_of(sla: SLA) -> Judge:
    """Return the judge of an SLA; flags with equal ones share it."""
    return Judge(sla)


class FlagMonitor:
    """Everything that one runtime knows of one flag.

    Args:
        flag: The declaration.
        now: Monotonic time, seconds.
        clock: Monotonic clock that calls read.
        wall: Wall clock.
        store_now: The store's time, which ends orders.
        rng: For draws of the dial and jitter.
    """

    __slots__ = (
        "_judge",
        "_last",
        "_peak",
        "_peak_before",
        "_peak_since",
        "_ring",
        "_rng",
        "_seen",
        "_store_now",
        "_tally",
        "_told_at",
        "_window",
        "asleep",
        "breach",
        "called_at",
        "changed_wall",
        "clock",
        "counters",
        "everyone",
        "flag",
        "flooded",
        "folded",
        "gate",
        "held_here",
        "hold",
        "inline",
        "lease_s",
        "level",
        "lines",
        "live",
        "may_probe",
        "off_ended",
        "permits",
        "recorder",
        "resolved",
        "state",
        "wall",
    )

    def __init__(
        self,
        flag: Flag,
        *,
        now: float,
        clock: Callable[[], float],
        wall: Callable[[], float],
        store_now: Callable[[], float],
        rng: random.Random,
    ) -> None:
        self.flag = flag
        self.clock = clock
        self._seen: dict[int, float] = {}
        self._told_at = -math.inf
        self.wall = wall
        self._store_now = store_now
        self._rng = rng
        self.gate = FastPath(flag.name)
        self.recorder = CallRecorder()
        self.counters = FlagMetrics()
        self.inline = self.asleep = self.flooded = False
        self._tally = SlaCounter(flag.sla, HUNG_AFTER_S)
        self.lease_s = HUNG_AFTER_S
        self.state: MachineState = state_machine.initial(flag.recovery, now)
        self.permits = Permits(1, now=now)
        self.hold: Hold | None = None
        self.everyone: Hold | None = None
        self.level: LevelOrder | None = None
        self.held_here = False
        self.may_probe = True
        self.live = 1
        self.off_ended = 0.0
        self.changed_wall = wall()
        self.resolved: Resolved = self.peek()
        self.breach: Verdict | None = None
        self.lines: tuple[float, tuple[str, ...]] = (-math.inf, ())
        self._tally.floor = now
        self.called_at = -math.inf
        self.folded = 0
        self._last = now
        self._peak = self._peak_before = 1.0
        self._peak_since = now
        self._judge: Judge | None = None
        if flag.sla is not None:
            self._judge = _judge_of(flag.sla)
            self._window, ring = self._judge.windows()
            same = ring.bucket_s == self._window.bucket_s
            self._ring = None if same else ring

    # ------------------------------------------------------------------ read by calls

    def admit(self) -> Route | Permit:
        """Decide for one call: run, serve from the ladder, or run as a probe with a permit."""
        resolved = self.resolved
        dial = resolved.dial
        if resolved.mode is _OFF:
            return SERVE
        if dial <= 0:
            return RUN
        probing = resolved.automatic and self.state.phase is _RECOVERING
        degraded = is_degraded(
            self.flag.name, subject(), dial, self._store_now(), self._rng.random()
        )
        if not probing:
            return SERVE if degraded else RUN
        leased = has_probe(self.state)
        if leased and not self.may_probe:  # the lease is another's now
            return SERVE
        now = self.clock()
        if degraded and not self.permits.due(now, 1 if leased else self.live):
            return SERVE
        return self.permits.take(now, self.lease_s) or SERVE

    def degraded_now(self) -> bool:
        """Whether the current subject gets degraded answers; takes no permit, records nothing."""
        resolved = self.resolved
        if resolved.mode is _OFF:
            return True
        return is_degraded(
            self.flag.name, subject(), resolved.dial, self._store_now(), self._rng.random()
        )

    def retry_after_s(self) -> float:
        """Return after how many seconds another try makes sense, at least one."""
        left_s = self.state.until - self.clock() if self.state.phase is Phase.DEGRADED else 0.0
        hold = self.hold or self.everyone
        if hold is not None and hold.until is not None:
            left_s = max(left_s, hold.until - self._store_now())
        return max(1.0, left_s)

    # ------------------------------------------------------------------ the tick

    @property
    def quiet(self) -> bool:
        """Whether no call runs or waits to be counted, and the machine needs no time to pass."""
        return self.recorder.empty and self._tally.idle and self.state.phase is _STEADY

    def active(self, now: float) -> bool:
        """Return whether calls began or ended in the last half minute, as folded last."""
        return now - self.called_at <= _ACTIVE_S

    def tries(self, now: float) -> bool:
        """Return whether calls come of which some may run: an order of a human may stop them all."""
        return self.active(now) and (self.resolved.automatic or self.resolved.dial < 1)

    def fold(self, now: float) -> tuple[Transition, ...]:
        """Take the calls off the queues, judge them, move the machine.

        Returns:
            The transitions that this led to, oldest first.
        """
        counters = self.counters
        answered = counters.drain(now)
        self.folded += answered
        tally = self._tally
        state = self.state
        steady = state.phase is _STEADY
        empty = self.recorder.empty
        if answered or not empty:
            self.called_at = now
        if steady and empty and tally.idle and not self.flooded:
            self._last = now
            return ()
        batch = self.recorder.drain()
        _, pairs, marked = batch
        successes = len(pairs) // 2
        self._stem(successes)
        counters.count(successes, marked, now)
        folded = tally.fold(
            batch,
            now=now,
            last=self._last,
            record=counters.record,
        )
        elapsed_s = now - self._last
        self._last = now
        calls = successes + len(marked)
        self.folded += calls
        if calls > elapsed_s * _MOST_LOOKS:
            self.gate.look_from = now + elapsed_s * (1 - elapsed_s * _MOST_LOOKS / calls)
        if steady:
            self._note_peak(now, elapsed_s, folded.busy_s)
        events: list[state_machine.Event] = []
        if (folded.good or folded.bad) and not at_rest(state, self.flag.recovery):
            events.append(
                state_machine.Calls(now=now, epoch=state.epoch, good=folded.good, bad=folded.bad)
            )
        if self._judge is not None and any(folded.counts):
            self._judge_calls(self._judge, folded.counts, events, now)
        if not steady:
            self.permits.expire(now)
            events.append(
                state_machine.Tick(now=now, draw=self._rng.random(), may_probe=self.may_probe)
            )
        return self.move(events, now) if events else ()

    def _stem(self, calls: int) -> None:
        """Slow calls down that come faster than they can be counted, before their queues grow."""
        flooded = calls > (_EBB_CALLS if self.flooded else _FLOOD_CALLS)
        if flooded is not self.flooded:
            self.flooded = flooded
            self._turn_gate()

    def _judge_calls(
        self, judge: Judge, counts: list[int], events: list[state_machine.Event], now: float
    ) -> None:
        self._window.add(now, counts)
        if self._ring is not None:
            self._ring.add(now, counts)
        totals = self._window.totals(now)
        if judge.quiet(totals):
            return
        verdict = judge.judge(totals, self._newest_calls(now))
        if verdict.breach:
            self.breach = verdict
            events.append(
                state_machine.Breach(now=now, cause=verdict.cause, draw=self._rng.random())
            )

    def verdict(self, now: float) -> Verdict | None:
        """Return what the windows say now; None without an SLA."""
        if self._judge is None:
            return None
        return self._judge.judge(self._window.totals(now), self._newest_calls(now))

    def _newest_calls(self, now: float) -> list[tuple[int, ...]]:
        ring = self._window if self._ring is None else self._ring
        return ring.suffixes(now, NEWEST_BUCKETS)

    def move(self, events: list[state_machine.Event], now: float) -> tuple[Transition, ...]:
        """Feed events to the machine and perform what concerns this flag alone."""
        found: list[Transition] = []
        for event in events:
            self.state, effects = state_machine.step(self.state, event, self.flag.recovery)
            for effect in effects:
                if isinstance(effect, Transition):
                    found.append(effect)
                elif self._judge is not None:
                    self._window.clear()
                    if self._ring is not None:
                        self._ring.clear()
        if found:
            if self.state.phase is _STEADY:
                self._seen.clear()
            self._tally.floor = now
            self.counters.moved(found)
            self.permits.restart(self._allowance(), now=now)
            self.settle()
        return tuple(found)

    def _note_peak(self, now: float, elapsed_s: float, busy_s: float) -> None:
        """Remember how many calls ran at once while steady, over the last minute or two."""
        if now - self._peak_since > _PEAK_MEMORY_S:
            self._peak_before, self._peak, self._peak_since = self._peak, 1.0, now
        if busy_s > self._peak * elapsed_s > 0:
            self._peak = busy_s / elapsed_s
        if not self._tally.idle:
            self._peak = max(self._peak, float(self._tally.in_flight))

    def _allowance(self) -> int:
        """Return how many probes may be in flight: the step's share of the steady peak."""
        return probe_limit(self.state.share, math.ceil(max(self._peak, self._peak_before)))

    def begin(self, state: MachineState, now: float) -> None:
        """Begin in a state that another process left; calls of before are not judged by it.

        What that process voted for, and the lease that it may hold, remain its own.
        """
        self.state = replace(state, voting=False)
        self.may_probe = not state.fleet
        self._tally.floor = now
        self.settle()

    def skip_pause(self, at: float) -> None:
        """Judge no call that was under way at a moment of a pause: its time means nothing."""
        self._tally.paused(at)

    def forget(self) -> None:
        """Let go of the calls that run: they end where their function is bound by then."""
        self.recorder.started.clear()
        self._tally.forget()

    def expect(self, deadline_s: float | None) -> None:
        """Take the deadline of one more function of this flag into account."""
        hung_after_s = deadline_s if deadline_s is not None else HUNG_AFTER_S
        self._tally.expect(hung_after_s)
        self.lease_s = hung_after_s

    # ------------------------------------------------------------------ the gate

    def peek(self) -> Resolved:
        """Return what orders and machine add up to now, without acting on it."""
        return resolve(
            hold=self.hold,
            everyone=self.everyone,
            level=self.level,
            flag_level=self.flag.level,
            machine=self.state,
            now_wall=self._store_now(),
        )

    def settle(self, resolved: Resolved | None = None) -> None:
        """Resolve orders and machine anew, unless it was just done, and write the gate."""
        wall_s = self.wall()
        before = self.resolved
        after = self.resolved = self.peek() if resolved is None else resolved
        if (before.mode, before.reason) != (after.mode, after.reason):
            self.changed_wall = wall_s
        gate = self.gate
        since = None if after.mode is _NORMAL else gate.stamp.since or wall_s
        gate.stamp = DegradedStatus(self.flag.name, after.reason, since)
        self._turn_gate()

    def rest(self, *, asleep: bool) -> None:
        """Let every call rouse the ticker while it sleeps, and only then."""
        self.asleep = asleep
        self._turn_gate()

    def _turn_gate(self) -> None:
        resolved, gate = self.resolved, self.gate
        probing = resolved.automatic and self.state.phase is _RECOVERING
        whole = resolved.mode is _DEGRADED and resolved.dial >= 1
        slow = self.inline or self.asleep or self.flooded  # inline, each may tick; asleep, rouse
        gate.still = whole and not probing and not slow
        gate.shut = slow or resolved.mode is not _NORMAL

    def is_news(self, error: BaseException) -> bool:
        """Return whether a failure is worth a line: the first of its type in this episode.

        An episode ends when the flag is STEADY again, or ten minutes without such a failure; at
        most one line a minute.
        """
        now, kind = self.clock(), id(type(error))
        is_new = now - self._seen.get(kind, -math.inf) > _EPISODE_S
        if is_new and now - self._told_at < _TELL_EVERY_S:
            return False
        self._seen[kind] = now
        if is_new:
            self._told_at = now
        return is_new

    def answered(self, rung: RungKind, age_s: float | None) -> None:
        """Record one degraded answer; called on the request path, one append."""
        self.counters.ends.append((rung, age_s))

    def ended(self, how: CallClass) -> None:
        """Record a call that ended with neither a full nor a degraded answer."""
        self.counters.ends.append(how)
