"""Progress: a run as it must stand by now, from the events of its stream so far."""

from __future__ import annotations

from itertools import islice

from msgspec import structs

from stepflow.cli.translating import entry_of, run_of
from stepflow.model.folding import fold_steps
from stepflow.model.journal import AttemptStarted, Claimed, Continued, Ended, Entry, Paused, Suspended
from stepflow.model.states import RunStatus
from stepflow.model.steps import Run, StepStatus, StepView
from stepflow.types import StepKey
from stepflow.wire.streams import RunSnapshot, StreamEvent

_SHOWN_STEPS = 200


class Progress:
    """A run as the events so far tell it."""

    def __init__(self, run: Run) -> None:
        self.run = structs.replace(run, steps=())
        self._steps: dict[StepKey, StepView] = {}

    def take(self, event: StreamEvent) -> Entry | None:
        """Take what happened into account; it, as an entry."""
        if isinstance(event, RunSnapshot):  # we were too far behind to be told everything
            self.run = run_of(event.run)
            self._steps = {step.key: step for step in self.run.steps}
            return None
        entry = entry_of(event)
        if entry is None:
            return None
        match entry:
            case Continued():
                self._steps.clear()
            case AttemptStarted():
                self._steps = {
                    key: step for key, step in self._steps.items() if step.status is StepStatus.COMPLETED
                }
            case _:
                for step in fold_steps([entry]):
                    known = self._steps.get(step.key)
                    began = None if known is None else known.started_at
                    self._steps[step.key] = structs.replace(step, started_at=step.started_at or began)
        last = list(islice(reversed(self._steps.values()), _SHOWN_STEPS))[::-1]
        self.run = structs.replace(_moved(self.run, entry), steps=last)
        return entry


def _moved(run: Run, entry: Entry) -> Run:
    """Where the run is in its life after the entry."""
    match entry:
        case Claimed(at=at):
            return structs.replace(
                run, status=RunStatus.RUNNING, started_at=run.started_at or at, waits=(), wake_at=None
            )
        case Suspended(wake_at=wake_at, waits=waits):
            return structs.replace(run, status=RunStatus.SUSPENDED, wake_at=wake_at, waits=waits)
        case Paused(reason=reason, detail=detail):
            return structs.replace(run, status=RunStatus.PAUSED, pause_reason=reason, pause_detail=detail)
        case Ended(at=at, status=status):
            return structs.replace(run, status=status, ended_at=at)
        case _:
            return run
