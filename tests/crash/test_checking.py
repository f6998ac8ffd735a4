"""``storage check`` on what a killed worker leaves, and on what others make of it: nothing is damaged."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from stepflow.clock import SystemClock
from stepflow.storage._checking.walking import Check
from stepflow.storage.checking import Finding
from stepflow.storage.opening import open_storage
from tests.crash.conftest import Scene
from tests.crash.forking import ForkServer
from tests.crash.pipes import News
from tests.servers.stores import LASTING, Stores, stores

__all__ = ["stores"]

RUNS = 60


class StoreScene(Scene):
    """The processes of a test share a store of any kind."""

    def __init__(self, directory: Path, server: ForkServer, url: str) -> None:
        super().__init__(directory, server)
        self._url = url

    @property
    def url(self) -> str:
        return self._url


@pytest.fixture
def there(name: str, stores: Stores, tmp_path: Path, fork_server: ForkServer) -> Iterator[StoreScene]:
    yield StoreScene(tmp_path, fork_server, stores.fresh(name))
    fork_server.end_children()


def check(url: str) -> list[Finding]:
    async def whole() -> list[Finding]:
        async with open_storage(url) as storage:
            one = Check(storage, now=SystemClock().now(), between=0.05)
            return [finding async for finding in one.all()]

    return asyncio.run(whole())


@pytest.mark.deadline(60)
@pytest.mark.parametrize("name", LASTING)
def test_a_killed_worker_damages_nothing_and_its_successor_leaves_no_trace(there: StoreScene) -> None:
    with closing(News(there.directory / "news")) as news:
        worker = there.start("workers:serve", phase="worker", concurrency=20, lease="2s", news=str(news.path))
        client = there.start("workers:run_errands", phase="client", runs=RUNS, worker=False)
        for _ in range(RUNS):
            news.next()
        worker.kill()
        worker.wait()
        after_the_kill = check(there.url)

        other = there.start("workers:serve", phase="other", concurrency=20, lease="2s", news=str(news.path))
        client.must_succeed()
        other.end_in_peace()
        at_the_end = check(there.url)

    assert [finding for finding in after_the_kill if finding.damage] == []
    assert at_the_end == []
