"""Ending: what becomes of a run when its execution has an outcome."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime
from typing import assert_never

import msgspec

from stepflow._engine.commands import (
    ContinueAs,
    Diverged,
    Outcome,
    Raised,
    Returned,
    TimedOut,
    Undecodable,
    WasCancelled,
)
from stepflow._engine.definition import WorkflowDefinition
from stepflow._engine.execution import Execution
from stepflow.codecs.json import Values
from stepflow.errors import InputError, RunTimeoutError, StepflowError
from stepflow.failpoints import failpoint
from stepflow.model.failures import Failure
from stepflow.model.journal import Continued, Ended, Entry, Paused, RunAttemptFailed
from stepflow.model.payloads import Payload
from stepflow.model.states import PauseReason, RunStatus
from stepflow.storage.writes import Cancel, Complete, Continue, Fail, Pause, Suspend, Transition

_log = logging.getLogger("stepflow.run")


class Poisoned(msgspec.Struct, frozen=True):
    """The run takes its workers down: it must not be executed."""

    detail: str


RunOutcome = Outcome | Poisoned
End = tuple[Transition, Entry]
"""The transition, and the entry that says so in the journal."""


class Ending:
    """Decides how a run of one workflow leaves its driver. ``random`` draws the jitter of a retry."""

    __slots__ = ("_definition", "_random", "_record_failure", "_values")

    def __init__(
        self,
        definition: WorkflowDefinition,
        values: Values,
        record_failure: Callable[[BaseException], Failure],
        random: Callable[[], float],
    ) -> None:
        self._definition = definition
        self._values = values
        self._record_failure = record_failure
        self._random = random

    def of(self, outcome: RunOutcome, execution: Execution, now: datetime) -> End:
        """The end for this outcome at ``now``."""
        failpoint("finish.before_write")
        match outcome:
            case Returned(value):
                return self._complete(value, execution, now)
            case Raised(error):
                return self._retry_or_fail(error, execution, now)
            case WasCancelled():
                return Cancel(), _ended(RunStatus.CANCELLED, execution, now)
            case TimedOut():
                limit = execution.facts.timeout
                return self._fail(RunTimeoutError(f"the run did not end within {limit}"), execution, now)
            case ContinueAs(input):
                return self._continue(input, execution, now)
            case Diverged(detail):
                return _pause(PauseReason.NON_DETERMINISM, detail, execution, now)
            case Undecodable(detail):
                return _pause(PauseReason.UNDECODABLE, detail, execution, now)
            case Poisoned(detail):
                return _pause(PauseReason.POISONED, detail, execution, now)
            case never:
                assert_never(never)

    def _complete(self, value: object, execution: Execution, now: datetime) -> End:
        try:
            output = self._values.encode(value, what=f"the result of workflow {self._definition.id!r}")
        except StepflowError as error:
            return self._fail(error, execution, now)
        return Complete(output=output), _ended(RunStatus.COMPLETED, execution, now)

    def _continue(self, input: Payload, execution: Execution, now: datetime) -> End:
        try:
            self._definition.check_input(input, self._values.decode)
        except InputError as error:
            return self._fail(error, execution, now)
        failpoint("continue.before_write")
        entry = Continued(
            at=now,
            input=input,
            generation=execution.generation + 1,
            cursors=dict(execution.mailbox.cursors),
        )
        return Continue(input=input), entry

    def _fail(self, error: BaseException, execution: Execution, now: datetime) -> End:
        failure = self._record_failure(error)
        return Fail(failure=failure), _ended(RunStatus.FAILED, execution, now)

    def _retry_or_fail(self, error: BaseException, execution: Execution, now: datetime) -> End:
        attempt = execution.facts.attempt
        delay = self._definition.retry.next_delay(attempt, error, random=self._random)
        if delay is None or _is_too_late(execution, now + delay):
            return self._fail(error, execution, now)
        entry = RunAttemptFailed(
            at=now, attempt=attempt, failure=self._record_failure(error), retry_at=now + delay
        )
        return Suspend(wake_at=entry.retry_at), entry


def _is_too_late(execution: Execution, retry_at: datetime) -> bool:
    """Whether the run's timeout, which is for all attempts together, leaves no time for another one."""
    started_at, limit = execution.started_at, execution.facts.timeout
    return started_at is not None and limit is not None and retry_at >= started_at + limit


def _ended(status: RunStatus, execution: Execution, now: datetime) -> Ended:
    left_over = execution.left_over()
    if left_over:
        _log.warning(
            "run %s ended with recorded entries that its code did not ask for:\n%s",
            execution.facts.run_id,
            "\n".join(left_over),
        )
    return Ended(at=now, status=status, left_over=left_over)


def _pause(reason: PauseReason, detail: str, execution: Execution, now: datetime) -> End:
    _log.error("run %s is paused: %s", execution.facts.run_id, detail)
    return Pause(reason=reason, detail=detail), Paused(at=now, reason=reason, detail=detail)
