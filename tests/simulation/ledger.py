"""Ledger: every execution of every step body, kept outside of the store. What the store says is held against it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from stepflow._engine.current import StepRun

if TYPE_CHECKING:
    from tests.simulation.processes import Process

Step = tuple[str, int, int, int, str]
"""Run, its place in the store's sequence (a deleted run's id may be used again), generation, attempt of the run, key of the step."""

DURATIONS = (0.0, 0.001, 0.02, 0.02, 0.3, 0.3, 1.5, 6.0)


@dataclass(slots=True, eq=False)
class Mark:
    """One execution of a body. ``owner`` is the worker, and the row by which it claimed the run."""

    step: Step
    key: str
    number: int
    attempt: int
    owner: tuple[str, int]
    process: Process
    began: int
    seen: str
    once: bool
    returned: str | None = None
    ended: bool = False


@dataclass(slots=True)
class Ledger:
    """``place`` says which run bears an id now: its place in the store's sequence, and the row of its last claim by a worker."""

    place: Callable[[str, str | None], tuple[int, int]]
    began: Callable[[Mark], None] = lambda mark: None
    marks: defaultdict[Step, list[Mark]] = field(default_factory=lambda: defaultdict(list))
    complaints: list[str] = field(default_factory=list)
    latest: Mark | None = None

    def begin(
        self, process: Process, step: StepRun | None, generation: int, seen: str, *, once: bool = False
    ) -> Mark:
        """A body begins."""
        assert step is not None
        worker = process.worker_id
        created, claimed = self.place(step.run_id, worker)
        name = (step.run_id, created, generation, step.run_attempt, step.key)
        marks = self.marks[name]
        mark = Mark(
            name,
            step.key,
            len(marks) + 1,
            step.attempt,
            (str(worker), claimed),
            process,
            process.world.now,
            seen,
            once,
        )
        marks.append(mark)
        self.latest = mark
        held = process.runs_in_memory
        if held > process.most_runs:
            self.complain(f"{process.name} has {held} runs in memory, {process.most_runs} are allowed")
        beside = process.bodies[step.run_id, step.key] = process.bodies.get((step.run_id, step.key), 0) + 1
        if beside > 1:  # whichever attempt of the run they are of
            self.complain(f"{step.run_id}: {step.key} began beside itself in {process.name}")
        self.began(mark)
        return mark

    def end(self, mark: Mark) -> None:
        mark.ended = True
        mark.process.bodies[mark.step[0], mark.key] -= 1

    @staticmethod
    def duration(process: Process) -> float:
        """How long a body takes."""
        return process.random.choice(DURATIONS) * process.random.random()

    def complain(self, what: str) -> None:
        """Something must not have happened."""
        self.complaints.append(what)
