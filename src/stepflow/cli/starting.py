"""``stepflow trigger`` and ``stepflow notify``: what others send to runs."""

from __future__ import annotations

import logging
from typing import Annotated

import typer

from stepflow.cli import options
from stepflow.cli.exits import ExitCode, Stop
from stepflow.cli.inputs import read_json, read_tags
from stepflow.cli.loading import load_app
from stepflow.cli.logs import show_logs
from stepflow.cli.opening import (
    Session,
    definition_of,
    opened,
    refuse_memory,
    run_async,
    storage_url,
)
from stepflow.cli.output import note, out, print_json, text, to_json
from stepflow.cli.places import Server, Where, looking_at
from stepflow.cli.worker import AppTarget
from stepflow.durations import parse_duration
from stepflow.errors import EventConflictError
from stepflow.service import Started
from stepflow.settings import StartOptions
from stepflow.types import Json


def trigger(
    context: typer.Context,
    app: AppTarget,
    workflow: Annotated[
        str | None,
        typer.Argument(
            metavar="WORKFLOW",
            help="The id of one of the app's workflows. With --url it stands alone: the server knows its app.",
        ),
    ] = None,
    input: options.Input = None,
    id: Annotated[
        str | None, typer.Option("--id", metavar="RUN_ID", help="The run's id; again the same run.")
    ] = None,
    idempotency_key: Annotated[
        str | None,
        typer.Option("--idempotency-key", metavar="KEY", help="The same key again is the same run."),
    ] = None,
    delay: Annotated[
        str | None, typer.Option("--delay", metavar="DURATION", help="Start it later: 30s, 1h30m, 3d.")
    ] = None,
    queue: Annotated[
        str | None, typer.Option("--queue", metavar="NAME", help="Another queue than the workflow's own.")
    ] = None,
    priority: Annotated[int, typer.Option("--priority", metavar="N", help="Higher goes first.")] = 0,
    tag: options.Tags = None,
    as_json: options.AsJson = False,
) -> None:
    """Start a run and return at once; a worker executes it.

    Prints the run's id once the run is durable. The same --id or --idempotency-key again gives the same run; with another workflow or input it
    is a conflict (exit code 3).
    """
    show_logs(logging.ERROR)
    start = StartOptions(
        id=id,
        idempotency_key=idempotency_key,
        delay=None if delay is None else parse_duration(delay),
        tags=read_tags(tag or ()),
        priority=priority,
        queue=queue,
    )
    content = read_json("--input", input)
    server = _server_for(context, workflow)
    if server is not None:
        started = run_async(_trigger_there(server, app, content, start))
    else:
        started = run_async(_trigger(app, workflow or "", content, start))
    if as_json:
        print_json({"runId": started.run_id, "created": started.created})
    else:
        out().print(text(started.run_id))
        if not started.created:
            note("this run exists already; nothing was started")


def _server_for(context: typer.Context, workflow: str | None) -> Server | None:
    """The server that starts the run, if one does: a name alone is a workflow of its."""
    server = options.server_of(context)
    if workflow is None:
        if server is None:
            hint = "write `stepflow trigger MODULE:APP WORKFLOW`, or `stepflow --url URL trigger WORKFLOW`"
            raise Stop(ExitCode.USAGE, "WORKFLOW is missing", hint=hint)
        return server
    if server is not None and options.is_typed(context.find_root(), "url"):
        hint = "write `stepflow --url URL trigger WORKFLOW`"
        raise Stop(ExitCode.USAGE, "a server knows its own app: MODULE:APP is one name too many", hint=hint)
    return None


async def _trigger_there(server: Server, workflow: str, input: Json, start: StartOptions) -> Started:
    async with server.connect() as client:
        run = await client.trigger(
            workflow,
            input,
            id=start.id,
            idempotency_key=start.idempotency_key,
            delay=start.delay,
            tags=start.tags,
            priority=start.priority,
            queue=start.queue,
        )
        return Started(run_id=run.id, created=run.created)


async def _trigger(target: str, workflow: str, input: Json, start: StartOptions) -> Started:
    app = load_app(target).value
    refuse_memory(storage_url(app))
    definition = definition_of(app, workflow)
    async with opened(app, worker=False) as session:
        started = await session.service.start(definition, input, start)
        queue = definition.queue if start.queue is None else start.queue
        if started.created:
            await _warn_if_unserved(session, queue, target)
        return started


async def _warn_if_unserved(session: Session, queue: str, target: str) -> None:
    workers = await session.storage.list_workers(now=session.clock.now())
    if not any(queue in worker.queues for worker in workers):
        note(f"no live worker serves queue {queue!r}; `stepflow worker {target}` starts one")


def notify(
    context: typer.Context,
    event_id: Annotated[str, typer.Argument(metavar="EVENT_ID", help="The event's id, like shipped/42.")],
    payload: Annotated[
        str | None,
        typer.Option(
            "--payload", "-p", metavar="JSON", help="The payload: JSON, @file.json, or - for stdin."
        ),
    ] = None,
    run_id: Annotated[
        str | None, typer.Option("--run-id", metavar="RUN_ID", help="Only for this run.")
    ] = None,
    id: Annotated[
        str | None, typer.Option("--id", metavar="ID", help="The same id twice is one event.")
    ] = None,
    once: Annotated[
        bool, typer.Option("--once", help="The first event of this EVENT_ID wins; a later one is refused.")
    ] = False,
    storage: options.Storage = options.DEFAULT,
    app: options.App = None,
    as_json: options.AsJson = False,
) -> None:
    """Send an event to the runs that wait for it, now or later.

    It reaches every run that was triggered before it. Says how many wait for it now.
    """
    show_logs(logging.ERROR)
    content = read_json("--payload", payload)
    where = options.where_of(context, storage, app)
    woken = run_async(_notify(where, event_id, content, run_id=run_id, id=id, once=once))
    if as_json:
        print_json({"eventId": event_id, "id": id, "woken": woken})
    else:
        waiting = {0: "no run waits for it now", 1: "1 run waits for it"}
        out().print(text(f"sent {event_id}: {waiting.get(woken, f'{woken} runs wait for it')}"))


async def _notify(
    where: Where, event_id: str, payload: Json, *, run_id: str | None, id: str | None, once: bool
) -> int:
    async with looking_at(where) as place:
        try:
            return await place.notify(event_id, payload, run_id=run_id, id=id, once=once)
        except EventConflictError as error:
            raise Stop(
                ExitCode.REFUSED, str(error), hint=f"the first one's payload was {to_json(error.first):.200}"
            ) from error
