"""Problems: the same exception on both sides of the wire."""

from __future__ import annotations

import pytest

from stepflow import errors
from stepflow.errors import (
    EventConflictError,
    ForbiddenError,
    InputError,
    InvalidIdError,
    OperationRefusedError,
    PayloadTooLargeError,
    RemoteError,
    RunConflictError,
    RunNotFoundError,
    ServerUnavailableError,
    StorageError,
    StorageFullError,
    UnauthenticatedError,
    UnknownStorageError,
    UnknownWorkflowError,
)
from stepflow.wire.problems import BY_TYPE, KINDS, Problem, error_of, problem, problem_of, read_problem

TRAVELLERS = [
    RunNotFoundError("r1"),
    UnknownWorkflowError("ordr", nearest=["order"]),
    RunConflictError("r1", "another input"),
    EventConflictError("e", {"by": "anna"}),
    OperationRefusedError("r1", "retry", "completed", "trigger a new run"),
    InputError("too little", path="$.lines[0]"),
    InputError("too little"),
    InvalidIdError("bad id"),
    PayloadTooLargeError("the input", size=9, limit=3),
    errors.DurationError("3 months is no duration"),
    errors.SerializationError("a set"),
    errors.StorageUnavailableError("away"),
    StorageFullError("full"),
    errors.NotOpenError("not open"),
    UnauthenticatedError("who?", status=401, type="unauthenticated"),
    ForbiddenError("no", status=403, type="forbidden"),
    ServerUnavailableError("later", status=503, type="closing", data={"retryAfter": 3}),
]


@pytest.mark.parametrize("error", TRAVELLERS, ids=lambda error: type(error).__name__)
def test_an_exception_comes_back_as_itself(error: Exception) -> None:
    sent = problem_of(error)

    found = error_of(read_problem(sent.status, sent.encode()))

    assert type(found) is type(error)
    assert str(found) == str(error)
    assert {name: value for name, value in vars(found).items() if not name.startswith("_")} == vars(error)


def test_every_row_makes_an_exception_of_its_own_class_out_of_nothing_but_its_slug() -> None:
    for kind in KINDS:
        found = error_of(Problem(type=kind.type, title=kind.title, status=kind.status))
        assert type(found) is kind.raises
        assert BY_TYPE[kind.type] is kind


def test_how_long_to_wait_comes_along() -> None:
    found = error_of(problem("too-many-streams", retryAfter=5))

    assert isinstance(found, ServerUnavailableError)
    assert found.retry_after == 5


def test_a_subclass_is_told_as_the_nearest_class_of_the_table() -> None:
    assert problem_of(UnknownStorageError("x://")).type == "storage-error"


@pytest.mark.parametrize("error", [KeyError("secret"), StorageError("secret"), RemoteError("secret")])
def test_what_is_wrong_with_the_server_is_not_told(error: Exception) -> None:
    assert b"secret" not in problem_of(error).encode()


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (401, UnauthenticatedError),
        (403, ForbiddenError),
        (429, ServerUnavailableError),
        (503, ServerUnavailableError),
        (418, RemoteError),
        (500, RemoteError),
    ],
)
def test_an_unknown_document_goes_by_its_status(status: int, error: type[Exception]) -> None:
    for body in (
        b"<html>",
        b"[1]",
        b"",
        b"[" * 100_000,
        b"\xff",
        b'{"type": "from-the-future", "x": 1}',
        b'{"type": 3}',
    ):
        found = error_of(read_problem(status, body))
        assert type(found) is error
        assert isinstance(found, RemoteError)
        assert found.status == status


def test_further_members_can_not_replace_the_four() -> None:
    sent = Problem(type="a", title="b", status=400, detail="c", data={"status": 200, "runId": "r"}).encode()

    found = read_problem(400, sent)

    assert (found.status, found.type, found.data) == (400, "a", {"runId": "r"})


def test_members_of_a_wrong_type_do_no_harm() -> None:
    odd = read_problem(
        404, b'{"type": "unknown-workflow", "workflowId": 3, "nearest": "x", "title": 1, "detail": {}}'
    )
    large = read_problem(413, b'{"type": "payload-too-large", "size": "x"}')

    assert str(error_of(odd))
    assert str(error_of(large))
