"""Problems: errors as documents (RFC 9457), and the one table between them and exception classes, in both directions."""

from __future__ import annotations

import builtins
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, cast

import msgspec

from stepflow.errors import (
    DefinitionError,
    DeserializationError,
    DurationError,
    EventConflictError,
    ForbiddenError,
    InputError,
    InvalidIdError,
    NotOpenError,
    OperationRefusedError,
    PayloadTooLargeError,
    RemoteError,
    RunConflictError,
    RunNotFoundError,
    SchemaError,
    SerializationError,
    ServerUnavailableError,
    StorageError,
    StorageFullError,
    StorageUnavailableError,
    UnauthenticatedError,
    UnknownWorkflowError,
)

MEDIA_TYPE = "application/problem+json"
_MEMBERS = ("type", "title", "status", "detail")


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """An error as it travels. ``type`` is a stable slug; ``data`` are further members beside the four."""

    type: str
    title: str
    status: int
    detail: str = ""
    data: Mapping[str, Any] = msgspec.field(default_factory=dict[str, Any])

    def encode(self) -> bytes:
        """The document as JSON text."""
        return msgspec.json.encode(
            {
                **self.data,
                "type": self.type,
                "title": self.title,
                "status": self.status,
                "detail": self.detail,
            }
        )


class Kind(msgspec.Struct, frozen=True, kw_only=True):
    """One row of the table. ``tell`` takes an exception's data, ``make`` makes the exception of a document again."""

    type: str
    status: int
    title: str
    raises: builtins.type[Exception]
    tell: Callable[[Any], Mapping[str, Any]]
    make: Callable[[Problem], Exception]


def _nothing(error: Exception) -> Mapping[str, Any]:
    del error
    return {}


def _plain(error: type[Exception]) -> Callable[[Problem], Exception]:
    return lambda problem: error(problem.detail or problem.title)


def _remote(error: type[RemoteError]) -> Callable[[Problem], Exception]:
    return lambda problem: error(
        problem.detail or problem.title, status=problem.status, type=problem.type, data=problem.data
    )


def _text(problem: Problem, name: str) -> str:
    value = problem.data.get(name)
    return value if isinstance(value, str) else ""


def _number(problem: Problem, name: str) -> int:
    value = problem.data.get(name)
    return value if isinstance(value, int) else 0


def _input(problem: Problem) -> Exception:
    return InputError(problem.detail or problem.title, path=_text(problem, "path") or None)


def _too_large(problem: Problem) -> Exception:
    what = _text(problem, "what") or "the value"
    return PayloadTooLargeError(what, size=_number(problem, "size"), limit=_number(problem, "limit"))


def _unknown_workflow(problem: Problem) -> Exception:
    nearest: Any = problem.data.get("nearest")
    names = cast("Sequence[object]", nearest) if isinstance(nearest, list) else ()
    return UnknownWorkflowError(_text(problem, "workflowId"), nearest=[str(name) for name in names])


def _refused(problem: Problem) -> Exception:
    return OperationRefusedError(
        _text(problem, "runId"),
        _text(problem, "action"),
        _text(problem, "runStatus"),
        _text(problem, "hint"),
    )


def _kind(
    type_: str,
    status: int,
    title: str,
    error: type[Exception],
    *,
    tell: Callable[[Any], Mapping[str, Any]] = _nothing,
    make: Callable[[Problem], Exception] | None = None,
) -> Kind:
    if make is None:
        make = _remote(error) if issubclass(error, RemoteError) else _plain(error)
    return Kind(type=type_, status=status, title=title, raises=error, tell=tell, make=make)


