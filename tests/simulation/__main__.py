"""Play seeds from the command line.

python -m tests.simulation 1234               replay one, with its whole diary when it fails
python -m tests.simulation --seeds 10000      play many, on every core; failed ones are kept
"""

from __future__ import annotations

import argparse
import sys
import time
from concurrent.futures import ProcessPoolExecutor

from tests.simulation.fleet import Fleet, apart
from tests.simulation.seeds import SEEDS, keep, kept
from tests.simulation.world import Violation


def _show(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def _fails(seed: int) -> str | None:
    """Return why a seed fails, None when it passes."""
    with apart():
        try:
            Fleet(seed).play()
        except Violation as error:
            return str(error)
        except Exception as error:  # noqa: BLE001 - the others are still played
            return repr(error)
    return None


def _replay(seed: int, *, diary: bool) -> bool:
    """Play one seed and show its diary when it fails, or always."""
    with apart():
        fleet = Fleet(seed, remembers=1_000_000)
        try:
            fleet.play()
        except Violation as error:
            _show(fleet.world.pages(1_000_000))
            _show(f"\nseed {seed} fails {error}")
            return False
    if diary:
        _show(fleet.world.pages(1_000_000))
    _show(f"seed {seed} passes")
    return True


def _many(first: int, count: int, jobs: int | None) -> bool:
    began = time.monotonic()
    seeds = [*kept(), *range(first, first + count)]
    failed = 0
    with ProcessPoolExecutor(jobs) as pool:
        for seed, why in zip(seeds, pool.map(_fails, seeds, chunksize=20), strict=True):
            if why is not None:
                failed += 1
                keep(seed)
                _show(f"seed {seed} fails {why}")
                _show(f"    replay it: python -m tests.simulation {seed}")
    _show(f"{len(seeds)} seeds in {time.monotonic() - began:.0f} s: {failed} failed")
    return not failed


def main() -> int:
    """Play what the command line says; return 1 if an invariant does not hold."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("seed", nargs="*", type=int, help="seeds to replay")
    parser.add_argument("--seeds", type=int, default=SEEDS, help="how many to play")
    parser.add_argument("--first", type=int, default=0, help="the first of them")
    parser.add_argument("--jobs", type=int, default=None, help="processes; one a core by default")
    parser.add_argument("--diary", action="store_true", help="show the diary also when it passes")
    asked = parser.parse_args()
    if asked.seed:
        passed = not [seed for seed in asked.seed if not _replay(seed, diary=asked.diary)]
    else:
        passed = _many(asked.first, asked.seeds, asked.jobs)
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
