"""What the feed processes say of themselves, and the store of what was done."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, Final

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

from degrade.core.enums import Mode, Phase
from degrade.core.records import Event
from degrade.ports import Store

_ORDERS: Final = ("hold", "released", "level", "level_released")
_PHASES: Final = (Phase.STEADY, Phase.RECOVERING, Phase.DEGRADED)


@dataclass(frozen=True, slots=True, kw_only=True)
class FlagState:
    """One flag over all processes: the worst phase and mode, the mean dial."""

    phase: Phase
    mode: Mode
    dial: float

    @property
    def normal(self) -> bool:
        return self.phase is Phase.STEADY and self.mode is Mode.NORMAL and self.dial == 0


UNKNOWN: Final = FlagState(phase=Phase.DEGRADED, mode=Mode.NORMAL, dial=0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """How the flags stand, and how old the oldest orders are that a process knows, seconds."""

    flags: Mapping[str, FlagState] = field(default_factory=dict)
    state_age: float | None = None


def seen_in(heard: Sequence[Mapping[str, Any]]) -> Seen:
    """Return how the flags stand over all processes, from the checks of their health."""
    checks: dict[str, list[Mapping[str, Any]]] = {}
    for each in heard:
        for name, (check, *_) in each.items():
            if name.endswith(":mode"):
                checks.setdefault(check["componentId"], []).append(check)
    ages = [each["store:age"][0]["observedValue"] for each in heard if "store:age" in each]
    flags = {flag: _combined(each) for flag, each in sorted(checks.items())}
    return Seen(flags=flags, state_age=max(ages, default=None))


def _combined(checks: Sequence[Mapping[str, Any]]) -> FlagState:
    modes = [Mode(check["observedValue"]) for check in checks]
    return FlagState(
        phase=max((Phase(check["degrade:phase"]) for check in checks), key=_PHASES.index),
        mode=next((mode for mode in (Mode.OFF, Mode.DEGRADED) if mode in modes), Mode.NORMAL),
        dial=sum(float(check["degrade:dial"]) for check in checks) / len(checks),
    )


class Fleet:
    """Asks the feed processes, and their store; close it in the end.

    Args:
        store: What they share. Events that were read are remembered, as a store that is wiped
            does not.
        pids: Their process ids, to ports.
    """

    def __init__(self, store: Store, pids: Mapping[int, int]) -> None:
        self.seen = Seen()
        self._store = store
        self._pids = pids
        self._events: dict[tuple[float, str], Event] = {}
        self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=1.0))

    async def close(self) -> None:
        await self._session.close()
        self._store.close()

    def instances(self) -> dict[str, int]:
        """Return instance ids to ports."""
        found = self._store.instances()
        return {each.id: self._pids[each.pid] for each in found if each.pid in self._pids}

    def events(self) -> list[Event]:
        """Return all events read so far, oldest first."""
        found = self._store.events(limit=100_000)
        self._events.update({(event.at, event.id): event for event in found})
        return [self._events[key] for key in sorted(self._events)]

    def last_order(self) -> float:
        """Return when the newest change of a human was committed, Unix seconds."""
        return max(event.at for event in self.events() if event.type in _ORDERS)

    async def look(self) -> Seen:
        """Return how the flags stand over all processes that answer; `seen` keeps it."""
        answers = await asyncio.gather(*(self._ask(port) for port in self._pids.values()))
        self.seen = seen_in([checks for checks in answers if checks is not None])
        return self.seen

    async def _ask(self, port: int) -> Mapping[str, Any] | None:
        try:
            async with self._session.get(f"http://127.0.0.1:{port}/degrade/health") as answer:
                checks: Mapping[str, Any] = (await answer.json(content_type=None))["checks"]
                return checks
        except (aiohttp.ClientError, TimeoutError):
            return None  # it is not there now

    async def settled(self, ports: Sequence[int]) -> Counter[tuple[str, str]]:
        """Turn visitors away, and return the calls that processes counted when two scrapes agree."""
        for port in ports:
            async with self._session.post(f"http://127.0.0.1:{port}/close") as answer:
                answer.raise_for_status()
        counted = await self._counted(ports)
        for _ in range(6):
            await asyncio.sleep(1.2)  # what a scrape shows is up to a second old
            before, counted = counted, await self._counted(ports)
            if counted == before:
                break
        return counted

    async def _counted(self, ports: Sequence[int]) -> Counter[tuple[str, str]]:
        calls = Counter[tuple[str, str]]()
        for port in ports:
            async with self._session.get(f"http://127.0.0.1:{port}/metrics") as answer:
                families = text_string_to_metric_families(await answer.text())
            for sample in chain.from_iterable(family.samples for family in families):
                if sample.name == "degrade_calls_total":
                    calls[sample.labels["flag"], sample.labels["class"]] += int(sample.value)
        return calls
