"""Which seeds are played, and the file of those that once failed."""

from __future__ import annotations

from pathlib import Path

__all__ = ("CHUNK", "QUICK_SEEDS", "SEEDS", "keep", "kept")

KEPT = Path(__file__).with_name("seeds.txt")

CHUNK = 10
"""Seeds of one test."""
SEEDS = 2_000
QUICK_SEEDS = 200
"""Those of tests that are not slow."""


def kept() -> list[int]:
    """Return the seeds that once failed."""
    lines = KEPT.read_text("utf-8").splitlines()
    return [int(line) for line in lines if line and not line.startswith("#")]


def keep(seed: int) -> None:
    """Write a seed that failed into the file, once."""
    if seed not in kept():
        with KEPT.open("a", encoding="utf-8") as file:
            file.write(f"{seed}\n")
