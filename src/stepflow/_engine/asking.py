"""Asking: the workflow's side of an execution. What its code may ask: of the world, of time and of chance."""

from __future__ import annotations

import asyncio
import random
import uuid
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from stepflow._engine.commands import AwaitChild, Command, Outcome, RunStep, StartTimer, WaitForEvent
from stepflow._engine.eviction import Evicted
from stepflow._engine.history import Kept
from stepflow._engine.keys import CALLBACK_SCOPE, TIMER, Scope
from stepflow._engine.lookup import Lookup
from stepflow._engine.loop import ReplayLoop, current_scope
from stepflow._engine.mailbox import Mailbox
from stepflow._engine.records import Advance, LogLine, RunFacts
from stepflow._engine.stage import Stage
from stepflow._engine.tasks import LoopTimer, WorkflowTask
from stepflow._engine.timers import Timers
from stepflow.errors import DuplicateKeyError, NotDurableError
from stepflow.model.failures import Failure
from stepflow.model.ids import stable_digest
from stepflow.model.payloads import Payload
from stepflow.types import RunId, StepKey

_MICROSECOND = timedelta(microseconds=1)
_NOTHING_KEPT = Kept(1)
"""Of all first attempts: it never collects anything."""


class Asking:
    """What primitives and the loop use of an execution; ``Execution`` is what its driver uses.

    ``encode(value, what)``, ``decode(payload, type)`` and ``rebuild(failure)`` turn values and exceptions into what is
    recorded, and back; ``check_workflow(id)`` raises ``UnknownWorkflowError`` for a child that nobody here could name.
    """

    def __init__(
        self,
        facts: RunFacts,
        *,
        encode: Callable[[Any, str], Payload],
        decode: Callable[[Payload, Any], Any],
        rebuild: Callable[[Failure], BaseException],
        check_workflow: Callable[[str], object],
    ) -> None:
        self.facts = facts
        self.encode = encode
        self.decode = decode
        self.rebuild = rebuild
        self.check_workflow = check_workflow
        root = Scope()
        self._callbacks, _ = root.child(CALLBACK_SCOPE)  # first of all: no task can take its path
        self.lookup = Lookup(root.known)
        self.mailbox = Mailbox(facts.created_pos)
        self.timers = Timers(self.lookup.pending)
        self.kept = _NOTHING_KEPT if facts.attempt == 1 else Kept(facts.attempt)
        self.ended_children: dict[RunId, tuple[Any, Payload | None, Failure | None]] = {}
        self.generation = 0
        self.input = facts.input
        self.started_at = facts.started_at
        self.replaying = False
        self.evicting = False
        self.outcome: Outcome | None = None
        number = int(stable_digest(facts.run_id, size=6), 16)
        self._loop = ReplayLoop(  # type: ignore[abstract]  # its refusals are made after the class
            self, hash_base=number
        )
        self._stage = Stage(self._loop, root, number)
        self._now: datetime | None = facts.started_at
        self._order = 0
        self._explicit_keys: set[StepKey] | None = None
        self._asked: list[Command] = []
        self._report = Advance()
        self._told_evicted: set[Any] | None = None
        self._random: random.Random | None = None
        self._uuids: random.Random | None = None

    # ================================================================ for primitives
    @property
    def scope(self) -> Scope:
        return current_scope(self._loop, self._callbacks)

    @property
    def active(self) -> bool:
        """True while this execution's code is running."""
        return self._loop.active

    @property
    def now(self) -> datetime:
        """Logical time: the instant of the last entry that was delivered."""
        assert self._now is not None
        return self._now

    def unique(self, key: StepKey) -> StepKey:
        """``key``, given by the user; a second one like it raises ``DuplicateKeyError``."""
        if self._explicit_keys is None:
            self._explicit_keys = set()
        if key in self._explicit_keys:
            raise DuplicateKeyError(key)
        self._explicit_keys.add(key)
        return key

    def digest(self, *parts: str) -> str:
        """A stable id under this run and generation."""
        return stable_digest(self.facts.run_id, str(self.generation), *parts)

    def digest_of_this_life(self, *parts: str) -> str:
        """As ``digest``; but a run that was deleted, and triggered again under its id, gives another one."""
        created_at = self.facts.created_at
        return self.digest(*parts, "" if created_at is None else created_at.isoformat())

    def child_id(self, key: StepKey) -> RunId:
        """The id for the child to start at ``key``: another one after each unsuccessful child there."""
        return f"run_{self.digest_of_this_life('child', key, str(self.kept.unsuccessful_children[key]))}"

    def random(self) -> random.Random:
        if self._random is None:
            self._random = random.Random(self.digest("random"))
        return self._random

    def uuid4(self) -> uuid.UUID:
        if self._uuids is None:
            self._uuids = random.Random(self.digest("uuid"))
        return uuid.UUID(int=self._uuids.getrandbits(128), version=4)

    async def perform(self, command: Command) -> Any:
        """Ask for ``command`` and wait for its answer."""
        future = self.ask(command)
        try:
            return await future
        except BaseException:  # a cancel, or it is closed; after a failure there is nothing to withdraw
            self.withdraw(command)
            raise

    def ask(self, command: Command) -> asyncio.Future[Any]:
        """Ask for ``command``; the future gets its answer. Cancel the future and ``withdraw`` to give it up.

        User code never sees the future: CPython's own will do, its hash orders nothing.
        """
        if not self._loop.active:
            raise NotDurableError(
                f"{command.name!r} was asked for in one run and awaited in another place; "
                "await it in the workflow that called it"
            )
        if self.evicting:
            return self._evicted_future()
        future: asyncio.Future[Any] = asyncio.Future(loop=self._loop)
        self._order += 1
        command.order = self._order
        command.future = future
        self._asked.append(command)
        self.lookup.ask(command)
        if type(command) is RunStep:
            return future
        if isinstance(command, (WaitForEvent, AwaitChild)):
            self.mailbox.add(command)
        if isinstance(command, (WaitForEvent, StartTimer)) and command.deadline is not None:
            self.timers.arm(command)
        return future

    def withdraw(self, command: Command) -> None:
        """The code gave ``command`` up; a late answer will be dropped."""
        if self.evicting or not self.lookup.withdraw(command):
            return
        if isinstance(command, (WaitForEvent, AwaitChild)):
            self.mailbox.remove(command)
        if command.handed:
            self._report.withdraw(command)

    def cancel_child(self, child_id: RunId) -> None:
        """Ask for the child's cancellation; rides with the write of this activation, safe to repeat."""
        if not self.evicting:
            self._report.cancel(child_id)

    def log(self, level: int, message: str, args: tuple[Any, ...], extra: dict[str, Any] | None) -> None:
        """Hold a log line back until this activation is durable; nothing during replay."""
        if not self.replaying and not self.evicting:
            self._report.log(LogLine(level=level, message=message, args=args, extra=extra))

    def _evicted_future(self) -> asyncio.Future[Any]:
        """The first primitive of a task raises, any other never completes: code that swallows it comes to a stop."""
        task = asyncio.current_task(self._loop)
        if self._told_evicted is None:
            self._told_evicted = set()
        if task is None or task in self._told_evicted:
            return self._loop.create_future()
        self._told_evicted.add(task)
        raise Evicted

    # ================================================================ for the loop
    def time(self) -> float:
        if self._now is None or self.started_at is None:
            return 0.0
        return (self._now - self.started_at).total_seconds()

    def start_timer(self, handle: LoopTimer) -> None:
        if self.evicting:
            return
        assert self.started_at is not None
        try:
            deadline = self.started_at + timedelta(microseconds=round(handle.when() * 1_000_000))
        except OverflowError:
            return  # beyond the year 9999: it never fires
        command = StartTimer(
            key=self.scope.key(TIMER),
            name=TIMER,
            deadline=deadline,
            delay=(deadline - self.now) // _MICROSECOND,
            sleep=False,
            handle=handle,
        )
        self._order += 1
        command.order = self._order
        handle.command = command
        self.lookup.ask(command)
        self.timers.arm(command)
        self._asked.append(command)

    def cancel_timer(self, handle: LoopTimer) -> None:
        command: StartTimer | None = handle.command
        if command is not None and not self.evicting:
            self.lookup.withdraw(command)

    def move(self, at: datetime) -> None:
        """Logical time is ``at`` now, unless it is later already."""
        if self._now is None or at > self._now:
            self._now = at

    def timer_fired(self, command: StartTimer) -> None:
        """Let a plain asyncio timer's callback run."""
        assert command.handle is not None
        self._loop.make_ready(command.handle)

    def task_created(self, task: WorkflowTask) -> None:
        self._stage.add(task)

    def log_loop_noise(self, context: dict[str, Any]) -> None:
        if self._loop.active and self.outcome is None:
            error = context.get("exception")
            self.log(30, "%s: %r", (context.get("message"), error), None)
