"""``stepflow worker``: a process that works on an app's runs until it is told to stop."""

from __future__ import annotations

import logging
from typing import Annotated

import typer

from stepflow._runtime import interpreter
from stepflow.app import Stepflow
from stepflow.cli import options
from stepflow.cli.exits import ExitCode, Stop
from stepflow.cli.loading import load_app
from stepflow.cli.logs import show_logs
from stepflow.cli.opening import opened, run_async, serve_only
from stepflow.cli.output import err, note, text, to_json
from stepflow.cli.signals import interruption
from stepflow.durations import format_duration
from stepflow.hooks import Hook
from stepflow.observability.logging import LoggingHook
from stepflow.types import Json

AppTarget = Annotated[
    str,
    typer.Argument(
        metavar="MODULE:APP",
        help="The app: package.module:name or path/to/file.py:name. Alone in its module, it need not be named.",
    ),
]


Queues = Annotated[
    list[str] | None,
    typer.Option(
        "--queue",
        "-Q",
        metavar="NAME[=SLOTS]",
        help="Serve this queue, with at most so many runs at once; repeat for more. All of the app's queues if not given.",
    ),
]
_ALL = 1_000_000
"""Slots of a queue that may take all there are."""


def worker(
    app: AppTarget,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Log every step, not only runs.")] = False,
    queue: Queues = None,
    concurrency: Annotated[
        int | None,
        typer.Option(
            "--concurrency", "-c", min=1, metavar="N", help="Runs in memory at once, over all queues."
        ),
    ] = None,
    quiet: options.Quiet = False,
    as_json: options.AsJson = False,
) -> None:
    """Work on an app's runs until SIGTERM or Ctrl-C.

    Start as many as you like, on as many machines as reach the storage: each run is executed by one of them, and a lost worker's runs
    are taken over. Told to stop, a worker claims nothing more, lets running steps finish for the app's grace, gives its runs back and exits with 0.
    A second signal does not wait for steps: then the exit code is 130.
    """
    loaded = load_app(app).value
    serve_only(loaded, _slots(queue, concurrency), concurrency)
    interpreter.settle()
    show_logs(logging.WARNING if quiet else logging.DEBUG if verbose else logging.INFO)
    run_async(_serve(loaded, app, quiet=quiet, as_json=as_json))


def _slots(queues: list[str] | None, concurrency: int | None) -> dict[str, int] | None:
    """``["mail=5", "bulk"]`` as name → slots; a queue without a number may take all there are."""
    if not queues:
        return None
    slots: dict[str, int] = {}
    for given in queues:
        name, separator, number = given.partition("=")
        if separator and not (number.isascii() and number.isdigit()):
            raise Stop(ExitCode.USAGE, f"--queue {given}: a name, or NAME=SLOTS like mail=5")
        slots[name] = int(number) if separator else concurrency or _ALL
    return slots


async def _serve(app: Stepflow, target: str, *, quiet: bool, as_json: bool) -> None:
    hooks: list[Hook] = [] if quiet else [LoggingHook()]
    with interruption() as signals:
        async with opened(app, worker=True, hooks=hooks) as session:
            worker = session.worker
            assert worker is not None
            signals.hurry = worker.hurry
            grace = format_duration(worker.options.grace)
            signals.first = lambda: note(
                f"stopping: running steps have {grace} to finish (again: stop at once)"
            )
            if as_json:
                _print(
                    {
                        "type": "worker:ready",
                        "worker": worker.worker_id,
                        "queues": list(worker.options.queues),
                        "concurrency": worker.options.concurrency,
                        "workflows": list(app.workflows),
                        "storage": session.storage.url,
                    }
                )
            elif not quiet:
                err().print(
                    text(_ready(app, target, list(worker.options.queues), session.storage.url), "bold")
                )
            if not session.storage.durable:
                note(
                    f"{session.storage.url} lives in this process only: no other command can start a run in it"
                )
            await signals.told.wait()
    if as_json:
        _print({"type": "worker:stopped", "worker": worker.worker_id, "clean": not signals.hurried})
    if signals.hurried:
        raise Stop(
            ExitCode.INTERRUPTED, "stopped without waiting for running steps; they run again elsewhere"
        )
    if not quiet:
        note("stopped: every run was given back")


def _ready(app: Stepflow, target: str, queues: list[str], url: str) -> str:
    workflows = ", ".join(app.workflows) or "none"
    return f"{target} works on {url} · queues: {', '.join(queues)} · workflows: {workflows}"


def _print(record: dict[str, Json]) -> None:
    print(to_json(record), flush=True)
