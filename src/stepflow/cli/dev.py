"""``stepflow dev``: the whole app on this machine, API and worker, started anew whenever its code changes."""

from __future__ import annotations

import logging
import os
import socket
import sys
from pathlib import Path
from typing import Annotated

import typer

from stepflow.auth.local import allow_local, is_loopback
from stepflow.cli import options
from stepflow.cli.exits import ExitCode, Stop
from stepflow.cli.loading import load_app
from stepflow.cli.logs import show_logs
from stepflow.cli.opening import Session, run_async
from stepflow.cli.output import err, joined, note, print_json, text
from stepflow.cli.reloading import AGAIN_VARIABLE, SOCKET_VARIABLE, end_with_parent, reload_on_changes
from stepflow.cli.sampling import first_request
from stepflow.cli.serve import Origins, Port
from stepflow.cli.serving import Offer, address_of, bind, serve_until_told
from stepflow.cli.worker import AppTarget


def dev(
    app: AppTarget,
    host: Annotated[
        str, typer.Option("--host", metavar="HOST", help="An address that only this machine reaches.")
    ] = "127.0.0.1",
    port: Port = 8000,
    cors: Origins = None,
    watch: Annotated[
        list[Path] | None,
        typer.Option(
            "--watch",
            metavar="DIR",
            help="Start anew when Python files in here change; repeat for more. The current folder if not given.",
        ),
    ] = None,
    reload: Annotated[
        bool, typer.Option("--reload/--no-reload", help="Without: one process, for a debugger.")
    ] = True,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Log every step, not only runs.")] = False,
    quiet: options.Quiet = False,
    as_json: options.AsJson = False,
) -> None:
    """Serve and work on an app on this machine, and start it anew whenever its code changes.

    Programs on this machine need no key; web pages may only call from this address and from --cors. A restart waits some seconds for running steps; what is not
    finished then runs again, so nothing is lost. Requests that come meanwhile wait. An app that can't be loaded is shown, and started when that has changed.
    """
    if not is_loopback(host):
        raise Stop(
            ExitCode.USAGE,
            f"dev asks nobody for a key, and others can reach {host}",
            hint="`stepflow serve` serves with keys",
        )
    inherited = os.environ.get(SOCKET_VARIABLE)
    if reload and inherited is None:
        with bind(host, port) as bound:
            folders = [Path.cwd()] if watch is None else watch
            run_async(reload_on_changes(sys.argv[1:], bound, folders, quiet=quiet))
        if not quiet:
            note("stopped")
        return
    bound = bind(host, port) if inherited is None else socket.socket(fileno=int(inherited))
    with bound:
        _serve(app, bound, cors or [], verbose=verbose, quiet=quiet, as_json=as_json)


def _serve(
    target: str, bound: socket.socket, origins: list[str], *, verbose: bool, quiet: bool, as_json: bool
) -> None:
    app = load_app(target).value
    show_logs(logging.WARNING if quiet else logging.DEBUG if verbose else logging.INFO)
    address = address_of(bound)
    again = os.environ.get(AGAIN_VARIABLE) == "1"

    def ready(session: Session) -> None:
        if as_json:
            print_json(
                {
                    "type": "dev:ready",
                    "address": address,
                    "request": first_request(address, session),
                    "again": again,
                    "workflows": list(app.workflows),
                    "storage": session.storage.url,
                }
            )
        elif again and not quiet:
            note(f"started anew at {address}")
        elif not again:
            _tell(target, address, session)

    offer = Offer(app=app, auth=allow_local(origins=origins), worker=True, origins=origins, log=not quiet)

    async def perform() -> bool:
        with end_with_parent():
            return await serve_until_told(offer, bound, ready, tells=False)

    if run_async(perform()):
        raise Stop(ExitCode.INTERRUPTED, "stopped without waiting for answers and running steps")


def _tell(target: str, address: str, session: Session) -> None:
    console = err()
    rows = [
        (
            "app",
            f"{target} · {session.storage.url} · workflows: {', '.join(session.app.workflows) or 'none'}",
        ),
        ("address", address),
        ("try", first_request(address, session)),
        ("then", f"stepflow runs list --app {target}" if session.storage.durable else f"curl {address}/runs"),
    ]
    for name, meaning in rows:
        style = "bold" if name in ("address", "try") else ""
        console.print(joined(text(f"{name:<9}", "dim"), text(meaning, style)))
