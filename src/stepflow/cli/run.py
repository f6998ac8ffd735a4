"""``stepflow run``: one run of one workflow, in this process, on a storage that remembers it."""

from __future__ import annotations

import asyncio
import logging
import sys
from contextlib import redirect_stdout
from dataclasses import dataclass
from typing import Annotated, Any

import typer

from stepflow.app import Stepflow
from stepflow.cli import options
from stepflow.cli.displays import display_for
from stepflow.cli.ending import tell_end
from stepflow.cli.exits import ExitCode, Stop
from stepflow.cli.following import follow
from stepflow.cli.inputs import read_json, read_tags
from stepflow.cli.loading import Loaded, load_workflow, workflows_in
from stepflow.cli.logs import show_logs
from stepflow.cli.opening import Session, Source, missing_database, opened, run_async
from stepflow.cli.output import note
from stepflow.cli.records import run_record
from stepflow.cli.signals import Interruption, interruption
from stepflow.model.ids import check_id
from stepflow.model.runs import RunRecord
from stepflow.model.steps import Run
from stepflow.types import Json
from stepflow.workflows import Workflow

_GRACE = "10s"

Target = Annotated[
    str,
    typer.Argument(
        metavar="FILE_OR_MODULE:WORKFLOW",
        help="The workflow: path/to/file.py:name or package.module:name. Alone in its module, it need not be named.",
    ),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Wish:
    """What was asked for. ``has_input`` tells no input from the input null."""

    target: str
    workflow: Workflow[Any, Any]
    input: Json
    has_input: bool
    id: str | None
    tags: dict[str, str]
    quiet: bool
    source: Source


def run(
    target: Target,
    input: options.Input = None,
    id: Annotated[
        str | None,
        typer.Option(
            "--id", metavar="RUN_ID", help="The run's id. One that exists goes on where it was interrupted."
        ),
    ] = None,
    tag: options.Tags = None,
    storage: options.Storage = options.DEFAULT,
    quiet: options.Quiet = False,
    as_json: options.AsJson = False,
) -> None:
    """Run one workflow here and now, and print its result.

    The run is stored step by step. Interrupted (Ctrl-C, kill -9, power loss), it goes on with the same --id, and no finished step
    is run again. What the workflow prints goes to stderr, so that stdout has only the result, as JSON; with --json, the whole run.
    """
    with redirect_stdout(sys.stderr):
        loaded = load_workflow(target)
        show_logs(logging.ERROR if quiet else logging.WARNING)
        wish = _Wish(
            target=target,
            workflow=loaded.value,
            input=read_json("--input", input),
            has_input=input is not None,
            id=None if id is None else check_id("run id", id),
            tags=read_tags(tag or ()),
            quiet=quiet or as_json,
            source=Source(url=storage),
        )
        done, record = run_async(_perform(wish, loaded))
    tell_end(done, record, as_json=as_json, options=wish.source.options)


async def _perform(wish: _Wish, loaded: Loaded[Workflow[Any, Any]]) -> tuple[Run, Json]:
    known = await _known_run(wish)
    workflows = [loaded.value, *workflows_in(loaded.module)]
    queues = {"default", *(workflow.definition.queue for workflow in workflows)}
    if known is not None:
        queues.add(known.queue)
    app = Stepflow(wish.source.url, workflows=workflows, queues=sorted(queues), grace=_GRACE)
    with interruption() as signals:
        async with opened(app, worker=True) as session:
            assert session.worker is not None
            signals.hurry = session.worker.hurry
            run_id = await _begin(session, wish, known)
            signals.first = lambda: note("stopping: steps that run now may finish (again: stop at once)")
            return await _until_end(session, wish, run_id, signals)


async def _known_run(wish: _Wish) -> RunRecord | None:
    """The run that has this id already: the worker has to serve the queue that it is in."""
    if wish.id is None or missing_database(wish.source.url) is not None:
        return None
    async with opened(Stepflow(wish.source.url, worker=False), worker=False) as session:
        return await session.storage.get_run(wish.id)


async def _begin(session: Session, wish: _Wish, known: RunRecord | None) -> str:
    """Start the run, or find the one that is to go on; returns its id."""
    workflow_id = wish.workflow.id
    if known is not None and not wish.has_input:
        if known.workflow_id != workflow_id:
            raise Stop(
                ExitCode.REFUSED,
                f"run {known.id} is one of workflow {known.workflow_id!r}, not of {workflow_id!r}",
                hint="choose another --id",
            )
        _note(wish, f"run {known.id} of {workflow_id} exists ({known.status.value}); going on with it")
        return known.id
    handle = await session.app.trigger(wish.workflow, wish.input, id=wish.id, tags=wish.tags)
    _note(wish, f"run {handle.id} of {workflow_id}" + ("" if handle.created else " exists; going on with it"))
    return handle.id


def _note(wish: _Wish, message: str) -> None:
    if not wish.quiet:
        note(f"{message} · {wish.source.options.removeprefix(' --storage ') or wish.source.url}")


async def _until_end(session: Session, wish: _Wish, run_id: str, signals: Interruption) -> tuple[Run, Json]:
    following = asyncio.create_task(_follow(session, wish, run_id))
    interrupted = asyncio.create_task(signals.told.wait())
    try:
        await asyncio.wait({following, interrupted}, return_when=asyncio.FIRST_COMPLETED)
        if following.done():
            return following.result()
    finally:
        for task in (following, interrupted):
            task.cancel()
        await asyncio.gather(following, interrupted, return_exceptions=True)
    again = f"`stepflow run {wish.target} --id {run_id}{wish.source.options}` goes on with it"
    raise Stop(
        ExitCode.INTERRUPTED,
        f"interrupted; run {run_id} is stored as far as it came",
        hint=again if session.storage.durable else "a storage in memory is gone with the process",
    )


async def _follow(session: Session, wish: _Wish, run_id: str) -> tuple[Run, Json]:
    with display_for(session, quiet=wish.quiet) as display:
        done = await follow(session, run_id, display)
    return done, run_record(done, session.decode)
