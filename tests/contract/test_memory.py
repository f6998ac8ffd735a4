"""The contract, kept by the memory backend."""

from __future__ import annotations

import pytest

from stepflow.storage.memory import MemoryStorage
from stepflow.testing.storage_contract import BroadcastingContract, StorageContract


class TestMemoryStorage(StorageContract, BroadcastingContract):
    @pytest.fixture
    def storage(self) -> MemoryStorage:
        return MemoryStorage()
