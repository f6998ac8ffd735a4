"""Worker processes on Redis, and on a cluster: killed in the middle, they are followed by others, and nothing is lost."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from stepflow import Stepflow
from stepflow.model.runs import RunFilter
from stepflow.model.states import RunStatus
from stepflow.storage.opening import open_storage
from tests.crash.conftest import Scene
from tests.crash.forking import ENDED_AT_FAILPOINT, ForkServer
from tests.crash.ledger import Step
from tests.crash.pipes import News
from tests.crash.test_many_runs import steps_of_errands
from tests.crash.workers import MARATHON, WORKFLOWS, errand, errand_result, marathon
from tests.servers.redis import fresh, redis_cluster_url, redis_url

__all__ = ["redis_cluster_url", "redis_url"]

RUNS = 150


class RedisScene(Scene):
    """The processes of a test share a store on a server, in place of a file."""

    def __init__(self, directory: Path, server: ForkServer, url: str) -> None:
        super().__init__(directory, server)
        self._url = url

    @property
    def url(self) -> str:
        return self._url


@pytest.fixture(params=["redis_url", "redis_cluster_url"], ids=["server", "cluster"])
def there(request: pytest.FixtureRequest, tmp_path: Path, fork_server: ForkServer) -> Iterator[RedisScene]:
    yield RedisScene(tmp_path, fork_server, fresh(request.getfixturevalue(request.param)))
    fork_server.end_children()


@pytest.mark.deadline(55)
async def test_workers_that_are_killed_are_followed_by_others(there: RedisScene) -> None:
    with closing(News(there.directory / "news")) as news:
        workers = {
            f"worker-{n}": there.start(
                "workers:serve", phase=f"worker-{n}", concurrency=40, lease="2s", news=str(news.path)
            )
            for n in range(3)
        }
        client = there.start("workers:run_errands", phase="client", runs=RUNS, worker=False)
        killed: set[str] = set()
        for _ in range(2):
            for _ in range(120):
                effect = news.next()
            victim = effect.phase if effect.phase in workers else next(iter(workers))
            killed.add(victim)
            workers[victim].kill()
            workers.pop(victim).wait()

        client.must_succeed()  # every result is what it should be

        for worker in workers.values():
            worker.end_in_peace()
    phases: dict[Step, list[str]] = {}
    for effect in there.effects():
        phases.setdefault(effect.step, []).append(effect.phase)
    assert steps_of_errands(RUNS) <= phases.keys()
    unexplained = {step: by for step, by in phases.items() if not set(by[:-1]) <= killed}
    assert not unexplained, f"run again, and nobody who had begun it was killed: {unexplained}"
    async with open_storage(there.url) as storage:
        page = await storage.list_runs(RunFilter(), limit=1_000)
        assert {run.status for run in page.items} == {RunStatus.COMPLETED}
        assert len(page.items) == RUNS + RUNS // 10


@pytest.mark.deadline(55)
async def test_a_run_with_timers_events_and_children_goes_on_in_another_process(there: RedisScene) -> None:
    first = there.start("workers:serve", phase="first", lease="2s")
    async with Stepflow(there.url, workflows=WORKFLOWS, worker=False) as app:
        run = await app.trigger(marathon, id="run")
        async for event in run.events():
            if "suspended" in str(event).lower():
                break
        first.kill()
        first.wait()
        there.start("workers:serve", phase="second", lease="2s")

        await app.notify("marathon/go", 7)

        assert await run.result(timeout=30) == MARATHON


@pytest.mark.deadline(55)
@pytest.mark.parametrize("nth", [2])
@pytest.mark.parametrize("name", ["outbox.before_apply", "outbox.after_apply"])
async def test_what_a_commit_still_had_to_do_elsewhere_is_done_by_others(
    there: RedisScene, name: str, nth: int
) -> None:
    async with Stepflow(there.url, workflows=WORKFLOWS, worker=False) as app:
        runs = [await app.trigger(errand, number, id=f"errand-{number}") for number in range(0, 60, 10)]
        doomed = there.start("workers:serve", phase="doomed", lease="2s", failpoint=(name, nth))
        assert await asyncio.to_thread(doomed.wait) == ENDED_AT_FAILPOINT

        there.start("workers:serve", phase="other", lease="2s")

        assert [await run.result(timeout=30) for run in runs] == [errand_result(n) for n in range(0, 60, 10)]
    async with open_storage(there.url) as storage:
        page = await storage.list_runs(RunFilter(), limit=100)
        assert {run.status for run in page.items} == {RunStatus.COMPLETED}
        assert len(page.items) == 2 * len(runs), "each has one child"
    assert len({effect.step for effect in there.effects()}) == 5 * len(runs)
