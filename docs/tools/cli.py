"""The reference of the command line, made from the commands themselves."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from typer.main import get_command

from stepflow.cli.exits import MEANINGS, ExitCode
from stepflow.cli.root import app

_SHELL_SETUP = {"install_completion", "show_completion"}


def page() -> str:
    """``reference/cli.md``."""
    root: Any = get_command(app)
    lines = [
        "# Command line",
        "",
        "`pip install 'stepflow[cli]'` brings the command `stepflow`. Every command explains itself with `--help`; with `--json` it speaks to programs. (This page is",
        "made from the commands.)",
        "",
        "```sh",
        *_examples(root),
        "```",
        "",
        *_exit_codes(),
        *_environment(),
    ]
    for path, command in _commands(root, "stepflow"):
        lines += _section(path, command)
    return "\n".join(lines)


def _commands(group: Any, path: str) -> Iterator[tuple[str, Any]]:
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from _commands(command, f"{path} {name}")
        else:
            yield f"{path} {name}", command


def _section(path: str, command: Any) -> list[str]:
    arguments = [each for each in command.params if each.param_type_name == "argument"]
    options = [
        each for each in command.params if each.param_type_name == "option" and each.name not in _SHELL_SETUP
    ]
    usage = " ".join([path, *(_metavar(each) for each in arguments), "[OPTIONS]"])
    lines = [f"## {path}", "", f"`{usage}`", "", *_paragraphs(command.help), ""]
    if arguments:
        lines += ["| argument | |", "|---|---|"]
        lines += [f"| `{_metavar(each)}` | {_cell(each.help)} |" for each in arguments]
        lines.append("")
    lines += ["| option | |", "|---|---|"]
    lines += [f"| {_option(each)} | {_cell(each.help)} |" for each in options]
    return [*lines, "", "```sh", *_examples(command), "```", ""]


def _metavar(argument: Any) -> str:
    name = argument.metavar or argument.name.upper()
    name = f"{name}…" if argument.nargs == -1 and not name.endswith(("…", "...")) else name
    return name if argument.required else f"[{name}]"


def _option(option: Any) -> str:
    words = ", ".join(f"`{each}`" for each in (*option.opts, *option.secondary_opts))
    if option.is_flag or not option.metavar:
        return words
    return f"{words} `{option.metavar}`"


def _cell(help: str | None) -> str:
    return " ".join((help or "").split()).replace("|", "\\|")


def _paragraphs(help: str | None) -> list[str]:
    return [
        re.sub(r"``(.+?)``", r"`\1`", line) for line in (help or "").replace("\f", "").strip().splitlines()
    ]


def _examples(command: Any) -> list[str]:
    return [line.strip() for line in (command.epilog or "").splitlines()]


def _exit_codes() -> list[str]:
    return [
        "| exit code | |",
        "|---|---|",
        *(f"| {int(code)} | {_cell(MEANINGS[code])} |" for code in ExitCode),
        "",
    ]


def _environment() -> list[str]:
    return [
        "| environment | |",
        "|---|---|",
        "| `STEPFLOW_STORAGE` | the storage of commands that take `--storage` |",
        "| `STEPFLOW_URL` | the server that `runs`, `trigger` and `notify` ask, as with `--url` ([Python client](../how-to/python-client.md)) |",
        "| `STEPFLOW_API_KEY` | the secret keys that `serve` asks for, separated by commas ([Security](../explanation/security.md)); the first is sent to `--url` |",
        "| `STEPFLOW_TOKEN` | a run token or a JWT, sent to `--url` instead of a key |",
        "| `STEPFLOW_PUBLIC_KEY` | the public keys, for the workflows of `STEPFLOW_PUBLIC_WORKFLOWS` |",
        "| `STEPFLOW_RUN_TOKEN_SECRET` | what `serve` signs run tokens with, if not with a secret of the storage's |",
        "| `STEPFLOW_DEBUG=1` | shows tracebacks |",
        "| `NO_COLOR=1` | turns colours off |",
        "",
        "What else the environment says to an app is in [Storage and environment](storage.md#environment).",
        "",
    ]
