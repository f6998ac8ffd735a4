"""Every exception that Stepflow raises, as one tree.

::

    StepflowError
    ├── DefinitionError            TypeError      a workflow or step is declared wrongly
    ├── DurationError              ValueError     "3 months" is not a duration
    ├── InputError                 ValueError     an argument or an input does not fit
    │   ├── InvalidIdError                        a run, workflow or event id is malformed
    │   └── PayloadTooLargeError                  a value is over its limit
    ├── SerializationError         TypeError      a value can't be encoded
    ├── DeserializationError       ValueError     a stored value can't be decoded
    ├── NotOpenError               RuntimeError   the app is used outside ``async with app``
    ├── BlockingCallError          RuntimeError   ``app.sync`` is used on a running event loop
    ├── NotInRunError              RuntimeError   a durable verb is called outside a run
    ├── NotInStepError             RuntimeError   ``current_run().step`` outside a step
    ├── NotDurableError            RuntimeError   a workflow reaches for the outside world
    ├── RunNotFoundError           LookupError
    ├── UnknownWorkflowError       LookupError
    ├── RunConflictError           ValueError     the id is taken by another workflow or input
    ├── EventConflictError         ValueError     ``notify(once=True)`` came second
    ├── OperationRefusedError      RuntimeError   the run's state does not allow it
    ├── WouldDeadlockError         RuntimeError   a write that would wait for the transaction it is made in
    ├── DuplicateKeyError          ValueError     two steps of a run claim one ``key=``
    ├── NonDeterminismError        RuntimeError   the journal and the code disagree; the run is paused
    ├── RunEndedError                             what ``result()`` raises for a run without one
    │   ├── RunFailedError         RuntimeError
    │   ├── RunCancelledError
    │   └── RunPausedError
    ├── ResultTimeoutError         TimeoutError   ``result(timeout=)`` passed; the run goes on
    ├── StepFailedError            RuntimeError   a recorded failure whose own class is not rebuilt
    ├── StepTimeoutError           TimeoutError
    ├── StepInterruptedError       RuntimeError   an ``at_most_once`` step may or may not have run
    ├── ChildFailedError           RuntimeError   an invoked workflow failed
    ├── ChildCancelledError        RuntimeError   an invoked workflow was cancelled
    ├── EventTimeoutError          TimeoutError   no event came in time
    ├── RunTimeoutError            TimeoutError   the workflow's own ``timeout`` passed
    ├── FatalError                 Exception      users raise it: do not retry
    ├── RetryAfter                 Exception      users raise it: retry after this delay
    ├── RemoteError                RuntimeError   a server refused or failed, and no other class says how
    │   ├── UnauthenticatedError   PermissionError    it wants a credential, or another one
    │   ├── ForbiddenError         PermissionError    the credential does not allow it
    │   └── ServerUnavailableError ConnectionError    not reached, too busy or closing: worth another try
    └── StorageError               RuntimeError
        ├── UnknownStorageError    ValueError     no backend has this URL scheme
        ├── MissingExtraError      ImportError    an optional dependency is not installed
        ├── StorageUnavailableError ConnectionError   worth another try
        ├── StorageFullError       OSError
        ├── NotTransactionalError                 this storage has no transactions to join
        └── SchemaError                           the schema is newer, older or damaged
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stepflow.types import Duration, EventId, RunId, StepKey


class StepflowError(Exception):
    """The root: ``except StepflowError`` catches everything Stepflow raises."""


class DefinitionError(StepflowError, TypeError):
    """A workflow or a step is declared in a way that can't be durable."""


class DurationError(StepflowError, ValueError):
    """A duration can't be read; the message shows the forms that can."""


class InputError(StepflowError, ValueError):
    """A value given to Stepflow does not fit; ``path`` says where in it, if known."""

    def __init__(self, message: str, *, path: str | None = None) -> None:
        super().__init__(message)
        self.path = path


class InvalidIdError(InputError):
    """A run, workflow, queue or event id is malformed."""


class PayloadTooLargeError(InputError):
    """An encoded value is over its limit; nothing was stored."""

    def __init__(self, what: str, *, size: int, limit: int) -> None:
        super().__init__(
            f"{what} is {size:,} bytes encoded, over the limit of {limit:,}; "
            "store it elsewhere and pass a reference, or raise the limit"
        )
        self.what = what
        self.size = size
        self.limit = limit

    def __reduce__(self) -> tuple[Any, ...]:
        return (_rebuild_too_large, (self.what, self.size, self.limit))


