"""Stepflow: durable workflows in plain asyncio, on the database you already have."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stepflow.app import Stepflow
    from stepflow.errors import (
        BlockingCallError,
        ChildCancelledError,
        ChildFailedError,
        DefinitionError,
        DeserializationError,
        DuplicateKeyError,
        DurationError,
        EventConflictError,
        EventTimeoutError,
        FatalError,
        ForbiddenError,
        InputError,
        InvalidIdError,
        MissingExtraError,
        NonDeterminismError,
        NotDurableError,
        NotInRunError,
        NotInStepError,
        NotOpenError,
        NotTransactionalError,
        OperationRefusedError,
        PayloadTooLargeError,
        RemoteError,
        ResultTimeoutError,
        RetryAfter,
        RunCancelledError,
        RunConflictError,
        RunEndedError,
        RunFailedError,
        RunNotFoundError,
        RunPausedError,
        RunTimeoutError,
        SchemaError,
        SerializationError,
        ServerUnavailableError,
        StepFailedError,
        StepflowError,
        StepInterruptedError,
        StepTimeoutError,
        StorageError,
        StorageFullError,
        StorageUnavailableError,
        UnauthenticatedError,
        UnknownStorageError,
        UnknownWorkflowError,
        WouldDeadlockError,
    )
    from stepflow.handles import RunHandle
    from stepflow.model.pages import Page
    from stepflow.model.states import PauseReason, RunStatus
    from stepflow.model.steps import Run, RunEvent, StepKind, StepStatus, StepView
    from stepflow.primitives import (
        ChildHandle,
        Event,
        RunContext,
        Step,
        StepContext,
        continue_as,
        current_run,
        now,
        random,
        sleep,
        sleep_until,
        step,
        transaction,
        uuid4,
        wait_for_event,
    )
    from stepflow.retry import Retry
    from stepflow.sync import SyncRunHandle, SyncStepflow
    from stepflow.workflows import Workflow, workflow

__all__ = [
    "BlockingCallError",
    "ChildCancelledError",
    "ChildFailedError",
    "ChildHandle",
    "DefinitionError",
    "DeserializationError",
    "DuplicateKeyError",
    "DurationError",
    "Event",
    "EventConflictError",
    "EventTimeoutError",
    "FatalError",
    "ForbiddenError",
    "InputError",
    "InvalidIdError",
    "MissingExtraError",
    "NonDeterminismError",
    "NotDurableError",
    "NotInRunError",
    "NotInStepError",
    "NotOpenError",
    "NotTransactionalError",
    "OperationRefusedError",
    "Page",
    "PauseReason",
    "PayloadTooLargeError",
    "RemoteError",
    "ResultTimeoutError",
    "Retry",
    "RetryAfter",
    "Run",
    "RunCancelledError",
    "RunConflictError",
    "RunContext",
    "RunEndedError",
    "RunEvent",
    "RunFailedError",
    "RunHandle",
    "RunNotFoundError",
    "RunPausedError",
    "RunStatus",
    "RunTimeoutError",
    "SchemaError",
    "SerializationError",
    "ServerUnavailableError",
    "Step",
    "StepContext",
    "StepFailedError",
    "StepInterruptedError",
    "StepKind",
    "StepStatus",
    "StepTimeoutError",
    "StepView",
    "Stepflow",
    "StepflowError",
    "StorageError",
    "StorageFullError",
    "StorageUnavailableError",
    "SyncRunHandle",
    "SyncStepflow",
    "UnauthenticatedError",
    "UnknownStorageError",
    "UnknownWorkflowError",
    "Workflow",
    "WouldDeadlockError",
    "continue_as",
    "current_run",
    "now",
    "random",
    "sleep",
    "sleep_until",
    "step",
    "transaction",
    "uuid4",
    "wait_for_event",
    "workflow",
]
__version__ = "0.1.0"

# Each name is loaded when it is first asked for: a program that only looks at an error, or defines workflows and opens no app,
# does not wait for the rest. What type checkers see above and what is found here are compared by a test.
_HOMES = {
    "stepflow.app": "Stepflow",
    "stepflow.errors": (
        "BlockingCallError ChildCancelledError ChildFailedError DefinitionError "
        "DeserializationError DuplicateKeyError DurationError EventConflictError "
        "EventTimeoutError FatalError InputError InvalidIdError MissingExtraError "
        "ForbiddenError NonDeterminismError NotDurableError NotInRunError NotInStepError NotOpenError NotTransactionalError "
        "OperationRefusedError PayloadTooLargeError RemoteError ResultTimeoutError RetryAfter "
        "RunCancelledError RunConflictError RunEndedError RunFailedError RunNotFoundError "
        "RunPausedError RunTimeoutError SchemaError SerializationError StepFailedError "
        "StepflowError StepInterruptedError StepTimeoutError StorageError StorageFullError "
        "ServerUnavailableError StorageUnavailableError UnauthenticatedError UnknownStorageError UnknownWorkflowError "
        "WouldDeadlockError"
    ),
    "stepflow.handles": "RunHandle",
    "stepflow.model.pages": "Page",
    "stepflow.model.states": "PauseReason RunStatus",
    "stepflow.model.steps": "Run RunEvent StepKind StepStatus StepView",
    "stepflow.primitives": (
        "ChildHandle Event RunContext Step StepContext continue_as current_run now random sleep "
        "sleep_until step transaction uuid4 wait_for_event"
    ),
    "stepflow.retry": "Retry",
    "stepflow.sync": "SyncRunHandle SyncStepflow",
    "stepflow.workflows": "Workflow workflow",
}
_HOME = {name: module for module, names in _HOMES.items() for name in names.split()}


def __getattr__(name: str) -> Any:
    module = _HOME.get(name)
    if module is None:
        raise AttributeError(f"module 'stepflow' has no attribute {name!r}")
    found = globals()[name] = getattr(import_module(module), name)
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})
