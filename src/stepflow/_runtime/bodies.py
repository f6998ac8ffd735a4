"""Bodies: the user's functions while they run, one attempt each, on the loop, on a thread or in a process."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import sys
from collections import deque
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from inspect import CO_COROUTINE
from types import FunctionType
from typing import Any, Protocol

from stepflow._engine.callables import is_coroutine_function
from stepflow._engine.commands import RunStep
from stepflow._engine.current import StepRun, enter_step, step_run_of
from stepflow._engine.execution import Execution
from stepflow._runtime.offload import Offload
from stepflow._runtime.timers import Alarm, ProcessTimers
from stepflow._runtime.transactional import StepTransaction
from stepflow.clock import Clock
from stepflow.errors import StepTimeoutError
from stepflow.failpoints import failpoint
from stepflow.model.journal import Entry
from stepflow.types import RunId, StepKey


class BodyOwner(Protocol):
    """Whose step it is."""

    def ended(self, body: Body, value: Any, error: BaseException | None) -> None:
        """The value of a body that ended, or why there is none."""
        ...

    def cut_off(self, body: Body) -> None:
        """Somebody else cancelled the task of the body, as the end of its event loop does: it is as if the process had died."""
        ...

    def completed(self, body: Body, value: Any) -> Entry:
        """The entry to record when it returned ``value``; raises if that can't be stored."""
        ...

    def begin_transaction(self) -> StepTransaction: ...


_EAGER: dict[str, Any] = {"eager_start": True} if sys.version_info >= (3, 12) else {}