def _rebuild_too_large(what: str, size: int, limit: int) -> PayloadTooLargeError:
    return PayloadTooLargeError(what, size=size, limit=limit)


class SerializationError(StepflowError, TypeError):
    """A value can't be encoded; the message names the step, the path and the type."""


class DeserializationError(StepflowError, ValueError):
    """A stored value can't be decoded as the type the code asks for."""


class NotOpenError(StepflowError, RuntimeError):
    """The app was used before ``async with app:`` or after it."""


class BlockingCallError(StepflowError, RuntimeError):
    """``app.sync`` was used where it would block a running event loop."""


class NotInRunError(StepflowError, RuntimeError):
    """A durable verb was called outside a workflow."""

    def __init__(self, verb: str) -> None:
        super().__init__(
            f"{verb}() works inside a running workflow only; start one with app.trigger(...), "
            "or run it in a test with stepflow.testing"
        )
        self.verb = verb


class NotInStepError(StepflowError, RuntimeError):
    """``current_run().step`` was asked for outside a step."""


class NotDurableError(StepflowError, RuntimeError):
    """Workflow code reached for the world: network, threads, processes, other loops."""


class RunNotFoundError(StepflowError, LookupError):
    """No run has this id in the storage that was asked."""

    def __init__(self, run_id: RunId) -> None:
        super().__init__(f"no run {run_id!r}; was it pruned, or started on another storage?")
        self.run_id = run_id


class UnknownWorkflowError(StepflowError, LookupError):
    """No registered workflow has this id."""

    def __init__(self, workflow_id: str, *, nearest: Sequence[str] = ()) -> None:
        hint = f"; did you mean {' or '.join(map(repr, nearest))}?" if nearest else ""
        super().__init__(
            f"no workflow {workflow_id!r} is registered{hint} (pass it in Stepflow(..., workflows=[...]))"
        )
        self.workflow_id = workflow_id
        self.nearest = tuple(nearest)


class RunConflictError(StepflowError, ValueError):
    """The id or idempotency key belongs to a run of another workflow or input."""

    def __init__(self, run_id: RunId, reason: str) -> None:
        super().__init__(f"run {run_id!r} exists already with {reason}; use another id or key")
        self.run_id = run_id
        self.reason = reason


class EventConflictError(StepflowError, ValueError):
    """``notify(once=True)`` came second; ``first`` is the payload that won."""

    def __init__(self, event_id: EventId, first: Any) -> None:
        super().__init__(f"event {event_id!r} was sent already, and once=True lets one win")
        self.event_id = event_id
        self.first = first


class OperationRefusedError(StepflowError, RuntimeError):
    """The run's present state does not allow the operation."""

    def __init__(self, run_id: RunId, action: str, status: str, hint: str = "") -> None:
        super().__init__(f"can't {action} run {run_id!r}: it is {status}{f'; {hint}' if hint else ''}")
        self.run_id = run_id
        self.action = action
        self.status = status
        self.hint = hint


class WouldDeadlockError(StepflowError, RuntimeError):
    """A write from inside ``transaction()`` that does not take part in it, on a storage that has one writer."""


class DuplicateKeyError(StepflowError, ValueError):
    """Two steps of one run gave the same ``key=``."""

    def __init__(self, key: StepKey) -> None:
        super().__init__(f"two steps of this run have the key {key!r}; make key= unique for each item")
        self.key = key


class NonDeterminismError(StepflowError, RuntimeError):
    """The journal and the workflow's code disagree; the run is paused, nothing is lost."""


class RunEndedError(StepflowError):
    """A run has no result to give."""

    def __init__(self, run_id: RunId, message: str) -> None:
        super().__init__(message)
        self.run_id = run_id


class RunFailedError(RunEndedError, RuntimeError):
    """The run failed: ``type``, ``message`` and ``traceback`` are the recorded failure."""

    def __init__(self, run_id: RunId, *, type: str, message: str, traceback: str = "") -> None:
        super().__init__(run_id, f"run {run_id!r} failed: {type}: {message}")
        self.type = type
        self.message = message
        self.traceback = traceback


class RunCancelledError(RunEndedError):
    """The run was cancelled. (Not an ``asyncio.CancelledError``: the waiter was not.)"""

    def __init__(self, run_id: RunId) -> None:
        super().__init__(run_id, f"run {run_id!r} was cancelled")


