"""Helping: what ``--help`` prints. Drawn here, so that it teaches with examples and looks alike with every typer."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text
from typer.core import TyperCommand, TyperGroup

from stepflow.cli.exits import MEANINGS
from stepflow.cli.output import out

_ENVIRONMENT = (
    ("STEPFLOW_STORAGE", "the storage of commands that take --storage"),
    ("STEPFLOW_URL", "the server that runs, trigger and notify ask, as with --url"),
    (
        "STEPFLOW_API_KEY",
        "the secret keys that serve asks for, separated by commas; the first is sent to --url",
    ),
    ("STEPFLOW_TOKEN", "a run token or a JWT, sent to --url instead of a key"),
    ("STEPFLOW_PUBLIC_KEY", "the public keys, for the workflows of STEPFLOW_PUBLIC_WORKFLOWS"),
    ("STEPFLOW_RUN_TOKEN_SECRET", "what serve signs run tokens with, if not with a secret of the storage's"),
    ("STEPFLOW_DEBUG=1", "shows tracebacks"),
    ("NO_COLOR=1", "turns colours off"),
)
_WIDEST = 100


class Command(TyperCommand):
    """A command; the lines of its ``epilog`` are examples."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        _print_help(self, ctx)


class Group(TyperGroup):
    """A group of commands."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        _print_help(self, ctx)


def _print_help(command: Any, context: Any) -> None:
    console = out()
    arguments = [each for each in command.params if each.param_type_name == "argument"]
    found = [each for each in command.get_params(context) if each.param_type_name == "option"]
    commands: dict[str, Any] = getattr(command, "commands", {})
    usage = [context.command_path, *(_metavar(each) for each in arguments)]
    usage += ["COMMAND"] if commands else []
    usage += ["[OPTIONS]"] if found else []
    _print(console, Text("Usage: ", style="bold yellow").append(" ".join(usage), style="bold"))
    for paragraph in inspect.cleandoc(command.help or "").split("\n\n"):
        _print(console, Text(paragraph.replace("\n", " ")), above=1)
    _section(console, "Commands", ((name, _first_sentence(each.help)) for name, each in commands.items()))
    _section(console, "Arguments", ((_metavar(each), each.help or "") for each in arguments))
    _section(console, "Options", ((_names(each), _help_of(each)) for each in found))
    _lines(console, "Examples", (command.epilog or "").splitlines())
    if context.parent is None:
        _section(console, "Exit codes", ((str(int(code)), meaning) for code, meaning in MEANINGS.items()))
        _section(console, "Environment", _ENVIRONMENT)
    elif not commands:
        _print(
            console, Text(f"Exit codes: see {context.find_root().command_path} --help", style="dim"), above=1
        )


def _print(console: Console, line: Text, *, above: int = 0) -> None:
    console.print(*("\n" * above), line, sep="", soft_wrap=False, width=min(console.width, _WIDEST))


def _section(console: Console, title: str, rows: Iterable[tuple[str, str]]) -> None:
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(style="cyan", no_wrap=True)
    table.add_column(overflow="fold")
    for name, meaning in rows:
        table.add_row(Text(f"  {name}"), Text(meaning))
    if table.row_count:
        _print(console, Text(f"{title}:", style="bold yellow"), above=1)
        console.print(table, soft_wrap=False, width=min(console.width, _WIDEST))


def _lines(console: Console, title: str, lines: Sequence[str]) -> None:
    """Lines to be copied: never wrapped."""
    if lines:
        _print(console, Text(f"{title}:", style="bold yellow"), above=1)
    for line in lines:
        console.print(Text(f"  {line}", style="green"))


def _metavar(argument: Any) -> str:
    return str(argument.metavar or argument.name.upper())


def _names(option: Any) -> str:
    names = ", ".join(sorted(option.opts, key=len))
    return f"{names} {option.metavar}" if option.metavar else names


def _help_of(option: Any) -> str:
    told = option.help or ""
    if option.name == "help":
        return "Show this help."
    notes: list[str] = []
    if option.metavar and isinstance(option.default, str | int) and option.default != "":
        notes.append(f"default: {option.default}")
    if option.envvar:
        notes.append(f"or ${option.envvar}")
    return f"{told} [{', '.join(notes)}]" if notes else told


def _first_sentence(help: str | None) -> str:
    return inspect.cleandoc(help or "").split("\n\n")[0].replace("\n", " ")
