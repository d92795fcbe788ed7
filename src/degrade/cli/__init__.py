"""The command line `degrade`: the operator's verbs, for people and for scripts."""

from __future__ import annotations

from degrade.cli.main import main

__all__ = ("main",)
