"""The operator's verbs; the only door for humans: CLI, dashboard and code all call it."""

from __future__ import annotations

from degrade.control.commands import Control
from degrade.control.fleet_votes import FleetView
from degrade.control.propagation import InstanceSeen, Propagation
from degrade.control.results import Held, LevelOrdered, LevelReleased, Released
from degrade.control.status import Advice, FlagStatus, InstanceStatus, Status, Why

__all__ = (
    "Advice",
    "Control",
    "FlagStatus",
    "FleetView",
    "Held",
    "InstanceSeen",
    "InstanceStatus",
    "LevelOrdered",
    "LevelReleased",
    "Propagation",
    "Released",
    "Status",
    "Why",
)
