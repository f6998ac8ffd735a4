"""Exit codes, and which of them each error is."""

from __future__ import annotations

from enum import IntEnum

from stepflow.errors import (
    DefinitionError,
    DeserializationError,
    DurationError,
    EventConflictError,
    ForbiddenError,
    InputError,
    OperationRefusedError,
    RemoteError,
    ResultTimeoutError,
    RunCancelledError,
    RunConflictError,
    RunFailedError,
    RunNotFoundError,
    RunPausedError,
    SchemaError,
    SerializationError,
    ServerUnavailableError,
    StepflowError,
    StorageError,
    StorageUnavailableError,
    UnauthenticatedError,
    UnknownStorageError,
    UnknownWorkflowError,
)


class ExitCode(IntEnum):
    """What a script learns from a command; ``MEANINGS`` is the table that ``--help`` shows."""

    OK = 0
    FAILED = 1
    USAGE = 2
    REFUSED = 3
    STORAGE = 4
    STOPPED = 5
    DEFECT = 70
    INTERRUPTED = 130


MEANINGS = {
    ExitCode.OK: "done",
    ExitCode.FAILED: "the run failed (generate --check: the file is stale; check: a recorded run does not fit)",
    ExitCode.USAGE: "wrong usage, bad input, or code that can't be loaded",
    ExitCode.REFUSED: "not found, in conflict, or refused in the run's state",
    ExitCode.STORAGE: "the storage or the server can't be used (doctor, storage check: something is wrong)",
    ExitCode.STOPPED: "the run was cancelled, or is paused",
    ExitCode.DEFECT: "a defect in Stepflow itself; please report it",
    ExitCode.INTERRUPTED: "interrupted by Ctrl-C or SIGTERM; the run can go on later",
}


class Stop(Exception):
    """Ends the command with ``code``. ``message`` is one sentence for stderr, ``hint`` what to do about it."""

    def __init__(self, code: ExitCode, message: str = "", *, hint: str = "", excerpt: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.hint = hint
        self.excerpt = excerpt


_NOTHING_DONE = "nothing was started or stored; --help shows what is taken"
_HINTS: tuple[tuple[type[StepflowError], ExitCode, str], ...] = (
    # The most specific class first: the first that fits decides.
    (RunFailedError, ExitCode.FAILED, ""),
    (RunCancelledError, ExitCode.STOPPED, "`stepflow runs retry RUN_ID` runs it again"),
    (RunPausedError, ExitCode.STOPPED, "`stepflow runs resume RUN_ID` lets it go on"),
    (ResultTimeoutError, ExitCode.STOPPED, "`stepflow runs watch RUN_ID` follows it"),
    (
        RunNotFoundError,
        ExitCode.REFUSED,
        "`stepflow runs list` shows what is there; --storage names another storage",
    ),
    (UnknownWorkflowError, ExitCode.REFUSED, "`stepflow doctor MODULE:APP` lists the app's workflows"),
    (RunConflictError, ExitCode.REFUSED, "leave --input out to go on with the run that exists"),
    (EventConflictError, ExitCode.REFUSED, ""),
    (OperationRefusedError, ExitCode.REFUSED, "`stepflow runs show RUN_ID` says where it stands"),
    (
        DeserializationError,
        ExitCode.STORAGE,
        "values of an app with a codec can be read with --app MODULE:APP only",
    ),
    (UnknownStorageError, ExitCode.USAGE, "a storage is a URL like sqlite:///stepflow.db"),
    (SchemaError, ExitCode.STORAGE, "run the release of stepflow that wrote it, or a newer one"),
    (
        StorageUnavailableError,
        ExitCode.STORAGE,
        "`stepflow doctor` looks closer; the same command may be repeated",
    ),
    (StorageError, ExitCode.STORAGE, "`stepflow doctor` looks closer"),
    (
        UnauthenticatedError,
        ExitCode.REFUSED,
        "set STEPFLOW_API_KEY to the server's key (STEPFLOW_TOKEN to a token)",
    ),
    (ForbiddenError, ExitCode.REFUSED, "steering and listing runs takes a secret key"),
    (ServerUnavailableError, ExitCode.STORAGE, "is the server up, and the URL with its path right?"),
    (RemoteError, ExitCode.STORAGE, "does the URL lead to a Stepflow API?"),
    (InputError, ExitCode.USAGE, _NOTHING_DONE),
    (DurationError, ExitCode.USAGE, _NOTHING_DONE),
    (DefinitionError, ExitCode.USAGE, _NOTHING_DONE),
    (SerializationError, ExitCode.USAGE, _NOTHING_DONE),
)


def stop_for(error: StepflowError) -> Stop:
    """How the command ends with an error that Stepflow raised."""
    for kind, code, hint in _HINTS:
        if isinstance(error, kind):
            run_id = getattr(error, "run_id", None)
            return Stop(code, str(error), hint=hint.replace("RUN_ID", run_id) if run_id else hint)
    return Stop(ExitCode.USAGE, str(error), hint=_NOTHING_DONE)
