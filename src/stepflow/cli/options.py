"""Options that several commands share, described once."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from stepflow.cli.exits import ExitCode, Stop
from stepflow.cli.opening import DEFAULT_STORAGE, Source
from stepflow.cli.places import Server, Where

Storage = Annotated[
    str,
    typer.Option(
        "--storage",
        "-s",
        metavar="URL",
        envvar="STEPFLOW_STORAGE",
        help="The storage, like sqlite:///app.db (relative) or sqlite:////var/app.db.",
    ),
]
App = Annotated[
    str | None,
    typer.Option(
        "--app",
        metavar="MODULE:APP",
        help="Take the storage of this app, and its codecs: needed where values are encrypted.",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for other programs, on stdout.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress on stderr.")]
RunIdArgument = Annotated[str, typer.Argument(metavar="RUN_ID", help="The id of a run.")]
RunIdArguments = Annotated[
    list[str], typer.Argument(metavar="RUN_ID...", help="The ids of one or more runs.")
]
Input = Annotated[
    str | None,
    typer.Option("--input", "-i", metavar="JSON", help="The input: JSON, @file.json, or - for stdin."),
]
Tags = Annotated[
    list[str] | None, typer.Option("--tag", "-t", metavar="NAME=VALUE", help="A tag; may be repeated.")
]

DEFAULT = DEFAULT_STORAGE


def source_of(storage: str, app: str | None) -> Source:
    return Source(url=storage, app_target=app)


def server_of(context: typer.Context) -> Server | None:
    """The server that ``stepflow --url`` or the environment names."""
    url: str | None = context.find_root().obj
    return None if url is None else Server(url=url)


def where_of(context: typer.Context, storage: str, app: str | None) -> Where:
    """Where the command looks for runs: what is said on the command line goes before the environment."""
    server = server_of(context)
    named = any(is_typed(context, name) for name in ("storage", "app"))
    if server is None or (named and not is_typed(context.find_root(), "url")):
        return source_of(storage, app)
    if named:
        raise Stop(
            ExitCode.USAGE, "--url asks a server, --storage and --app a storage", hint="give one of them"
        )
    return server


def is_typed(context: Any, name: str) -> bool:
    """Whether a parameter was given on the command line, not by the environment or by default."""
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


def examples(*lines: str) -> str:
    """The end of a command's help: one example a line."""
    return "\n".join(lines)
