"""Health: whether this process serves, and whether it reaches its storage."""

from __future__ import annotations

import asyncio
import logging
from inspect import isawaitable

from stepflow.errors import StorageError
from stepflow.http.call import Call
from stepflow.http.messages import Response, json_response
from stepflow.wire.records import Health
from stepflow.wire.routes import VERSION

_log = logging.getLogger("stepflow.http")
_PATIENCE = 5.0
_NOBODY = "health"


def live() -> Response:
    """That this process answers is the whole answer; the storage is not asked."""
    return json_response(Health(status="ok"))


async def health(call: Call) -> Response:
    """200 if the storage answers in time and the app's own check agrees; else 503."""
    healthy = await _is_healthy(call)
    record = Health(status="ok" if healthy else "unavailable")
    if call.who.details:
        record = Health(status=record.status, version=VERSION, storage=call.service.storage.url)
    answer = json_response(record, 200 if healthy else 503)
    return answer if healthy else answer.with_headers(("Retry-After", "1"))


async def _is_healthy(call: Call) -> bool:
    try:
        async with asyncio.timeout(_PATIENCE):
            await call.service.storage.get_run(_NOBODY)
            if call.is_healthy is None:
                return True
            answer = call.is_healthy()
            return bool(await answer if isawaitable(answer) else answer)
    except (StorageError, TimeoutError) as error:
        _log.warning("not healthy: %s", str(error) or "no answer in time")
        return False
