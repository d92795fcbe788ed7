"""Run the demo: `python -m examples.news_feed [--fleet] [--feed FILE_OR_URL] [--out FOLDER]`.

Exit codes: 0 every check holds, 1 one does not, 2 the demo cannot run, 130 interrupted.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from degrade.errors import DegradeError
from examples.news_feed.demo import Demo
from examples.news_feed.processes import ScriptError
from examples.news_feed.script import FleetPace, Pace
from examples.news_feed.stories import bundled, from_feed

_WIDTH = 140
"""Columns of a log file, which does not say how wide it is."""


async def _run(demo: Demo) -> int:
    if (task := asyncio.current_task()) is not None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    return 0 if await demo.run() else 1


def main() -> int:
    """Run the demo and return its exit code."""
    parser = argparse.ArgumentParser(prog="python -m examples.news_feed", description=main.__doc__)
    parser.add_argument("--feed", metavar="FILE_OR_URL", help="an RSS or Atom feed to show instead")
    parser.add_argument(
        "--fleet", action="store_true", help="four processes, and Redis with faults"
    )
    parser.add_argument("--out", type=Path, help="where results go (run-output)")
    options = parser.parse_args()
    folder = options.out or Path("run-output", *(["fleet"] if options.fleet else []))
    console = Console()
    if not console.is_terminal:
        console.width = _WIDTH
    try:
        stories = from_feed(options.feed) if options.feed else bundled()
        demo = Demo(console, stories, folder, FleetPace() if options.fleet else Pace())
        return asyncio.run(_run(demo))
    except (KeyboardInterrupt, asyncio.CancelledError):
        console.print("interrupted; every process was stopped")
        return 130
    except (ScriptError, DegradeError, OSError, ValueError) as error:
        console.print("[bold red]the demo cannot run:[/]", escape(str(error)), highlight=False)
        return 2


if __name__ == "__main__":
    sys.exit(main())
