"""The machine of one flag: what the automation thinks, moved by events, one step at a time.

    STEADY --breach--> DEGRADED --cooldown over--> RECOVERING (1 % 5 % 25 % 50 % 100 %) --> STEADY
                          ^                             |
                          +-------- failed step --------+

    event            STEADY              DEGRADED                  RECOVERING
    Breach           DEGRADED, a flap    ignored if nothing runs,  DEGRADED, longer cooldown
                                         else DEGRADED at 0
    FleetBreach      DEGRADED, a flap    joins the fleet, at 0     DEGRADED, present cooldown
    FleetRecovering  -                   of the fleet: first step  leaves the fleet
                                         after the delay
    Calls            decay the cooldown  ignored                   counted for the step
    Tick             -                   cooldown over: first      step kept: next one, or STEADY;
                                         step, if it may           2 bad in the first: DEGRADED
    HoldEnded        RECOVERING, or with a delay DEGRADED first, at the share that ran
    Cleared          -                   STEADY                    STEADY

A step is kept with `step_time` over and `step_calls` good, or, at low traffic, 3 good after ten
times `step_time`. It fails on a breach; the first one also on 2 bad calls before `step_calls`
good ones. Failing the first multiplies the cooldown by 1.5 (to at most 30 s), failing a later
one by 2 (to at most `max_cooldown`). Every 1,000 good calls in one stretch of STEADY halve it,
down to `cooldown`. Past `flaps_per_hour` breaches from STEADY within an hour, a cooldown lasts
until the oldest of them is an hour old.

A verdict of the fleet makes the machine one *of the fleet*, with two differences. Its first step
begins only when it may: it belongs to the holder of the probe lease. And once that step is kept,
by whomever, or the verdict is over, the machine leaves the fleet and recovers by itself, through
all steps, the first one included, once its cooldown and a delay drawn at random, which spreads the
fleet, are over. The end of an order ends it, too: then a human says when to begin.

The machine *votes* from a breach of its own calls until it is STEADY. The end of an order neither
begins a vote nor withdraws one: it is no evidence. Neither is a fleet verdict, or it would feed on
itself.

Invariants:
- STEADY runs every call; DEGRADED after a breach runs none; a step never runs none.
- `epoch` grows by one with every transition, each recovery step included, and each one asks
  for an empty window. Calls of another epoch change nothing.
- A breach is never refused while calls run, whatever the flap budget says.
- Nobody leaves DEGRADED before `until`, but by an order's end or a release at once.
- A cooldown is never shorter than stated: jitter only adds, at most a fifth of it, so that
  the instances of a fleet do not come back together.
- A cap never lowers a cooldown already reached; only good calls do, never the clock.
- The end of an order runs no fewer calls than before it, and not all of them unless all ran.
- STEADY is neither of the fleet nor votes. Of the fleet, DEGRADED runs no call, and RECOVERING
  is in the first step.
- It cannot get stuck: where it may probe, good calls lead to STEADY from every state.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final, Literal

from degrade.core.enums import Phase
from degrade.core.policy import Recovery
from degrade.core.state_machine_events import (
    Breach,
    Calls,
    Cleared,
    ClearWindow,
    Effect,
    Event,
    FleetBreach,
    FleetRecovering,
    HoldEnded,
    Tick,
    Transition,
)
from degrade.units import ratio_text

__all__ = (
    "Breach",
    "Calls",
    "ClearWindow",
    "Cleared",
    "Effect",
    "Event",
    "FleetBreach",
    "FleetRecovering",
    "HoldEnded",
    "MachineState",
    "Tick",
    "Transition",
    "at_rest",
    "has_probe",
    "initial",
    "is_hopeful",
    "resumed",
    "step",
    "wants_probe",
)

FIRST_STEP_BAD = 2
FIRST_STEP_FACTOR = 1.5
FIRST_STEP_CAP_S = 30.0
LATER_STEP_FACTOR = 2.0
LOW_TRAFFIC_GOOD = 3
LOW_TRAFFIC_TIMES = 10
HALVING_CALLS = 1_000
FLAP_SPAN_S = 3_600.0
DOUBT_S = 15.0
"""How long what spoke against a flag counts while it is tried anew; as long as a fleet whose store
has begun another life comes to no verdict, which therefore never rests on older evidence."""
JITTER = 0.2
ONE_STEP_ENTRY = 0.01
"""Share after an order when the policy has no step below 1, which would be all at once."""
_STEADY: Final = Phase.STEADY  # reading it from its class takes as long as the rest of `at_rest`
_EPSILON = 1e-9
"""Shares closer than this are the same: `1 - 0.95` is not quite `0.05`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineState:
    """What the automation thinks of a flag; times are monotonic seconds.

    Attributes:
        phase: The phase.
        since: When the phase was entered.
        epoch: Raised by every transition, each recovery step included.
        share: Share of calls that run the function, as far as the machine is concerned.
        good, bad: Calls of this recovery step; the first step counts no good call that came
            after its second bad one.
        cooldown_s: The next cooldown, before jitter.
        until: End of the running cooldown or delay; outside of DEGRADED when it ended.
        step_since: When the recovery step began.
        flaps: When STEADY was left by a breach, oldest first, at the newest one within an hour.
        decay: Good calls counted toward the next halving of `cooldown_s`.
        cause: Why the flag is not STEADY, one line; empty in STEADY.
        fleet: A verdict of the fleet degraded it or joined in, and the first step was not kept yet.
        voting: Its own calls were breached, and it has not been STEADY since.
        bad_at: When its calls spoke against it last: a breach, or a bad call of a recovery step.
    """

    phase: Phase
    since: float
    epoch: int
    share: float
    good: int
    bad: int
    cooldown_s: float
    until: float
    step_since: float
    flaps: tuple[float, ...]
    decay: int
    cause: str
    fleet: bool = False
    voting: bool = False
    bad_at: float = float("-inf")


