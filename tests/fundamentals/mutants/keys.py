"""Mutants of keys: what a command is called, and what follows from that."""

from __future__ import annotations

import itertools
import uuid
from typing import Any

import pytest

from stepflow._engine import answers, asking, loop
from stepflow._engine.asking import Asking
from stepflow._engine.execution import Execution
from stepflow._engine.keys import Scope
from stepflow._engine.tasks import WorkflowTask
from stepflow.primitives.steps import Plan, named

Patch = pytest.MonkeyPatch


def take_keys_when_awaited(patch: Patch) -> None:
    """The key is that of the task that awaits."""

    def call(self: Plan, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        async def later() -> Any:
            run = loop.asyncio.get_running_loop().owner  # type: ignore[attr-defined]
            return await run.perform(self.command(self._key_of(run, name, args, kwargs), name, args, kwargs))

        return named(later(), name)

    patch.setattr(Plan, "call", call)


def forget_ordinals(patch: Patch) -> None:
    """Every call under one name has the same key."""
    patch.setattr(Scope, "key", lambda self, name: f"{self.path}{name}")


def forget_scopes(patch: Patch) -> None:
    """Tasks ask in the scope of main."""
    patch.setattr(Scope, "child", lambda self, name: (self, lambda: None))


def give_wait_for_a_scope(patch: Patch) -> None:
    """The task that ``wait_for`` makes on 3.11 counts as one that the user made."""
    patch.setattr(loop, "_made_by_wait_for_or_refused", lambda frame: False)


def give_callbacks_no_scope(patch: Patch) -> None:
    """Only tasks have a scope."""
    patch.setattr(asking, "current_scope", lambda loop_, callbacks: loop.asyncio.current_task(loop_).scope)


def ignore_the_names_of_tasks(patch: Patch) -> None:
    """A scope is called after the coroutine, whatever name the task was given."""
    init = WorkflowTask.__init__

    def nameless(self: WorkflowTask, coroutine: Any, *, name: object = None, **options: Any) -> None:
        init(self, coroutine, **options)

    patch.setattr(WorkflowTask, "__init__", nameless)
    patch.setattr(WorkflowTask, "set_name", lambda self, value: None)


def number_tasks_as_asyncio_does(patch: Patch) -> None:
    """A task without a name is called by a number that counts all tasks of the process."""
    init, numbers = WorkflowTask.__init__, itertools.count(1)

    def numbered(self: WorkflowTask, coroutine: Any, *, name: object = None, **options: Any) -> None:
        init(self, coroutine, name=name or f"Task-{next(numbers)}", **options)

    patch.setattr(WorkflowTask, "__init__", numbered)


def forget_the_ordinals_of_tasks(patch: Patch) -> None:
    """All tasks of one name have the same scope."""

    def child(self: Scope, name: str) -> Any:
        path = f"{self.path}{name}/"
        self.known.add(path)
        return Scope(path, self.known), lambda: None

    patch.setattr(Scope, "child", child)


def keep_the_number_of_a_renamed_task(patch: Patch) -> None:
    """A task that is given its name after it was made has used up an ordinal of another name."""
    child = Scope.child
    patch.setattr(Scope, "child", lambda self, name: (child(self, name)[0], lambda: None))


def move_a_task_that_runs(patch: Patch) -> None:
    """A task that is renamed while it runs goes on in another scope."""

    class Kept:
        """What takes a scope back stays, whatever the task has asked for meanwhile."""

        def __get__(self, task: Any, owner: Any) -> Any:
            return vars(task).get("kept")

        def __set__(self, task: Any, take_back: Any) -> None:
            if take_back is not None:
                vars(task)["kept"] = take_back

    patch.setattr(WorkflowTask, "take_back", Kept(), raising=False)


def take_tasks_made_by_hand(patch: Patch) -> None:
    """``asyncio.Task()`` passes the loop by; what it runs asks in the scope of callbacks."""
    current_scope = asking.current_scope

    def lenient(loop_: Any, callbacks: Scope) -> Scope:
        task = loop.asyncio.current_task(loop_)
        return (
            current_scope(loop_, callbacks) if task is None or isinstance(task, WorkflowTask) else callbacks
        )

    patch.setattr(asking, "current_scope", lenient)


def count_timers_over_all_tasks(patch: Patch) -> None:
    """A plain timer's key does not tell the task that armed it."""
    start_timer = Execution.start_timer

    def anywhere(self: Execution, handle: Any) -> None:
        with pytest.MonkeyPatch.context() as inner:
            inner.setattr(Asking, "scope", self._callbacks)
            start_timer(self, handle)

    patch.setattr(Execution, "start_timer", anywhere)


def draw_ids(patch: Patch) -> None:
    """Ids of children and idempotency keys are drawn, not derived."""
    patch.setattr(Execution, "digest", lambda self, *parts: uuid.uuid4().hex)


def give_steps_of_one_name_one_idempotency_key(patch: Patch) -> None:
    """The idempotency key follows from the name, not from the key."""
    patch.setattr(
        "stepflow._engine.current.StepRun.idempotency_key",
        property(lambda self: self.digest("step", self.name)),
    )


def derive_the_id_of_a_child_that_started(patch: Patch) -> None:
    """A started child's id is the one that the code would give it now, not the recorded one."""
    resolve = answers._resolve

    def derived(run: Execution, command: Any, value: Any) -> None:
        resolve(run, command, getattr(command, "child_id", value) if isinstance(value, str) else value)

    patch.setattr(answers, "_resolve", derived)
