"""The ledger: every execution of every step body, written outside the engine's store by whoever executed it."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import msgspec

from stepflow._engine.current import current_step

Step = tuple[str, str]
"""A run and the key of one of its steps."""


class Effect(msgspec.Struct, frozen=True):
    """A body began: in which process (``phase``), of which step, on which attempt."""

    phase: str
    run_id: str
    key: str
    attempt: int

    @property
    def step(self) -> Step:
        return self.run_id, self.key


class Ledger:
    """Appends a line for each effect, in one system call: a process that is killed leaves whole lines.

    ``news``, if given, is a pipe that hears of every effect too, so that a test need not look again and again.
    """

    def __init__(self, path: Path, phase: str, news: Path | None = None) -> None:
        self._phase = phase
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        self._news = None if news is None else os.open(news, os.O_WRONLY)

    def record(self) -> None:
        """The step that calls this has an effect."""
        step = current_step()
        assert step is not None, "only steps have effects"
        line = f"{self._phase}\t{step.run_id}\t{step.key}\t{step.attempt}\n".encode()
        os.write(self._file, line)
        if self._news is not None:
            os.write(self._news, line)


def read_effects(path: Path) -> list[Effect]:
    """Every effect so far, in the order of the writing."""
    if not path.exists():
        return []
    return [read_effect(line) for line in path.read_text().splitlines()]


def read_effect(line: str) -> Effect:
    phase, run_id, key, attempt = line.split("\t")
    return Effect(phase, run_id, key, int(attempt))


def count_steps(effects: Iterable[Effect]) -> Counter[Step]:
    """How often each step's body began, whatever the attempt."""
    return Counter(effect.step for effect in effects)


_ledger: Ledger | None = None


def open_ledger(path: Path, phase: str, news: Path | None = None) -> None:
    """From now on the steps of this process write there."""
    global _ledger
    _ledger = Ledger(path, phase, news)


def effect() -> None:
    """What every step of the programs does: something that can be counted."""
    assert _ledger is not None, "the process opened its ledger first"
    _ledger.record()
