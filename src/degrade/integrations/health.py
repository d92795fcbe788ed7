"""The health of a node as health+json (draft-inadarei-api-health-check-06), of three values.

    pass  200   every flag is normal
    warn  200   a flag is degraded: a load balancer must keep the node, which serves the rest
    fail  503   a flag that is declared `required` runs no call, and no rung of it can answer

Health is often open to the network, so it says what is degraded and since when, but not why:
reasons, owners and verdicts are for `degrade why`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final, Literal

from degrade.core.enums import Mode
from degrade.core.ladder import choose
from degrade.ports import FlagStats, StatsSource

__all__ = ("CONTENT_TYPE", "MAX_LISTED", "Status", "flag_status", "health")

Status = Literal["pass", "warn", "fail"]

_Judged = tuple[Status, FlagStats]

CONTENT_TYPE: Final = "application/health+json"

MAX_LISTED: Final = 100
"""Flags in a body, those in trouble first: it is read every few seconds."""

_RANK: Final[dict[Status, int]] = {"fail": 0, "warn": 1, "pass": 2}


def health(source: StatsSource) -> tuple[int, bytes]:
    """Return the HTTP status and the body of a health answer.

    Guarantees:
        The body is ASCII; names and messages of flags are data of its JSON and nothing else. It
        lists at most 100 flags, those first that are not normal, and counts the rest.

    Cost:
        Linear in the number of flags; no I/O.
    """
    judged: list[_Judged] = [(flag_status(flag), flag) for flag in source.stats()]
    judged.sort(key=lambda pair: _RANK[pair[0]])
    status: Status = judged[0][0] if judged else "pass"
    checks: dict[str, list[dict[str, Any]]] = {}
    for each, flag in judged[:MAX_LISTED]:
        checks[f"{_component(flag.name)}:mode"] = [_check(flag, each)]
    age_s = source.state_age_s()
    if age_s is not None:
        checks["store:age"] = [
            {"componentType": "datastore", "observedValue": round(age_s, 3), "observedUnit": "s"}
        ]
    body: dict[str, Any] = {"status": status, "checks": checks}
    if len(judged) > MAX_LISTED:
        body["degrade:flags-not-listed"] = len(judged) - MAX_LISTED
    if status != "pass":
        body["output"] = _output(judged)
    return 503 if status == "fail" else 200, json.dumps(body).encode()


def flag_status(flag: FlagStats) -> Status:
    """Return what one flag means for the health of the node."""
    if flag.mode is Mode.NORMAL:
        return "pass"
    runs_none = flag.mode is Mode.OFF or flag.dial >= 1
    if (
        flag.required
        and runs_none
        and flag.ladder is not None
        and not choose(flag.ladder, flag.mode)
    ):
        return "fail"
    return "warn"


def _component(name: str) -> str:
    """Return a name without colons: the first one of a key ends the component."""
    return name.replace("%", "%25").replace(":", "%3A")


def _check(flag: FlagStats, status: Status) -> dict[str, Any]:
    check: dict[str, Any] = {
        "componentId": flag.name,
        "componentType": "component",
        "observedValue": flag.mode.value,
        "status": status,
        "degrade:phase": flag.phase.value,
        "degrade:dial": round(flag.dial, 4),
    }
    if flag.level is not None:
        check["degrade:level"] = flag.level
    if flag.since is not None:
        since = datetime.fromtimestamp(flag.since, UTC)
        check["degrade:since"] = since.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    if flag.oldest_age_s is not None:
        check["degrade:oldest-age-s"] = round(flag.oldest_age_s, 3)
    if status != "pass" and flag.message:
        check["output"] = flag.message
    return check


def _output(judged: Sequence[_Judged]) -> str:
    words = {"warn": "degraded", "fail": "without an answer"}
    told = [f"{flag.name} is {words[status]}" for status, flag in judged if status != "pass"]
    more = len(told) - MAX_LISTED
    return ", ".join(told[:MAX_LISTED]) + (f", and {more} more" if more > 0 else "")
