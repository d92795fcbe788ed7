from __future__ import annotations

from pathlib import Path

import pytest

from examples.news_feed.through_redis.busy import Busy


def test_the_share_of_the_cores_in_use_since_it_was_made(tmp_path: Path):
    stat = tmp_path / "stat"
    stat.write_text("cpu 10 0 5 100 5 0 0 0 0 0\ncpu0 1 1 1 1\n")
    busy = Busy(stat)
    assert busy.share() is None, "no time has passed"
    stat.write_text("cpu 25 0 10 160 15 3 1 6 9 0\ncpu0 1 1 1 1\n")
    assert busy.share() == pytest.approx(0.3)


def test_where_it_is_not_counted_there_is_none(tmp_path: Path):
    assert Busy(tmp_path / "stat").share() is None
