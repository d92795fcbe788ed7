"""What third parties test their parts with: the contract suites that ours pass, too."""

from __future__ import annotations

from degrade.testing.store_contract import MakeStore, StoreContract

__all__ = ("MakeStore", "StoreContract")
