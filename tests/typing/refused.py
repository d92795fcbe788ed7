"""What type checkers refuse: every ignore below stands for an error that must be there.

Never run. `test_typing` takes the ignores away and expects errors on exactly these lines.
"""

from __future__ import annotations

from degrade import SLA, Runtime, default, degradable, omit, request, snapshot


@degradable("refused.ranking", fallback=[snapshot(max_age="1h"), omit()])
def ranking(user_id: str) -> list[str]:
    raise NotImplementedError


@degradable("refused.later", fallback=default(()))
async def later(user_id: str) -> list[str]:
    raise NotImplementedError


class Feed:
    @degradable("refused.method")
    def method(self, user_id: str) -> list[str]:
        raise NotImplementedError


# the parameters are those of the function
ranking(42)  # type: ignore[arg-type]
ranking()  # type: ignore[call-arg]
ranking(user="ana")  # type: ignore[call-arg]
Feed().method()  # type: ignore[call-arg]

# the result may be what the ladder serves
stories: list[str] = ranking("ana")  # type: ignore[assignment]
ranking("ana").sort()  # type: ignore[union-attr]


async def coroutine() -> None:
    (await later("ana")).sort()  # type: ignore[union-attr]
    later("ana").sort()  # type: ignore[attr-defined]


# the ladder consists of rungs and functions
degradable("refused.value", fallback=3)  # type: ignore[call-overload]
degradable("refused.values", fallback=["x"])  # type: ignore[arg-type]
degradable("refused.typo", falback=omit())  # type: ignore[call-overload]
degradable(fallback=omit())  # type: ignore[call-overload]

# policies are given by name, in units
SLA("250ms")  # type: ignore[call-arg]
SLA(p99=b"250ms")  # type: ignore[arg-type]
snapshot()  # type: ignore[call-arg]
request(subject=42)  # type: ignore[arg-type]
Runtime(threads="several")  # type: ignore[arg-type]