class Body:
    """One attempt of one step. ``owner.ended(body, value, error)`` is called once, unless the body was abandoned."""

    __slots__ = (
        "_abandoned",
        "_after",
        "_alarm",
        "_entered",
        "_execution",
        "_job",
        "_owner",
        "_pool",
        "_task",
        "_timed_out",
        "attempt",
        "command",
        "identity",
        "started_at",
        "transaction",
    )

    def __init__(self, pool: Bodies, execution: Execution, command: RunStep, owner: BodyOwner) -> None:
        self._pool = pool
        self._execution = execution
        self._owner = owner
        self._alarm: Alarm | None = None
        self._task: asyncio.Task[Any] | None = None
        self._job: Future[Any] | None = None
        self._abandoned = False
        self._entered = False
        self._timed_out = False
        self._after: tuple[Callable[[], None], ...] = ()
        self.identity = (execution.facts.run_id, command.key)
        self.command = command
        self.attempt = command.attempts + 1
        self.started_at: datetime | None = None
        self.transaction: StepTransaction | None = None

    def _failure(self, error: BaseException | None) -> BaseException | None:
        """What a body that raised ``error`` failed with; one that was told to end in time may raise nothing."""
        timeout = self.command.options.timeout
        if self._timed_out and timeout is not None:
            return StepTimeoutError(
                f"step {self.command.name!r} did not end within {timeout.total_seconds():g} s"
            )
        if isinstance(error, asyncio.CancelledError):
            return asyncio.CancelledError("the step was cancelled from inside")
        return error

    def _is_cut_off_by(self, error: BaseException) -> bool:
        """Whether a body that raised ``error`` was cancelled, and not by us; nor by itself, as far as that can be told."""
        if self._timed_out or not isinstance(error, asyncio.CancelledError):
            return False
        task = asyncio.current_task()
        return task is not None and task.cancelling() > 0 and self._pool.is_first_cut(self)

    def abandon(self) -> None:
        """Nobody wants the result any more: cancel it (a thread can't be: it is left to end)."""
        self._abandoned = True
        if self._alarm is not None:
            self._alarm.cancel()
        self._cancel()

    @property
    def is_abandoned(self) -> bool:
        return self._abandoned

    @property
    def times_out_at(self) -> datetime | None:
        """When its timeout passes; None if it has none, or it has passed."""
        return None if self._alarm is None or self._alarm.cancelled else self._alarm.when

    def is_run_by(self, task: asyncio.Task[Any]) -> bool:
        return self._task is task

    def after(self, call: Callable[[], None]) -> None:
        """Call when the body has really ended."""
        self._after += (call,)

    def begin(self) -> None:
        """Start running; only the pool calls it."""
        pool = self._pool
        self.started_at = pool.clock.now()
        if pool.began is not None:
            pool.began(self)
        failpoint("step.before_body")
        timeout = self.command.options.timeout
        if timeout is not None:
            self._alarm = pool.timers.at(self.started_at + timeout, self._time_out)
        context = pool.context.copy()
        pool.beginning = self
        task = asyncio.Task(self._drive(context), loop=pool.loop, context=context, **_EAGER)
        pool.beginning = None
        if not task.done():
            self._task = task

    async def _drive(self, context: contextvars.Context) -> None:
        """Run the body to its end, and say so at once: a callback of the task would come a turn of the loop later."""
        self._entered = True
        if self._abandoned or self._timed_out:
            self._finish(None, asyncio.CancelledError())
            return
        enter_step(self._step_run)
        around = self._pool.around
        try:
            value = await (
                self._call(context) if around is None else around(self, lambda: self._call(context))
            )
            if self.transaction is not None:
                await self._conclude(self.transaction, value)
        except BaseException as error:
            if self.transaction is not None:
                self.transaction.roll_back()
            self._finish(None, error)
            if isinstance(error, (SystemExit, KeyboardInterrupt)):
                raise
        else:
            self._finish(value, None)

    def _call(self, context: contextvars.Context) -> Coroutine[Any, Any, Any]:
        command = self.command
        body = command.body
        plain = type(body) is FunctionType and body.__code__.co_flags & CO_COROUTINE
        if not plain and not is_coroutine_function(body):
            return self._offloaded(context)
        coroutine: Coroutine[Any, Any, Any] = body(*command.args, **command.kwargs)
        return coroutine

    def _step_run(self) -> StepRun:
        """What ``current_run()`` shows inside the body."""
        return step_run_of(self._execution, self.command, self.attempt, self._join)

    def _join(self, kind: type[Any] | None) -> AbstractAsyncContextManager[Any]:
        if self.transaction is None or not self.transaction.may_be_joined:
            self.transaction = self._owner.begin_transaction()
        return self.transaction.joined(kind)

    async def _conclude(self, transaction: StepTransaction, value: Any) -> None:
        """Write the result in the body's transaction. From the moment that it is committed, nothing can cut the body off."""
        if not transaction.is_open:
            self.transaction = None  # it was rolled back inside the body: a step like any other
            return

        def begins() -> None:
            self._entered = False
            if self._alarm is not None:
                self._alarm.cancel()

        await transaction.conclude(lambda: self._owner.completed(self, value), begins)

    async def _offloaded(self, context: contextvars.Context) -> Any:
        self._job = self._pool.offload.submit(self.command, context)
        result = await asyncio.wrap_future(self._job)
        return await result if inspect.isawaitable(result) else result

    def _time_out(self) -> None:
        self._timed_out = True
        self._cancel()

    def _cancel(self) -> None:
        # A task that is cancelled before its first turn never enters its coroutine, which then could not say that it ended.
        if self._task is not None and self._entered:
            self._task.cancel()

    def _finish(self, value: Any, error: BaseException | None) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
        failpoint("step.after_body")
        job = self._job
        if job is None or job.done():
            self._pool.ended(self)
            if self._after:
                self._call_those_after()
        else:  # a thread can't be cancelled: its slot is taken, and its step not started again, until it has ended
            loop = self._pool.loop
            job.add_done_callback(lambda _: _call_soon(loop, self._free))
        if not self._abandoned:
            if error is not None and self._is_cut_off_by(error):
                self._owner.cut_off(self)
            else:
                failure = self._failure(error) if error is not None or self._timed_out else None
                self._owner.ended(self, value, failure)
        # Its context knows the body: without this cycle both are freed now, and not by the collector.
        self._task = None

    def _free(self) -> None:
        self._pool.ended(self)
        self._call_those_after()

    def _call_those_after(self) -> None:
        for call in self._after:
            call()


