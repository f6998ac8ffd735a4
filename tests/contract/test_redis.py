"""The contract, kept by the Redis backend: on one Redis, on Valkey, spread over partitions, and on a cluster."""

from __future__ import annotations

import pytest

from stepflow.storage.base import Storage
from stepflow.storage.opening import open_storage
from stepflow.testing.storage_contract import BroadcastingContract, StorageContract
from tests.servers.redis import fresh, redis_cluster_url, redis_url, valkey_url

__all__ = ["redis_cluster_url", "redis_url", "valkey_url"]


class TestRedis(StorageContract, BroadcastingContract):
    @pytest.fixture
    def storage(self, redis_url: str) -> Storage:
        return open_storage(fresh(redis_url))


class TestValkeyInPartitions(StorageContract, BroadcastingContract):
    @pytest.fixture
    def storage(self, valkey_url: str) -> Storage:
        return open_storage(f"{fresh(valkey_url)}&partitions=3")


class TestRedisCluster(StorageContract, BroadcastingContract):
    @pytest.fixture
    def storage(self, redis_cluster_url: str) -> Storage:
        return open_storage(fresh(redis_cluster_url))
