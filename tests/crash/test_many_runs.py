"""Many runs: hundreds on one file, by several processes, while they are killed one after the other."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing

import pytest

from stepflow import Stepflow
from tests.crash.conftest import Scene
from tests.crash.forking import Child
from tests.crash.invariants import check_finished, check_standing, opened, recorded_steps
from tests.crash.ledger import Step, count_steps
from tests.crash.pipes import News, Tether
from tests.crash.workers import WORKFLOWS, in_processes, read_acknowledged

STEPS_OF_AN_ERRAND = {"add", "add:2", "multiply", "add:3"}


def steps_of_errands(count: int) -> set[Step]:
    """The steps of so many errands, without those of their children."""
    return {(f"errand-{number}", key) for number in range(count) for key in STEPS_OF_AN_ERRAND}


@pytest.fixture
def news(scene: Scene) -> Iterator[News]:
    with closing(News(scene.directory / "news")) as news:
        yield news


@pytest.mark.deadline(60)
def test_after_a_kill_in_the_middle_of_500_runs_nothing_is_lost(scene: Scene, news: News) -> None:
    told = scene.directory / "told"
    first = scene.start(
        "workers:run_errands", phase="first", runs=500, worker=True, told=str(told), news=str(news.path)
    )
    for _ in range(900):
        news.next()
    first.kill()
    first.wait()
    check_standing(scene.database)
    before = recorded_steps(scene.database)
    with opened(scene.database) as connection:
        stored = {run_id for (run_id,) in connection.execute("SELECT id FROM stepflow_runs")}
    assert read_acknowledged(told) <= stored, "what was acknowledged is there"

    second = scene.start("workers:run_errands", phase="second", runs=500, worker=True)
    second.must_succeed()

    check_finished(scene.database)
    effects = scene.effects()
    assert not {effect.step for effect in effects if effect.phase == "second"} & before, (
        "recorded, and run again"
    )
    executions = count_steps(effects)
    assert steps_of_errands(500) <= set(executions)
    in_flight = {effect.step for effect in effects if effect.phase == "first"} - before
    assert {step for step, count in executions.items() if count > 1} <= in_flight
    assert max(executions.values()) <= 2
    assert {step for step, count in executions.items() if count == 2} == in_flight


@pytest.mark.deadline(60)
def test_four_processes_run_each_of_1_000_runs_once(scene: Scene) -> None:
    workers = [scene.start("workers:serve", phase=f"worker-{n}", concurrency=60) for n in range(4)]
    client = scene.start("workers:run_errands", phase="client", runs=1000, worker=False)

    client.must_succeed()

    for worker in workers:
        worker.end_in_peace()
    check_finished(scene.database)
    effects = scene.effects()
    executions = count_steps(effects)
    assert steps_of_errands(1000) <= set(executions)
    assert len(executions) == 4 * 1000 + 100, "and one in each child"
    assert set(executions.values()) == {1}
    assert len({effect.phase for effect in effects}) == 4, "each did something"


@pytest.mark.deadline(60)
def test_while_workers_are_killed_again_and_again_all_runs_complete(scene: Scene, news: News) -> None:
    def begin(number: int) -> Child:
        phase = f"worker-{number}"
        return scene.start("workers:serve", phase=phase, concurrency=40, news=str(news.path))

    workers = {f"worker-{number}": begin(number) for number in range(4)}
    killed: set[str] = set()
    recorded_when: dict[Step, int] = {}
    client = scene.start("workers:run_errands", phase="client", runs=400, worker=False)
    seen = last_kill = 0
    while seen < 1_400:
        effect = news.next()
        seen += 1
        if seen - last_kill >= 50:
            last_kill = seen
            # The one that is in the middle of this very step, or hardly through; if it is gone already, the oldest.
            phase = effect.phase if effect.phase in workers else next(iter(workers))
            victim = workers.pop(phase)
            victim.kill()
            victim.wait()
            check_standing(scene.database)
            killed.add(phase)
            recorded = recorded_steps(scene.database)
            count = len(scene.effects())
            recorded_when = {step: recorded_when.get(step, count) for step in recorded}
            number = 4 + len(killed)
            workers[f"worker-{number}"] = begin(number)

    client.must_succeed()

    for worker in workers.values():
        worker.end_in_peace()
    check_finished(scene.database)
    effects = scene.effects()
    assert len(killed) >= 20
    assert steps_of_errands(400) <= {effect.step for effect in effects}
    again = [effect for n, effect in enumerate(effects) if n >= recorded_when.get(effect.step, len(effects))]
    assert not again, "recorded, and run again later"
    phases: dict[Step, list[str]] = {}
    for effect in effects:
        phases.setdefault(effect.step, []).append(effect.phase)
    unexplained = {
        step: by for step, by in phases.items() if not set(by[:-1]) <= killed or len(set(by)) < len(by)
    }
    assert not unexplained, f"run again, and nobody who had begun it was killed: {unexplained}"


async def test_a_killed_worker_leaves_no_process_behind(scene: Scene) -> None:
    with closing(Tether(scene.directory / "tether")) as tether:
        worker = scene.start("workers:serve", phase="first")
        async with Stepflow(scene.url, workflows=WORKFLOWS, worker=False) as app:
            run = await app.trigger(in_processes, os.fspath(tether.path), id="run")
            tether.wait_for_holders(2)  # one process is at work, the other waits for some
            worker.kill()
            worker.wait()

            tether.wait_until_alone()

            await app.cancel(run.id, force=True)
