"""The record of one answer, as the load or a feed process writes it and the checks read it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import astuple, dataclass, replace
from pathlib import Path

from examples.news_feed.classify import Kind, Looks, Says

__all__ = ("Answer", "read", "read_after")


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One request and what came of it; times are Unix seconds.

    Attributes:
        due: When it was to be sent; latency counts from here.
        sent: When it was sent.
        done: When the answer was complete.
        port: Which process it went to.
        reader: Who asked.
        looks: What the answer is by its body.
        says: What its headers say of the ranking; None without an answer.
    """

    due: float
    sent: float
    done: float
    port: int
    reader: str
    looks: Looks
    says: Says | None

    @property
    def latency_s(self) -> float:
        """Seconds from when it was due."""
        return self.done - self.due

    @property
    def kind(self) -> Kind:
        """What the answer is by its body."""
        return self.looks.kind

    def line(self) -> str:
        """Return the record as one line of JSON."""
        return json.dumps(astuple(self))


def read(path: Path) -> Iterator[Answer]:
    """Return the records of a file, in the order in which the answers came."""
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            due, sent, done, port, reader, looks, says = json.loads(line)
            kind, nonce, viewed, problem = looks
            yield Answer(
                due=due, sent=sent, done=done, port=port, reader=reader,
                looks=Looks(kind=Kind(kind), nonce=nonce, viewed=viewed, problem=problem),
                says=None if says is None else _says(*says),
            )  # fmt: skip


def read_after(path: Path, visits: Sequence[Answer]) -> list[Answer]:
    """Return the records of the load, which has not seen what the ranker answered to visitors.

    A nonce that a visitor got first is a former one, also where the stories of the snapshot happen
    to be in the order of their scores.
    """
    former = {visit.looks.nonce for visit in visits if visit.kind is Kind.FULL}
    return [
        replace(answer, looks=replace(answer.looks, kind=Kind.SNAPSHOT))
        if answer.kind is Kind.FULL and answer.looks.nonce in former
        else answer
        for answer in read(path)
    ]


def _says(rung: str | None, age_s: int | None, aged: bool, unaged: bool) -> Says:
    return Says(rung=rung, age_s=age_s, aged=aged, unaged=unaged)
