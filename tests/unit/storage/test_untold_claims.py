"""Untold claims: what a claim took without an answer is handed over by the next one; nothing else is."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from stepflow.errors import StorageUnavailableError
from stepflow.storage._untold import UntoldClaims
from stepflow.storage.memory import MemoryStorage
from stepflow.storage.writes import Claim
from stepflow.testing.storage_contract.building import T0, a_run, a_worker, claim, create, start, write


class Line:
    """One worker's way to a store in memory, on which the answer of a claim may get lost."""

    def __init__(self, storage: MemoryStorage) -> None:
        self.storage = storage
        self.untold = UntoldClaims(storage)

    async def claim(self, *, lost: bool = False) -> list[str]:
        async def take() -> Sequence[Claim]:
            claims = await claim(self.storage, now=T0)
            if lost:
                raise StorageUnavailableError("the answer got lost")
            return claims

        return [one.run.id for one in await self.untold.claim("w1", known={}, now=T0, take=take)]


async def a_line() -> Line:
    storage = MemoryStorage()
    await storage.register_worker(a_worker())
    return Line(storage)


async def test_what_a_lost_claim_took_is_handed_over_once() -> None:
    line = await a_line()
    await write(line.storage, create("r1"))
    with pytest.raises(StorageUnavailableError):
        await line.claim(lost=True)

    assert await line.claim() == ["r1"]
    assert await line.claim() == []


async def test_a_run_that_its_starter_took_at_the_instant_of_a_lost_claim_is_not_handed_over() -> None:
    line = await a_line()
    with pytest.raises(StorageUnavailableError):
        await line.claim(lost=True)
    await line.storage.write([start(a_run("r2"))], now=T0)

    assert await line.claim() == []
