"""``stepflow runs``: list, show, watch and steer the runs of a storage, or of a server."""

from __future__ import annotations

import logging
from datetime import datetime
from typing import Annotated

import typer
from msgspec import structs

from stepflow.cli import options
from stepflow.cli.displays import display_for
from stepflow.cli.ending import tell_end
from stepflow.cli.exits import ExitCode, Stop, stop_for
from stepflow.cli.inputs import read_instant, read_tags
from stepflow.cli.logs import show_logs
from stepflow.cli.opening import run_async
from stepflow.cli.output import err, note, out, print_json, print_table, text
from stepflow.cli.places import Where, looking_at
from stepflow.cli.records import run_record, run_summary
from stepflow.cli.showing import RUN_HEADINGS, Shown, run_row, show
from stepflow.errors import StepflowError
from stepflow.model.ids import check_id
from stepflow.model.pages import Page
from stepflow.model.runs import RunFilter
from stepflow.model.states import RunStatus
from stepflow.model.steps import Run
from stepflow.storage.writes import Action
from stepflow.types import Json

_DONE = {
    Action.CANCEL: "cancelled",
    Action.FORCE_CANCEL: "cancelled",
    Action.PAUSE: "paused",
    Action.RESUME: "resumed",
    Action.RETRY: "queued again",
    Action.DELETE: "deleted",
}


# ------------------------------------------------------------------ list
def list_runs(
    context: typer.Context,
    status: Annotated[
        list[str] | None,
        typer.Option(
            "--status",
            metavar="STATUS",
            help=f"One of {', '.join(RunStatus)}; may be repeated, or with commas.",
        ),
    ] = None,
    workflow: Annotated[
        str | None, typer.Option("--workflow", "-w", metavar="ID", help="Runs of this workflow.")
    ] = None,
    tag: options.Tags = None,
    queue: Annotated[str | None, typer.Option("--queue", metavar="NAME", help="Runs in this queue.")] = None,
    created_after: Annotated[
        str | None,
        typer.Option("--created-after", metavar="TIME", help="2026-01-31T12:00, or how long ago: 2h."),
    ] = None,
    created_before: Annotated[
        str | None, typer.Option("--created-before", metavar="TIME", help="As --created-after.")
    ] = None,
    limit: Annotated[
        int, typer.Option("--limit", "-n", metavar="N", min=1, max=500, help="At most so many.")
    ] = 20,
    cursor: Annotated[
        str | None, typer.Option("--cursor", metavar="CURSOR", help="Go on after the former page.")
    ] = None,
    storage: options.Storage = options.DEFAULT,
    app: options.App = None,
    as_json: options.AsJson = False,
) -> None:
    """List runs, the newest first."""
    show_logs(logging.ERROR)
    where = RunFilter(
        statuses=read_statuses(status or ()), workflow_id=workflow, tags=read_tags(tag or ()), queue=queue
    )

    async def perform() -> tuple[Page[Run], datetime]:
        async with looking_at(options.where_of(context, storage, app)) as place:
            now = place.clock.now()
            between = structs.replace(
                where,
                created_after=read_instant("--created-after", created_after, now=now),
                created_before=read_instant("--created-before", created_before, now=now),
            )
            return await place.list_runs(between, cursor=cursor, limit=limit), now

    _print_page(*run_async(perform()), as_json=as_json)


def _print_page(page: Page[Run], now: datetime, *, as_json: bool) -> None:
    if as_json:
        print_json({"items": [run_summary(run) for run in page.items], "nextCursor": page.next_cursor})
        return
    print_table(RUN_HEADINGS, [run_row(run, now) for run in page.items])
    if not page.items:
        note("no run matches")
    if page.next_cursor is not None:
        note(f"there are more: --cursor {page.next_cursor}, or --limit up to 500")


def read_statuses(given: list[str] | tuple[str, ...]) -> frozenset[RunStatus]:
    """The statuses that ``--status`` names."""
    names = [name.strip() for each in given for name in each.split(",") if name.strip()]
    try:
        return frozenset(RunStatus(name) for name in names)
    except ValueError as error:
        raise Stop(ExitCode.USAGE, f"--status: {error}", hint=f"there are {', '.join(RunStatus)}") from error


# ------------------------------------------------------------------ show and watch
def show_run(
    context: typer.Context,
    run_id: options.RunIdArgument,
    traceback: Annotated[
        bool, typer.Option("--traceback", help="Print the recorded tracebacks too.")
    ] = False,
    everything: Annotated[bool, typer.Option("--all", help="Every step, not only the last 50.")] = False,
    storage: options.Storage = options.DEFAULT,
    app: options.App = None,
    as_json: options.AsJson = False,
) -> None:
    """Show one run: how it stands, its steps, and where its time went."""
    show_logs(logging.ERROR)

    async def perform() -> None:
        async with looking_at(options.where_of(context, storage, app)) as place:
            run = await place.get_run(check_id("run id", run_id), everything=everything)
            if as_json:
                print_json(run_record(run, place.decode))
                return
            shown = Shown(
                run=run,
                entries=await place.entries(run),
                now=place.clock.now(),
                limit=None if everything else 50,
                tracebacks=traceback,
            )
            show(shown, place)

    run_async(perform())


