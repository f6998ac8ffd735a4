"""The root: every command with its name, its examples and its help, and how each of them ends."""

from __future__ import annotations

import os
import re
import sys
import traceback
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from typing import Annotated, Any

import typer
from typer.main import get_command

from stepflow.cli.checking import check
from stepflow.cli.dev import dev
from stepflow.cli.doctor import doctor
from stepflow.cli.exits import ExitCode, Stop, stop_for
from stepflow.cli.generate import generate_typescript
from stepflow.cli.helping import Command, Group
from stepflow.cli.histories import check_code, export_histories
from stepflow.cli.keys import create as create_api_key
from stepflow.cli.options import examples, is_typed
from stepflow.cli.output import err, escape_streams, joined, text
from stepflow.cli.run import run
from stepflow.cli.runs import (
    cancel_runs,
    delete_runs,
    list_runs,
    pause_runs,
    resume_runs,
    retry_runs,
    show_run,
    watch_run,
)
from stepflow.cli.serve import serve
from stepflow.cli.signals import leave_stuck_steps as leave_stuck_steps
from stepflow.cli.starting import notify, trigger
from stepflow.cli.storage import info, migrate, prune
from stepflow.cli.worker import worker
from stepflow.errors import StepflowError

_USAGE_ERRORS: tuple[type[Exception], ...] = tuple(
    kind
    for kind in typer.BadParameter.__mro__
    if kind.__name__ == "ClickException" and issubclass(kind, Exception)
)
"""The root of what typer raises for wrong usage; newer releases of it bring a click of their own."""

_EXAMPLES = examples(
    "stepflow run flow.py:greet --input '\"Ada\"'",
    "stepflow worker shop:app",
    "stepflow runs list --status failed,paused",
    "stepflow doctor",
)


def _group(help: str, epilog: str) -> typer.Typer:
    return typer.Typer(
        cls=Group,
        help=help,
        epilog=epilog,
        invoke_without_command=True,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["--help", "-h"]},
    )


app = _group("Durable workflows inside your Python process, on the database you already have.", _EXAMPLES)
_runs = _group(
    "List, show, watch and steer runs.", examples("stepflow runs list", "stepflow runs show order-1")
)
_keys = _group("Make API keys.", examples("stepflow keys create", "stepflow keys create --public"))
_generate = _group(
    "Write an app's types for programs in other languages.",
    examples("stepflow generate typescript shop:app -o src/workflows.ts"),
)
_histories = _group(
    "Export recorded runs, to be checked against other code.",
    examples("stepflow histories export --status suspended"),
)
_storage = _group(
    "Look at a storage, migrate its schema, tidy it up, verify it.", examples("stepflow storage info")
)


@app.callback()
def _root(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version and leave.")] = False,
    url: Annotated[
        str | None,
        typer.Option(
            "--url",
            metavar="URL",
            envvar="STEPFLOW_URL",
            help="Ask the server there instead of a storage (runs, trigger, notify); its key is in STEPFLOW_API_KEY.",
        ),
    ] = None,
) -> None:
    context.obj = url or None
    if (
        url
        and context.invoked_subcommand not in (None, "runs", "trigger", "notify")
        and is_typed(context, "url")
    ):
        raise Stop(
            ExitCode.USAGE,
            f"`stepflow {context.invoked_subcommand}` does not ask a server",
            hint="--url is for runs, trigger and notify",
        )
    if version:
        print(vars(sys.modules["stepflow"])["__version__"])
    elif context.invoked_subcommand is None:
        context.get_help()


