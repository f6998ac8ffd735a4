"""History: the last steps of a run, read without holding all that it ever recorded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from msgspec.structs import replace

from stepflow.model.folding import fold_into, fold_steps, waiting_steps
from stepflow.model.runs import RunRecord
from stepflow.model.steps import StepView
from stepflow.storage.base import Storage
from stepflow.types import StepKey
from stepflow.wire.records import STEPS_LIMIT
from stepflow.wire.streams import START, Position

_ROWS = 100


@dataclass(frozen=True, slots=True)
class History:
    """All steps of a run; of all but the last ones, results are left out. ``last`` is the last entry that they were made of."""

    steps: Sequence[StepView]
    last: Position


async def read_history(storage: Storage, record: RunRecord) -> History:
    """The run's steps as of ``record``: what came after it was read is not among them."""
    steps: dict[StepKey, StepView] = {}
    dropped: set[StepKey] = set()
    last, after = START, record.first_seq - 1
    while after < record.seq:
        rows = await storage.read_journal(record.id, after=after, limit=_ROWS)
        for row in rows:
            if row.seq <= record.seq:
                fold_into(steps, row.entries)
                last = Position(row.seq, len(row.entries) - 1)
        if len(rows) < _ROWS:
            break
        after = rows[-1].seq
        for key in list(steps)[:-STEPS_LIMIT]:
            if steps[key].result is not None:
                steps[key] = replace(steps[key], result=None)
                dropped.add(key)
    found = [*steps.values(), *waiting_steps(record.waits)]
    if any(step.key in dropped for step in found[-STEPS_LIMIT:]):
        # Later steps were undone by another attempt of the run, so that these are the last ones again.
        every = await storage.read_journal(record.id, after=record.first_seq - 1)
        entries = [entry for row in every if row.seq <= record.seq for entry in row.entries]
        found = fold_steps(entries, record.waits)
    return History(found, last)
