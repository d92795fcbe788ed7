from __future__ import annotations

import json

from degrade import Flag, Runtime, default, degradable
from degrade.clock import ManualClock
from degrade.core.words import Mode, Phase
from degrade.integrations.health import health
from examples.news_feed.fleet import FlagState
from examples.news_feed.through_redis.health import flags_of, state_age_of


def check(flag: str, mode: str, phase: str, dial: float) -> dict[str, list[dict[str, object]]]:
    body = {
        "componentId": flag, "observedValue": mode, "degrade:phase": phase, "degrade:dial": dial,
    }  # fmt: skip
    return {f"{flag}:mode": [body]}


def test_a_flag_is_as_bad_as_in_its_worst_process():
    one = check("feed", "normal", "steady", 0.0) | check("other", "off", "steady", 1.0)
    two = check("feed", "degraded", "recovering", 0.5)
    flags = flags_of([one, two])
    assert flags["feed"] == FlagState(phase=Phase.RECOVERING, mode=Mode.DEGRADED, dial=0.25)
    assert flags["other"].mode is Mode.OFF


def test_the_age_is_that_of_the_process_that_knows_least():
    ages = [{"store:age": [{"observedValue": age}]} for age in (0.4, 3.2)]
    assert state_age_of([*ages, {}]) == 3.2
    assert state_age_of([{}]) is None


def test_what_the_library_says_of_its_health_is_understood():
    with Runtime(clock=ManualClock(), threads="manual") as runtime:
        flag = Flag("example.health", level=3)

        @degradable(flag, fallback=[default("nothing")])
        def feed() -> str:
            return "ranked"

        assert feed() == "ranked"
        runtime.tick()
        checks = json.loads(health(runtime)[1])["checks"]
    assert flags_of([checks])["example.health"].normal