@_runs.callback()
@_keys.callback()
@_generate.callback()
@_storage.callback()
@_histories.callback()
def _help_alone(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        context.get_help()


_COMMANDS: tuple[tuple[typer.Typer, str, Callable[..., None], str], ...] = (
    (app, "run", run, examples(
        "stepflow run flow.py:greet --input '\"Ada\"'",
        "stepflow run etl.jobs:nightly --id etl-2026-01-31 --storage sqlite:///etl.db",
        "stepflow run flow.py:greet --input @input.json --json | jq .steps",
    )),
    (app, "worker", worker, examples("stepflow worker shop:app", "stepflow worker src/shop.py:app --verbose", "stepflow worker shop:app --queue mail=5 --queue bulk --concurrency 50")),
    (app, "dev", dev, examples("stepflow dev shop:app", "stepflow dev src/shop.py --port 9000 --cors http://localhost:5173")),
    (app, "serve", serve, examples("export STEPFLOW_API_KEY=$(stepflow keys create --quiet)", "stepflow serve shop:app", "stepflow serve shop:app --host 0.0.0.0 --port 80 --worker --cors https://shop.example")),
    (app, "trigger", trigger, examples(
        "stepflow trigger shop:app checkout --input '{\"id\": \"o-1\", \"total\": 3}' --id order-1",
        "stepflow trigger shop:app report --delay 2h --tag team=sales --priority 5",
        "echo '{\"id\": \"o-2\"}' | stepflow trigger shop:app checkout --input - --idempotency-key o-2",
        "stepflow --url https://shop.example/stepflow trigger checkout --input @order.json",
    )),
    (app, "notify", notify, examples(
        "stepflow notify shipped/o-1 --payload '{\"tracking\": \"1Z\"}'",
        "stepflow notify approval/o-1 --payload true --once --run-id order-1",
    )),
    (app, "doctor", doctor, examples("stepflow doctor", "stepflow doctor shop:app --json")),
    (app, "check", check_code, examples("stepflow check shop:app --histories tests/histories", "stepflow check shop:app --histories sqlite:///shop.db --unfinished --json")),
    (_histories, "export", export_histories, examples("stepflow histories export order-1 order-2 --to tests/histories", "stepflow histories export --workflow checkout --status suspended --redact email --redact card")),
    (_runs, "list", list_runs, examples(
        "stepflow runs list --status failed --created-after 1d",
        "stepflow runs list --workflow checkout --tag team=sales --json | jq -r '.items[].id'",
    )),
    (_runs, "show", show_run, examples("stepflow runs show order-1 --traceback")),
    (_runs, "watch", watch_run, examples("stepflow runs watch order-1", "stepflow runs watch order-1 --json", "stepflow --url https://shop.example/stepflow runs watch order-1")),
    (_runs, "cancel", cancel_runs, examples("stepflow runs cancel order-1 order-2")),
    (_runs, "pause", pause_runs, examples("stepflow runs pause order-1")),
    (_runs, "resume", resume_runs, examples("stepflow runs resume order-1")),
    (_runs, "retry", retry_runs, examples("stepflow runs retry order-1")),
    (_runs, "delete", delete_runs, examples("stepflow runs delete order-1")),
    (_keys, "create", create_api_key, examples("stepflow keys create", "export STEPFLOW_API_KEY=$(stepflow keys create --quiet)", "stepflow keys create --public")),
    (_generate, "typescript", generate_typescript, examples("stepflow generate typescript shop:app -o src/workflows.ts", "stepflow generate typescript shop:app -o src/workflows.ts --check", "stepflow generate typescript src/shop.py -o - | less")),
    (_storage, "info", info, examples("stepflow storage info", "stepflow storage info --json | jq .runs")),
    (_storage, "migrate", migrate, examples("stepflow storage migrate --storage sqlite:///shop.db")),
    (_storage, "prune", prune, examples("stepflow storage prune --older-than 7d")),
    (_storage, "check", check, examples("stepflow storage check", "stepflow storage check --run order-1 --json")),
)  # fmt: skip

for _parent, _name, _function, _examples in _COMMANDS:
    _parent.command(_name, cls=Command, epilog=_examples)(_function)
app.add_typer(_runs, name="runs")
app.add_typer(_keys, name="keys")
app.add_typer(_generate, name="generate")
app.add_typer(_storage, name="storage")
app.add_typer(_histories, name="histories")


# ------------------------------------------------------------------ how a command ends
def perform(arguments: Sequence[str]) -> int:
    """Perform a command; whatever goes wrong is one line and a hint on stderr, and the exit code."""
    escape_streams()
    try:
        code = _perform(arguments)
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        # Whoever reads us has seen enough. What is still buffered must not raise again when Python ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.OK


def _perform(arguments: Sequence[str]) -> int:
    try:
        code = get_command(app).main(list(arguments), prog_name="stepflow", standalone_mode=False)
        if code == ExitCode.INTERRUPTED:
            err().print("interrupted")
        return code if isinstance(code, int) else ExitCode.OK
    except Stop as stop:
        return _told(stop)
    except StepflowError as error:
        return _told(stop_for(error), cause=error)
    except (KeyboardInterrupt, typer.Abort):
        return _told(Stop(ExitCode.INTERRUPTED, "interrupted"))
    except SystemExit as error:
        if isinstance(error.__context__, BrokenPipeError):  # typer makes an exit code 1 of it
            raise error.__context__ from None
        raise
    except BrokenPipeError:
        raise
    except _USAGE_ERRORS as error:
        return _told(_usage(error))
    except Exception as error:  # noqa: BLE001 - the last resort: told on one line, with its traceback on demand
        defect = f"{type(error).__name__}: {error}"
        hint = "STEPFLOW_DEBUG=1 shows the traceback"
        return _told(Stop(ExitCode.DEFECT, defect, hint=hint), cause=error)


def _usage(error: Any) -> Stop:
    """Wrong usage, as typer tells it; an unknown command with the nearest ones."""
    context = error.ctx
    command = "stepflow" if context is None else context.command_path
    known: list[str] = [] if context is None else list(getattr(context.command, "commands", ()))
    # Newer releases of typer add the nearest commands by themselves, older ones don't.
    message = str(error.format_message()).partition(" Did you mean")[0].rstrip(".")
    given = re.search(r"No such command '(.*?)'", message)
    nearest = get_close_matches(given[1], known, n=2) if given else []
    hint = f"did you mean {' or '.join(nearest)}? " if nearest else ""
    return Stop(ExitCode.USAGE, message, hint=f"{hint}`{command} --help` explains it")


def _told(stop: Stop, cause: BaseException | None = None) -> int:
    if os.environ.get("STEPFLOW_DEBUG", "") not in ("", "0"):
        error = stop.__cause__ or cause or (stop if stop.__traceback__ else None)
        if error is not None:
            traceback.print_exception(error)
    console = err()
    if stop.message:
        console.print(joined(text("error: ", "bold red"), text(stop.message)))
    if stop.excerpt:
        console.print(stop.excerpt)
    if stop.hint:
        console.print(joined(text("hint: ", "cyan"), text(stop.hint)))
    return int(stop.code)
