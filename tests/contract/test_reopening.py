"""``app.sync`` of an app that was given a storage object: it opens the same place again, password and all."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from stepflow import Stepflow, step, workflow
from stepflow.storage.opening import open_storage
from stepflow.storage.redis.storage import RedisStorage
from tests.servers.redis import ask, fresh, redis_binary, redis_server
from tests.servers.running import free_port

PASSWORD = "p%40ss"


@step
async def add_one(number: int) -> int:
    return number + 1


@workflow
async def adds(number: int) -> int:
    return await add_one(number)


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[str]:
    """The URL of a Redis that asks for a password."""
    port = free_port()
    server = redis_server(redis_binary(), tmp_path / "redis", port, "--appendonly", "yes")
    server.start()
    try:
        assert ask(port, "CONFIG", "SET", "requirepass", "p@ss") == "+OK"
        yield fresh(f"redis://:{PASSWORD}@127.0.0.1:{port}")
    finally:
        server.stop()


@pytest.mark.deadline(60)
async def test_sync_of_an_app_with_a_storage_object_knows_its_password(guarded: str) -> None:
    storage = open_storage(guarded)
    assert isinstance(storage, RedisStorage)
    app = Stepflow(storage, workflows=[adds])
    async with app:
        run_id = await asyncio.to_thread(lambda: app.sync.trigger(adds, 1).id)

        assert await app.handle(run_id, adds).result(timeout=20) == 2
        assert await asyncio.to_thread(lambda: app.sync.get_run(run_id).output) == 2
        await asyncio.to_thread(app.sync.close)

    assert PASSWORD not in storage.url
