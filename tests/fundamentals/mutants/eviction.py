"""Mutants of eviction: ways to drop an execution of which something comes, or something stays."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from stepflow._engine import asking, eviction
from stepflow._engine.eviction import Evicted, close_tasks
from stepflow._engine.execution import Execution, LogLine

Patch = pytest.MonkeyPatch


def evict_by_forgetting(patch: Patch) -> None:
    """A dropped execution is left to the collector."""
    patch.setattr(Execution, "evict", lambda self: self._stage.tasks.clear())


def let_except_exception_catch_an_eviction(patch: Patch) -> None:
    """The eviction is an ordinary error."""

    class EvictedError(Exception):
        pass

    patch.setattr(eviction, "Evicted", EvictedError)
    patch.setattr(asking, "Evicted", EvictedError)


def listen_to_what_is_evicted(patch: Patch) -> None:
    """What is asked for during an eviction counts."""
    ask = Execution.ask

    def listening(self: Execution, command: Any) -> Any:
        evicting, self.evicting = self.evicting, False
        try:
            return ask(self, command)
        finally:
            self.evicting = evicting

    patch.setattr(Execution, "ask", listening)


def keep_what_an_eviction_says(patch: Patch) -> None:
    """What is logged and cancelled during an eviction comes out later."""

    def evict(self: Execution) -> None:
        self.evicting = True
        with self._loop:
            close_tasks(self._loop, lambda: self._stage.tasks)
        self._stage.tasks.clear()

    def log(self: Execution, level: int, message: str, args: Any, extra: Any) -> None:
        self._report.log(LogLine(level=level, message=message, args=args))

    patch.setattr(Execution, "evict", evict)
    patch.setattr(Execution, "log", log)


def raise_at_every_primitive(patch: Patch) -> None:
    """A task that swallows its eviction gets another one as soon as it asks: a loop around it never ends."""
    told: Counter[Execution] = Counter()
    evicted_future = Execution._evicted_future

    def again(self: Execution) -> Any:
        told[self] += 1
        if told[self] < 1_000:  # it would hang
            raise Evicted
        return evicted_future(self)

    patch.setattr(Execution, "_evicted_future", again)


def give_up_on_those_who_swallow_it(patch: Patch) -> None:
    """A task that swallows its eviction again and again is left to the collector."""
    patch.setattr(eviction, "_end_by_force", lambda loop, tasks: None)


def evict_from_outside(patch: Patch) -> None:
    """While tasks are ended, their loop is not the running one."""

    def evict(self: Execution) -> None:
        self.evicting = True
        self._loop.active = True
        try:
            close_tasks(self._loop, lambda: self._stage.tasks)
        finally:
            self._loop.active = False
        self._stage.tasks.clear()
        self._asked.clear()

    patch.setattr(Execution, "evict", evict)


def evict_without_marking(patch: Patch) -> None:
    """The tasks are ended as by a cancel, and what they ask for then counts."""

    def evict(self: Execution) -> None:
        with self._loop:
            close_tasks(self._loop, lambda: self._stage.tasks)
        self._stage.tasks.clear()

    patch.setattr(Execution, "evict", evict)
