"""``stepflow generate``: an app's types in another language, into a file, or compared with the one that is there."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from difflib import unified_diff
from itertools import islice
from pathlib import Path
from typing import Annotated

import typer

from stepflow.cli import options
from stepflow.cli.exits import ExitCode, Stop
from stepflow.cli.loading import load_app
from stepflow.cli.opening import definitions_of
from stepflow.cli.output import err, joined, lines, note, text
from stepflow.generate.contract import Contract, contract_of
from stepflow.generate.typescript import MARK, typescript

_STDOUT = "-"
_SHOWN_DIFFERENCES = 20


def generate_typescript(
    app: Annotated[
        str,
        typer.Argument(
            metavar="MODULE:APP",
            help="The app: package.module:name or path/to/file.py:name. Alone in its module, it need not be named.",
        ),
    ],
    output: Annotated[
        str,
        typer.Option(
            "--output", "-o", metavar="FILE", help="The file to write, like src/workflows.ts; - is stdout."
        ),
    ],
    check: Annotated[
        bool,
        typer.Option(
            "--check", help="Write nothing; exit with 1 and show a diff if the file is not up to date."
        ),
    ] = False,
    quiet: options.Quiet = False,
) -> None:
    """Write the types of an app's workflows and events as TypeScript, for @stepflow/client and its hooks.

    With the file in a TypeScript project, the inputs that it sends and the results that it gets are checked against the Python
    signatures. A type that TypeScript can't express becomes `unknown`, with a warning on stderr. The same app gives the same text,
    so the file can be committed, and --check in CI says when it is stale.
    """
    if check and output == _STDOUT:
        raise Stop(
            ExitCode.USAGE,
            "--check compares with a file, and - is stdout",
            hint="name the file: -o workflows.ts",
        )
    loaded = load_app(app)
    contract = contract_of(definitions_of(loaded.value), modules=[loaded.module])
    for warning in contract.warnings:
        err().print(joined(text("warning: ", "yellow"), text(warning)))
    written = typescript(contract, source=loaded.module.__name__)
    if output == _STDOUT:
        sys.stdout.write(written)
        return
    path = Path(output)
    present = _present(path)
    if check:
        _compare(path, present, written, app)
    elif present != written:
        _write(path, present, written)
    if not quiet:
        said = "is up to date" if present == written else "is written"
        note(f"{path} {said}: {_counted(contract)}")


def _counted(contract: Contract) -> str:
    workflows, events = len(contract.workflows), len(contract.events)
    return f"{workflows} workflow{'s' * (workflows != 1)}, {events} event{'s' * (events != 1)}"


def _present(path: Path) -> str | None:
    """What is in the file; None if there is none."""
    try:
        return path.read_bytes().decode("utf-8")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise Stop(
            ExitCode.USAGE, f"{path} can't be read: {reason}", hint="name another file with -o"
        ) from error


def _compare(path: Path, present: str | None, written: str, app: str) -> None:
    hint = f"`stepflow generate typescript {app} -o {path}` writes it; commit what it wrote"
    if present is None:
        raise Stop(ExitCode.FAILED, f"there is no file {path}", hint=hint)
    # A checkout on Windows may have changed how lines end.
    difference = list(_difference(path, present.replace("\r\n", "\n"), written))
    if difference:
        more = len(difference) - _SHOWN_DIFFERENCES
        shown = [
            *islice(difference, _SHOWN_DIFFERENCES),
            *([f"... and {more} more lines"] if more > 0 else []),
        ]
        raise Stop(
            ExitCode.FAILED,
            f"{path} is not what {app} says now",
            excerpt=lines("\n".join(f"  {line}" for line in shown)),
            hint=hint,
        )


def _difference(path: Path, present: str, written: str) -> Iterator[str]:
    before, after = present.splitlines(), written.splitlines()
    yield from unified_diff(before, after, str(path), "what it would be", lineterm="", n=1)


def _write(path: Path, present: str | None, written: str) -> None:
    if present and not present.startswith(MARK):
        raise Stop(
            ExitCode.USAGE,
            f"{path} is there, and was not written by this command",
            hint="name another file with -o, or move that one away",
        )
    try:
        path.write_bytes(written.encode())
    except OSError as error:
        hint = f"create the folder {path.parent}" if not path.parent.is_dir() else "name another file with -o"
        raise Stop(ExitCode.USAGE, f"{path} can't be written: {error.strerror}", hint=hint) from error
