"""Calls: every request that a client makes, described once: method, path, query, body, and how its answer is read. No I/O."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final, Generic, TypeVar

import msgspec

from stepflow.durations import format_duration, parse_duration
from stepflow.errors import DeserializationError, InputError, InvalidIdError
from stepflow.types import Duration, RunId
from stepflow.wire import records, routes
from stepflow.wire.records import (
    Health,
    Notified,
    Run,
    RunFailure,
    RunPage,
    RunState,
    RunToken,
    StepPage,
    Triggered,
    WorkflowList,
)
from stepflow.wire.routes import Route, quote

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
Pairs = tuple[tuple[str, str], ...]

STANDING: Final = ("completed", "failed", "cancelled", "paused")
"""Where a run goes no further by itself."""

ENDED: Final = ("completed", "failed", "cancelled")
_DOTS = ("", ".", "..")


@dataclass(frozen=True, slots=True, kw_only=True)
class Call(Generic[T_co]):
    """One request. ``read`` makes a value of the body of an answer whose status is in ``answers``.

    ``safe``: doing it twice is the same as once. ``held`` seconds the server may take on purpose. ``patient`` calls are repeated for as
    long as the client's patience lasts, those that are not ``again`` never.
    """

    method: str
    path: str
    query: Pairs = ()
    headers: Pairs = ()
    body: bytes | None = None
    read: Callable[[bytes], T_co]
    safe: bool = False
    again: bool = True
    patient: bool = False
    held: float = 0.0
    answers: tuple[int, ...] = (200,)

    @property
    def target(self) -> str:
        """Path and query as they are sent."""
        if not self.query:
            return self.path
        query = "&".join(f"{name}={quote(value, safe='/:,')}" for name, value in self.query)
        return f"{self.path}?{query}"


class RunEnd(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A run as far as its result is concerned; ``output`` is JSON text still."""

    status: str
    output: msgspec.Raw = msgspec.Raw(b"null")
    error: RunFailure | None = None
    pause_reason: str | None = None
    pause_detail: str = ""


# ------------------------------------------------------------------ starting and events
def trigger(
    workflow_id: str,
    body: bytes,
    *,
    id: RunId | None = None,
    idempotency_key: str | None = None,
    delay: Duration | None = None,
    tags: Mapping[str, str] | None = None,
    priority: int = 0,
    queue: str | None = None,
) -> Call[Triggered]:
    """Start a run. With an ``id`` or a key it is safe to repeat."""
    query = _given(
        runId=id,
        delay=None if delay is None else format_duration(parse_duration(delay)),
        queue=queue,
        priority=None if priority == 0 else str(priority),
    )
    return Call(
        method=routes.TRIGGER.method,
        path=routes.TRIGGER.url(workflowId=_segment("workflow", workflow_id)),
        query=query + _tags(tags),
        headers=() if idempotency_key is None else (("Idempotency-Key", _header_text(idempotency_key)),),
        body=body,
        read=_reader(Triggered),
        safe=id is not None or idempotency_key is not None,
    )


def notify(
    event_id: str, payload: bytes, *, id: str, run_id: RunId | None = None, once: bool = False
) -> Call[Notified]:
    """Send an event; its ``id`` makes it safe to repeat."""
    if not isinstance(event_id, str) or any(part in _DOTS for part in event_id.split("/")):
        raise InvalidIdError(f"event id {event_id!r:.100} has an empty, '.' or '..' segment")
    return Call(
        method=routes.NOTIFY.method,
        path=routes.NOTIFY.url(eventId=event_id),
        query=_given(runId=run_id, id=id, once="true" if once else None),
        body=payload,
        read=_reader(Notified),
        safe=True,
    )


# ------------------------------------------------------------------ reading
def get_run(run_id: RunId, *, wait: float = 0.0, full: bool = False) -> Call[Run]:
    """The run; with ``wait``, as it is once it stands still or so many seconds have passed. ``full``: however large its values are."""
    return _look(run_id, Run, wait, full=full)


def get_end(run_id: RunId, *, wait: float = 0.0, full: bool = False) -> Call[RunEnd]:
    """The same, with no more than what a result is made of."""
    return _look(run_id, RunEnd, wait, full=full)


def _look(run_id: RunId, type_: type[T], wait: float, *, full: bool) -> Call[T]:
    query = _given(
        wait=format_duration(parse_duration(wait)) if wait > 0 else None, full="true" if full else None
    )
    call = _of_run(routes.GET_RUN, run_id, type_, safe=True)
    return replace(call, query=query, held=wait)


def list_steps(run_id: RunId, *, cursor: str | None = None, limit: int | None = None) -> Call[StepPage]:
    """Steps of a run, in the order in which each was first recorded."""
    call = _of_run(routes.LIST_STEPS, run_id, StepPage, safe=True)
    return replace(call, query=_given(cursor=cursor, limit=None if limit is None else str(limit)))


