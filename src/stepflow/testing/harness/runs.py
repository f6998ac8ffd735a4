"""HarnessRun: one run as a test sees it. Everything here looks at the store and returns at once; nothing moves time."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

from stepflow.model.events import Wait
from stepflow.model.failures import Failure
from stepflow.model.folding import fold_steps
from stepflow.model.ids import CHILD_EVENT_PREFIX
from stepflow.model.journal import Entry
from stepflow.model.runs import RunRecord
from stepflow.model.states import RunStatus
from stepflow.model.steps import StepKind, StepView
from stepflow.testing.harness.incarnation import immediately
from stepflow.testing.harness.timeline import timeline
from stepflow.testing.replaying import present

if TYPE_CHECKING:
    from stepflow.testing.harness.fakes import StepCall
    from stepflow.testing.harness.world import World

Out_co = TypeVar("Out_co", covariant=True)


class HarnessRun(Generic[Out_co]):
    """A run of a harness: its status, journal, steps, waits and logs, and assertions that show what happened when they fail."""

    def __init__(self, world: World, run_id: str, output_type: Any) -> None:
        self._world = world
        self.id = run_id
        self.output_type = output_type

    # -------------------------------------------------------------- looking
    @property
    def record(self) -> RunRecord:
        """The run as the store has it."""
        found: RunRecord | None = immediately(self._world.storage.get_run(self.id))
        if found is None:
            raise AssertionError(f"run {self.id!r} is not there: was it deleted?")
        return found

    @property
    def status(self) -> RunStatus:
        return self.record.status

    @property
    def ended(self) -> bool:
        """Whether it is completed, failed or cancelled."""
        return self.status.ended

    @property
    def output(self) -> Out_co:
        """What the completed run returned, decoded as the workflow's annotation says; else an ``AssertionError``."""
        record = self.record
        if record.output is None:
            raise AssertionError(f"the run has no result yet\n{self.timeline}")
        return cast("Out_co", self._world.values.decode(record.output, self.output_type))

    @property
    def failure(self) -> Failure | None:
        """Why the run failed: type, message and traceback as recorded."""
        return self.record.failure

    @property
    def journal(self) -> list[Entry]:
        """The entries of its present journal, in order (since the last ``continue_as``, if there was one)."""
        return present(immediately(self._world.storage.read_journal(self.id)))

    @property
    def steps(self) -> list[StepView]:
        """Its steps, sleeps, events and children, in the order in which each was first recorded."""
        return fold_steps(self.journal, self.record.waits)

    @property
    def step_keys(self) -> list[str]:
        """The keys of the steps that ended, in that order: sleeps, events and children are not among them."""
        return [each.key for each in self.steps if each.kind is StepKind.STEP and each.ended_at is not None]

    @property
    def waits(self) -> list[Wait]:
        """The events that it waits for now."""
        return [wait for wait in self.record.waits if not wait.event_id.startswith(CHILD_EVENT_PREFIX)]

    @property
    def wakes_at(self) -> datetime | None:
        """When it goes on by itself, if it is suspended; None if only an event wakes it."""
        return self.record.due_at

    @property
    def logs(self) -> list[str]:
        """What it and its steps logged through ``current_run().log``, in order."""
        return [line.message for line in self._world.lines if line.run_id == self.id]

    @property
    def calls(self) -> list[StepCall]:
        """Every attempt of its steps that was executed, faked or not."""
        return [call for call in self._world.calls if call.run_id == self.id]

    @property
    def timeline(self) -> str:
        """What happened so far, a line each."""
        return timeline(self.record, self.journal)

    # -------------------------------------------------------------- asserting
    def assert_completed(self, *result: object) -> None:
        """It is completed; with ``result``, it returned that."""
        __tracebackhide__ = True
        self.assert_status("completed")
        if result and self.output != result[0]:
            raise AssertionError(f"expected the result {result[0]!r}, got {self.output!r}\n{self.timeline}")

    def assert_failed(self, error: type[BaseException] | None = None, *, match: str = "") -> None:
        """It failed; with ``error``, for that class's reason, whose message contains ``match``."""
        __tracebackhide__ = True
        self.assert_status("failed")
        failure = self.record.failure
        assert failure is not None
        if error is not None and failure.type.rpartition(".")[2] != error.__qualname__.rpartition(".")[2]:
            raise AssertionError(f"expected it to fail with {error.__qualname__}\n{self.timeline}")
        if match not in failure.message:
            raise AssertionError(f"expected {match!r} in the failure's message\n{self.timeline}")

    def assert_status(self, status: str) -> None:
        """It is queued, running, suspended, paused, completed, failed or cancelled."""
        __tracebackhide__ = True
        if self.status.value != status:
            raise AssertionError(f"expected the run to be {status}\n{self.timeline}")

    def assert_waits_for(self, *event_ids: str) -> None:
        """It waits for exactly these events now."""
        __tracebackhide__ = True
        waiting = sorted(wait.event_id for wait in self.waits)
        if waiting != sorted(event_ids):
            raise AssertionError(
                f"expected it to wait for {sorted(event_ids)}, it waits for {waiting}\n{self.timeline}"
            )

    def assert_steps(self, *keys: str) -> None:
        """Exactly these steps ended so far, in this order."""
        __tracebackhide__ = True
        if self.step_keys != list(keys):
            raise AssertionError(
                f"expected the steps {_listed(keys)},\n     got the steps {_listed(self.step_keys)}\n{self.timeline}"
            )

    def __repr__(self) -> str:
        return f"<HarnessRun {self.id!r} {self.status.value}>"


def _listed(keys: Sequence[str]) -> str:
    return ", ".join(keys) or "none"
