"""The ranker's model, in numpy: what each reader likes, learned from what they read.

The interest of a reader in a story is  lift(story) + taste(reader) · features(story),  where
the lift is how often a story is read, less a little for each day of its age, and the taste of
each reader is a ridge regression of the rest on the features: the story's section and the part
of the day in which it came out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from examples.news_feed.interactions import Interactions
from examples.news_feed.stories import Story

__all__ = ("Model", "train")

_RIDGE_LIFT = 4.0
_RIDGE_TASTE = 8.0
_DAYPARTS = 4
_STALE_A_DAY = 0.08
_STALEST_DAYS = 7.0

Matrix = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Model:
    """A fitted model; `average` stands in for a reader that it has never seen."""

    tastes: Matrix
    features: Matrix
    lift: Matrix
    average: Matrix

    def scores(self, reader: int | None) -> Matrix:
        """Return the interest of one reader in every story; None is an unknown reader."""
        taste = self.average if reader is None else self.tastes[reader]
        scores: Matrix = self.lift + self.features @ taste
        return scores

    def top(self, reader: int | None, count: int) -> list[tuple[int, float]]:
        """Return the `count` best stories with their scores, best first."""
        scores = self.scores(reader)
        best = np.argsort(-scores, kind="stable")[:count]
        return [(int(story), float(scores[story])) for story in best]


def train(seen: Interactions, stories: Sequence[Story], *, readers: int) -> Model:
    """Fit the model; takes a few hundredths of a second for a few hundred readers and stories."""
    features = _features(stories)
    shown = np.bincount(seen.story, minlength=len(stories))
    base = float(seen.read.mean())
    above = np.bincount(seen.story, weights=seen.read - base, minlength=len(stories))
    lift = np.asarray(base + above / (shown + _RIDGE_LIFT), dtype=np.float64)
    rest = seen.read - lift[seen.story]
    width = features.shape[1]
    gram = np.zeros((readers, width, width))
    target = np.zeros((readers, width))
    vectors = features[seen.story]
    np.add.at(gram, seen.reader, vectors[:, :, None] * vectors[:, None, :])
    np.add.at(target, seen.reader, vectors * rest[:, None])
    ridge = _RIDGE_TASTE * np.eye(width)
    solved = np.linalg.solve(gram + ridge, target[:, :, None])[:, :, 0]
    tastes = np.asarray(solved, dtype=np.float64)
    days = np.array([story.published for story in stories]) / 86_400
    fresh = lift - _STALE_A_DAY * np.minimum(days.max() - days, _STALEST_DAYS)
    return Model(tastes=tastes, features=features, lift=fresh, average=tastes.mean(axis=0))


def _features(stories: Sequence[Story]) -> Matrix:
    """Return one row a story: its section and its part of the day, each as an indicator."""
    sections = sorted({story.section for story in stories})
    features = np.zeros((len(stories), len(sections) + _DAYPARTS))
    for row, story in enumerate(stories):
        features[row, sections.index(story.section)] = 1.0
        features[row, len(sections) + int(story.published % 86_400 * _DAYPARTS // 86_400)] = 1.0
    return features