def watch_run(
    context: typer.Context,
    run_id: options.RunIdArgument,
    storage: options.Storage = options.DEFAULT,
    app: options.App = None,
    quiet: options.Quiet = False,
    as_json: options.AsJson = False,
) -> None:
    """Follow a run until it ends or is paused, then print its result. Ctrl-C stops watching, not the run.

    With --json, one line for each thing that happened, from the run's beginning.
    """
    show_logs(logging.ERROR if quiet else logging.WARNING)
    where = options.where_of(context, storage, app)
    run, _ = run_async(_watch(where, check_id("run id", run_id), quiet=quiet, json_lines=as_json))
    if not (as_json and run.status is RunStatus.COMPLETED):  # its result was in the last line
        tell_end(run, None, as_json=False, options=where.options)


async def _watch(where: Where, run_id: str, *, quiet: bool, json_lines: bool) -> tuple[Run, Json]:
    async with looking_at(where) as place:
        with display_for(place, quiet=quiet, json_lines=json_lines) as display:
            run = await place.follow(run_id, display)
        return run, None


# ------------------------------------------------------------------ steer
def cancel_runs(
    context: typer.Context,
    run_ids: options.RunIdArguments,
    force: Annotated[
        bool,
        typer.Option("--force", help="End it in the storage at once; its code gets no chance to clean up."),
    ] = False,
    storage: options.Storage = options.DEFAULT,
    app: options.App = None,
    as_json: options.AsJson = False,
) -> None:
    """Ask runs to end: CancelledError is raised in them, so that they can clean up."""
    _steer(
        Action.FORCE_CANCEL if force else Action.CANCEL,
        run_ids,
        options.where_of(context, storage, app),
        as_json,
    )


def pause_runs(
    context: typer.Context,
    run_ids: options.RunIdArguments,
    storage: options.Storage = options.DEFAULT,
    app: options.App = None,
    as_json: options.AsJson = False,
) -> None:
    """Let nothing new start in runs. Events and timers are kept; steps that run are recorded."""
    _steer(Action.PAUSE, run_ids, options.where_of(context, storage, app), as_json)


def resume_runs(
    context: typer.Context,
    run_ids: options.RunIdArguments,
    storage: options.Storage = options.DEFAULT,
    app: options.App = None,
    as_json: options.AsJson = False,
) -> None:
    """Let paused runs go on."""
    _steer(Action.RESUME, run_ids, options.where_of(context, storage, app), as_json)


def retry_runs(
    context: typer.Context,
    run_ids: options.RunIdArguments,
    storage: options.Storage = options.DEFAULT,
    app: options.App = None,
    as_json: options.AsJson = False,
) -> None:
    """Run failed or cancelled runs again from the top; what succeeded in them is not done again."""
    _steer(Action.RETRY, run_ids, options.where_of(context, storage, app), as_json)


def delete_runs(
    context: typer.Context,
    run_ids: options.RunIdArguments,
    storage: options.Storage = options.DEFAULT,
    app: options.App = None,
    as_json: options.AsJson = False,
) -> None:
    """Forget ended or paused runs, with all that was recorded of them."""
    _steer(Action.DELETE, run_ids, options.where_of(context, storage, app), as_json)


def _steer(action: Action, run_ids: list[str], where: Where, as_json: bool) -> None:
    """Do it to every run; the exit code is that of the first that could not be."""
    show_logs(logging.ERROR)
    for run_id in run_ids:
        check_id("run id", run_id)
    stops = run_async(_control(action, run_ids, where, as_json=as_json))
    if len(run_ids) == 1 and stops:
        raise stops[0]
    for stop in stops:
        err().print(text(f"error: {stop.message}", "bold red"))
    if stops:
        raise Stop(stops[0].code, f"{len(stops)} of {len(run_ids)} runs could not be changed")


async def _control(action: Action, run_ids: list[str], where: Where, *, as_json: bool) -> list[Stop]:
    stops: list[Stop] = []
    records: list[Json] = []
    async with looking_at(where) as place:
        for run_id in run_ids:
            try:
                status = await place.control(run_id, action)
            except StepflowError as error:
                stops.append(stop_for(error))
                continue
            if as_json:
                records.append({"id": run_id, "action": action.value, "status": status.value})
            else:
                out().print(text(f"{run_id}: {_told(action, status)}"))
    if as_json:
        print_json({"items": records})
    return stops


def _told(action: Action, status: RunStatus) -> str:
    """A request that a running run has still to follow is told as one."""
    wanted = {
        Action.CANCEL: RunStatus.CANCELLED,
        Action.FORCE_CANCEL: RunStatus.CANCELLED,
        Action.PAUSE: RunStatus.PAUSED,
    }.get(action, status)
    return _DONE[action] if status is wanted else f"asked to {action.value}; it is {status.value}"