Step = tuple[MachineState, tuple[Effect, ...]]
Probe = Literal["kept", "failed"] | None


def initial(policy: Recovery, now: float) -> MachineState:
    """Return the state of a flag that was never seen: STEADY, epoch 0."""
    return MachineState(
        phase=Phase.STEADY, since=now, epoch=0, share=1.0, good=0, bad=0,
        cooldown_s=policy.cooldown, until=now, step_since=now, flaps=(), decay=0, cause="",
    )  # fmt: skip


def resumed(
    policy: Recovery,
    now: float,
    *,
    share: float,
    left_s: float,
    cooldown_s: float,
    cause: str,
    draw: float,
) -> MachineState:
    """Return the state of a flag that was not steady when its process was last heard of.

    Args:
        policy: How the flag comes back.
        now: Monotonic seconds.
        share: Share of calls that may run until the first step, 0 to 1.
        left_s: What is left of the cooldown, seconds; at most `max_cooldown` counts.
        cooldown_s: The next cooldown; kept between `cooldown` and `max_cooldown`.
        cause: Why it was not steady, one line.
        draw: A random number from 0 to below 1, for the jitter: many processes begin at once.
    """
    until = now + min(max(left_s, 0.0), policy.max_cooldown) + JITTER * draw * policy.cooldown
    return replace(
        initial(policy, now),
        phase=Phase.DEGRADED,
        epoch=1,
        share=share,
        cooldown_s=min(max(cooldown_s, policy.cooldown), policy.max_cooldown),
        until=until,
        cause=cause,
    )


def at_rest(state: MachineState, policy: Recovery) -> bool:
    """Return whether good and bad calls would change nothing: STEADY, with nothing to decay."""
    return state.phase is _STEADY and state.cooldown_s <= policy.cooldown


def wants_probe(state: MachineState, now: float) -> bool:
    """Return whether only the probe lease is missing for the first step of a fleet verdict."""
    return state.fleet and state.phase is Phase.DEGRADED and now >= state.until


def has_probe(state: MachineState) -> bool:
    """Return whether the first step of a fleet verdict is under way here: keep its lease."""
    return state.fleet and state.phase is Phase.RECOVERING


def is_hopeful(state: MachineState, policy: Recovery, now: float) -> bool:
    """Return whether only the past still speaks against the flag.

    It is RECOVERING beyond the first step, or without a bad call for `DOUBT_S`.
    """
    if state.phase is not Phase.RECOVERING:
        return False
    return not _is_first(state, policy) or now - state.bad_at > DOUBT_S


