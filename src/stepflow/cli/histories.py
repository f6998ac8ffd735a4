"""``stepflow histories export`` and ``stepflow check``: recorded runs into files, and replayed with the code of now."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated

import typer

from stepflow.app import Stepflow
from stepflow.cli import options
from stepflow.cli.exits import ExitCode, Stop
from stepflow.cli.inputs import read_tags
from stepflow.cli.loading import load_app
from stepflow.cli.logs import show_logs
from stepflow.cli.opening import Session, Source, looking, run_async, values_of
from stepflow.cli.output import note, out, print_json, text
from stepflow.cli.runs import read_statuses
from stepflow.model.ids import check_id
from stepflow.model.runs import RunFilter
from stepflow.testing.histories import (
    History,
    check_history,
    file_name,
    histories_of,
    histories_where,
    read_histories,
    redacted,
    write_history,
)
from stepflow.testing.replaying import Comparison, Replayer, Verdict
from stepflow.types import Json

_STYLES = {Verdict.IDENTICAL: "green", Verdict.DIFFERENT: "yellow", Verdict.DIVERGENT: "bold red"}


# ------------------------------------------------------------------ export
def export_histories(
    run_ids: Annotated[
        list[str] | None,
        typer.Argument(metavar="[RUN_ID]...", help="The ids of runs; else those that the options choose."),
    ] = None,
    to: Annotated[
        Path, typer.Option("--to", metavar="DIR", help="The folder to write to; a file for each run.")
    ] = Path("histories"),
    status: Annotated[
        list[str] | None,
        typer.Option(
            "--status", metavar="STATUS", help="Runs in this status; may be repeated, or with commas."
        ),
    ] = None,
    workflow: Annotated[
        str | None, typer.Option("--workflow", "-w", metavar="ID", help="Runs of this workflow.")
    ] = None,
    tag: options.Tags = None,
    limit: Annotated[
        int, typer.Option("--limit", "-n", metavar="N", min=1, help="At most so many, the newest.")
    ] = 100,
    redact: Annotated[
        list[str] | None,
        typer.Option(
            "--redact",
            metavar="NAME",
            help="Leave out what stands under this name in inputs, results and events; may be repeated.",
        ),
    ] = None,
    storage: options.Storage = options.DEFAULT,
    app: options.App = None,
    as_json: options.AsJson = False,
) -> None:
    """Write recorded runs to files, for `stepflow check`. Without tracebacks; values as they are stored, unless redacted."""
    show_logs(logging.ERROR)
    ids = [check_id("run id", run_id) for run_id in run_ids or ()]
    where = RunFilter(statuses=read_statuses(status or ()), workflow_id=workflow, tags=read_tags(tag or ()))
    if ids and where != RunFilter():
        raise Stop(ExitCode.USAGE, "give run ids, or options that choose runs, not both")
    written = run_async(
        _export(options.source_of(storage, app), ids, where, limit, to=to, redact=frozenset(redact or ()))
    )
    if as_json:
        print_json({"items": [str(path) for path in written]})
    else:
        out().print(text(f"{len(written)} histories written to {to}"))
    if not written:
        note("no run matches")


async def _export(
    source: Source, ids: list[str], where: RunFilter, limit: int, *, to: Path, redact: frozenset[str]
) -> list[Path]:
    written: list[Path] = []
    async with looking(source) as session:
        chosen = (
            histories_of(session.storage, ids)
            if ids
            else histories_where(session.storage, where, limit=limit)
        )
        async for history in chosen:
            kept = redacted(history, redact, values_of(session)) if redact else history
            written.append(_write(kept, to))
    return written


def _write(history: History, to: Path) -> Path:
    to.mkdir(parents=True, exist_ok=True)
    path = to / file_name(history.run.id)
    path.write_bytes(write_history(history))
    return path


# ------------------------------------------------------------------ check
def check_code(
    target: Annotated[str, typer.Argument(metavar="MODULE:APP", help="The app whose workflows are checked.")],
    histories: Annotated[
        str,
        typer.Option(
            "--histories",
            metavar="DIR_OR_URL",
            help="A folder of exported histories, or the URL of a storage.",
        ),
    ] = "histories",
    unfinished: Annotated[
        bool, typer.Option("--unfinished", help="Of a storage: only runs that have not ended.")
    ] = False,
    strict: Annotated[
        bool, typer.Option("--strict", help="Also fail if a run is different, though it could go on.")
    ] = False,
    as_json: options.AsJson = False,
) -> None:
    """Replay recorded runs with the code of now, and say for each whether a run like it could go on.

    `identical`: it does the same. `different`: steps are new, gone or moved, or the end is another; a run in flight goes on. `divergent`: code
    and journal contradict each other, or the code fails where it did not. Nothing is executed but workflow code, and nothing is written. The
    exit code is 1 if a run is divergent (with --strict: or different).
    """
    show_logs(logging.ERROR)
    app = load_app(target).value
    found = run_async(_compare(app, histories, unfinished=unfinished))
    counts = Counter(each.verdict for each in found)
    if as_json:
        items: list[Json] = [_record(each) for each in found]
        print_json({"counts": {verdict.value: counts[verdict] for verdict in Verdict}, "items": items})
    else:
        for each in found:
            _print(each)
        out().print(text(", ".join(f"{counts[verdict]} {verdict.value}" for verdict in Verdict)))
    bad = counts[Verdict.DIVERGENT] + (counts[Verdict.DIFFERENT] if strict else 0)
    if bad:
        raise Stop(
            ExitCode.FAILED,
            f"{bad} of {len(found)} recorded runs don't fit this code",
            hint="docs/how-to/deploy-changes.md says which changes are safe while runs are in flight",
        )


async def _compare(app: Stepflow, histories: str, *, unfinished: bool) -> list[Comparison]:
    replayer = Replayer(app)
    if "://" not in histories:
        return [check_history(replayer, history) for history in read_histories(Path(histories))]
    async with looking(Source(url=histories, app_target=None)) as session:
        return [check_history(replayer, each) async for each in _stored(session, unfinished=unfinished)]


async def _stored(session: Session, *, unfinished: bool) -> AsyncIterator[History]:
    async for history in histories_where(session.storage, RunFilter()):
        if not (unfinished and history.run.status.ended):
            yield history


def _print(found: Comparison) -> None:
    first, *rest = found.text.splitlines()
    out().print(text(first, _STYLES[found.verdict]))
    for line in rest:
        out().print(text(line))


def _record(found: Comparison) -> Json:
    return {
        "runId": found.run_id,
        "workflowId": found.workflow_id,
        "verdict": found.verdict.value,
        "new": list(found.new),
        "gone": list(found.gone),
        "moved": list(found.moved),
        "notes": list(found.notes),
    }
