"""The contract, kept by the libSQL backend on a real server."""

from __future__ import annotations

import pytest

from stepflow.storage.base import Storage
from stepflow.storage.opening import open_storage
from stepflow.testing.storage_contract import StorageContract
from tests.servers.sqld import libsql_server, libsql_url, sqld_binary

__all__ = ["libsql_server", "libsql_url", "sqld_binary"]


class TestLibsql(StorageContract):
    @pytest.fixture
    def storage(self, libsql_url: str) -> Storage:
        return open_storage(libsql_url)
