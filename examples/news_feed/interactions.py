"""Who read what: interactions drawn from a seed, for the ranker to learn from.

Every reader has a taste for sections and every story an appeal of its own; both are hidden
from the model, which only sees which of the stories shown were read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from examples.news_feed.stories import Story

__all__ = ("Interactions", "generate")

_SHOWN = 60
"""Stories that each reader was shown."""


@dataclass(frozen=True, slots=True)
class Interactions:
    """One entry a story shown: to whom, which one, and whether it was read (1.0) or not (0.0)."""

    reader: NDArray[np.int64]
    story: NDArray[np.int64]
    read: NDArray[np.float64]


def generate(stories: Sequence[Story], readers: int, *, seed: int) -> Interactions:
    """Draw the interactions; the same arguments give the same ones."""
    rng = np.random.default_rng(seed)
    sections = sorted({story.section for story in stories})
    section = np.array([sections.index(story.section) for story in stories])
    taste = rng.dirichlet(np.full(len(sections), 0.4), size=readers)
    appeal = rng.normal(0.0, 0.7, size=len(stories))
    shown = min(_SHOWN, len(stories))
    order = rng.random((readers, len(stories))).argsort(axis=1)[:, :shown]
    reader = np.repeat(np.arange(readers), shown)
    story = order.ravel()
    liking = 9.0 * taste[reader, section[story]] + appeal[story] - 2.5
    read = rng.random(len(reader)) < 1.0 / (1.0 + np.exp(-liking))
    return Interactions(reader=reader, story=story, read=read.astype(np.float64))
