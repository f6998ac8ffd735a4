"""A process that has died does nothing more: what it still asks of the storage is neither done nor answered."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from stepflow.storage.memory import MemoryStorage
from stepflow.testing.clock import FakeClock
from stepflow.testing.harness.tap import Tap


async def unseen(what: Sequence[Any]) -> None:
    """Nobody looks at what passes."""


@pytest.mark.parametrize("call", ["write", "claim", "get_run"])
async def test_nothing_of_a_dead_process_gets_through(call: str) -> None:
    now = FakeClock().now()
    tap = Tap(MemoryStorage(), before=unseen, after=unseen, claimed=unseen)
    work: dict[str, Any] = {
        "write": lambda: tap.write([], now=now),
        "claim": lambda: tap.claim_runs("w", queues={}, known={}, limit=1, now=now),
        "get_run": lambda: tap.get_run("r"),
    }
    await work[call]()

    tap.die()
    asking = asyncio.create_task(work[call]())
    for _ in range(5):
        await asyncio.sleep(0)

    assert not asking.done()
    assert await tap.release_worker("w", now=now) == []
    asking.cancel()
