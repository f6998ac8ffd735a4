"""``stepflow storage check``: reads everything that is stored and says what is not as it must be."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Annotated

import typer
from rich.status import Status
from rich.text import Text

from stepflow.cli import options
from stepflow.cli.exits import ExitCode, Stop
from stepflow.cli.logs import show_logs
from stepflow.cli.opening import Source, looking, run_async
from stepflow.cli.output import err, note, print_json, print_table, text
from stepflow.model.ids import check_id
from stepflow.storage._checking.walking import Check, Progress
from stepflow.storage.checking import Finding
from stepflow.types import Json

_HEADINGS = ("run", "what", "detail", "what to do")
_WHOLE_STORE = "-"


def check(
    run_id: Annotated[
        str | None,
        typer.Option("--run", metavar="RUN_ID", help="Check one run only.", show_default=False),
    ] = None,
    limit: Annotated[
        int, typer.Option("--limit", metavar="N", min=1, help="Stop after so many findings.")
    ] = 1_000,
    storage: options.Storage = options.DEFAULT,
    app: options.App = None,
    quiet: options.Quiet = False,
    as_json: options.AsJson = False,
) -> None:
    """Read the whole storage and verify it: journals without gaps, records that agree with them, indexes, families.

    It writes nothing, needs little memory, and may run beside workers. The exit code is 4 if something is wrong; notes about what
    a crash left to be taken over don't change it.
    """
    show_logs(logging.ERROR)
    asked = None if run_id is None else check_id("run id", run_id)
    findings, progress = run_async(
        _check(options.source_of(storage, app), asked, limit, quiet=quiet or as_json)
    )
    damage = sum(finding.damage for finding in findings)
    if as_json:
        records: list[Json] = [_record(finding) for finding in findings]
        print_json(
            {"ok": not damage, "runs": progress.runs, "journalRows": progress.rows, "findings": records}
        )
    else:
        _print(findings, progress)
    if len(findings) >= limit:
        note(f"stopped after {limit:,} findings; --limit asks for more")
    if damage:
        what = "1 thing is" if damage == 1 else f"{damage:,} things are"
        raise Stop(ExitCode.STORAGE, f"{what} wrong in this storage")


async def _check(
    source: Source, run_id: str | None, limit: int, *, quiet: bool
) -> tuple[list[Finding], Progress]:
    console = err()
    status = Status("checking", console=console)

    def tell(progress: Progress) -> None:
        status.update(
            text(f"checked {progress.runs:,} of {progress.total:,} runs, {progress.rows:,} journal rows")
        )

    findings: list[Finding] = []
    async with looking(source) as session:
        one = Check(session.storage, now=session.clock.now(), tell=tell)
        shown = not quiet and console.is_terminal
        if shown:
            status.start()
        try:
            async for finding in one.all() if run_id is None else one.one(run_id):
                findings.append(finding)
                if len(findings) >= limit:
                    break
        finally:
            if shown:
                status.stop()
    return findings, one.progress


def _record(finding: Finding) -> Json:
    return {
        "what": finding.what.value,
        "runId": finding.run_id,
        "detail": finding.detail,
        "advice": finding.advice,
        "damage": finding.damage,
    }


def _print(findings: Sequence[Finding], progress: Progress) -> None:
    if findings:
        print_table(_HEADINGS, [_row(finding) for finding in findings])
    well = "" if findings else ": nothing is wrong"
    note(f"checked {progress.runs:,} runs with {progress.rows:,} journal rows{well}")


def _row(finding: Finding) -> tuple[Text, Text, Text, Text]:
    style = "bold red" if finding.damage else "dim"
    return (
        text(finding.run_id or _WHOLE_STORE),
        text(finding.what.value, style),
        text(finding.detail),
        text(finding.advice, "dim"),
    )
