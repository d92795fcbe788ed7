"""Run the command line as `python -m degrade.cli`."""

from __future__ import annotations

from degrade.cli.main import main

main()
