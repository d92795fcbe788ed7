"""What an answer is, told by its body alone; and, apart from that, what its headers say it is.

full      a nonce that no other full answer had, and the stories in order of their scores
snapshot  the nonce of a former answer, and the stories newest first
default   no nonce, and the newest stories of all, newest first
wrong     a page that is none of these
failed    no page at all
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

__all__ = ("DEGRADED", "Classifier", "Kind", "Looks", "Says", "read_headers")


class Kind(StrEnum):
    """What an answer is."""

    FULL = "full"
    SNAPSHOT = "snapshot"
    DEFAULT = "default"
    WRONG = "wrong"
    FAILED = "failed"


DEGRADED = (Kind.SNAPSHOT, Kind.DEFAULT)


@dataclass(frozen=True, slots=True, kw_only=True)
class Looks:
    """What a body shows.

    Attributes:
        kind: What the answer is.
        nonce: The ranker's nonce in it.
        viewed: Whether it has the collector's receipt for this view.
        problem: Why it is wrong or failed, one line.
    """

    kind: Kind
    nonce: str | None = None
    viewed: bool = False
    problem: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Says:
    """What the headers say of one flag.

    Attributes:
        rung: The rung that served it, None when the function itself did.
        age_s: Its age in whole seconds.
        aged: Whether `Age` and `Cache-Status` are there and agree with each other and with `age_s`.
        unaged: Whether neither `Age` nor `Cache-Status` is there.
    """

    rung: str | None
    age_s: int | None
    aged: bool
    unaged: bool


class Classifier:
    """Tells what answers are; remembers the nonces it has seen in full ones.

    Args:
        newest: Ids of the stories that everybody gets by default, in order.
    """

    def __init__(self, newest: Sequence[str]) -> None:
        self._newest = list(newest)
        self._nonces: set[str] = set()

    def classify(self, status: int, body: bytes, reader: str) -> Looks:
        """Return what the answer to `reader` is."""
        if status != 200:
            return Looks(kind=Kind.FAILED, problem=f"status {status}")
        try:
            page = json.loads(body)
            stories, nonce, receipt = page["stories"], page["nonce"], page["receipt"]
            ids = [story["id"] for story in stories]
            times = [-float(story["published"]) for story in stories]
            scores = [-float(story["score"]) for story in stories] if nonce is not None else []
            whose = page["user"]
        except (ValueError, KeyError, TypeError) as error:
            return Looks(kind=Kind.WRONG, problem=f"no page: {error!r}")
        viewed = receipt is not None
        if not ids or whose != reader:
            problem = f"{len(ids)} stories of {whose!r} for {reader!r}"
            return Looks(kind=Kind.WRONG, nonce=nonce, viewed=viewed, problem=problem)
        kind, problem = self._kind(nonce, ids, times, scores)
        return Looks(kind=kind, nonce=nonce, viewed=viewed, problem=problem)

    def _kind(
        self, nonce: str | None, ids: list[str], times: list[float], scores: list[float]
    ) -> tuple[Kind, str]:
        newest_first = times == sorted(times)
        if nonce is None:
            if ids == self._newest:
                return Kind.DEFAULT, ""
            return Kind.WRONG, "no nonce, and not the newest stories, newest first"
        if scores == sorted(scores) and nonce not in self._nonces:
            self._nonces.add(nonce)
            return Kind.FULL, ""
        if newest_first:
            return Kind.SNAPSHOT, ""
        return Kind.WRONG, "a former answer, or one that is neither ranked nor newest first"


_MEMBER = re.compile(r'\s*("[^"]*"|[^;,\s]+)((?:\s*;\s*[^;,]+)*)\s*')
_TTL = re.compile(r"degrade;.*\bttl=(-?\d+)")


def read_headers(headers: Mapping[str, str], flag: str) -> Says:
    """Return what the headers of an answer say of `flag`; `headers` looks up in any case."""
    parameters = _member(headers.get("Degraded", ""), flag)
    age, status = headers.get("Age"), headers.get("Cache-Status")
    age_s = parameters.get("age") if parameters else None
    ttl = _TTL.search(status or "")
    agree = age is not None and age == age_s and ttl is not None and int(ttl[1]) == -int(age)
    return Says(
        rung=parameters["rung"] if parameters else None,
        age_s=None if age_s is None else int(age_s),
        aged=agree,
        unaged=age is None and status is None,
    )


def _member(value: str, flag: str) -> dict[str, Any] | None:
    """Return the parameters of a flag's member in a `Degraded` value, None without one."""
    for name, parameters in _MEMBER.findall(value):
        if name.strip('"') == flag:
            pairs = (part.partition("=") for part in parameters.split(";") if part.strip())
            return {key.strip(): text.strip() for key, _, text in pairs}
    return None
