"""Mutants of a workflow's surroundings: what its code may see, reach and say."""

from __future__ import annotations

import asyncio
import contextvars
import sys
from typing import Any

import pytest

from stepflow._engine import current, stage
from stepflow._engine.execution import Execution, LogLine
from stepflow._engine.loop import ReplayLoop
from stepflow._engine.tasks import WorkflowTask

Patch = pytest.MonkeyPatch


def share_the_hosts_context(patch: Patch) -> None:
    """Workflow code sees the context variables of whoever drives it."""
    patch.setattr(stage.contextvars, "Context", lambda: contextvars.copy_context())


def log_again_on_replay(patch: Patch) -> None:
    """Every replay repeats the run's log."""

    def log(self: Execution, level: int, message: str, args: Any, extra: Any) -> None:
        self._report.log(LogLine(level=level, message=message, args=args))

    patch.setattr(Execution, "log", log)


def let_threads_in(patch: Patch) -> None:
    """An executor may run something for workflow code."""

    def run_in_executor(self: ReplayLoop, executor: Any, function: Any, *args: Any) -> asyncio.Future[Any]:
        future = self.create_future()
        future.set_result(function(*args))
        return future

    patch.setattr(ReplayLoop, "run_in_executor", run_in_executor)


def let_threads_call_in(patch: Patch) -> None:
    """Another thread may put a callback in line."""
    patch.setattr(ReplayLoop, "call_soon_threadsafe", ReplayLoop.call_soon)


def let_others_touch_the_loop(patch: Patch) -> None:
    """Another run may wake up a task of this one."""
    call_soon = ReplayLoop.call_soon

    def open_to_all(self: ReplayLoop, *args: Any, **options: Any) -> Any:
        active, self.active = self.active, True
        try:
            return call_soon(self, *args, **options)
        finally:
            self.active = active

    patch.setattr(ReplayLoop, "call_soon", open_to_all)


def let_others_make_tasks(patch: Patch) -> None:
    """Code outside of the run may make a task of it."""
    create_task = ReplayLoop.create_task

    def open_to_all(self: ReplayLoop, *args: Any, **options: Any) -> Any:
        active, self.active = self.active, True
        try:
            return create_task(self, *args, **options)
        finally:
            self.active = active

    patch.setattr(ReplayLoop, "create_task", open_to_all)


def let_a_task_factory_be_set(patch: Patch) -> None:
    """A task factory is taken, and ignored."""
    patch.setattr(ReplayLoop, "set_task_factory", lambda self, factory: None)


def ignore_what_newer_pythons_add(patch: Patch) -> None:
    """Options of ``create_task`` that this library does not know are dropped."""
    init = WorkflowTask.__init__

    def plain(self: WorkflowTask, coroutine: Any, *, eager_start: bool = False, **options: Any) -> None:
        init(self, coroutine, **options)

    patch.setattr(WorkflowTask, "__init__", plain)


def await_in_any_run(patch: Patch) -> None:
    """What was called in one run may be awaited in another."""
    ask = Execution.ask

    def open_to_all(self: Execution, command: Any) -> Any:
        active, self._loop.active = self._loop.active, True
        try:
            return ask(self, command)
        finally:
            self._loop.active = active

    patch.setattr(Execution, "ask", open_to_all)


def find_the_run_that_was_driven_last(patch: Patch) -> None:
    """A primitive asks the run that this thread drove last, not the one whose loop runs the code."""
    enter, driven = ReplayLoop.__enter__, list[ReplayLoop]()

    def noted(self: ReplayLoop) -> None:
        driven[:] = [self]
        enter(self)

    patch.setattr(ReplayLoop, "__enter__", noted)
    patch.setattr(current, "current_execution", lambda: driven[0].owner if driven else None)


def leave_the_hooks_behind(patch: Patch) -> None:
    """The host's async generators are held by the run that was driven last."""
    leave = ReplayLoop.__exit__

    def careless(self: ReplayLoop, *exc: object) -> None:
        leave(self, *exc)
        sys.set_asyncgen_hooks(firstiter=self.first_iteration)

    patch.setattr(ReplayLoop, "__exit__", careless)