KINDS: Final[tuple[Kind, ...]] = (
    # ---- what the caller sent
    _kind("invalid-json", 400, "The body is not JSON", InputError, make=_input),
    _kind(
        "invalid-cursor",
        400,
        "The cursor is malformed, or belongs to something else",
        InputError,
        make=_input,
    ),
    _kind("invalid-duration", 400, "A duration can't be read", DurationError),
    _kind("invalid-id", 400, "An id is malformed", InvalidIdError),
    _kind(
        "payload-too-large",
        413,
        "A value is over its limit",
        PayloadTooLargeError,
        tell=lambda error: {"what": error.what, "size": error.size, "limit": error.limit},
        make=_too_large,
    ),
    _kind(
        "invalid-input",
        400,
        "A value does not fit",
        InputError,
        tell=lambda error: {} if error.path is None else {"path": error.path},
        make=_input,
    ),
    _kind("unstorable-value", 400, "A value can't be stored", SerializationError),
    # ---- what there is not, or not like that
    _kind(
        "run-not-found",
        404,
        "There is no such run",
        RunNotFoundError,
        tell=lambda error: {"runId": error.run_id},
        make=lambda problem: RunNotFoundError(_text(problem, "runId")),
    ),
    _kind(
        "unknown-workflow",
        404,
        "There is no such workflow",
        UnknownWorkflowError,
        tell=lambda error: {"workflowId": error.workflow_id, "nearest": list(error.nearest)},
        make=_unknown_workflow,
    ),
    _kind(
        "run-conflict",
        409,
        "The id or key belongs to another run",
        RunConflictError,
        tell=lambda error: {"runId": error.run_id, "reason": error.reason},
        make=lambda problem: RunConflictError(_text(problem, "runId"), _text(problem, "reason")),
    ),
    _kind(
        "event-conflict",
        409,
        "Another event came first",
        EventConflictError,
        tell=lambda error: {"eventId": error.event_id, "first": error.first},
        make=lambda problem: EventConflictError(_text(problem, "eventId"), problem.data.get("first")),
    ),
    _kind(
        "operation-refused",
        409,
        "The run's state does not allow it",
        OperationRefusedError,
        tell=lambda error: {
            "runId": error.run_id,
            "action": error.action,
            "runStatus": error.status,
            "hint": error.hint,
        },
        make=_refused,
    ),
    # ---- who asks, and how
    _kind("unauthenticated", 401, "A valid credential is needed", UnauthenticatedError),
    _kind("forbidden", 403, "The credential does not allow this", ForbiddenError),
    _kind("not-found", 404, "There is nothing here", RemoteError),
    _kind("method-not-allowed", 405, "The method is not allowed here", RemoteError),
    _kind("request-timeout", 408, "The request did not arrive in time", RemoteError),
    _kind("body-too-large", 413, "The body is too large", RemoteError),
    _kind("unsupported-media-type", 415, "The body has to be application/json", RemoteError),
    _kind("too-many-requests", 429, "Too many requests", ServerUnavailableError),
    # ---- what is wrong here
    _kind("too-many-streams", 503, "Too many streams are open", ServerUnavailableError),
    _kind("closing", 503, "The server is closing", ServerUnavailableError),
    _kind("unavailable", 503, "Something that the answer needs can't be reached", ServerUnavailableError),
    _kind("not-open", 503, "The app is not open", NotOpenError),
    _kind("storage-unavailable", 503, "The storage can't be reached or is busy", StorageUnavailableError),
    _kind("storage-full", 503, "The storage has no space left", StorageFullError),
    _kind("schema-mismatch", 503, "The storage's schema does not fit this release", SchemaError),
    _kind("storage-error", 503, "The storage failed", StorageError),
    _kind("unreadable-value", 500, "A stored value can't be read", DeserializationError),
    _kind("misconfigured", 500, "The server is set up wrongly", DefinitionError),
    _kind("internal-error", 500, "Something went wrong", RemoteError),
)
"""The table. Of several rows for one class, the last says which document an exception becomes."""

BY_TYPE: Final[Mapping[str, Kind]] = {kind.type: kind for kind in KINDS}
_BY_ERROR: Final[Mapping[type[Exception], Kind]] = {kind.raises: kind for kind in KINDS}
_SILENT = ("internal-error", "misconfigured", "unreadable-value", "schema-mismatch", "storage-error")
"""What is wrong with the server is for its log: a message may hold an address or a value."""


def problem(type: str, detail: str = "", **data: Any) -> Problem:
    """The document of a row of the table."""
    kind = BY_TYPE[type]
    return Problem(type=kind.type, title=kind.title, status=kind.status, detail=detail, data=data)


def problem_of(error: Exception) -> Problem:
    """The document of an exception; of one that is not in the table, ``internal-error``, which tells nothing of it."""
    if isinstance(error, RemoteError) and error.type in BY_TYPE:
        return problem(error.type, str(error), **error.data)
    for cls in type(error).__mro__:
        kind = _BY_ERROR.get(cls)
        if kind is not None and cls is not RemoteError:
            detail = "" if kind.type in _SILENT else str(error)
            return problem(kind.type, detail, **kind.tell(error))
    return problem("internal-error")


def read_problem(status: int, body: bytes) -> Problem:
    """The document that a server answered with; for any other body, one of the status alone."""
    try:
        found: Any = msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        found = None
    if not isinstance(found, dict):
        return Problem(type="", title=f"HTTP status {status}", status=status)
    members = cast("dict[str, Any]", found)
    type_, title, detail = (members.get(name) for name in ("type", "title", "detail"))
    return Problem(
        type=type_ if isinstance(type_, str) else "",
        title=title if isinstance(title, str) else f"HTTP status {status}",
        status=status,
        detail=detail if isinstance(detail, str) else "",
        data={name: value for name, value in members.items() if name not in _MEMBERS},
    )


def error_of(problem: Problem) -> Exception:
    """The exception that a document stands for: of the class that the server itself would have raised in process.

    An unknown ``type`` goes by its status, so that a newer server's refusals are still told apart.
    """
    kind = BY_TYPE.get(problem.type)
    if kind is not None:
        return kind.make(problem)
    by_status: dict[int, type[RemoteError]] = {
        401: UnauthenticatedError,
        403: ForbiddenError,
        429: ServerUnavailableError,
        502: ServerUnavailableError,
        503: ServerUnavailableError,
        504: ServerUnavailableError,
    }
    return _remote(by_status.get(problem.status, RemoteError))(problem)
