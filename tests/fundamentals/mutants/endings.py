"""Mutants of the end: what becomes of what main leaves behind."""

from __future__ import annotations

from typing import Any

import pytest

from stepflow._engine.execution import Advance, Execution
from stepflow._engine.loop import ReplayLoop
from stepflow._engine.stage import Stage

Patch = pytest.MonkeyPatch


def leave_tasks_behind(patch: Patch) -> None:
    """The run is over when main is."""
    patch.setattr(Stage, "_cancel_left", lambda self: False)
    patch.setattr(Stage, "over", property(lambda self: self.ending))


def cancel_what_cleans_up(patch: Patch) -> None:
    """Whatever still runs after main is cancelled, also what was just begun to clean up."""
    unwind = Stage.unwind
    patch.setattr(Stage, "unwind", lambda self: self._cancel_left() or unwind(self))


def cancel_again_and_again(patch: Patch) -> None:
    """What goes on after its cancel, to clean up, is cancelled once more with every entry."""

    def unwind(self: Stage) -> bool:
        for task in self.tasks:
            task.cancel()
        return False

    patch.setattr(Stage, "unwind", unwind)


def leave_generators_to_the_collector(patch: Patch) -> None:
    """Nobody holds an async generator that was begun and not finished."""
    patch.setattr(ReplayLoop, "first_iteration", lambda self, generator: None)


def close_generators_only_when_evicted(patch: Patch) -> None:
    """The run is over although a generator was begun and not finished."""
    take = ReplayLoop.take_generators
    patch.setattr(ReplayLoop, "take_generators", lambda self: take(self) if self.owner.evicting else [])


def go_on_with_what_is_outstanding(patch: Patch) -> None:
    """What was handed out before the end goes on after it."""
    collect = Execution._collect

    def careless(self: Execution, more: bool) -> Advance:
        given_up = list(self._report.withdrawn)
        report = collect(self, more)
        if report.outcome is not None:
            report.withdrawn = given_up
        return report

    patch.setattr(Execution, "_collect", careless)


def let_a_system_exit_through(patch: Patch) -> None:
    """``sys.exit()`` in workflow code reaches the host."""
    run_dry = ReplayLoop.run_dry

    def exiting(self: ReplayLoop, *args: Any, **options: Any) -> None:
        try:
            run_dry(self, *args, **options)
        except SystemExit as error:
            raise AssertionError("the host process ends") from error

    patch.setattr(ReplayLoop, "run_dry", exiting)
