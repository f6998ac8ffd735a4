"""Accounts: what a simulation keeps of what is under way, and what is told of it in the end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from stepflow._engine.commands import Command
from stepflow.model.journal import (
    AttemptStarted,
    Entry,
    StepCompleted,
    StepFailed,
    StepInterrupted,
    encode_entries,
)
from tests.fundamentals.watched import without_counts


@dataclass(slots=True)
class Flight:
    """A step, a child or an event on its way.

    ``deaf``: given up by the workflow, but its body goes on all the same. ``lost``: an at-most-once step that was begun
    by a worker before this one.
    """

    command: Command
    due: datetime
    deaf: bool = False
    lost: bool = False


@dataclass(slots=True)
class Finished:
    """How a simulation ended."""

    outcome: Any
    journal: list[Entry]
    trace: list[Any]
    executed: Counter[str]
    fingerprints: dict[int, Any]
    left_over: tuple[str, ...]

    def told(self) -> tuple[str, str]:
        """What must be the same however often the run was interrupted."""
        return without_counts(encode_entries(tuple(self.journal)).decode()), without_counts(
            (self.outcome, self.trace)
        )


@dataclass(slots=True)
class Candidate:
    """Something that could happen next: at an instant the ranks decide, then the draw."""

    due: datetime
    rank: int
    tie: int
    kind: str
    what: Any = None


def ended_steps(journal: Sequence[Entry]) -> set[str]:
    """The steps that may not run again: of attempts before the present one, those that succeeded."""
    ended: set[str] = set()
    for entry in journal:
        if isinstance(entry, AttemptStarted):
            ended = {each.key for each in journal[: journal.index(entry)] if isinstance(each, StepCompleted)}
        elif isinstance(entry, (StepCompleted, StepFailed, StepInterrupted)):
            ended.add(entry.key)
    return ended
