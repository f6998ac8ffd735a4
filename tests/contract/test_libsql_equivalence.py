"""Memory is the reference for libSQL too: the same random histories have the same outcome there and leave the same state."""

from __future__ import annotations

import os
from random import Random

import pytest

from stepflow.storage.memory import MemoryStorage
from stepflow.storage.opening import open_storage
from tests.contract.histories import History
from tests.servers.sqld import libsql_server, libsql_url, sqld_binary

__all__ = ["libsql_server", "libsql_url", "sqld_binary"]

SEEDS = range(int(os.environ.get("STEPFLOW_FUZZ_SEEDS", "12")) // 4)
"""Fewer than on SQLite: every call is a journey here, and the rules are the same."""


@pytest.mark.deadline(600)
@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", SEEDS)
async def test_a_long_history_leaves_the_same_on_both(seed: int, libsql_url: str) -> None:
    async with MemoryStorage() as memory, open_storage(libsql_url) as libsql:
        history = History(Random(seed), memory, libsql)
        await history.begin()

        for turn in range(100):
            await history.step()
            if turn % 5 == 4:
                await history.compare()
