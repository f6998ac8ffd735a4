"""Memory is the reference: whatever is done to PostgreSQL has the same outcome there and leaves the same state."""

from __future__ import annotations

import os
from random import Random

import pytest

from stepflow.storage.memory import MemoryStorage
from stepflow.storage.opening import open_storage
from tests.contract.histories import History
from tests.servers.postgres import emptied

SEEDS = range(int(os.environ.get("STEPFLOW_FUZZ_SEEDS", "4")))
"""Few, as every call goes to a server; set the variable for a long hunt."""


@pytest.fixture
def url() -> str:
    return emptied("history")


@pytest.mark.deadline(600)
@pytest.mark.parametrize("seed", SEEDS)
async def test_a_long_history_leaves_the_same_on_both(seed: int, url: str) -> None:
    async with MemoryStorage() as memory, open_storage(url) as postgres:
        history = History(Random(seed), memory, postgres)
        await history.begin()

        for _ in range(60):
            await history.step()
            await history.compare()
