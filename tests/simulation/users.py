"""Users: they trigger, notify, cancel, pause, follow and ask, from any process, and repeat what they got no answer to."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from random import Random
from typing import Any

from stepflow.errors import (
    NotOpenError,
    OperationRefusedError,
    ResultTimeoutError,
    RunCancelledError,
    RunFailedError,
    RunNotFoundError,
    RunPausedError,
    StorageError,
)
from stepflow.model.steps import RunEvent
from tests.simulation.cluster import Cluster
from tests.simulation.processes import Process
from tests.simulation.scenarios import EVENTS, Act, Plan
from tests.simulation.virtual import MICROSECONDS
from tests.simulation.world import World

Work = Callable[[Process], Coroutine[Any, Any, Any]]
_ANSWERS = (
    OperationRefusedError,
    RunNotFoundError,
    RunPausedError,
    RunFailedError,
    RunCancelledError,
    ResultTimeoutError,
)


class Wish:
    """Something a user wants done, asked again and again until there is an answer."""

    def __init__(
        self, users: Users, name: str, work: Work, patience: float, done: Callable[[Any], None]
    ) -> None:
        self.users = users
        self.name = name
        self.work = work
        self.patience = patience
        self.done = done
        self.settled = False
        self.tries = 0

    def ask(self) -> None:
        """Ask some process; and another one if this one does not answer in time."""
        if self.settled:
            return
        users = self.users
        processes = users.cluster.usable()
        if processes:
            self.tries += 1
            process = processes[users.random.randrange(len(processes))]
            process.spawn(self._try(process, self.tries))
        pause = self.patience * (1 + users.random.random())
        users.world.after(int((pause if processes else 0.5) * MICROSECONDS), self.ask)

    async def _try(self, process: Process, number: int) -> None:
        try:
            answer = await self.work(process)
        except _ANSWERS as refused:
            answer = refused
        except (StorageError, NotOpenError):
            return  # it is asked again
        if not self.settled:
            self.settled = True
            self.users.world.trace("user", self.name, type(answer).__name__)
            self.done(answer)


class Follow:
    """A reader of one run's journal, who is cut off now and then and goes on where it was."""

    def __init__(self, run_id: str, random: Random) -> None:
        self.run_id = run_id
        self.random = random
        self.events: list[RunEvent] = []
        self.connection = 0
        self.ended = False


