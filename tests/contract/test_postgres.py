"""The contract, kept by the PostgreSQL backend on a real server."""

from __future__ import annotations

import pytest

from stepflow.storage.base import Storage
from stepflow.storage.opening import open_storage
from stepflow.testing.storage_contract import BroadcastingContract, StorageContract
from tests.servers.postgres import emptied


class TestPostgres(StorageContract, BroadcastingContract):
    @pytest.fixture
    def storage(self) -> Storage:
        return open_storage(emptied("contract"))