def step(state: MachineState, event: Event, policy: Recovery) -> Step:
    """Return the state after an event, and the effects to perform outside of every lock.

    Args:
        state: The state so far; it is not changed.
        event: What happened; see the table of this module.
        policy: How the flag comes back.

    Returns:
        The next state, the same object if nothing changed, and the effects: none, or one
        `Transition` and one `ClearWindow`.

    Guarantees:
        Depends on its arguments alone and never raises for times that do not go backwards.

    Cost:
        Constant. `Calls` and `Tick` in STEADY with nothing to decay allocate nothing.
    """
    if isinstance(event, Calls):
        return _counted(state, event, policy), ()
    if isinstance(event, Tick):
        return _ticked(state, event, policy)
    if isinstance(event, Breach):
        return _breached(state, event, policy)
    if isinstance(event, FleetBreach):
        return _fleet_breached(state, event, policy)
    if isinstance(event, FleetRecovering):
        return _fleet_recovering(state, event), ()
    if isinstance(event, HoldEnded):
        return _hold_ended(state, event, policy)
    if state.phase is Phase.STEADY:
        return state, ()
    return _moved(state, Phase.STEADY, now=event.now, share=1.0, why=event.cause, cause="")


def _counted(state: MachineState, event: Calls, policy: Recovery) -> MachineState:
    if event.epoch != state.epoch:
        return state
    if state.phase is Phase.STEADY and state.cooldown_s > policy.cooldown:
        halvings, decay = divmod(state.decay + event.good, HALVING_CALLS)
        cooldown_s = max(policy.cooldown, state.cooldown_s * 0.5**halvings)
        return replace(state, cooldown_s=cooldown_s, decay=decay)
    if state.phase is not Phase.RECOVERING:
        return state
    good, bad = state.good + event.good, state.bad + event.bad
    if _is_first(state, policy) and state.good < policy.step_calls and bad >= FIRST_STEP_BAD:
        # The calls of one batch have no order: take the good ones expected before the second
        # bad one. Nothing is added once that one was seen, so the step stays failed.
        missing = max(0, FIRST_STEP_BAD - state.bad)
        before = state.good + event.good * missing / (event.bad + 1)
        good = int(before) if before < policy.step_calls else good
    bad_at = event.now if event.bad else state.bad_at
    return replace(state, good=good, bad=bad, bad_at=bad_at)


def _ticked(state: MachineState, event: Tick, policy: Recovery) -> Step:
    now = event.now
    if state.phase is Phase.STEADY:
        return state, ()
    if state.phase is Phase.DEGRADED:
        if now < state.until or (state.fleet and not event.may_probe):
            return state, ()
        share = _entry(state.share, policy)
        return _moved(state, Phase.RECOVERING, now=now, share=share, why="cooldown over")
    first = _is_first(state, policy)
    if first and state.bad >= FIRST_STEP_BAD and state.good < policy.step_calls:
        cause = f"{state.bad} bad calls in the first step"
        return _failed(state, now=now, draw=event.draw, cause=cause, policy=policy)
    lasted_s = now - state.step_since
    kept = lasted_s >= policy.step_time and state.good >= policy.step_calls
    kept_slowly = (
        lasted_s >= LOW_TRAFFIC_TIMES * policy.step_time and state.good >= LOW_TRAFFIC_GOOD
    )
    if not (kept or kept_slowly):
        return state, ()
    why = f"step of {ratio_text(state.share)} kept"
    probe: Probe = "kept" if state.fleet else None
    for share in policy.steps:
        if share > state.share + _EPSILON:
            return _moved(state, Phase.RECOVERING, now=now, share=share, why=why, probe=probe)
    return _moved(state, Phase.STEADY, now=now, share=1.0, why=why, cause="", probe=probe)


def _breached(state: MachineState, event: Breach, policy: Recovery) -> Step:
    if state.phase is Phase.DEGRADED and state.share <= 0:
        return state, ()
    now, cause = event.now, f"breach: {event.cause}"
    voter = replace(state, voting=True, flaps=_flaps(state, now), bad_at=now)
    end = _failed if state.phase is Phase.RECOVERING else _degraded
    return end(voter, now=now, draw=event.draw, cause=cause, policy=policy)


