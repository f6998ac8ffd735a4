"""The contract, kept by the SQLite backend, on a file and in memory."""

from __future__ import annotations

from pathlib import Path

import pytest

from stepflow.storage.base import Storage
from stepflow.storage.opening import open_storage
from stepflow.testing.storage_contract import BroadcastingContract, StorageContract


class TestSqliteFile(StorageContract, BroadcastingContract):
    @pytest.fixture
    def storage(self, tmp_path: Path) -> Storage:
        return open_storage(f"sqlite:///{tmp_path}/contract.db?synchronous=normal")


class TestSqliteInMemory(StorageContract, BroadcastingContract):
    @pytest.fixture
    def storage(self) -> Storage:
        return open_storage("sqlite:///:memory:")
