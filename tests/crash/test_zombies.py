"""Zombies: a worker that is stopped for longer than its lease, and wakes when its run has another owner, changes nothing.

The process stops itself (SIGSTOP) at a named place, alone with its run. Another one takes over when the lease has passed and is held up
inside a later step; then the first is woken, and is watched until it has executed something else.
"""

from __future__ import annotations

import asyncio
import signal
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from itertools import pairwise

import pytest

from stepflow import Stepflow
from tests.crash.conftest import Scene
from tests.crash.invariants import check_finished, check_standing, opened, writers_by_seq
from tests.crash.pipes import Gate, News
from tests.crash.workers import MARATHON, WORKFLOWS, marathon, probe, rounds

# Where the run of the first process stands when that stops; `marathon` passes each before its gate is recorded.
PLACES = [
    ("step.after_body", 1),
    ("step.before_checkpoint", 1),
    ("attempt.before_restart", 1),
    ("timer.fired", 1),
    ("suspend.before_write", 1),
    ("event.received", 1),
    ("child.before_create", 1),
    ("child.after_create", 1),
    ("step.after_body", 3),
]
# Here all that led to a step is durable, and its body is the very next thing: nothing can hold that one back.
JUST_BEFORE_A_BODY = [
    ("claim.committed", 1),
    ("run.loaded", 1),
    ("step.before_body", 1),
    ("step.before_body", 3),
]


@pytest.fixture
def news(scene: Scene) -> Iterator[News]:
    with closing(News(scene.directory / "news")) as news:
        yield news


@pytest.fixture
def gate(scene: Scene) -> Iterator[Gate]:
    with closing(Gate(scene.directory / "gate")) as gate:
        yield gate


def state_of(scene: Scene, run_id: str) -> tuple[object, ...]:
    """Everything that is stored of a run."""
    with opened(scene.database) as connection:
        run = connection.execute("SELECT * FROM stepflow_runs WHERE id = ?", (run_id,)).fetchall()
        waits = connection.execute("SELECT * FROM stepflow_waits WHERE run_id = ?", (run_id,)).fetchall()
        journal = connection.execute(
            "SELECT * FROM stepflow_journal WHERE run_id = ? ORDER BY seq", (run_id,)
        ).fetchall()
        children = connection.execute("SELECT * FROM stepflow_runs WHERE parent_id = ?", (run_id,)).fetchall()
        return run, waits, journal, children


class Zombie:
    """A worker that stops itself at a place, and sleeps until it is woken. It alone serves the queue of the probe."""

    def __init__(self, scene: Scene, news: News, place: tuple[str, int]) -> None:
        self._scene = scene
        self._woken = scene.directory / "woken"
        self.process = scene.start(
            "workers:serve",
            phase="zombie",
            lease="1s",
            queues=["default", "probe"],
            stop_at=place,
            stop_until=str(self._woken),
            news=str(news.path),
        )

    async def fall_asleep(self) -> None:
        """Wait until it sleeps, and does not hold the file's write lock: its other threads were stopped anywhere."""
        while True:
            await asyncio.to_thread(self.process.wait_until_stopped)
            with closing(
                sqlite3.connect(self._scene.database, isolation_level=None, timeout=0.2)
            ) as connection:
                try:
                    connection.execute("BEGIN IMMEDIATE")
                except sqlite3.OperationalError:
                    self.process.send(signal.SIGCONT)
                    continue
                connection.execute("ROLLBACK")
                return

    def wake(self) -> None:
        self._woken.touch()
        self.process.send(signal.SIGCONT)


def done_by_zombie(scene: Scene) -> list[str]:
    """The steps that the first process began, without those of the probe."""
    return [
        effect.key
        for effect in scene.effects()
        if effect.phase == "zombie" and not effect.key.startswith("awake")
    ]


@pytest.mark.parametrize("place", [*PLACES, *JUST_BEFORE_A_BODY])
async def test_a_worker_that_wakes_after_a_takeover_changes_nothing(
    scene: Scene, news: News, gate: Gate, place: tuple[str, int]
) -> None:
    async with Stepflow(scene.url, workflows=WORKFLOWS, worker=False) as app:
        run = await app.trigger(marathon, id="run")
        await app.notify("marathon/go", 7, id="go")
        zombie = Zombie(scene, news, place)
        await zombie.fall_asleep()
        heir = scene.start(
            "workers:serve", phase="heir", queues=["default"], gate=str(gate.path), news=str(news.path)
        )
        await asyncio.to_thread(news.wait_for, phase="heir", key="gate")
        before, done = state_of(scene, "run"), done_by_zombie(scene)

        zombie.wake()
        await (await app.trigger(probe)).result()

        assert state_of(scene, "run") == before
        assert len(done) <= len(done_by_zombie(scene)) <= len(done) + (place in JUST_BEFORE_A_BODY)
        check_standing(scene.database)

        gate.open()
        assert await run.result() == MARATHON
    zombie.process.end_in_peace()
    heir.end_in_peace()
    check_finished(scene.database)
    writers = writers_by_seq(scene.database, "run")
    changes = [(one, two) for one, two in pairwise(writers) if one != two]
    assert len(changes) <= 1, f"once another had written, the first did not any more: {writers}"


async def test_a_worker_that_wakes_at_the_last_line_of_a_finished_run_changes_nothing(
    scene: Scene, news: News
) -> None:
    async with Stepflow(scene.url, workflows=WORKFLOWS, worker=False) as app:
        run = await app.trigger(marathon, id="run")
        await app.notify("marathon/go", 7, id="go")
        zombie = Zombie(scene, news, ("finish.before_write", 3))  # after the first attempt's, and the child's
        await zombie.fall_asleep()
        heir = scene.start("workers:serve", phase="heir", queues=["default"])
        assert await run.result() == MARATHON
        before, done = state_of(scene, "run"), done_by_zombie(scene)

        zombie.wake()
        await (await app.trigger(probe)).result()

        assert (state_of(scene, "run"), done_by_zombie(scene)) == (before, done)
        # Its last step and its end are one commit, which was never sent.
        assert [effect.key for effect in scene.effects() if effect.phase == "heir"] == ["note:2"]
    zombie.process.end_in_peace()
    heir.end_in_peace()
    check_finished(scene.database)


@pytest.mark.parametrize("name", ["continue.before_write", "continue.after_write"])
async def test_a_worker_that_wakes_as_it_goes_on_afresh_changes_nothing(
    scene: Scene, news: News, gate: Gate, name: str
) -> None:
    async with Stepflow(scene.url, workflows=WORKFLOWS, worker=False) as app:
        run = await app.trigger(rounds, 1, id="run")
        zombie = Zombie(scene, news, (name, 1))
        await zombie.fall_asleep()
        heir = scene.start(
            "workers:serve", phase="heir", queues=["default"], gate=str(gate.path), news=str(news.path)
        )
        await asyncio.to_thread(news.wait_for, phase="heir", key="gate")
        before, done = state_of(scene, "run"), done_by_zombie(scene)

        zombie.wake()
        await (await app.trigger(probe)).result()

        assert state_of(scene, "run") == before
        # Once its fresh journal is durable, the first step in it is the very next thing.
        assert len(done) <= len(done_by_zombie(scene)) <= len(done) + (name == "continue.after_write")
        gate.open()
        assert await run.result() == "done"
    zombie.process.end_in_peace()
    heir.end_in_peace()
    check_finished(scene.database)
