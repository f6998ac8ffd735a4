"""Stage: the tasks of one execution, from the begin of main to the end of the last one that it leaves behind."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import AsyncGenerator, Coroutine
from typing import Any, cast

from stepflow._engine.commands import (
    ContinueAs,
    ContinueSignal,
    Diverged,
    Outcome,
    Raised,
    Returned,
    TimedOut,
    WasCancelled,
)
from stepflow._engine.keys import Scope
from stepflow._engine.loop import ReplayLoop
from stepflow._engine.tasks import WorkflowTask
from stepflow.errors import NonDeterminismError


class Stage:
    """Holds every task that may still run; ``number`` is the hash of main, and of whatever closes a generator."""

    def __init__(self, loop: ReplayLoop, root: Scope, number: int) -> None:
        self.tasks: list[WorkflowTask] = []
        self.ending = False
        self._loop = loop
        self._root = root
        self._number = number
        self._prune_at = 64
        self._main: WorkflowTask | None = None
        self._told_to_end: set[WorkflowTask] = set()
        self._cancelled = False
        self._timed_out = False

    @property
    def begun(self) -> bool:
        return self._main is not None

    @property
    def timed_out(self) -> bool:
        return self._timed_out

    def begin(self, main: Coroutine[Any, Any, Any]) -> None:
        """Let ``main`` run as soon as the loop does; at once cancelled if that was asked for before."""
        task = self._main = self._run(main)
        task.add_done_callback(self._main_ended, context=contextvars.Context())
        if self._cancelled or self._timed_out:
            task.cancel()

    def add(self, task: WorkflowTask) -> None:
        """Hold a task that workflow code made."""
        if len(self.tasks) > self._prune_at:
            self.tasks = [held for held in self.tasks if not held.done()]
            self._prune_at = max(64, 2 * len(self.tasks))
        self.tasks.append(task)

    def cancel(self) -> None:
        """The run was asked to cancel."""
        self._cancelled = True
        self._cancel_main()

    def time_out(self) -> None:
        """The run's own timeout passed."""
        self._timed_out = True
        self._cancel_main()

    def unwind(self) -> bool:
        """After main ended: end the tasks and generators that are left. True if there is more to run.

        What a task starts on its way out, to clean up, is its own until it has ended; only then it is left over too.
        """
        if any(not task.done() for task in self._told_to_end):
            return False
        if self._cancel_left():
            return True
        generators = self._loop.take_generators()
        self._told_to_end.update([self._run(_close(generator)) for generator in generators])
        return bool(generators)

    @property
    def over(self) -> bool:
        """Nothing runs any more, and nothing is left to unwind."""
        return self.ending and all(task.done() for task in self.tasks)

    def outcome(self) -> Outcome:
        """How main ended."""
        task = self._main
        assert task is not None
        error = None if task.cancelled() else task.exception()
        if self._timed_out:
            return TimedOut()
        if task.cancelled():
            if self._cancelled:
                return WasCancelled()
            return Raised(asyncio.CancelledError("the workflow was cancelled from inside"))
        if error is None:
            return Returned(task.result())
        signal = _continuation(error)
        if signal is not None:
            return ContinueAs(signal.input)
        if isinstance(error, NonDeterminismError):
            return Diverged(str(error))
        return Raised(error)

    def _run(self, coroutine: Coroutine[Any, Any, Any]) -> WorkflowTask:
        """A task in main's scope, and in a context of its own: nothing of the host's is seen there."""
        task = WorkflowTask(
            coroutine,
            number=self._number,
            parent=self._root,
            transparent=True,
            loop=self._loop,
            context=contextvars.Context(),
        )
        self.tasks.append(task)
        return task

    def _cancel_main(self) -> None:
        if self._main is not None:
            self._main.cancel()

    def _main_ended(self, task: asyncio.Task[Any]) -> None:
        """As ``asyncio.run`` does: whatever main left behind is cancelled, and waited for."""
        self.ending = True
        self._cancel_left()

    def _cancel_left(self) -> bool:
        """Cancel what is still running, each task once: one that goes on all the same is waited for. True if there was any."""
        left = [task for task in self.tasks if not task.done() and task not in self._told_to_end]
        self._told_to_end.update(left)
        for task in left:
            task.cancel()
        return bool(left)


async def _close(generator: AsyncGenerator[Any, Any]) -> None:
    await generator.aclose()


def _continuation(error: BaseException) -> ContinueSignal | None:
    """The signal of ``continue_as``, also if a ``TaskGroup`` wrapped it; None if anything else failed with it."""
    while isinstance(error, BaseExceptionGroup):
        inner = cast("tuple[BaseException, ...]", error.exceptions)  # pyright: ignore[reportUnknownMemberType]
        if len(inner) != 1:
            break
        error = inner[0]
    return error if isinstance(error, ContinueSignal) else None
