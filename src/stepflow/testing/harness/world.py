"""World: everything that a harness consists of. The store, the clock, the process that works, and what was seen of it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from stepflow._engine.current import RUN_LOG
from stepflow._runtime.bodies import Body
from stepflow.app import Stepflow
from stepflow.codecs.json import Values
from stepflow.model.journal import JournalRow
from stepflow.model.runs import RunFilter, RunRecord
from stepflow.model.states import PauseReason, RunStatus
from stepflow.storage.memory import MemoryStorage
from stepflow.storage.writes import Claim, CommitRun, CreateRun, Write
from stepflow.testing.clock import FakeClock
from stepflow.testing.harness.fakes import Fakes, StepCall
from stepflow.testing.harness.incarnation import Incarnation, immediately, on_storage
from stepflow.testing.harness.tap import Tap, never, runs_of
from stepflow.testing.harness.timeline import timeline
from stepflow.testing.replaying import Replayer, Verdict, present
from stepflow.types import RunId

_MOST_TURNS = 1_000_000
_TURNS_WITHOUT_A_QUEUE = 200


@dataclass(frozen=True, slots=True)
class LogLine:
    """A line that a run, or a step of it, logged."""

    run_id: RunId
    level: str
    message: str


class _Listener(logging.Handler):
    def __init__(self, lines: list[LogLine]) -> None:
        super().__init__(logging.DEBUG)
        self._lines = lines

    def emit(self, record: logging.LogRecord) -> None:
        run_id = getattr(record, "run_id", None)
        if isinstance(run_id, str):
            self._lines.append(LogLine(run_id, record.levelname.lower(), record.getMessage()))


Point = Callable[[str, RunId, str], bool]
"""Asked at each place where a process may die: what ("before step", "after commit" …), of which run, at what. True: it dies there."""


class World:
    """Runs of ``app``'s workflows, on a store in memory and a clock that stands still."""

    def __init__(
        self, app: Stepflow, *, start: datetime, replay: bool, patience: float, in_turn: bool
    ) -> None:
        self.clock = FakeClock(start)
        self.storage = MemoryStorage()
        self.client = on_storage(app, self.storage, self.clock, worker=False)
        self.values: Values = app._values  # pyright: ignore[reportPrivateUsage]
        self.fakes = Fakes()
        self.calls: list[StepCall] = []
        self.lines: list[LogLine] = []
        self.references: dict[str, str] = {}
        """The function of each step that was executed, by the step's key."""
        self.point: Point | None = None
        self._app = app
        self._replay = replay
        self._patience = patience
        self._in_turn = patience if in_turn else None
        self._replayer = Replayer(app)
        self._changed: set[RunId] = set()
        self._hanging = 0
        self._lives = 0
        self._process: Incarnation | None = None
        self._listener = _Listener(self.lines)
        self._level = logging.NOTSET
        self._stirred = asyncio.Event()

    # ================================================================ life
    async def open(self) -> None:
        self._level = RUN_LOG.level
        RUN_LOG.setLevel(logging.DEBUG)
        RUN_LOG.addHandler(self._listener)
        await self.client._open(worker=False)  # pyright: ignore[reportPrivateUsage]
        await self._begin_life()

    async def close(self) -> None:
        RUN_LOG.removeHandler(self._listener)
        RUN_LOG.setLevel(self._level)
        try:
            if self._process is not None:
                await self._process.bury()
        finally:
            self._process = None
            await self.client._close(now=True)  # pyright: ignore[reportPrivateUsage]

    async def _begin_life(self) -> None:
        self._lives += 1
        tap = Tap(
            self.storage, before=self._before_commits, after=self._after_commits, claimed=self._after_claims
        )
        self._process = Incarnation(self._app, tap, self.clock, self._lives, self._around)
        await self._process.open(forgetful=self._replay, in_turn=self._in_turn)

    async def crash(self) -> None:
        """The process dies now; a fresh one takes its runs over."""
        await self.process.bury()
        await self._begin_life()

    @property
    def process(self) -> Incarnation:
        assert self._process is not None, "the harness is open"
        return self._process

    @property
    def lives(self) -> int:
        """How many processes there have been: one more than crashes."""
        return self._lives

    # ================================================================ what the process does, as it is seen
    async def _around(self, body: Body, make: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
        tap = self.process.tap
        command, run_id = body.command, body.identity[0]
        await self._pass(tap, "before step", run_id, command.key)
        fake = self.fakes.take(command)
        self.references[command.key] = command.function
        self.calls.append(
            StepCall(
                step=command.name,
                key=command.key,
                run_id=run_id,
                attempt=body.attempt,
                args=command.args,
                kwargs=command.kwargs,
                at=self.clock.now(),
                faked=fake is not None,
            )
        )
        if fake is not None and fake.hangs:
            self._hanging += 1
            self._stirred.set()
        try:
            return await (make() if fake is None else fake.perform(command))
        finally:
            if fake is not None and fake.hangs:
                self._hanging -= 1
            if not tap.dead and not body.is_abandoned:
                await self._pass(tap, "after step", run_id, command.key)

    async def _before_commits(self, batch: Sequence[Write]) -> None:
        tap = self.process.tap
        for run_id, what in runs_of(batch):
            await self._pass(tap, "before commit", run_id, what)

    async def _after_commits(self, batch: Sequence[Write]) -> None:
        tap = self.process.tap
        for write in batch:
            commit = write.commit if isinstance(write, CreateRun) else write
            if isinstance(commit, CommitRun) and commit.transition is not None:
                self._changed.add(commit.run_id)
        for run_id, what in runs_of(batch):
            await self._pass(tap, "after commit", run_id, what)

    async def _after_claims(self, claims: Sequence[Claim]) -> None:
        tap = self.process.tap
        for claim in claims:
            await self._pass(tap, "after claim", claim.run.id, "takeover" if claim.takeover else "claim")

    async def _pass(self, tap: Tap, where: str, run_id: RunId, what: str) -> None:
        if not tap.dead and self.point is not None and self.point(where, run_id, what):
            tap.die()
            self._stirred.set()
        if tap.dead:
            await never()

    # ================================================================ time
    async def settle(self) -> None:
        """Let everything happen that happens without time passing. Crashes on the way are survived."""
        turns = _Turns(self._patience)
        while True:
            await turns.until_nothing_is_ready()
            if self.process.tap.dead:
                await self.crash()
            elif self.process.worker.bodies.count > self._hanging:
                await self._wait_for_a_step()
            else:
                break
        self._check_replays()

    async def _wait_for_a_step(self) -> None:
        """Steps execute: their own I/O and threads take real time."""
        bodies = self.process.worker.bodies
        self._stirred.clear()
        bodies.after_next(self._stirred.set)
        try:
            async with asyncio.timeout(self._patience):
                await self._stirred.wait()
        except TimeoutError:
            raise AssertionError(
                f"steps were still executing after {self._patience:g} s of real time: {', '.join(self._executing())}. "
                "Time in a step is not the harness's: replace it with harness.fake(...), or give more patience="
            ) from None

    def _executing(self) -> list[str]:
        ended = {(run.id, key) for run in self.records() for key in _ended_steps(self.rows(run.id))}
        return sorted(
            {f"{call.key} of {call.run_id}" for call in self.calls if (call.run_id, call.key) not in ended}
        )

    def next_due(self) -> datetime | None:
        """The next instant at which something happens by itself."""
        due = [run.due_at for run in self.records() if run.due_at is not None]
        soonest = self.process.next_due()
        if soonest is not None:
            due.append(soonest)
        now = self.clock.now()
        return min((at for at in due if at > now), default=None)

    async def go_to(self, instant: datetime) -> None:
        """Let everything happen up to ``instant``, each thing when it is due."""
        await self.settle()
        while (due := self.next_due()) is not None and due <= instant:
            await self._leap(due)
        await self._leap(instant)

    async def go_on_until(self, condition: Callable[[], bool], *, limit: timedelta) -> None:
        """Let time pass, from one thing that happens to the next, until ``condition`` holds."""
        last = self.clock.now() + limit
        await self.settle()
        while not condition():
            due = self.next_due()
            if due is None:
                raise AssertionError(
                    "what was waited for did not come, and nothing goes on by itself any more"
                    f" (send an event with harness.notify(...)?)\n{self.told()}"
                )
            if due > last:
                raise AssertionError(
                    f"what was waited for did not come within {limit} (limit= allows more)\n{self.told()}"
                )
            await self._leap(due)

    async def _leap(self, instant: datetime) -> None:
        delta = self.clock.until(instant)
        # From a plain callback, as the clock of a machine would: workflow code must not run inside of this task.
        asyncio.get_running_loop().call_soon(self.clock.advance, delta)
        await self.settle()

    # ================================================================ looking
    def records(self) -> list[RunRecord]:
        """All runs, in the order in which they were created."""
        found: list[RunRecord] = []
        cursor: str | None = None
        while True:
            page = immediately(self.storage.list_runs(RunFilter(), cursor=cursor, limit=500))
            found += page.items
            cursor = page.next_cursor
            if cursor is None:
                return found[::-1]

    def rows(self, run_id: RunId) -> Sequence[JournalRow]:
        rows: Sequence[JournalRow] = immediately(self.storage.read_journal(run_id))
        return rows

    def told(self) -> str:
        """The timelines of all runs that have not ended."""
        unfinished = [run for run in self.records() if not run.status.ended]
        return "\n".join(timeline(run, present(self.rows(run.id))) for run in unfinished)

    # ================================================================ replaying
    def _check_replays(self) -> None:
        """Replay every run that was suspended, paused or ended since the last look: its code must ask for the same again."""
        changed, self._changed = sorted(self._changed), set()
        if not self._replay:
            return
        for run_id in changed:
            run: RunRecord | None = immediately(self.storage.get_run(run_id))
            if run is None or run.status in (RunStatus.QUEUED, RunStatus.RUNNING):
                continue
            if run.status is RunStatus.PAUSED and run.pause_reason is not PauseReason.NON_DETERMINISM:
                continue
            found = self._replayer.compare(run, self.rows(run_id))
            if found.verdict is not Verdict.IDENTICAL:
                raise AssertionError(
                    "the workflow is not deterministic: replayed, its code does something else than it did\n"
                    f"{found.text}\n"
                    "Take the time from stepflow.now(), dice from stepflow.random() and stepflow.uuid4(), and everything else "
                    "that may differ from a step"
                )


class _Turns:
    """Gives the event loop its turns, until nothing is ready to run. A loop that tells nobody what is ready gets a fixed number."""

    def __init__(self, patience: float) -> None:
        self._left = _MOST_TURNS
        self._ready: Any = getattr(asyncio.get_running_loop(), "_ready", None)

    async def until_nothing_is_ready(self) -> None:
        if self._ready is None:
            for _ in range(_TURNS_WITHOUT_A_QUEUE):
                await asyncio.sleep(0)
            return
        await asyncio.sleep(0)
        while self._ready:
            self._left -= 1
            if self._left < 0:
                raise AssertionError(
                    f"after {_MOST_TURNS} turns of the event loop there still is something to do: "
                    "does a workflow go round for ever without a sleep?"
                )
            await asyncio.sleep(0)


def _ended_steps(rows: Sequence[JournalRow]) -> set[str]:
    return {key for row in rows for entry in row.entries if (key := getattr(entry, "key", None)) is not None}
