"""Memory is the reference: whatever is done to Redis, by whichever process, has the same outcome there and leaves the same state."""

from __future__ import annotations

import os
from random import Random
from typing import Any

import pytest

from stepflow.storage.base import Storage
from stepflow.storage.memory import MemoryStorage
from stepflow.storage.opening import open_storage
from tests.contract.histories import History
from tests.servers.redis import fresh, redis_cluster_url, redis_url

__all__ = ["redis_cluster_url", "redis_url"]

SEEDS = range(int(os.environ.get("STEPFLOW_FUZZ_SEEDS", "3")))
"""More of them find rarer differences."""


class Either:
    """Two storages that are one store: each call goes to one of them, as if two processes took turns."""

    def __init__(self, random: Random, *storages: Storage) -> None:
        self._random = random
        self._storages = storages

    def __getattr__(self, name: str) -> Any:
        return getattr(self._random.choice(self._storages), name)


async def play(seed: int, url: str, *, steps: int) -> None:
    """A long history, compared after every step."""
    async with MemoryStorage() as memory, open_storage(url) as here, open_storage(url) as there:
        history = History(Random(seed), memory, Either(Random(seed), here, there))  # type: ignore[arg-type]
        await history.begin()
        for _ in range(steps):
            await history.step()
            await history.compare()


@pytest.mark.deadline(600)
@pytest.mark.parametrize("seed", SEEDS)
async def test_a_long_history_leaves_the_same_on_one_server(seed: int, redis_url: str) -> None:
    await play(seed, fresh(redis_url), steps=100)


@pytest.mark.deadline(600)
@pytest.mark.parametrize("seed", SEEDS)
async def test_a_long_history_leaves_the_same_on_a_cluster(seed: int, redis_cluster_url: str) -> None:
    await play(1_000 + seed, fresh(redis_cluster_url), steps=50)
