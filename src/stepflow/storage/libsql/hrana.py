"""Hrana 3 over HTTP: what is said and answered, as JSON. Pure: nothing is sent here.

https://github.com/tursodatabase/libsql/blob/main/docs/HRANA_3_SPEC.md describes it.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeAlias

import msgspec

from stepflow.storage._sql.connection import Parameters
from stepflow.storage._sql.rows import Column

PATH: Final = "/v3/pipeline"

Json: TypeAlias = dict[str, Any]
Row: TypeAlias = tuple[Column, ...]


class Statement(msgspec.Struct, frozen=True, gc=False):
    """SQL with its parameters; ``wants_rows`` False spares the answer."""

    sql: str
    parameters: Parameters = ()
    wants_rows: bool = True


class Problem(msgspec.Struct, frozen=True):
    """Why a statement failed; ``code`` is SQLite's or the server's own."""

    message: str
    code: str | None = None


class Answer(msgspec.Struct, frozen=True):
    """What one statement gave."""

    rows: Sequence[Row]
    changes: int


class BatchAnswer(msgspec.Struct, frozen=True):
    """What the steps of a batch gave; None for those that were skipped or failed (``problems`` tells which)."""

    answers: Sequence[Answer | None]
    problems: Sequence[Problem | None]


# ------------------------------------------------------------------ saying
CLOSE: Final[Json] = {"type": "close"}


def execute(statement: Statement) -> Json:
    """A request: one statement."""
    return {"type": "execute", "stmt": _statement(statement)}


def batch(statements: Sequence[Statement]) -> Json:
    """A request: the statements one after the other, come what may. Quicker than as many requests."""
    return {"type": "batch", "batch": {"steps": [{"stmt": _statement(one)} for one in statements]}}


def transaction(statements: Sequence[Statement]) -> Json:
    """A request: a batch whose steps each need the one before to have succeeded, all in one transaction.

    ``COMMIT`` is the last step but one; the last one rolls back whatever was begun and not committed.
    """
    steps: list[Json] = [{"stmt": _sql("BEGIN IMMEDIATE")}]
    for statement in statements:
        steps.append({"stmt": _statement(statement), "condition": _ok(len(steps) - 1)})
    steps.append({"stmt": _sql("COMMIT"), "condition": _ok(len(steps) - 1)})
    return {"type": "batch", "batch": {"steps": [*steps, _roll_back(len(steps) - 1)]}}


def rest_of_transaction(statements: Sequence[Statement]) -> Json:
    """The same for a transaction that was begun before."""
    steps: list[Json] = []
    for statement in statements:
        condition = {"condition": _ok(len(steps) - 1)} if steps else {}
        steps.append({"stmt": _statement(statement)} | condition)
    steps.append({"stmt": _sql("COMMIT"), "condition": _ok(len(steps) - 1)})
    return {"type": "batch", "batch": {"steps": [*steps, _roll_back(len(steps) - 1)]}}


def body(requests: Sequence[Json], baton: str | None = None) -> bytes:
    """What is posted: requests for one stream, which the baton continues."""
    return msgspec.json.encode({"baton": baton, "requests": requests})


def _ok(step: int) -> Json:
    return {"type": "ok", "step": step}


def _roll_back(commit: int) -> Json:
    undone = {"type": "not", "cond": _ok(commit)}
    begun = {"type": "not", "cond": {"type": "is_autocommit"}}
    return {"stmt": _sql("ROLLBACK"), "condition": {"type": "and", "conds": [undone, begun]}}


def _sql(sql: str) -> Json:
    return {"sql": sql, "want_rows": False}


def _statement(statement: Statement) -> Json:
    said: Json = {"sql": statement.sql, "want_rows": statement.wants_rows}
    parameters = statement.parameters
    if isinstance(parameters, Mapping):
        said["named_args"] = [{"name": name, "value": _value(value)} for name, value in parameters.items()]
    elif parameters:
        said["args"] = [_value(value) for value in parameters]
    return said


def _value(value: Column) -> Json:
    match value:
        case None:
            return {"type": "null"}
        case str():
            return {"type": "text", "value": value}
        case int():
            return {"type": "integer", "value": str(value)}  # JSON's numbers are too short for 64 bits
        case bytes():
            return {"type": "blob", "base64": b64encode(value).decode()}


# ------------------------------------------------------------------ answers
class _Value(msgspec.Struct, gc=False):
    type: str
    value: str | float | None = None
    base64: str | None = None


class _Executed(msgspec.Struct):
    rows: list[list[_Value]]
    affected_row_count: int = 0


class _Batched(msgspec.Struct):
    step_results: list[_Executed | None]
    step_errors: list[Problem | None]


class _Response(msgspec.Struct):
    type: str
    result: msgspec.Raw = msgspec.Raw(b"null")


class _Result(msgspec.Struct):
    type: str
    response: _Response | None = None
    error: Problem | None = None


class Reply(msgspec.Struct):
    """An answer to posted requests: one result each, in order. The stream goes on with the new ``baton``, if any."""

    results: list[_Result]
    baton: str | None = None
    base_url: str | None = None


_REPLY: Final = msgspec.json.Decoder(Reply)
_EXECUTED: Final = msgspec.json.Decoder(_Executed)
_BATCHED: Final = msgspec.json.Decoder(_Batched)


def read_reply(data: bytes) -> Reply:
    """The reply; raises ``msgspec.DecodeError`` on anything else."""
    return _REPLY.decode(data)


def read_execute(result: _Result) -> Answer | Problem:
    """What became of an ``execute``."""
    if result.error is not None or result.response is None:
        return result.error or Problem("the server gave no answer")
    return _answer(_EXECUTED.decode(result.response.result))


def read_batch(result: _Result) -> BatchAnswer | Problem:
    """What became of a batch; a ``Problem`` if it was not even tried."""
    if result.error is not None or result.response is None:
        return result.error or Problem("the server gave no answer")
    batched = _BATCHED.decode(result.response.result)
    answers = [None if one is None else _answer(one) for one in batched.step_results]
    return BatchAnswer(answers, batched.step_errors)


def _answer(executed: _Executed) -> Answer:
    return Answer([tuple(map(_column, row)) for row in executed.rows], executed.affected_row_count)


def _column(value: _Value) -> Column:
    match value.type:
        case "text":
            return str(value.value)
        case "integer":
            return int(value.value or 0)
        case "null":
            return None
        case "blob":
            text = value.base64 or ""
            return b64decode(text + "=" * (-len(text) % 4))
        case other:
            raise msgspec.ValidationError(f"unexpected value of type {other!r}")