class Users:
    """Plays a scenario's users."""

    def __init__(self, world: World, cluster: Cluster) -> None:
        self.world = world
        self.cluster = cluster
        self.random = Random(f"users-{world.seed}")
        self.run_ids: dict[int, str] = {}
        self.deleted: set[int] = set()
        self.refused_starts: list[str] = []
        self.wishes: list[Wish] = []
        self.acknowledged_events: set[tuple[str, str]] = set()
        self.results: list[tuple[str, Any]] = []
        self.follows: list[Follow] = []
        self.wrong: list[str] = []
        self._healing = 0
        self._stopped = False

    def start(self) -> None:
        for plan in self.cluster.scenario.plans:
            self.world.after(int(plan.at * MICROSECONDS), lambda plan=plan: self._trigger(plan))  # type: ignore[misc]
            for act in plan.acts:
                self.world.after(int(act.at * MICROSECONDS), lambda act=act: self._do(act))  # type: ignore[misc]

    @property
    def content(self) -> bool:
        """Whether everybody got an answer."""
        return all(wish.settled for wish in self.wishes)

    def _wish(
        self, name: str, work: Work, done: Callable[[Any], None] = lambda _: None, patience: float = 6
    ) -> None:
        wish = Wish(self, name, work, patience, done)
        self.wishes.append(wish)
        wish.ask()

    # -------------------------------------------------------------- triggering
    def _trigger(self, plan: Plan) -> None:
        if self._stopped:
            return
        key: dict[str, str] = (
            {"idempotency_key": f"key-{plan.index}"} if plan.by_key else {"id": f"run-{plan.index}"}
        )

        async def work(process: Process) -> str:
            assert process.app is not None
            run = await process.app.trigger(
                plan.workflow,
                {"plan": plan.index, "generation": 1},
                delay=plan.delay or None,
                tags={"plan": str(plan.index)},
                **key,  # type: ignore[arg-type]
            )
            return run.id

        def done(answer: Any) -> None:
            before = self.run_ids.get(plan.index)
            if before not in (None, answer) and plan.index not in self.deleted and not self._forgetful:
                self.wrong.append(f"one key started two runs: {before} and {answer}")
            self.run_ids[plan.index] = answer

        self._wish(f"trigger {plan.index}", work, done)

    @property
    def _forgetful(self) -> bool:
        return bool(self.world.observer.failovers)

    # -------------------------------------------------------------- everything else
    def _do(self, act: Act) -> None:
        if self._stopped:
            return
        if act.kind == "trigger":
            self._trigger(self.cluster.scenario.plans[act.run])
            return
        if act.kind == "notify" and not act.addressed:
            self._notify(act, None)
            return
        run_id = self.run_ids.get(act.run)
        if run_id is None:
            if not self.world.calm:
                self.world.after(1_000_000, lambda: self._do(act))
            return
        if act.kind == "notify":
            self._notify(act, run_id)
        elif act.kind == "follow":
            self._follow(run_id)
        elif act.kind == "list":
            self._list()
        elif act.kind == "result":
            self._ask_result(run_id)
        else:
            self._operate(act, run_id)

    def _notify(self, act: Act, run_id: str | None) -> None:
        async def work(process: Process) -> int:
            assert process.app is not None
            return await process.app.notify(act.event_id, act.name, run_id=run_id, id=act.name)

        def done(answer: Any) -> None:
            if run_id is None and isinstance(answer, int):
                self.acknowledged_events.add((act.event_id, act.name))

        self._wish(f"notify {act.name}", work, done)

    def _operate(self, act: Act, run_id: str) -> None:
        async def work(process: Process) -> None:
            app = process.app
            assert app is not None
            match act.kind:
                case "cancel":
                    await app.cancel(run_id)
                case "force":
                    await app.cancel(run_id, force=True)
                case "pause":
                    await app.pause(run_id)
                case "resume":
                    await app.resume(run_id)
                case "retry":
                    await app.retry(run_id)
                case "delete":
                    self.deleted.add(act.run)
                    await app.delete(run_id)

        self._wish(f"{act.kind} {run_id}", work)

    def _list(self) -> None:
        async def work(process: Process) -> list[str]:
            assert process.app is not None
            found: list[str] = []
            cursor = None
            while True:
                page = await process.app.list_runs(cursor=cursor, limit=3)
                found += [run.id for run in page.items]
                cursor = page.next_cursor
                if cursor is None:
                    return found

        def done(answer: Any) -> None:
            if len(answer) != len(set(answer)) and not self._forgetful:
                self.wrong.append(f"a listing shows a run twice: {answer}")

        self._wish("list", work, done)

    def _ask_result(self, run_id: str) -> None:
        async def work(process: Process) -> Any:
            assert process.app is not None
            return await process.app.handle(run_id).result(timeout=30)

        self._wish(
            f"result {run_id}", work, lambda answer: self.results.append((run_id, answer)), patience=31
        )

    # -------------------------------------------------------------- following
    def _follow(self, run_id: str) -> None:
        follow = Follow(run_id, Random(f"follow-{self.world.seed}-{len(self.follows)}"))
        self.follows.append(follow)
        self._connect(follow)

    def _connect(self, follow: Follow) -> None:
        """Read on from where the reader is; the line breaks after a while, whatever became of the process."""
        if follow.ended:
            return
        processes = self.cluster.usable()
        if processes:
            follow.connection += 1
            process = processes[self.random.randrange(len(processes))]
            process.spawn(self._read(process, follow, follow.connection))
        pause = self.random.choice((0.5, 5, 30)) if not self.world.calm else 60
        self.world.after(int(pause * MICROSECONDS), lambda: self._connect(follow))

    async def _read(self, process: Process, follow: Follow, connection: int) -> None:
        app = process.app
        assert app is not None
        after = follow.events[-1].id if follow.events else None
        stream: Any = app.handle(follow.run_id).events(after=after)
        try:
            async for event in stream:
                if follow.connection != connection:
                    return
                follow.events.append(event)
                if follow.random.randrange(12) == 0:
                    return  # in the middle of a row, perhaps; the next connection goes on behind it
        except RunNotFoundError:
            pass  # deleted
        except (StorageError, NotOpenError):
            return
        finally:
            await stream.aclose()
        if follow.connection == connection:
            follow.ended = True

    # -------------------------------------------------------------- healing
    def stop(self) -> None:
        """Ask for nothing any more."""
        self._stopped = True

    def heal(self) -> None:
        """Resume what is paused, and send what is waited for, until everything has ended."""
        if self._stopped:
            return
        self._healing += 1
        for run_id, history in list(self.world.observer.runs.items()):
            if history.record.status == "paused":
                self._operate(Act(0, "resume", -1), run_id)
        for event_id in EVENTS:
            act = Act(0, "notify", -1, event_id, f"healing-{self._healing}-{event_id}")
            self._notify(act, None)
        self.world.after(3_000_000, self.heal)
