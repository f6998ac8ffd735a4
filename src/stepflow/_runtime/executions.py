"""Executions: made from what is known of a run, with the app's values, errors and workflows behind them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from stepflow._engine.definition import WorkflowDefinition
from stepflow._engine.execution import Execution, RunFacts
from stepflow._engine.registry import Registry
from stepflow.codecs.failures import ErrorRegistry, rebuild_failure, record_failure
from stepflow.codecs.json import Values
from stepflow.model.failures import Failure
from stepflow.model.journal import Continued
from stepflow.model.runs import NewRun, RunRecord


class Executions:
    """Makes the execution of a run that is new, claimed, or going on in a fresh journal."""

    def __init__(
        self,
        registry: Registry,
        values: Values,
        errors: ErrorRegistry,
        *,
        kind: type[Execution] = Execution,
    ) -> None:
        self._kind = kind
        self._values = values
        self._errors = errors
        # Made once, and not a few for every run.
        self._ways: dict[str, Callable[..., Any]] = {
            "encode": self._encode,
            "decode": values.decode,
            "rebuild": self._rebuild,
            "check_workflow": registry.get,
        }
        self._mains: dict[int, tuple[WorkflowDefinition, Callable[..., Any]]] = {}

    def of_new(self, run: NewRun, definition: WorkflowDefinition) -> Execution:
        facts = RunFacts(
            run_id=run.id,
            workflow_id=run.workflow_id,
            input=run.input,
            input_type=definition.types.input,
            created_at=run.created_at,
            timeout=definition.timeout,
        )
        return self._make(facts, definition)

    def of_claimed(self, run: RunRecord, definition: WorkflowDefinition, *, attempt: int) -> Execution:
        facts = RunFacts(
            run_id=run.id,
            workflow_id=run.workflow_id,
            input=run.input,
            input_type=definition.types.input,
            attempt=attempt,
            created_pos=run.created_pos,
            created_at=run.created_at,
            depth=0 if run.parent is None else run.parent.depth,
            started_at=run.started_at,
            timeout=definition.timeout,
        )
        return self._make(facts, definition)

    def of_continued(self, former: Execution, definition: WorkflowDefinition, entry: Continued) -> Execution:
        facts = RunFacts(
            run_id=former.facts.run_id,
            workflow_id=former.facts.workflow_id,
            input=entry.input,
            input_type=definition.types.input,
            # a run that began here learned its place among the events only after it had begun
            created_pos=former.mailbox.created_pos,
            created_at=former.facts.created_at,
            depth=former.facts.depth,
            started_at=former.started_at,
            timeout=definition.timeout,
        )
        return self._make(facts, definition)

    def record_failure(self, error: BaseException) -> Failure:
        """The exception as data."""
        return record_failure(error, values=self._values, allowed=self._errors.allows)

    def _make(self, facts: RunFacts, definition: WorkflowDefinition) -> Execution:
        known = self._mains.get(id(definition))
        if known is None:
            known = self._mains[id(definition)] = (
                definition,
                partial(definition.start, decode=self._values.decode),
            )
        return self._kind(facts, known[1], **self._ways)

    def _encode(self, value: Any, what: str) -> Any:
        return self._values.encode(value, what=what)

    def _rebuild(self, failure: Failure) -> BaseException:
        return rebuild_failure(failure, values=self._values, find=self._errors.find)