def _fleet_breached(state: MachineState, event: FleetBreach, policy: Recovery) -> Step:
    if state.phase is Phase.DEGRADED and state.share <= 0:
        return (state if state.fleet else replace(state, fleet=True)), ()
    now, cause = event.now, f"fleet breach: {event.cause}"
    member = replace(state, fleet=True, flaps=_flaps(state, now))
    return _degraded(member, now=now, draw=event.draw, cause=cause, policy=policy)


def _fleet_recovering(state: MachineState, event: FleetRecovering) -> MachineState:
    if not state.fleet:
        return state
    if state.phase is Phase.RECOVERING:
        return replace(state, fleet=False)
    return replace(state, fleet=False, until=max(state.until, event.now + event.delay_s))


def _hold_ended(state: MachineState, event: HoldEnded, policy: Recovery) -> Step:
    state = replace(state, fleet=False)
    now, cause = event.now, event.cause
    floor = 0.0 if len(policy.steps) > 1 else ONE_STEP_ENTRY
    share = max(event.running_share, floor)
    if event.delay_s > 0:
        until = now + event.delay_s
        return _moved(
            state, Phase.DEGRADED, now=now, share=share, why=cause, cause=cause, until=until
        )
    share = _entry(share, policy)
    return _moved(state, Phase.RECOVERING, now=now, share=share, why=cause, cause=cause)


def _is_first(state: MachineState, policy: Recovery) -> bool:
    return state.share <= policy.steps[0] + _EPSILON


def _entry(share: float, policy: Recovery) -> float:
    """Return the first step that does not lower `share`; past those below 1, `share` itself."""
    for candidate in policy.steps[:-1]:
        if candidate >= share - _EPSILON:
            return max(candidate, share)
    return share or 1.0


def _failed(state: MachineState, *, now: float, draw: float, cause: str, policy: Recovery) -> Step:
    if _is_first(state, policy):
        factor, cap_s = FIRST_STEP_FACTOR, min(FIRST_STEP_CAP_S, policy.max_cooldown)
    else:
        factor, cap_s = LATER_STEP_FACTOR, policy.max_cooldown
    cooldown_s = max(state.cooldown_s, min(state.cooldown_s * factor, cap_s))
    failed = replace(state, cooldown_s=cooldown_s)
    probe: Probe = "failed" if state.fleet else None
    return _degraded(failed, now=now, draw=draw, cause=cause, policy=policy, probe=probe)


def _degraded(
    state: MachineState,
    *,
    now: float,
    draw: float,
    cause: str,
    policy: Recovery,
    probe: Probe = None,
) -> Step:
    end = max(now + state.cooldown_s, _budget_end(state, now, policy))
    until = end + JITTER * draw * state.cooldown_s
    return _moved(
        state, Phase.DEGRADED, now=now, share=0.0, why=cause, cause=cause, until=until, probe=probe
    )


def _flaps(state: MachineState, now: float) -> tuple[float, ...]:
    """Return the flaps with one that is happening now, if it is one."""
    return (*_recent(state, now), now) if state.phase is Phase.STEADY else state.flaps


def _recent(state: MachineState, now: float) -> tuple[float, ...]:
    return tuple(at for at in state.flaps if at > now - FLAP_SPAN_S)


def _budget_end(state: MachineState, now: float, policy: Recovery) -> float:
    """Return when the oldest flap is an hour old, if the flap budget is spent, else `now`."""
    recent = _recent(state, now)
    return recent[0] + FLAP_SPAN_S if len(recent) > policy.flaps_per_hour else now


def _moved(
    state: MachineState,
    target: Phase,
    *,
    now: float,
    share: float,
    why: str,
    cause: str | None = None,
    until: float | None = None,
    probe: Probe = None,
) -> Step:
    """Return the state in its next epoch, with the two effects of every transition."""
    moved = replace(
        state,
        phase=target,
        since=state.since if target is state.phase else now,
        epoch=state.epoch + 1,
        share=share,
        good=0,
        bad=0,
        until=now if until is None else until,
        step_since=now,
        decay=0,
        cause=state.cause if cause is None else cause,
        fleet=state.fleet and probe != "kept" and target is not Phase.STEADY,
        voting=state.voting and target is not Phase.STEADY,
    )
    told = Transition(
        at=now, source=state.phase, target=target, cause=why, epoch=moved.epoch,
        share=share, cooldown_s=moved.until - now, probe=probe,
    )  # fmt: skip
    return moved, (told, ClearWindow())
