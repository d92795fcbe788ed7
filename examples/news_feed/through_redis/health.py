"""How the flags stand, asked of each feed process; Redis is not needed for that."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Final

import aiohttp

from degrade.core.words import Mode, Phase
from examples.news_feed.fleet import FlagState, combined
from examples.news_feed.watching import Seen

__all__ = ("Health",)

_TIMEOUT_S: Final = 1.0
_SUFFIX: Final = ":mode"


class Health:
    """Asks `/degrade/health` of the processes on these ports; an async context manager."""

    def __init__(self, ports: Sequence[int]) -> None:
        self._ports = ports
        timeout = aiohttp.ClientTimeout(total=_TIMEOUT_S)
        self._session = aiohttp.ClientSession(timeout=timeout)
        self.seen = Seen()

    async def close(self) -> None:
        """Close the connections."""
        await self._session.close()

    async def look(self) -> Seen:
        """Return how the flags stand over all processes that answer; `seen` keeps it."""
        answers = await asyncio.gather(*(self._ask(port) for port in self._ports))
        heard = [checks for checks in answers if checks is not None]
        self.seen = Seen(flags=flags_of(heard), state_age=state_age_of(heard))
        return self.seen

    async def _ask(self, port: int) -> Mapping[str, Any] | None:
        try:
            async with self._session.get(f"http://127.0.0.1:{port}/degrade/health") as answer:
                checks: Mapping[str, Any] = (await answer.json(content_type=None))["checks"]
                return checks
        except (aiohttp.ClientError, TimeoutError):
            return None  # it is not there now


def flags_of(heard: Sequence[Mapping[str, Any]]) -> dict[str, FlagState]:
    """Return every flag over all processes, from the checks of their health."""
    states: dict[str, list[FlagState]] = {}
    for checks in heard:
        for name, (check, *_) in checks.items():
            if name.endswith(_SUFFIX):
                states.setdefault(check["componentId"], []).append(_state(check))
    return {flag: combined(each) for flag, each in sorted(states.items())}


def state_age_of(heard: Sequence[Mapping[str, Any]]) -> float | None:
    """Return how old the oldest orders are that a process knows; None when none is known."""
    ages = [checks["store:age"][0]["observedValue"] for checks in heard if "store:age" in checks]
    return max(ages, default=None)


def _state(check: Mapping[str, Any]) -> FlagState:
    return FlagState(
        phase=Phase(check["degrade:phase"]),
        mode=Mode(check["observedValue"]),
        dial=float(check["degrade:dial"]),
    )
