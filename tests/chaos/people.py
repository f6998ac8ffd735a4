"""People: the simulator's users on real time. They ask processes that do not work, and look after what waits too long."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine
from datetime import datetime, timedelta
from random import Random
from typing import Any, Final

from stepflow import Stepflow
from stepflow.errors import OperationRefusedError, RunNotFoundError, StorageError
from stepflow.model.steps import Run
from tests.chaos.workload import RUNS, SPAN, WORKFLOWS, Playbill, event_ids
from tests.simulation.processes import Process
from tests.simulation.users import Users, Wish

_UNENDED: Final = ("queued", "running", "suspended", "paused")
_PAGE: Final = 500
_SCENARIOS_A_ROUND: Final = 25


class Asker:
    """A process of the users': an app that does not work, on this very loop."""

    def __init__(self, url: str, wrong: list[str]) -> None:
        self.app = Stepflow(url, workflows=WORKFLOWS, worker=False)
        self._wrong = wrong
        self._tasks: set[asyncio.Task[Any]] = set()

    def spawn(self, work: Coroutine[Any, Any, Any]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            self._wrong.append(f"a user got an answer that nobody expects: {task.exception()!r}")

    async def close(self) -> None:
        """Nobody asks for anything any more."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.app.__aexit__(None, None, None)


class RealWorld:
    """What the users need of a world: its time, and whether it is calm."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.calm = False
        self.faults: Counter[str] = Counter()
        self.processes: list[Asker] = []
        self.observer: Any = NothingSeen()

    def after(self, micros: int, call: Callable[[], None]) -> None:
        asyncio.get_running_loop().call_later(micros / 1e6, call)

    def trace(self, *what: object) -> None:
        """Real time goes a different way each time: nobody compares."""


class NothingSeen:
    """While it goes on, nobody observes the store."""

    failovers = 0


class Askers:
    """The processes that users can reach, in place of a simulated cluster."""

    def __init__(self, world: RealWorld, seed: int) -> None:
        self.scenario: Any = Playbill(seed)
        self._world = world

    def usable(self) -> list[Any]:
        return self._world.processes


class People(Users):
    """Plays the users of one scenario after the other."""

    world: Any
    cluster: Any

    def __init__(self, world: RealWorld, seed: int) -> None:
        super().__init__(world, Askers(world, seed))  # type: ignore[arg-type]
        self.random = Random(f"people-{seed}")
        self._rounds = self._counted = 0
        self._open: list[Wish] = []
        self._sent_in: dict[int, int] = {}
        """Scenario → the round in which it was sent events last."""

    def begin(self, number: int) -> None:
        """Everything that this scenario's users ever do, from now on."""
        for plan in self.cluster.scenario.plans.of(number):
            self.world.after(int(plan.at * 1e6), lambda plan=plan: self._trigger(plan))
            for act in plan.acts:
                self.world.after(int(act.at * 1e6), lambda act=act: self._do(act))

    @property
    def unanswered(self) -> int:
        """Questions that nobody has answered yet."""
        self._open = [wish for wish in self._open if not wish.settled]
        self._open += [wish for wish in self.wishes[self._counted :] if not wish.settled]
        self._counted = len(self.wishes)
        return len(self._open)

    def _list(self) -> None:
        """The newest few: nobody pages through thousands of runs by the dozen."""

        async def work(process: Process) -> list[str]:
            assert process.app is not None
            found: list[str] = []
            cursor = None
            for _ in range(3):
                page = await process.app.list_runs(cursor=cursor, limit=20)
                found += [run.id for run in page.items]
                cursor = page.next_cursor
                if cursor is None:
                    break
            return found

        def done(answer: Any) -> None:
            # (an error is an answer, too)
            if isinstance(answer, list) and len(answer) != len(set(answer)):
                self.wrong.append(f"a listing shows a run twice: {answer}")

        self._wish("list", work, done)

    # -------------------------------------------------------------- looking after them
    async def look_after(self, asker: Asker, *, now: datetime | None = None) -> list[Run]:
        """Resume what is paused and send what is waited for, of all runs, or of those that began long before ``now``.

        Returns the runs that had not ended.
        """
        before = None if now is None else now - timedelta(seconds=SPAN)
        runs = await self._unended(asker.app, before)
        self._rounds += 1
        for run in runs:
            if run.status == "paused":
                await _answered(asker.app.resume(run.id))
        await self._send_what_is_waited_for(asker, runs)
        return runs

    async def _send_what_is_waited_for(self, asker: Asker, runs: list[Run]) -> None:
        """To a few scenarios at a time, those in turn that waited longest: events for all of them would be all that the store does."""
        waiting = {int(run.tags["plan"]) // RUNS for run in runs if run.waits and "plan" in run.tags}
        first = sorted(waiting, key=lambda number: self._sent_in.get(number, 0))[:_SCENARIOS_A_ROUND]
        for number in first:
            self._sent_in[number] = self._rounds
            for event_id in event_ids(number):
                await _answered(asker.app.notify(event_id, "healing", id=f"healing-{self._rounds}"))

    @staticmethod
    async def _unended(app: Stepflow, before: datetime | None) -> list[Run]:
        found: list[Run] = []
        cursor: str | None = None
        while True:
            page = await app.list_runs(status=_UNENDED, created_before=before, cursor=cursor, limit=_PAGE)
            found += page.items
            cursor = page.next_cursor
            if cursor is None:
                return found


async def _answered(asked: Coroutine[Any, Any, Any]) -> None:
    """Ask for it; that it is too late for it is an answer, too, and without one the next round asks again."""
    try:
        await asked
    except (OperationRefusedError, RunNotFoundError, StorageError):
        return
