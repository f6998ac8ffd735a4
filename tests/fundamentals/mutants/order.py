"""Mutants of order: what makes every replay go through sets in the same order."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from stepflow._engine import loop
from stepflow._engine.loop import ReplayLoop
from stepflow._engine.tasks import WorkflowFuture, WorkflowTask

Patch = pytest.MonkeyPatch


def hash_tasks_by_address(patch: Patch) -> None:
    """Sets of tasks have another order in every process."""
    patch.setattr(WorkflowTask, "__hash__", lambda self: id(self) >> 4)


def hash_futures_by_address(patch: Patch) -> None:
    """Sets of futures have another order in every process."""
    patch.setattr(WorkflowFuture, "__hash__", lambda self: id(self) >> 4)


def take_bare_coroutines_as_completed(patch: Patch) -> None:
    """``as_completed`` may make tasks in the order of a set of coroutines."""
    patch.setattr(loop, "_AS_COMPLETED", frozenset())


def number_tasks_over_all_runs(patch: Patch) -> None:
    """A task's hash counts the tasks of the process, not those of its run."""
    init, numbers = ReplayLoop.__init__, itertools.count(0, 1_000_003)

    def counting_on(self: ReplayLoop, owner: Any, *, hash_base: int) -> None:
        init(self, owner, hash_base=next(numbers))

    patch.setattr(ReplayLoop, "__init__", counting_on)


def give_every_run_the_same_numbers(patch: Patch) -> None:
    """The order in sets is the same in all runs."""
    init = ReplayLoop.__init__
    patch.setattr(ReplayLoop, "__init__", lambda self, owner, *, hash_base: init(self, owner, hash_base=0))
