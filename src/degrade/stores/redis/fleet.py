"""Heartbeats, votes, verdicts and leases of a fleet in Redis.

    instances           instance -> its newest heartbeat
    active              instance -> the flags whose calls it judges, space between
    votes               "flag instance" -> {v, cause, recovering}
    deadlines           field of either -> when it ends, in server time; judged by us, swept by all
    lease:count         who counts the votes, for a second
    lease:probe:<flag>  "instance token": who has the first recovery step of a verdict

Votes are one field an instance, so that a write that is repeated, or comes late, counts once.
Heartbeats can be large, and they are for people: to count votes nobody reads them.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Final

from pydantic import ValidationError

from degrade.core import quorum
from degrade.core.records import ControlState, Event, FleetVerdict, InstanceReport, Vote
from degrade.errors import StoreError
from degrade.ports import EventDraft
from degrade.stores.redis.keys import Keys
from degrade.stores.redis.state.hash_codec import body_of, commands_of, portions
from degrade.stores.redis.state.repository import StateRepository
from degrade.stores.redis.transport.base import Check, Command, Transport
from degrade.stores.state_changes import AUTOMATION, LogHead, Written, append_drafts

__all__ = ("FORGET_S", "PROBE_S", "VOTE_S", "RedisFleet")

FORGET_S: Final = 600.0
"""Heartbeats older than this are swept, seconds."""
VOTE_S: Final = 30.0
"""A vote that its voter does not repeat ends after so long, seconds."""
PROBE_S: Final = 5.0
"""A probe lease that its holder does not renew ends after so long, seconds."""

_COUNT_MS = 900
_READ_AT_ONCE = 20
_SWEEP = 50


class RedisFleet:
    """What joins the processes of a namespace; `RedisStore.fleet`.

    Args:
        link: The way to the server.
        keys: Of the namespace.
        ledger: Its state.
    """

    def __init__(self, link: Transport, keys: Keys, ledger: StateRepository) -> None:
        self._link = link
        self._keys = keys
        self._ledger = ledger
        self._voted: dict[str, frozenset[str]] = {}

    # ------------------------------------------------------------------ hints

    def listen(
        self, hear: Callable[[ControlState | None], None], stopping: Callable[[], bool]
    ) -> None:
        self._link.listen(self._keys.hint, partial(self._ledger.heard, hear), stopping)

    # ------------------------------------------------------------------ heartbeats and votes

    def beat(self, report: InstanceReport, votes: Mapping[str, Vote]) -> int:
        keys, now = self._keys, self._ledger.now()
        said = report.model_copy(update={"at": now})
        ends: dict[str, float] = {report.id: now + FORGET_S}
        active = " ".join(flag for flag, of in report.flags.items() if of.active)
        commands: list[Command] = [
            ("HSET", keys.instances, report.id, said.model_dump_json()),
            ("HSET", keys.active, report.id, active),
        ]
        fields = {_vote_field(flag, report.id): body_of(vote) for flag, vote in votes.items()}
        gone = self._voted.get(report.id, frozenset()) - fields.keys()
        commands += commands_of(keys.votes, {**fields, **dict.fromkeys(gone)})
        commands += [("ZREM", keys.deadlines, *some) for some in portions(list(gone))]
        ends |= dict.fromkeys(fields, now + VOTE_S)
        commands += [
            ("ZADD", keys.deadlines, *(word for name, end in some for word in (end, name)))
            for some in portions(list(ends.items()))
        ]
        commands += [
            (
                "ZRANGEBYSCORE", keys.deadlines, "-inf", now, "WITHSCORES", "LIMIT", 0, _SWEEP,
            ),
        ]  # fmt: skip
        fresh = now + FORGET_S - quorum.LIVE_S  # the ends of votes lie below it
        commands.append(("ZCOUNT", keys.deadlines, fresh, "+inf"))
        self._voted = {report.id: gone | fields.keys()}  # also when no reply tells
        result = self._transact([], commands)
        if result is None:
            raise StoreError(f"the store {self._link.url} cannot be used: it answered too late")
        self._voted = {report.id: frozenset(fields)}
        *_, dead, live = result
        self._sweep(dead)
        return int(live)

    def goodbye(self, instance: str) -> None:
        """Forget an instance and its votes."""
        keys = self._keys
        fields = list(self._voted.pop(instance, frozenset()))
        commands: list[Command] = [
            ("HDEL", keys.instances, instance),
            ("HDEL", keys.active, instance),
            *(("ZREM", keys.deadlines, *some) for some in portions([instance, *fields])),
            *commands_of(keys.votes, dict.fromkeys(fields)),
        ]
        self._transact([], commands)

    def instances(self, *, within_s: float) -> list[InstanceReport]:
        """Return the heartbeats of the last `within_s` seconds, newest first.

        A few at a time: those of a thousand flags each are large, and no round trip shall take
        longer than the server's other clients can wait.
        """
        key = self._keys.instances
        clock, ids = self._link.read(key, [("TIME",), ("HKEYS", key)])
        self._ledger.note_time(float(clock[0]) + float(clock[1]) / 1e6)
        oldest = self._ledger.now() - within_s
        recent: list[InstanceReport] = []
        for begin in range(0, len(ids), _READ_AT_ONCE):
            some = ids[begin : begin + _READ_AT_ONCE]
            (found,) = self._link.read(key, [("HMGET", key, *some)])
            recent += [report for report in _reports(found) if report.at >= oldest]
        return sorted(recent, key=lambda report: (-report.at, report.id))

    # ------------------------------------------------------------------ verdicts

    def decide(self, instance: str) -> tuple[Event, ...]:
        keys, lease = self._keys, self._keys.lease("count")
        found = self._transact(
            [Check(("GET", lease), None)],
            [
                ("SET", lease, instance, "PX", _COUNT_MS),
                ("HGETALL", keys.active),
                ("HGETALL", keys.votes),
                ("ZRANGEBYSCORE", keys.deadlines, self._ledger.now(), "+inf", "WITHSCORES"),
                ("HLEN", keys.flags),
            ],
            keys=[lease, keys.flags],
        )
        if found is None:
            return ()
        _, active, votes, deadlines, declared = found
        ends = dict(zip(deadlines[::2], map(float, deadlines[1::2]), strict=True))
        ballots = _ballots(votes, ends)

        def decided(state: ControlState, head: LogHead, now: float) -> Written:
            decision = quorum.decide(
                now=now,
                not_before=state.not_before,
                live={
                    name.decode("utf-8", "replace")
                    for name in active[::2]
                    if ends.get(name, 0.0) - FORGET_S >= now - quorum.LIVE_S
                },
                active=_active(active, {*ballots, *state.verdicts}),
                votes=ballots,
                standing=state.verdicts,
                declared=int(declared),
                epoch=state.epoch + 1,
            )
            return _with_decision(state, head, decision, instance, now)

        return self._ledger.write(decided)

    def votes(self) -> dict[str, dict[str, Vote]]:
        keys = self._keys
        votes, alive = self._link.read(
            keys.votes,
            [
                ("HGETALL", keys.votes),
                ("ZRANGEBYSCORE", keys.deadlines, self._ledger.now(), "+inf"),
            ],
        )
        return _ballots([word for pair in votes.items() for word in pair], frozenset(alive))

    def take_probe(self, flag: str, instance: str) -> int | None:
        keys, lease = self._keys, self._keys.lease(f"probe:{flag}")
        clock, held, verdict, fence = self._link.read(
            keys.control,
            [
                ("TIME",),
                ("GET", lease),
                ("HGET", keys.control, f"verdict:{flag}"),
                ("HGET", keys.control, "fence"),
            ],
        )
        self._ledger.note_time(float(clock[0]) + float(clock[1]) / 1e6)
        standing = self._verdict(flag)
        if verdict is None or standing is None or standing.recovering:
            return None
        holder, token = _holder(held)
        if token is not None:
            if holder != instance:
                return None
            renewed = self._transact(
                [Check(("GET", lease), held)],
                [("PEXPIRE", lease, int(PROBE_S * 1e3))],
                keys=[lease],
            )
            return None if renewed is None else token
        if standing.retry_at > self._ledger.now():
            return None
        token = (_number(fence) or 0) + 1
        taken = self._transact(
            [
                Check(("GET", lease), held),
                Check(("HGET", keys.control, "fence"), fence),
                Check(("HGET", keys.control, f"verdict:{flag}"), verdict),
            ],
            [
                ("HSET", keys.control, "fence", token),
                ("SET", lease, f"{instance} {token}", "PX", int(PROBE_S * 1e3)),
            ],
            keys=[lease],
        )
        return None if taken is None else token

    def give_probe(self, flag: str, instance: str, token: int, *, retry_in_s: float) -> None:
        def postponed(state: ControlState, head: LogHead, now: float) -> Written:
            verdict = state.verdicts.get(flag)
            if verdict is None:
                return Written(state, (), head)
            later = verdict.model_copy(update={"retry_at": now + retry_in_s})
            cause = f"the first step failed; the next one in {retry_in_s:.1f} s"
            return _moved(state, head, {flag: later}, instance=instance, cause=cause, now=now)

        self._fenced(flag, instance, token, postponed)

    def recovering(self, flag: str, instance: str, token: int) -> tuple[Event, ...]:
        def begun(state: ControlState, head: LogHead, now: float) -> Written:
            verdict = state.verdicts.get(flag)
            if verdict is None or verdict.recovering:
                return Written(state, (), head)
            on = verdict.model_copy(update={"recovering": True})
            cause = "the first step was kept"
            return _moved(state, head, {flag: on}, instance=instance, cause=cause, now=now)

        return self._fenced(flag, instance, token, begun)

    # ------------------------------------------------------------------ helpers

    def _fenced(
        self,
        flag: str,
        instance: str,
        token: int,
        decide: Callable[[ControlState, LogHead, float], Written],
    ) -> tuple[Event, ...]:
        """Write a change and give the lease back, if it still is the one with this token."""
        lease = self._keys.lease(f"probe:{flag}")
        return self._ledger.write(
            decide,
            checks=[Check(("GET", lease), f"{instance} {token}")],
            commands=[("DEL", lease)],
            keys=[lease],
        )

    def _verdict(self, flag: str) -> FleetVerdict | None:
        """Return the standing verdict on a flag, read anew if it is not known yet."""
        known = self._ledger.known
        found = None if known is None else known.state.verdicts.get(flag)
        return found if found is not None else self._ledger.read().verdicts.get(flag)

    def _transact(
        self, checks: Sequence[Check], commands: Sequence[Command], *, keys: Sequence[str] = ()
    ) -> tuple[Any, ...] | None:
        """Run commands on the keys of the fleet; None when a check failed, or it was too late."""
        names = self._keys
        result = self._link.transact(
            [
                names.control,
                names.instances,
                names.active,
                names.votes,
                names.deadlines,
                *keys,
            ],
            checks,
            commands,
            deadline=self._ledger.deadline(),
        )
        self._ledger.note_time(result.now)
        return result.replies if result.done else None

    def _sweep(self, dead: Sequence[bytes]) -> None:
        """Remove what ended, unless it came back meanwhile."""
        if not dead:
            return
        names, keys = list(dead[::2]), self._keys
        self._transact(
            [
                Check(("ZSCORE", keys.deadlines, name), score)
                for name, score in zip(names, dead[1::2], strict=True)
            ],
            [
                ("ZREM", keys.deadlines, *names),
                ("HDEL", keys.votes, *names),
                ("HDEL", keys.instances, *names),
                ("HDEL", keys.active, *names),
            ],
        )


def _with_decision(
    state: ControlState, head: LogHead, decision: quorum.Decision, instance: str, now: float
) -> Written:
    """Return the state and the events after a count of the votes."""
    drafts = []
    verdicts = {flag: kept for flag, kept in state.verdicts.items() if flag not in decision.over}
    for flag, verdict in decision.begun.items():
        verdicts[flag] = verdict
        drafts.append(
            EventDraft(
                type="fleet_degraded", flag=flag, actor=AUTOMATION, instance=instance,
                cause=f"{verdict.voters} of {verdict.live} instances: {verdict.cause}",
                evidence=verdict.model_dump(mode="json"),
            )
        )  # fmt: skip
    drafts += [
        EventDraft(
            type="fleet_over", flag=flag, actor=AUTOMATION, instance=instance,
            cause=decision.counts[flag].text,
        )
        for flag in decision.over
    ]  # fmt: skip
    drafts += [
        EventDraft(
            type="fleet_capped", flag=flag, actor=AUTOMATION, instance=instance,
            cause=f"{decision.counts[flag].text}, but {len(verdicts)} flags are degraded by the "
            "fleet already; nothing more is done by itself: order a level, or hold it",
        )
        for flag in decision.capped
        if flag not in state.capped
    ]  # fmt: skip
    if not drafts and set(state.capped) == set(decision.capped):
        return Written(state, (), head)
    after = state.model_copy(
        update={
            "epoch": state.epoch + 1,
            "now": now,
            "verdicts": verdicts,
            "capped": decision.capped,
        }
    )
    return append_drafts(after, head, drafts, now=now)


def _moved(
    state: ControlState,
    head: LogHead,
    verdicts: Mapping[str, FleetVerdict],
    *,
    instance: str,
    cause: str,
    now: float,
) -> Written:
    after = state.model_copy(
        update={"epoch": state.epoch + 1, "now": now, "verdicts": {**state.verdicts, **verdicts}}
    )
    drafts = [
        EventDraft(
            type="fleet_recovering", flag=flag, actor=AUTOMATION, instance=instance, cause=cause,
            evidence=verdict.model_dump(mode="json"),
        )
        for flag, verdict in verdicts.items()
    ]  # fmt: skip
    return append_drafts(after, head, drafts, now=now)


def _holder(lease: bytes | None) -> tuple[str, int | None]:
    """Return who has a lease and its token; None for one that is not there, or that a hand wrote."""
    holder, _, token = (lease or b"").rpartition(b" ")
    return holder.decode("utf-8", "replace"), _number(token) if holder else None


def _number(body: bytes | None) -> int | None:
    """Return what a field says, when it says a number."""
    try:
        return int(body or b"")
    except ValueError:
        return None


def _vote_field(flag: str, instance: str) -> str:
    return f"{flag} {instance}"


def _active(bodies: Sequence[bytes], flags: Iterable[str]) -> dict[str, set[str]]:
    """Return each of the flags with the instances that judge calls of it, live or not."""
    found: dict[str, set[str]] = {flag: set() for flag in flags}
    for instance, body in zip(bodies[::2], bodies[1::2], strict=True):
        for flag in found.keys() & body.decode("utf-8", "replace").split():
            found[flag].add(instance.decode("utf-8", "replace"))
    return found


def _ballots(votes: Sequence[bytes], alive: Container[bytes]) -> dict[str, dict[str, Vote]]:
    """Return flag to instance to vote, of those whose deadline is not past."""
    found: dict[str, dict[str, Vote]] = {}
    for field, body in zip(votes[::2], votes[1::2], strict=True):
        flag, _, instance = field.decode("utf-8", "replace").rpartition(" ")
        if field in alive:
            found.setdefault(flag, {})[instance] = _vote(body)
    return found


def _vote(body: bytes) -> Vote:
    try:
        return Vote.model_validate_json(body)
    except ValidationError:  # of another release: a vote all the same
        return Vote(cause="unknown")


def _reports(bodies: Iterable[bytes | None]) -> list[InstanceReport]:
    found = []
    for body in bodies:
        if body is None:  # gone since it was listed
            continue
        try:
            found.append(InstanceReport.model_validate_json(body))
        except ValidationError:  # of another release: it can neither vote nor be shown
            continue
    return found
