"""Crashes inside of step bodies: in the middle of an effect, of a fan-out, of a compensation, and again and again."""

from __future__ import annotations

import asyncio

from stepflow import RunPausedError, Stepflow
from stepflow.model.journal import StepInterrupted
from tests.crash.conftest import Scene
from tests.crash.forking import ENDED_AT_FAILPOINT
from tests.crash.invariants import check_finished, check_standing, entries_of, recorded_steps
from tests.crash.ledger import count_steps
from tests.crash.workers import (
    WORKFLOWS,
    charge_once,
    compensating,
    crash_in_step,
    crash_loop,
    errand,
    errand_result,
    five_at_once,
)


def observer(scene: Scene) -> Stepflow:
    """An app in the test's own process, which executes nothing."""
    return Stepflow(scene.url, workflows=WORKFLOWS, worker=False)


def crash_first(scene: Scene) -> None:
    """A worker that dies in a body, and what must hold then."""
    process = scene.start("workers:serve", phase="first")
    assert process.wait() == ENDED_AT_FAILPOINT, process.log.read_text()
    check_standing(scene.database)


async def test_a_step_that_died_in_its_body_runs_again_and_its_neighbours_do_not(scene: Scene) -> None:
    async with observer(scene) as app:
        run = await app.trigger(crash_in_step, id="run")
        await asyncio.to_thread(crash_first, scene)
        second = scene.start("workers:serve", phase="second")

        assert await run.result() == 6

        second.end_in_peace()
    check_finished(scene.database)
    assert count_steps(scene.effects()) == {("run", "crash_once"): 2, ("run", "add"): 1, ("run", "add:2"): 1}


async def test_an_at_most_once_step_that_died_in_its_body_does_not_run_again(scene: Scene) -> None:
    async with observer(scene) as app:
        run = await app.trigger(charge_once, id="run")
        await asyncio.to_thread(crash_first, scene)
        second = scene.start("workers:serve", phase="second")

        assert await run.result() == "unknown"

        second.end_in_peace()
    check_finished(scene.database)
    assert count_steps(scene.effects()) == {("run", "charge"): 1, ("run", "note"): 1}
    interrupted = [e.key for e in entries_of(scene.database, "run") if isinstance(e, StepInterrupted)]
    assert interrupted == ["charge"]


async def test_a_crash_in_the_second_compensation_leaves_the_first_done(scene: Scene) -> None:
    async with observer(scene) as app:
        run = await app.trigger(compensating, id="run")
        await asyncio.to_thread(crash_first, scene)
        assert recorded_steps(scene.database) == {("run", "note"), ("run", "undo-0")}
        second = scene.start("workers:serve", phase="second")

        assert await run.result() == "undid-0 undid-1 undid-2"

        second.end_in_peace()
    check_finished(scene.database)
    assert count_steps(scene.effects()) == {
        ("run", "note"): 1,
        ("run", "undo-0"): 1,
        ("run", "undo-1"): 2,
        ("run", "undo-2"): 1,
    }


async def test_of_five_branches_the_three_that_were_recorded_do_not_run_again(scene: Scene) -> None:
    async with observer(scene) as app:
        run = await app.trigger(five_at_once, id="run")
        first = scene.start("workers:serve", phase="first")
        ended = 0
        async for event in run.events():
            ended += event.entry.__class__.__name__ == "StepCompleted"
            if ended == 3:
                break
        first.kill()
        first.wait()
        second = scene.start("workers:serve", phase="second")

        assert await run.result() == [0, 1, 2, 3, 4]

        second.end_in_peace()
    check_finished(scene.database)
    expected = {("run", f"part-{n}"): 1 if n < 3 else 2 for n in range(5)}
    assert count_steps(scene.effects()) == expected


async def test_a_run_that_kills_its_workers_is_paused_and_the_others_go_on(scene: Scene) -> None:
    async with observer(scene) as app:
        bomb = await app.trigger(crash_loop, id="bomb")
        deaths = 0
        while True:
            worker = scene.start("workers:serve", phase=f"worker-{deaths}")
            waiting = asyncio.create_task(asyncio.to_thread(worker.wait))
            survived = asyncio.create_task(bomb.result())
            done, _ = await asyncio.wait({waiting, survived}, return_when=asyncio.FIRST_COMPLETED)
            if survived in done:
                break
            survived.cancel()
            assert await waiting == ENDED_AT_FAILPOINT
            deaths += 1
            assert deaths < 20, "it is never paused"
        other = await app.trigger(errand, 4)

        assert isinstance(survived.exception(), RunPausedError)
        assert (await app.get_run("bomb")).pause_reason == "poisoned"
        assert await other.result() == errand_result(4)
        assert deaths == 10, "the tenth claim after a crash without any progress pauses it"

        worker.terminate()
        assert await waiting == 0
    check_standing(scene.database)
