"""Fleets on virtual time: whatever the seed makes of them, the invariants hold after every step."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.simulation.fleet import play
from tests.simulation.seeds import CHUNK, QUICK_SEEDS, SEEDS, keep, kept
from tests.simulation.world import Violation


@pytest.mark.parametrize("seed", kept())
def test_seeds_that_once_failed_pass(seed: int):
    play(seed)


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    "first",
    [
        *range(0, QUICK_SEEDS, CHUNK),
        *(
            pytest.param(first, marks=pytest.mark.slow)
            for first in range(QUICK_SEEDS, SEEDS, CHUNK)
        ),
    ],
)
def test_the_invariants_hold_for_every_seed(first: int):
    for seed in range(first, first + CHUNK):
        try:
            play(seed)
        except Violation:
            keep(seed)
            raise


def test_a_seed_plays_the_same_in_every_process():
    root = Path(__file__).parents[2]
    pages = {
        subprocess.run(
            [sys.executable, "-m", "tests.simulation", "--diary", "3"],
            cwd=root, env={"PYTHONHASHSEED": hashes, "PYTHONPATH": "src"},
            capture_output=True, text=True, check=True, timeout=50,
        ).stdout
        for hashes in ("1", "2")
    }  # fmt: skip
    assert len(pages) == 1
    assert pages.pop().count("\n") > 50