def list_runs(
    *,
    status: str | Iterable[str] | None = None,
    workflow_id: str | None = None,
    tags: Mapping[str, str] | None = None,
    created_after: datetime | None = None,
    created_before: datetime | None = None,
    queue: str | None = None,
    parent_id: RunId | None = None,
    cursor: str | None = None,
    limit: int | None = None,
) -> Call[RunPage]:
    """Runs, newest first, without input, output and steps."""
    statuses = (status,) if isinstance(status, str) else tuple(status or ())
    query = _given(
        status=",".join(statuses) or None,
        workflowId=workflow_id,
        createdAfter=_instant(created_after),
        createdBefore=_instant(created_before),
        queue=queue,
        parentId=parent_id,
        cursor=cursor,
        limit=None if limit is None else str(limit),
    )
    return _plain(routes.LIST_RUNS, RunPage, query + _tags(tags))


def list_workflows() -> Call[WorkflowList]:
    """What the app registered, with the JSON Schema of what each takes and gives."""
    return _plain(routes.LIST_WORKFLOWS, WorkflowList)


def health() -> Call[Health]:
    """How the server is now: asked once, and an unhealthy one answers too."""
    return replace(_plain(routes.HEALTH, Health), again=False, answers=(200, 503))


# ------------------------------------------------------------------ operations
def cancel(run_id: RunId, *, force: bool = False) -> Call[RunState]:
    return replace(_of_run(routes.CANCEL, run_id, RunState), query=_given(force="true" if force else None))


def pause(run_id: RunId) -> Call[RunState]:
    return _of_run(routes.PAUSE, run_id, RunState)


def resume(run_id: RunId) -> Call[RunState]:
    return _of_run(routes.RESUME, run_id, RunState)


def retry(run_id: RunId) -> Call[RunState]:
    return _of_run(routes.RETRY, run_id, RunState)


def delete(run_id: RunId) -> Call[RunState]:
    return _of_run(routes.DELETE, run_id, RunState)


def new_token(
    run_id: RunId, *, events: Iterable[str] = (), lifetime: Duration | None = None
) -> Call[RunToken]:
    """A fresh run token; one more does no harm."""
    wanted: dict[str, Any] = {"events": list(events)}
    if lifetime is not None:
        wanted["lifetime"] = format_duration(parse_duration(lifetime))
    call = _of_run(routes.ISSUE_TOKEN, run_id, RunToken, safe=True)
    return replace(call, body=records.encode(wanted))


# ------------------------------------------------------------------ streams
def stream(run_ids: Sequence[RunId], *, several: bool, cursor: str | None) -> Call[None]:
    """The events of one run, or of several on one connection, after a cursor or from how things are."""
    if several:
        path, query = routes.STREAM_RUNS.path, tuple(("runId", run_id) for run_id in run_ids)
    else:
        path, query = routes.STREAM_RUN.url(runId=_segment("run", run_ids[0])), ()
    headers: Pairs = (("Accept", "text/event-stream"), ("Accept-Encoding", "identity"))
    if cursor is not None:
        headers = (*headers, ("Last-Event-ID", _header_text(cursor)))
    return Call(
        method=routes.STREAM_RUN.method,
        path=path,
        query=query,
        headers=headers,
        read=_nothing,
        safe=True,
        answers=(200, 204),
    )


def _nothing(body: bytes) -> None:
    """A stream is read as it comes."""
    del body


# ------------------------------------------------------------------ parts
def _of_run(route: Route, run_id: RunId, type_: type[T], *, safe: bool = False) -> Call[T]:
    path = route.url(runId=_segment("run", run_id))
    return Call(method=route.method, path=path, read=_reader(type_), safe=safe)


def _plain(route: Route, type_: type[T], query: Pairs = ()) -> Call[T]:
    return Call(method=route.method, path=route.path, query=query, read=_reader(type_), safe=True)


def _reader(type_: type[T]) -> Callable[[bytes], T]:
    def read(body: bytes) -> T:
        try:
            return records.decode(body, type_)
        except ValueError as error:
            raise DeserializationError(
                f"the server's answer is no {type_.__name__}: {error}; does base_url lead to a Stepflow API?"
            ) from error

    return read


def _segment(what: str, id: str) -> str:
    """An id as a part of a path, where some texts mean something else."""
    if not isinstance(id, str) or id in _DOTS or "/" in id:
        raise InvalidIdError(f"{id!r:.100} is no {what} id")
    return id


def _header_text(value: str) -> str:
    if not value.isascii() or not value.isprintable():
        raise InputError(f"{value!a:.100} can't travel in a header: printable ASCII can")
    return value


def _given(**parameters: str | None) -> Pairs:
    return tuple((name, value) for name, value in parameters.items() if value is not None)


def _tags(tags: Mapping[str, str] | None) -> Pairs:
    for name in tags or {}:
        if ":" in name:
            raise InputError(f"tag {name!r}: over HTTP a tag's name has no colon")
    return tuple(("tag", f"{name}:{value}") for name, value in (tags or {}).items())


def _instant(value: datetime | None) -> str | None:
    if value is None:
        return None
    if value.tzinfo is None:
        raise InputError(f"{value!r} is naive; give it a time zone, e.g. datetime.now(UTC)")
    return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
