"""``stepflow serve``: an app's API over HTTP, for everybody who has a key."""

from __future__ import annotations

import logging
import os
from dataclasses import replace
from typing import Annotated

import typer

from stepflow.app import Stepflow
from stepflow.cli import options
from stepflow.cli.credentials import (
    PUBLIC_VARIABLE,
    TOKEN_VARIABLE,
    WORKFLOWS_VARIABLE,
    handler_from,
    listed,
)
from stepflow.cli.exits import ExitCode, Stop
from stepflow.cli.loading import load_app
from stepflow.cli.logs import show_logs
from stepflow.cli.opening import Session, definition_of, run_async
from stepflow.cli.output import err, note, print_json, text
from stepflow.cli.serving import Offer, address_of, bind, serve_until_told
from stepflow.cli.worker import AppTarget
from stepflow.http.limiting import parse_rate
from stepflow.types import Json

Port = Annotated[int, typer.Option("--port", "-p", min=0, max=65535, metavar="PORT", help="0: any free one.")]
Origins = Annotated[
    list[str] | None,
    typer.Option(
        "--cors",
        metavar="ORIGIN",
        help="Web pages of this origin may call, like https://shop.example; repeat for more.",
    ),
]


def serve(
    app: AppTarget,
    host: Annotated[
        str, typer.Option("--host", metavar="HOST", help="Where to listen; 0.0.0.0 is everywhere.")
    ] = "127.0.0.1",
    port: Port = 8000,
    worker: Annotated[bool, typer.Option("--worker", help="Work on the app's runs, too.")] = False,
    cors: Origins = None,
    insecure: Annotated[
        bool, typer.Option("--insecure", help="Ask nobody for a key; on this machine only.")
    ] = False,
    rate_limit: Annotated[
        str | None,
        typer.Option(
            "--rate-limit",
            metavar="RATE",
            help="What one caller may ask, like 100/s or '600/m, burst 20'; more is answered with 429.",
        ),
    ] = None,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Log every step, not only runs.")] = False,
    quiet: options.Quiet = False,
    as_json: options.AsJson = False,
) -> None:
    """Serve an app's API over HTTP until SIGTERM or Ctrl-C.

    Who sends STEPFLOW_API_KEY in the header X-API-Key may do everything; STEPFLOW_PUBLIC_KEY only triggers the workflows of
    STEPFLOW_PUBLIC_WORKFLOWS; a run token, which every trigger answers with, watches its run. Several keys, separated by commas, all count.
    `stepflow keys create` makes them. Without a key nothing is served. Runs are executed by `stepflow worker`, or here with --worker.

    Told to stop, it ends streams (clients go on where they were, elsewhere), finishes other answers and exits with 0. A second signal does not wait: then the
    exit code is 130.
    """
    loaded = load_app(app).value
    offer = _offer(loaded, host, insecure=insecure, worker=worker, origins=cors or [], log=not quiet)
    if rate_limit is not None:
        parse_rate(rate_limit)
        offer = replace(offer, rate_limit=rate_limit)
    show_logs(logging.WARNING if quiet else logging.DEBUG if verbose else logging.INFO)
    bound = bind(host, port)
    address = address_of(bound)

    def ready(session: Session) -> None:
        if as_json:
            print_json(_record(loaded, address, session))
        elif not quiet:
            err().print(text(_ready(loaded, app, address, session), "bold"))
        if not session.storage.durable and not worker:
            note(f"{session.storage.url} lives in this process only: without --worker its runs wait forever")

    with bound:
        hurried = run_async(serve_until_told(offer, bound, ready, tells=not quiet))
    if as_json:
        print_json({"type": "serve:stopped", "clean": not hurried})
    if hurried:
        raise Stop(ExitCode.INTERRUPTED, "stopped without waiting for answers and running steps")
    if not quiet:
        note("stopped: every answer was given")


def _offer(app: Stepflow, host: str, *, insecure: bool, worker: bool, origins: list[str], log: bool) -> Offer:
    """What the environment's keys make of it; ``Stop`` if that would be open, or would not work."""
    auth = handler_from(os.environ, host=host, insecure=insecure, origins=origins)
    if listed(os.environ, PUBLIC_VARIABLE):
        for name in listed(os.environ, WORKFLOWS_VARIABLE):
            definition_of(app, name)
    secrets = listed(os.environ, TOKEN_VARIABLE)
    return Offer(app=app, auth=auth, worker=worker, origins=origins, token_secrets=secrets, log=log)


def _record(app: Stepflow, address: str, session: Session) -> Json:
    return {
        "type": "serve:ready",
        "address": address,
        "worker": session.worker.worker_id if session.worker else None,
        "workflows": list(app.workflows),
        "storage": session.storage.url,
    }


def _ready(app: Stepflow, target: str, address: str, session: Session) -> str:
    workflows = ", ".join(app.workflows) or "none"
    works = "works on its runs" if session.worker else "a worker elsewhere executes its runs"
    return f"{target} is served at {address} · {session.storage.url} · {works} · workflows: {workflows}"
