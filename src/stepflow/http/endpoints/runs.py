"""Runs: triggered, looked at, listed and operated on."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import msgspec

from stepflow.auth.tokens import checked_lifetime
from stepflow.errors import DeserializationError, InputError, ResultTimeoutError, RunEndedError
from stepflow.http.call import Call
from stepflow.http.history import read_history
from stepflow.http.inputs import (
    Query,
    check_media_type,
    duration,
    flag,
    moment,
    one,
    path_in,
    read_json,
    tags,
    whole_number,
)
from stepflow.http.messages import Response, json_response
from stepflow.http.step_pages import read_place, read_steps_page, write_place
from stepflow.model.ids import check_run_id, is_text, stable_digest
from stepflow.model.runs import RunFilter
from stepflow.model.states import RunStatus
from stepflow.model.transitions import Action
from stepflow.settings import StartOptions
from stepflow.wire.records import (
    RunPage,
    RunState,
    RunToken,
    StepPage,
    Triggered,
    instant,
    run_item,
    run_record,
    step_records,
)
from stepflow.wire.routes import CANCEL, DELETE, PAUSE, RESUME, RETRY

LONGEST_WAIT = timedelta(seconds=60)
LONGEST_DELAY = timedelta(days=36_525)
"""A century: what lies beyond the year 9999 is no time."""

_ACTIONS = {
    CANCEL.name: Action.CANCEL,
    PAUSE.name: Action.PAUSE,
    RESUME.name: Action.RESUME,
    RETRY.name: Action.RETRY,
    DELETE.name: Action.DELETE,
}
_MOST_STEPS = 200
_LONGEST_NAME = 500
_PRIORITY = 2**31


# ------------------------------------------------------------------ trigger
async def trigger(call: Call) -> Response:
    """The body is the workflow's input."""
    if call.body:
        check_media_type(call.request.headers)
    workflow_id = call.parameters["workflowId"]
    definition = call.service.registry.get(workflow_id)
    key = call.request.headers.get("idempotency-key")
    options = StartOptions(
        id=one(call.query, "runId"),
        idempotency_key=None if key is None else _scoped(call, workflow_id, key),
        delay=duration(call.query, "delay", most=LONGEST_DELAY),
        queue=one(call.query, "queue"),
        priority=whole_number(call.query, "priority", 0, least=-_PRIORITY, most=_PRIORITY),
        tags=tags(call.query),
    )
    try:
        started = await call.service.start(definition, read_json(call.body), options)
    except InputError as error:
        if error.path is None:
            error.path = path_in(str(error))
        raise
    token, expires_at = None, None
    if call.tokens is not None and (started.created or key is not None):
        token, expires_at = call.tokens.issue(started.run_id, call.service.clock.now())
    return json_response(
        Triggered(
            run_id=started.run_id,
            public_access_token=token,
            expires_at=None if expires_at is None else instant(expires_at),
            created=started.created,
        )
    )


def _scoped(call: Call, workflow_id: str, key: str) -> str:
    """One credential can't find out, or take over, what another one started under the same key."""
    if not is_text(key, 500):
        raise InputError("an Idempotency-Key has 1 to 500 characters")
    return f"http:{stable_digest(call.who.scope, workflow_id, key, size=20)}"


# ------------------------------------------------------------------ reading
async def get_run(call: Call) -> Response:
    """The run as it is; with ``wait=``, as it is once it stands still."""
    wait = duration(call.query, "wait", most=LONGEST_WAIT)
    whole = flag(call.query, "full")
    if wait:
        await _stand_still(call, wait)
    record = await call.service.record(call.run_id)
    history = await read_history(call.service.storage, record)
    return json_response(run_record(record, history.steps, call.view_with(whole=whole)))


async def _stand_still(call: Call, limit: timedelta) -> None:
    """Wait until the run has ended or is paused, or for this long."""
    try:
        await call.service.result(call.run_id, Any, timeout=limit)
    except (RunEndedError, ResultTimeoutError, DeserializationError):
        return  # what is known of it is in its record


async def list_steps(call: Call) -> Response:
    """All steps of a run, some at a time, in the order in which each was first recorded."""
    limit = whole_number(call.query, "limit", _MOST_STEPS, least=1, most=_MOST_STEPS)
    begin = read_place(one(call.query, "cursor"), call.run_id)
    record = await call.service.record(call.run_id)
    steps, following = await read_steps_page(call.service.storage, record, begin, limit)
    cursor = None if following is None else write_place(following, call.run_id)
    return json_response(StepPage(items=step_records(steps, call.view), next_cursor=cursor))


async def list_runs(call: Call) -> Response:
    """Newest first, without input, output and steps."""
    query = call.query
    where = RunFilter(
        statuses=_statuses(query.get("status", ())),
        workflow_id=_name(query, "workflowId"),
        tags=tags(query),
        created_after=moment(query, "createdAfter"),
        created_before=moment(query, "createdBefore"),
        queue=_name(query, "queue"),
        parent_id=_name(query, "parentId"),
    )
    limit = whole_number(query, "limit", 50, least=1, most=500)
    page = await call.service.storage.list_runs(where, cursor=one(query, "cursor"), limit=limit)
    return json_response(
        RunPage(items=[run_item(run, call.view) for run in page.items], next_cursor=page.next_cursor)
    )


def _name(query: Query, name: str) -> str | None:
    """What a store may be asked for: some refuse a text with NUL as a failure of their own."""
    value = one(query, name)
    if value is not None and not (value.isprintable() and len(value) <= _LONGEST_NAME):
        raise InputError(f"{name}={value!a:.60}: at most {_LONGEST_NAME} printable characters")
    return value


def _statuses(given: Sequence[str]) -> frozenset[RunStatus]:
    names = [name for each in given for name in each.split(",")]
    try:
        return frozenset(RunStatus(name) for name in names)
    except ValueError:
        raise InputError(f"status={','.join(names)!r:.100}: of {', '.join(RunStatus)}") from None


# ------------------------------------------------------------------ operations
async def operate(call: Call) -> Response:
    """Cancel, pause, resume, retry or delete; asking twice is the same as once."""
    action = _ACTIONS[call.route.name]
    if action is Action.CANCEL and flag(call.query, "force"):
        action = Action.FORCE_CANCEL
    status = await call.service.control(call.run_id, action)
    return json_response(RunState(run_id=call.run_id, status=status.value))


class _TokenBody(msgspec.Struct, rename="camel"):
    events: list[str] = []
    lifetime: str = "24h"


async def issue_token(call: Call) -> Response:
    """A fresh run token, for ``{"events": […], "lifetime": "24h"}`` or nothing."""
    wanted = _TokenBody()
    if call.body:
        check_media_type(call.request.headers)
        wanted = read_json(call.body, _TokenBody)
    lifetime = checked_lifetime("lifetime", wanted.lifetime)
    record = await call.service.record(check_run_id(call.run_id))
    assert call.tokens is not None
    token, expires_at = call.tokens.issue(
        record.id, call.service.clock.now(), events=wanted.events, lifetime=lifetime
    )
    return json_response(RunToken(public_access_token=token, expires_at=instant(expires_at)))
