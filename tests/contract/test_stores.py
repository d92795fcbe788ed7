"""Our own stores keep the contract that they ask of others."""

from __future__ import annotations

import pytest

from degrade.stores.memory import MemoryStore
from degrade.stores.sqlite import SQLiteStore
from degrade.testing import MakeStore, StoreContract


class TestMemoryStore(StoreContract):
    @pytest.fixture
    def make(self) -> MakeStore:
        return lambda clock, namespace: MemoryStore(clock=clock, namespace=namespace)


class TestSQLiteStore(StoreContract):
    @pytest.fixture
    def make(self, tmp_path) -> MakeStore:
        return lambda clock, namespace: SQLiteStore(
            tmp_path / "store.db", clock=clock, namespace=namespace
        )
