from __future__ import annotations

import numpy as np

from examples.news_feed.interactions import Interactions, generate
from examples.news_feed.model import train
from examples.news_feed.stories import bundled

READERS = 120
STORIES = bundled(now=1_800_000_000.0)


def seen(seed: int = 3) -> Interactions:
    return generate(STORIES, READERS, seed=seed)


def test_a_seed_gives_the_same_interactions_again():
    one, two, other = seen(), seen(), seen(4)
    assert np.array_equal(one.read, two.read)
    assert np.array_equal(one.story, two.story)
    assert not np.array_equal(one.story, other.story)


def test_nobody_is_shown_a_story_twice():
    drawn = seen()
    assert len(set(zip(drawn.reader.tolist(), drawn.story.tolist(), strict=True))) == len(
        drawn.read
    )


def test_what_was_learned_predicts_what_was_held_back():
    """The chance that a story that was read is scored above one that was not (AUC)."""
    drawn = seen()
    kept = np.random.default_rng(0).random(len(drawn.read)) < 0.8
    model = train(
        Interactions(drawn.reader[kept], drawn.story[kept], drawn.read[kept]),
        STORIES, readers=READERS,
    )  # fmt: skip
    held = ~kept
    scores = np.array(
        [
            model.scores(reader)[story]
            for reader, story in zip(drawn.reader[held], drawn.story[held], strict=True)
        ]
    )
    read = drawn.read[held] == 1
    auc = (scores[read][:, None] > scores[~read][None, :]).mean()
    assert auc > 0.62


def test_readers_with_different_tastes_get_different_pages():
    model = train(seen(), STORIES, readers=READERS)
    pages = {tuple(story for story, _ in model.top(reader, 12)) for reader in range(READERS)}
    assert len(pages) > 0.9 * READERS


def test_the_best_come_first_also_for_an_unknown_reader():
    model = train(seen(), STORIES, readers=READERS)
    for reader in (0, None):
        scores = [score for _, score in model.top(reader, 12)]
        assert scores == sorted(scores, reverse=True)
        assert scores[0] == model.scores(reader).max()
