"""Events: sent to whatever waits for them, or to one run."""

from __future__ import annotations

from typing import Any

from stepflow.errors import InputError
from stepflow.http.call import Call
from stepflow.http.inputs import Refused, check_media_type, flag, one, read_json
from stepflow.http.messages import Response, json_response
from stepflow.model.ids import stable_digest
from stepflow.wire.problems import problem
from stepflow.wire.records import Notified, NotifyBody


async def notify(call: Call) -> Response:
    """``POST /notify/{eventId}``: the body is the payload."""
    if call.body:
        check_media_type(call.request.headers)
    return await _send(call, call.parameters["eventId"], read_json(call.body))


async def notify_any(call: Call) -> Response:
    """``POST /notify``: event id and payload are in the body, so that any id can be sent."""
    if not call.body:
        raise InputError('send {"eventId": …, "payload": …}', path="$")
    check_media_type(call.request.headers)
    body: NotifyBody = read_json(call.body, NotifyBody)
    if not call.who.may_notify(body.event_id):
        raise Refused(problem("forbidden"))
    return await _send(call, body.event_id, body.payload)


async def _send(call: Call, event_id: str, payload: Any) -> Response:
    run_id = one(call.query, "runId")
    if call.who.notify_run is not None:
        run_id = call.who.notify_run
    given = one(call.query, "id")
    dedup_id = call.service.new_event_id() if given is None else _scoped(call, given)
    woken = await call.service.notify(
        event_id, payload, run_id=run_id, id=dedup_id, once=flag(call.query, "once")
    )
    return json_response(Notified(id=dedup_id if given is None else given, woken=woken))


def _scoped(call: Call, given: str) -> str:
    """A run token's holder must not be able to make somebody else's event a duplicate of its own."""
    if not 0 < len(given) <= 200:
        raise InputError("id= of an event has 1 to 200 characters")
    if call.who.kind in ("secret", "anonymous"):
        return given
    return f"http:{stable_digest(call.who.scope, given)}"
