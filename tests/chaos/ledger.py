"""Ledger: what real processes did, a file for each, written by one system call a line. What the store says is held against it."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from random import Random
from typing import Final

from stepflow._engine.current import StepRun
from tests.chaos.workload import SCALE
from tests.simulation.ledger import DURATIONS, Step

Place = tuple[int, int]
"""Which run bears an id: its place in the store's sequence, and the row of this process's last claim of it."""

_SUFFIX: Final = ".ledger"


class Ledger:
    """Written while the process lives. A kill leaves whole lines: each is one system call, and the system has it then."""

    def __init__(self, folder: Path, phase: str) -> None:
        self.phase = phase
        self.place: Callable[[str], Place] = lambda run_id: (0, 0)
        self._file = os.open(folder / f"{phase}{_SUFFIX}", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        self._numbers = count(1)
        self._random = Random(phase)

    def begin(
        self, _process: object, step: StepRun | None, generation: int, seen: str, *, once: bool = False
    ) -> Begun:
        """A body begins."""
        assert step is not None
        number = next(self._numbers)
        created, claimed = self.place(step.run_id)
        self.write(
            "B", number, step.run_id, created, generation, step.run_attempt, step.key, step.attempt,
            claimed, int(once), seen,
        )  # fmt: skip
        return Begun(self, number, step.key, step.attempt)

    def end(self, mark: object) -> None:
        """A body has ended: nobody asks when."""

    def duration(self, _process: object) -> float:
        """How long a body takes."""
        return self._random.choice(DURATIONS) * self._random.random() * SCALE

    def complain(self, what: str) -> None:
        """Something must not have happened."""
        self.write("C", what.replace("\n", " "))

    def acknowledged(self, index: int, run_id: str) -> None:
        """The start of a run was acknowledged to this process."""
        self.write("K", index, run_id)

    def write(self, *fields: object) -> None:
        os.write(self._file, ("\t".join(map(str, fields)) + "\n").encode())


class Begun:
    """A body that executes. What it returns is unlike what any other returns, and is in the ledger before it does."""

    def __init__(self, ledger: Ledger, number: int, key: str, attempt: int) -> None:
        self._ledger = ledger
        self._returned: str | None = None
        self.key = key
        self.attempt = attempt
        self.number = f"{ledger.phase}.{number}"
        self._in_file = number

    @property
    def returned(self) -> str | None:
        return self._returned

    @returned.setter
    def returned(self, value: str) -> None:
        self._ledger.write("R", self._in_file, value)
        self._returned = value


@dataclass(slots=True, eq=False)
class Mark:
    """One execution of a body, as it is read afterwards. ``owner`` is the process, and the row by which it had the run."""

    step: Step
    attempt: int
    owner: tuple[str, int]
    once: bool
    seen: str
    returned: str | None = None


@dataclass(slots=True)
class Marks:
    """All ledgers of a play, read when it is over."""

    marks: defaultdict[Step, list[Mark]] = field(default_factory=lambda: defaultdict(list))
    complaints: list[str] = field(default_factory=list)
    acknowledged: dict[int, str] = field(default_factory=dict)

    def all(self) -> Iterator[Mark]:
        for ran in self.marks.values():
            yield from ran


def read_ledgers(folder: Path) -> Marks:
    """Everything that all processes have written."""
    found = Marks()
    for path in sorted(folder.glob(f"*{_SUFFIX}")):
        _read(path, found)
    return found


def _read(path: Path, found: Marks) -> None:
    phase = path.name.removesuffix(_SUFFIX)
    begun: dict[str, Mark] = {}
    for line in path.read_text().splitlines():
        match line.split("\t"):
            case ["B", number, run_id, created, generation, run_attempt, key, attempt, claimed, once, seen]:
                step = (run_id, int(created), int(generation), int(run_attempt), key)
                mark = Mark(step, int(attempt), (phase, int(claimed)), once == "1", seen)
                begun[number] = mark
                found.marks[step].append(mark)
            case ["R", number, value]:
                begun[number].returned = value
            case ["K", index, run_id]:
                found.acknowledged[int(index)] = run_id
            case ["C", what]:
                found.complaints.append(f"{phase}: {what}")
            case _:
                raise AssertionError(f"{path.name} has a line that nobody writes: {line!r}")
