"""Two worker processes on one PostgreSQL: one is killed, or stopped for longer than its lease; the other finishes, once."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from stepflow import Stepflow
from stepflow.model.journal import StepCompleted, decode_entries
from tests.crash.conftest import Scene
from tests.crash.forking import ForkServer
from tests.crash.invariants import FINISHED, STANDING
from tests.crash.ledger import Step, count_steps
from tests.crash.pipes import Gate, News
from tests.crash.workers import MARATHON, WORKFLOWS, errand_result, marathon
from tests.servers.postgres import emptied, execute

SCHEMA = "crash"


class PostgresScene(Scene):
    """The same scene around a schema of the session's server."""

    def __init__(self, directory: Path, server: ForkServer, url: str) -> None:
        super().__init__(directory, server)
        self._url = url

    @property
    def url(self) -> str:
        return self._url

    def ask(self, query: str) -> list[Any]:
        """Rows that another connection sees, from a query as the SQLite tests write it."""
        return execute(self._url, query.replace("stepflow_", f"{SCHEMA}."))

    def check(self, rules: dict[str, str]) -> None:
        broken = {sentence: found for sentence, query in rules.items() if (found := self.ask(query))}
        assert not broken

    def recorded_steps(self) -> set[Step]:
        """The steps whose results are durable."""
        return {
            (run_id, entry.key)
            for run_id, entries in self.ask("SELECT run_id, entries FROM stepflow_journal")
            for entry in decode_entries(entries)
            if isinstance(entry, StepCompleted)
        }


@pytest.fixture
def scene(tmp_path: Path, fork_server: ForkServer) -> Iterator[PostgresScene]:
    yield PostgresScene(tmp_path, fork_server, emptied(SCHEMA))
    fork_server.end_children()


@pytest.fixture
def news(scene: PostgresScene) -> Iterator[News]:
    with closing(News(scene.directory / "news")) as news:
        yield news


@pytest.mark.deadline(60)
def test_what_a_killed_worker_had_is_finished_by_the_other_and_nothing_recorded_runs_again(
    scene: PostgresScene, news: News
) -> None:
    doomed = scene.start("workers:serve", phase="doomed", lease="1s", concurrency=40, news=str(news.path))
    other = scene.start("workers:serve", phase="other", lease="1s", concurrency=40)
    client = scene.start("workers:run_errands", phase="client", runs=150, worker=False)
    for _ in range(120):
        news.next()

    doomed.kill()
    doomed.wait()
    scene.check(STANDING)
    recorded = scene.recorded_steps()
    before = len(scene.effects())
    client.must_succeed()
    other.end_in_peace()

    scene.check(STANDING | FINISHED)
    effects = scene.effects()
    executions = count_steps(effects)
    assert len(executions) == 4 * 150 + 15
    assert not {effect.step for effect in effects[before:]} & recorded, "recorded, and run again"
    begun_by_doomed = {effect.step for effect in effects if effect.phase == "doomed"}
    assert {step for step, count in executions.items() if count > 1} <= begun_by_doomed
    assert max(executions.values()) <= 2
    outputs = scene.ask("SELECT id, output FROM stepflow_runs WHERE workflow_id = 'errand'")
    assert {(run_id, int(output)) for run_id, output in outputs} == {
        (f"errand-{number}", errand_result(number)) for number in range(150)
    }


@pytest.mark.deadline(60)
async def test_a_worker_that_wakes_after_a_takeover_changes_nothing(scene: PostgresScene, news: News) -> None:
    with closing(Gate(scene.directory / "gate")) as gate:
        async with Stepflow(scene.url, workflows=WORKFLOWS, worker=False) as app:
            run = await app.trigger(marathon, id="run")
            await app.notify("marathon/go", 7, id="go")
            woken = scene.directory / "woken"
            zombie = scene.start(
                "workers:serve",
                phase="zombie",
                lease="1s",
                stop_at=("step.before_checkpoint", 1),
                stop_until=str(woken),
                news=str(news.path),
            )
            zombie.wait_until_stopped()
            heir = scene.start(
                "workers:serve", phase="heir", lease="1s", gate=str(gate.path), news=str(news.path)
            )
            news.wait_for(phase="heir", key="gate")

            woken.touch()
            zombie.send(signal.SIGCONT)
            gate.open()

            assert await run.result(timeout="30s") == MARATHON
        zombie.end_in_peace()
        heir.end_in_peace()
    await asyncio.to_thread(scene.check, STANDING | FINISHED)
    done = [effect.key for effect in scene.effects() if effect.phase == "zombie"]
    assert done == ["note"], "it executed something of a run that was not its own any more"
