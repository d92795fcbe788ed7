"""The ranker: scores stories for a reader, and collects the views that feeds report.

    GET  /rank?user=&count=   {"nonce": ..., "stories": [{"id": ..., "score": ...}, ...]}, best first
    POST /views               {"receipt": number of views so far}
    GET  /health              "ok"

The nonce is new in every answer, so that a nonce seen twice is an answer that was reused.

The interest of a reader in a story is  lift(story) + taste(reader, section),  where the lift is how
often a story is read, less a little for each day of its age, and a taste is a ridge regression of
the rest on the story's section. They are learned from interactions drawn from a seed, by tastes and
an appeal of each story that the model does not see.
"""

from __future__ import annotations

import secrets
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse
from starlette.routing import Route

from examples.news_feed.answers import READERS, reader_id
from examples.news_feed.serve import serve
from examples.news_feed.stories import PAGE, Story, load

_SEED = 20_26
_SHOWN = 60
"""Stories that each reader was shown."""
_RIDGE_LIFT, _RIDGE_TASTE = 4.0, 8.0
_STALE_A_DAY, _STALEST_DAYS = 0.08, 7.0

Matrix = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Interactions:
    """One entry a story shown: to whom, which one, and whether it was read (1.0) or not (0.0)."""

    reader: NDArray[np.int64]
    story: NDArray[np.int64]
    read: Matrix


def generate(stories: Sequence[Story], readers: int, *, seed: int) -> Interactions:
    """Draw the interactions; the same arguments give the same ones."""
    rng = np.random.default_rng(seed)
    section, sections = _sections(stories)
    taste = rng.dirichlet(np.full(sections, 0.4), size=readers)
    appeal = rng.normal(0.0, 0.7, size=len(stories))
    shown = min(_SHOWN, len(stories))
    story = rng.random((readers, len(stories))).argsort(axis=1)[:, :shown].ravel()
    reader = np.repeat(np.arange(readers), shown)
    liking = 9.0 * taste[reader, section[story]] + appeal[story] - 2.5
    read = rng.random(len(reader)) < 1.0 / (1.0 + np.exp(-liking))
    return Interactions(reader, story, read.astype(np.float64))


@dataclass(frozen=True, slots=True)
class Model:
    """A fitted model; a reader that it has never seen is None, and has the average taste."""

    tastes: Matrix
    section: NDArray[np.int64]
    lift: Matrix

    def scores(self, reader: int | None) -> Matrix:
        taste = self.tastes.mean(axis=0) if reader is None else self.tastes[reader]
        scores: Matrix = self.lift + taste[self.section]
        return scores

    def top(self, reader: int | None, count: int) -> list[tuple[int, float]]:
        scores = self.scores(reader)
        best = np.argsort(-scores, kind="stable")[:count]
        return [(int(story), float(scores[story])) for story in best]


def train(seen: Interactions, stories: Sequence[Story], *, readers: int) -> Model:
    """Fit the model; takes some milliseconds for a few hundred readers and stories."""
    section, sections = _sections(stories)
    base = float(seen.read.mean())
    above = np.bincount(seen.story, weights=seen.read - base, minlength=len(stories))
    shown = np.bincount(seen.story, minlength=len(stories))
    lift = np.asarray(base + above / (shown + _RIDGE_LIFT), dtype=np.float64)
    cell = seen.reader * sections + section[seen.story]
    rest = np.bincount(cell, weights=seen.read - lift[seen.story], minlength=readers * sections)
    shown = np.bincount(cell, minlength=readers * sections)
    days = np.array([story.published for story in stories]) / 86_400
    lift -= _STALE_A_DAY * np.minimum(days.max() - days, _STALEST_DAYS)
    return Model((rest / (shown + _RIDGE_TASTE)).reshape(readers, sections), section, lift)


def _sections(stories: Sequence[Story]) -> tuple[NDArray[np.int64], int]:
    names = sorted({story.section for story in stories})
    return np.array([names.index(story.section) for story in stories]), len(names)


def _build(stories: list[Story]) -> Starlette:
    model = train(generate(stories, READERS, seed=_SEED), stories, readers=READERS)
    numbers = {reader_id(number): number for number in range(READERS)}
    views = 0

    async def rank(request: Request) -> JSONResponse:
        reader = numbers.get(request.query_params.get("user", ""))
        top = model.top(reader, int(request.query_params.get("count", PAGE)))
        best = [{"id": stories[story].id, "score": round(score, 6)} for story, score in top]
        return JSONResponse({"nonce": secrets.token_hex(8), "stories": best})

    async def view(request: Request) -> JSONResponse:
        nonlocal views
        await request.body()
        views += 1
        return JSONResponse({"receipt": views})

    async def health(_: Request) -> PlainTextResponse:
        return PlainTextResponse("ok")

    posted = Route("/views", view, methods=["POST"])
    return Starlette(routes=[Route("/rank", rank), posted, Route("/health", health)])


if __name__ == "__main__":
    _, stories_path, port = sys.argv
    serve(_build(load(Path(stories_path))), int(port))