def _call_soon(loop: asyncio.AbstractEventLoop, call: Callable[[], None]) -> None:
    if not loop.is_closed():
        loop.call_soon_threadsafe(call)


class Bodies:
    """All bodies of a process, at most ``limit`` at once; the same step of a run never twice beside itself."""

    def __init__(self, *, clock: Clock, timers: ProcessTimers, offload: Offload, limit: int) -> None:
        self.clock = clock
        self.timers = timers
        self.offload = offload
        self.loop = asyncio.get_running_loop()
        self.context = contextvars.copy_context()
        self._free = limit
        self._draining = False
        self._waiting: deque[Body] = deque()
        self._running: dict[tuple[RunId, StepKey], Body] = {}
        self._cut_off: set[tuple[RunId, StepKey]] = set()
        self.beginning: Body | None = None
        """The body whose task is being made; since Python 3.12 it runs up to its first wait meanwhile."""
        self.began: Callable[[Body], None] | None = None
        """Is told of each body that begins, if anybody wants to know."""
        self.around: AroundBody | None = None
        """What stands between the pool and every function that it calls; None outside of tests."""

    def admit(self, body: Body) -> None:
        """Begin it now, or as soon as a slot is free and a former body of this step has ended."""
        former = self._running.get(body.identity)
        if former is not None:
            former.after(lambda: self._admit(body))
        elif self._free > 0 and not self._waiting:
            self._begin(body)
        else:
            self._waiting.append(body)

    def withdraw(self, body: Body) -> None:
        """Abandon a body, whether it runs or still waits for a slot."""
        body.abandon()  # one that waits is passed over when its turn comes

    def step_of(self, task: asyncio.Task[Any]) -> str | None:
        """The step whose body this task is, for a warning; callable from any thread."""
        for (run_id, _), body in list(self._running.items()):
            if body.is_run_by(task):
                return f"step {body.command.name!r} of run {run_id!r}"
        beginning = self.beginning
        if beginning is not None:  # the task of a body that was begun at once is not known yet
            return f"step {beginning.command.name!r} of run {beginning.identity[0]!r}"
        return None

    @property
    def count(self) -> int:
        return len(self._running)

    @property
    def next_timeout(self) -> datetime | None:
        """When the first of those that run is cut off by its own timeout."""
        due = (body.times_out_at for body in self._running.values())
        return min((at for at in due if at is not None), default=None)

    def after_next(self, call: Callable[[], None]) -> None:
        """Call when any of those that run now has really ended; once for each that does."""
        for body in self._running.values():
            body.after(call)

    def is_first_cut(self, body: Body) -> bool:
        """Whether the step is cut off here for the first time, which is remembered: a process that lives on to see a second does it itself."""
        if body.identity in self._cut_off:
            self._cut_off.remove(body.identity)
            return False
        self._cut_off.add(body.identity)
        return True

    def ended(self, body: Body) -> None:
        """A body has ended: its slot is free."""
        if self._running.get(body.identity) is body:
            del self._running[body.identity]
        self._free += 1
        if self._draining or not self._waiting:
            return  # (the loop below may be at work already, further up the stack)
        self._draining = True
        while self._waiting and self._free > 0:
            body = self._waiting.popleft()
            if not body.is_abandoned:
                self._begin(body)
        self._draining = False

    def _admit(self, body: Body) -> None:
        if not body.is_abandoned:
            self.admit(body)

    def _begin(self, body: Body) -> None:
        self._free -= 1
        self._running[body.identity] = body
        body.begin()


AroundBody = Callable[[Body, Callable[[], Coroutine[Any, Any, Any]]], Coroutine[Any, Any, Any]]
"""Gets each body that begins and what makes its coroutine; returns the one to run instead."""
