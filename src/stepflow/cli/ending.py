"""Ending: what a command says, prints and returns once a run stands still."""

from __future__ import annotations

from stepflow.cli.describing import failure_text
from stepflow.cli.exits import ExitCode, Stop
from stepflow.cli.output import print_json
from stepflow.model.states import PauseReason, RunStatus
from stepflow.model.steps import Run
from stepflow.types import Json


def tell_end(run: Run, record: Json, *, as_json: bool, options: str) -> None:
    """Print the result (or, ``as_json``, the whole ``record``); a run without a result ends the command with its code.

    ``options`` are those that other commands need to find the same storage.
    """
    if as_json:
        print_json(record)
    elif run.status is RunStatus.COMPLETED:
        print_json(run.output)
    if run.status is not RunStatus.COMPLETED:
        raise _stop(run, options)


def _stop(run: Run, options: str) -> Stop:
    match run.status:
        case RunStatus.FAILED:
            why = failure_text(run.error) if run.error is not None else "for no recorded reason"
            return Stop(
                ExitCode.FAILED,
                f"run {run.id} failed: {why}",
                hint=f"`stepflow runs show {run.id} --traceback{options}` says where, "
                f"`stepflow runs retry {run.id}{options}` tries again",
            )
        case RunStatus.CANCELLED:
            return Stop(
                ExitCode.STOPPED,
                f"run {run.id} was cancelled",
                hint=f"`stepflow runs retry {run.id}{options}` runs it again",
            )
        case _:
            reason = run.pause_reason or PauseReason.REQUESTED
            detail = f": {run.pause_detail}" if run.pause_detail else ""
            return Stop(
                ExitCode.STOPPED,
                f"run {run.id} is paused ({reason.value}{detail})",
                hint=f"`stepflow runs resume {run.id}{options}` lets it go on",
            )