class RunPausedError(RunEndedError):
    """The run is paused, so its result may never come without help."""

    def __init__(self, run_id: RunId, reason: str) -> None:
        advice = "" if "resume" in reason else "; resume or cancel it, then ask again"
        super().__init__(run_id, f"run {run_id!r} is paused: {reason}{advice}")
        self.reason = reason


class ResultTimeoutError(StepflowError, TimeoutError):
    """``result(timeout=)`` passed; the run itself goes on."""

    def __init__(self, run_id: RunId, timeout: float) -> None:
        super().__init__(f"run {run_id!r} has not ended within {timeout:g} s; it goes on")
        self.run_id = run_id
        self.timeout = timeout


class StepFailedError(StepflowError, RuntimeError):
    """A recorded step failure: ``type`` and ``message`` are those of the original exception."""

    def __init__(self, message: str = "", *, type: str = "", traceback: str = "") -> None:
        super().__init__(f"{type}: {message}" if type else message)
        self.type = type
        self.message = message
        self.traceback = traceback


class StepTimeoutError(StepflowError, TimeoutError):
    """A step's attempt did not end within its ``timeout``."""


class StepInterruptedError(StepflowError, RuntimeError):
    """An ``at_most_once`` step was interrupted: it may or may not have taken effect."""


class ChildFailedError(StepflowError, RuntimeError):
    """A workflow that this one invoked failed."""

    def __init__(
        self, message: str = "", *, child_id: RunId = "", type: str = "", traceback: str = ""
    ) -> None:
        super().__init__(f"child run {child_id!r} failed: {type}: {message}")
        self.child_id = child_id
        self.type = type
        self.message = message
        self.traceback = traceback


class ChildCancelledError(StepflowError, RuntimeError):
    """A workflow that this one invoked was cancelled by someone else."""

    def __init__(self, child_id: RunId = "") -> None:
        super().__init__(f"child run {child_id!r} was cancelled")
        self.child_id = child_id


class EventTimeoutError(StepflowError, TimeoutError):
    """No event came within the wait's ``timeout``."""

    def __init__(self, event_id: EventId = "", timeout: float = 0.0) -> None:
        super().__init__(f"no event {event_id!r} came within {timeout:g} s")
        self.event_id = event_id
        self.timeout = timeout


class RunTimeoutError(StepflowError, TimeoutError):
    """The workflow's own ``timeout`` passed, counted from its first start."""


class FatalError(StepflowError):
    """Raise it in a step or a workflow: the failure is final, no retry follows."""


class RetryAfter(StepflowError):
    """Raise it in a step: the next attempt comes after this delay (an attempt is used)."""

    def __init__(self, delay: Duration, message: str = "") -> None:
        super().__init__(message or f"retry after {delay}")
        self.delay = delay


class RemoteError(StepflowError, RuntimeError):
    """A server's answer that no other class stands for: ``status`` is HTTP's (0: there was no answer), ``type`` the problem's slug.

    ``data`` are the problem's further members.
    """

    def __init__(
        self, message: str = "", *, status: int = 0, type: str = "", data: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.type = type
        self.data = dict(data or {})


class UnauthenticatedError(RemoteError, PermissionError):
    """The server wants a credential, and got none or one that is not valid (any more)."""


class ForbiddenError(RemoteError, PermissionError):
    """The credential is valid, and does not allow this."""


class ServerUnavailableError(RemoteError, ConnectionError):
    """The server was not reached, has too much to do, or is closing; try again, after ``retry_after`` seconds if it says so."""

    @property
    def retry_after(self) -> float | None:
        """How long the server asks to wait."""
        return self.data.get("retryAfter")


class StorageError(StepflowError, RuntimeError):
    """The storage refused or could not be used."""


class UnknownStorageError(StorageError, ValueError):
    """No backend understands this storage URL."""


class MissingExtraError(StorageError, ImportError):
    """An optional dependency is missing; the message names the extra to install."""

    def __init__(self, what: str, extra: str) -> None:
        super().__init__(f"{what} needs an extra: pip install 'stepflow[{extra}]'")
        self.extra = extra


class StorageUnavailableError(StorageError, ConnectionError):
    """The storage can't be reached or is busy; the same call may succeed later."""


class StorageFullError(StorageError, OSError):
    """The storage has no space left; runs go on when it has."""


class NotTransactionalError(StorageError):
    """This storage has no transactions that users' own writes could join."""


class SchemaError(StorageError):
    """The storage's schema is newer than this release, damaged, or can't be migrated."""
