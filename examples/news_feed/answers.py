"""What an answer is, told by its body alone; what its headers say; and the record of both.

full      a nonce that no other full answer had, and the stories in order of their scores
snapshot  the nonce of a former answer, and the stories newest first
default   no nonce, and the newest stories of all, newest first
wrong     a page that is none of these
failed    no page at all
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

READERS = 600
LOAD_AGENT = "news-feed-load"
"""The `User-Agent` of the load; every other request for stories is a visitor's."""


def reader_id(number: int) -> str:
    """Return the name of a reader, `reader-0001` for number 0."""
    return f"reader-{number + 1:04d}"


class Kind(StrEnum):
    """What an answer is."""

    FULL = "full"
    SNAPSHOT = "snapshot"
    DEFAULT = "default"
    WRONG = "wrong"
    FAILED = "failed"


DEGRADED = (Kind.SNAPSHOT, Kind.DEFAULT)


class Looks(NamedTuple):
    """What a body shows: the ranker's nonce, the collector's receipt; why it is wrong or failed."""

    kind: Kind
    nonce: str | None = None
    viewed: bool = False
    problem: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Says:
    """What the headers say of a flag.

    `rung` and `age_s` are None when the function itself answered; `aged` says whether `Age` and
    `Cache-Status` are there and agree with `age_s`, `unaged` whether neither is there.
    """

    rung: str | None
    age_s: int | None
    aged: bool
    unaged: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One request and what came of it; times are Unix seconds, latency counts from `due`."""

    due: float
    sent: float
    done: float
    port: int
    reader: str
    kind: Kind
    nonce: str | None = None
    viewed: bool = False
    problem: str = ""
    says: Says | None = None

    @property
    def latency_s(self) -> float:
        return self.done - self.due

    def line(self) -> str:
        return json.dumps(asdict(self)) + "\n"


def parse(line: str) -> Answer:
    """Return the record that `line` wrote."""
    fields = json.loads(line)
    kind, says = Kind(fields.pop("kind")), fields.pop("says")
    return Answer(**fields, kind=kind, says=None if says is None else Says(**says))


def read(path: Path) -> Iterator[Answer]:
    """Return the records of a file, in the order in which the answers came."""
    with path.open(encoding="utf-8") as lines:
        yield from map(parse, lines)


def read_after(path: Path, visits: Sequence[Answer]) -> list[Answer]:
    """Return the records of the load, which has not seen what the ranker answered to visitors.

    A nonce that a visitor got first is a former one, also where the stories of the snapshot happen
    to be in the order of their scores.
    """
    former = {visit.nonce for visit in visits if visit.kind is Kind.FULL}
    return [
        replace(each, kind=Kind.SNAPSHOT)
        if each.kind is Kind.FULL and each.nonce in former
        else each
        for each in read(path)
    ]


def nearest_rank(values: Iterable[float], share: float) -> float | None:
    """Return the smallest value that at least `share` of the values do not exceed; None of none."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else None


class Classifier:
    """Tells what answers are; remembers the nonces it has seen in full ones.

    Args:
        newest: Ids of the stories that everybody gets by default, in order.
    """

    def __init__(self, newest: Sequence[str]) -> None:
        self._newest = list(newest)
        self._nonces: set[str] = set()

    def classify(self, status: int, body: bytes, reader: str) -> Looks:
        if status != 200:
            return Looks(Kind.FAILED, problem=f"status {status}")
        try:
            page = json.loads(body)
            stories, nonce, viewed = page["stories"], page["nonce"], page["receipt"] is not None
            ids = [story["id"] for story in stories]
            times = [-float(story["published"]) for story in stories]
            scores = [-float(story["score"]) for story in stories] if nonce is not None else []
            whose = page["user"]
        except (ValueError, KeyError, TypeError) as error:
            return Looks(Kind.WRONG, problem=f"no page: {error!r}")
        kind, problem = Kind.WRONG, "a former answer, or neither ranked nor newest first"
        if not ids or whose != reader:
            problem = f"{len(ids)} stories of {whose!r} for {reader!r}"
        elif nonce is None:
            if ids == self._newest:
                kind = Kind.DEFAULT
            problem = "no nonce, and not the newest stories of all"
        elif scores == sorted(scores) and nonce not in self._nonces:
            self._nonces.add(nonce)
            kind = Kind.FULL
        elif times == sorted(times):
            kind = Kind.SNAPSHOT
        return Looks(kind, nonce, viewed, problem if kind is Kind.WRONG else "")


_MEMBER = re.compile(r'\s*("[^"]*"|[^;,\s]+)((?:\s*;\s*[^;,]+)*)\s*')
_TTL = re.compile(r"degrade;.*\bttl=(-?\d+)")


def read_headers(headers: Mapping[str, str], flag: str) -> Says:
    """Return what the headers of an answer say of `flag`; `headers` looks up in any case."""
    said: dict[str, str] = {}
    for name, parameters in _MEMBER.findall(headers.get("Degraded", "")):
        if name.strip('"') == flag:
            pairs = (part.partition("=") for part in parameters.split(";") if part.strip())
            said = {key.strip(): text.strip() for key, _, text in pairs}
    age, status = headers.get("Age"), headers.get("Cache-Status")
    ttl = _TTL.search(status or "")
    return Says(
        rung=said.get("rung"),
        age_s=int(said["age"]) if "age" in said else None,
        aged=age is not None
        and age == said.get("age")
        and ttl is not None
        and int(ttl[1]) == -int(age),
        unaged=age is None and status is None,
    )
