"""``stepflow doctor``: what is well, what is not, and what to do about it."""

from __future__ import annotations

import logging
import os
import platform
import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Literal

import typer

from stepflow.cli import options
from stepflow.cli.exits import ExitCode, Stop
from stepflow.cli.logs import show_logs
from stepflow.cli.opening import (
    Session,
    Source,
    missing_database,
    opened,
    refuse_memory,
    run_async,
    storage_url,
)
from stepflow.cli.output import duration_text, is_plain, joined, out, print_json, shortened, text
from stepflow.durations import parse_duration
from stepflow.errors import StepflowError
from stepflow.model.runs import RunFilter, RunRecord
from stepflow.model.states import PauseReason, RunStatus
from stepflow.storage.base import StorageInfo
from stepflow.types import Json

_OLDEST_PYTHON = (3, 11)
_EXTRAS = {
    # extra → (the package that it brings, what it is for)
    "cli": ("typer", "this command"),
    "pydantic": ("pydantic", "inputs and results that are pydantic models"),
    "encryption": ("cryptography", "encrypted values"),
}
_LOOKED_AT = 500
_NAMED = 5
_CLOCK_OFF = parse_duration("1s")

_MARKS: dict[str, tuple[str, str, str]] = {
    "ok": ("✓", "+", "green"),
    "warn": ("!", "!", "bold yellow"),
    "fail": ("✗", "x", "bold red"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One line of the report. ``advice`` says what to do; it is empty where nothing is to be done."""

    name: str
    status: Literal["ok", "warn", "fail"]
    detail: str
    advice: str = ""


def doctor(
    app: Annotated[
        str | None,
        typer.Argument(
            metavar="[MODULE:APP]", help="Look at this app: its code and its storage.", show_default=False
        ),
    ] = None,
    storage: options.Storage = options.DEFAULT,
    as_json: options.AsJson = False,
) -> None:
    """Check the installation, the storage, the workers, and the runs that need help.

    Each line is ok, warn or fail, with advice. The exit code is 4 if a check failed; warnings don't change it.
    """
    show_logs(logging.ERROR)
    checks = [*_installation(), *run_async(_examine(Source(url=storage, app_target=app)))]
    failed = sum(check.status == "fail" for check in checks)
    if as_json:
        records: list[Json] = [
            {"name": each.name, "status": each.status, "detail": each.detail, "advice": each.advice}
            for each in checks
        ]
        print_json({"ok": not failed, "checks": records})
    else:
        _print(checks)
    if failed:
        raise Stop(ExitCode.STORAGE, f"{failed} of {len(checks)} checks failed")


def _print(checks: Sequence[Check]) -> None:
    console = out()
    width = max(len(check.name) for check in checks)
    for check in checks:
        mark, plain_mark, style = _MARKS[check.status]
        line = text(f"{plain_mark if is_plain(console) else mark} {check.status:<5}", style)
        console.print(joined(line, text(f"{check.name:<{width}}  "), text(check.detail)))
        if check.advice:
            console.print(text(f"{'':{width + 9}}{check.advice}", "dim"))


# ------------------------------------------------------------------ the installation
def _installation() -> Iterator[Check]:
    version = platform.python_version()
    new_enough = sys.version_info[:2] >= _OLDEST_PYTHON
    yield Check(
        name="python",
        status="ok" if new_enough else "fail",
        detail=f"{platform.python_implementation()} {version}",
        advice="" if new_enough else "install Python 3.11 or newer",
    )
    yield Check(name="stepflow", status="ok", detail=f"{_version('stepflow')}, msgspec {_version('msgspec')}")
    for extra, (package, purpose) in _EXTRAS.items():
        installed = find_spec(package) is not None
        yield Check(
            name=f"extra {extra}",
            status="ok",
            detail=f"{package} {_version(package)}" if installed else f"not installed; it is for {purpose}",
            advice="" if installed else f"if you need it: pip install 'stepflow[{extra}]'",
        )


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "(not installed as a package)"


# ------------------------------------------------------------------ the storage
async def _examine(source: Source) -> list[Check]:
    checks: list[Check] = []
    try:
        app = source.make_app()
        if source.app_target is not None:
            named = ", ".join(app.workflows) or "none"
            checks.append(Check(name="app", status="ok", detail=f"{source.app_target}, workflows: {named}"))
        url = storage_url(app)
        refuse_memory(url)
        missing = missing_database(url)
        if missing is not None:
            return [*checks, _no_database(missing)]
        async with opened(app, worker=False) as session:
            known = app.workflows if source.app_target is not None else None
            checks += [check async for check in _of_storage(session, known)]
    except Stop as stop:
        checks.append(Check(name="app", status="fail", detail=stop.message, advice=stop.hint))
    except StepflowError as error:
        advice = "check the URL, the permissions, and that the server is up; STEPFLOW_STORAGE or --storage names another"
        checks.append(Check(name="storage", status="fail", detail=str(error), advice=advice))
    return checks


def _no_database(path: Path) -> Check:
    folder = path.parent
    if folder.is_dir() and os.access(folder, os.W_OK):
        advice = "the first run creates it; an existing one is named by --storage or STEPFLOW_STORAGE"
        return Check(name="storage", status="warn", detail=f"there is no database {path} yet", advice=advice)
    return Check(
        name="storage",
        status="fail",
        detail=f"there is no database {path}, and none can be created in its folder",
        advice="create the folder, and let this user write to it",
    )


async def _of_storage(session: Session, known: Sequence[str] | None) -> AsyncIterator[Check]:
    clock, storage = session.clock, session.storage
    before = clock.monotonic()
    info = await storage.info(now=clock.now())
    took = clock.monotonic() - before
    yield Check(name="storage", status="ok", detail=f"{info.url} answers in {took * 1000:.1f} ms")
    yield Check(name="schema", status="ok", detail=f"version {info.schema_version}, as this release wants it")
    weak = "full" not in info.durability and info.backend == "sqlite"
    yield Check(
        name="durability",
        status="warn" if weak else "ok",
        detail=info.durability,
        advice="leave ?synchronous=normal out if the last runs must survive a power loss" if weak else "",
    )
    server_time = await storage.server_time()
    if server_time is not None:
        skew = abs(server_time - clock.now())
        yield Check(
            name="clock",
            status="ok" if skew < _CLOCK_OFF else "warn",
            detail=f"{duration_text(skew)} apart from the server's",
            advice=""
            if skew < _CLOCK_OFF
            else "workers follow the server's clock; set this machine's with NTP",
        )
    yield _of_workers(info)
    yield await _of_paused(session)
    yield await _of_queues(session, info)
    if known is not None:
        yield await _of_code(session, known)


def _of_workers(info: StorageInfo) -> Check:
    unfinished = _unfinished(info)
    if info.workers:
        named = ", ".join(f"{worker.name or worker.id} ({worker.host})" for worker in info.workers[:_NAMED])
        more = f" and {len(info.workers) - _NAMED} more" if len(info.workers) > _NAMED else ""
        return Check(name="workers", status="ok", detail=f"{len(info.workers)} alive: {named}{more}")
    if not unfinished:
        return Check(name="workers", status="ok", detail="none alive, and no run needs one")
    return Check(
        name="workers",
        status="warn",
        detail=f"none alive, and {unfinished:,} unfinished runs wait for one",
        advice="start one: stepflow worker MODULE:APP",
    )


def _unfinished(info: StorageInfo) -> int:
    moving = (RunStatus.QUEUED, RunStatus.RUNNING, RunStatus.SUSPENDED)
    return sum(info.runs.get(status, 0) for status in moving)


async def _of_paused(session: Session) -> Check:
    paused = await _records(session, RunStatus.PAUSED)
    stuck = [run for run in paused if run.pause_reason is not PauseReason.REQUESTED]
    if not paused:
        return Check(name="paused runs", status="ok", detail="none")
    if not stuck:
        return Check(
            name="paused runs",
            status="warn",
            detail=f"{_count(paused)}, all on request: {_ids(paused)}",
            advice="stepflow runs resume RUN_ID lets one go on",
        )
    reasons = Counter(run.pause_reason.value for run in stuck if run.pause_reason is not None)
    told = ", ".join(f"{count} {reason}" for reason, count in sorted(reasons.items()))
    first = shortened(stuck[0].pause_detail, 120)
    return Check(
        name="paused runs",
        status="warn",
        detail=f"{_count(paused)} ({told}): {_ids(stuck)}" + (f"; the first: {first}" if first else ""),
        advice="mend the code and deploy it, then stepflow runs resume RUN_ID; or stepflow runs cancel RUN_ID",
    )


async def _of_queues(session: Session, info: StorageInfo) -> Check:
    served = {queue for worker in info.workers for queue in worker.queues}
    waiting = Counter(run.queue for run in await _records(session, RunStatus.QUEUED, RunStatus.SUSPENDED))
    unserved = {queue: count for queue, count in sorted(waiting.items()) if queue not in served}
    if not unserved:
        return Check(name="queues", status="ok", detail="every queue with runs in it has a worker")
    told = ", ".join(f"{queue} ({count} runs)" for queue, count in unserved.items())
    return Check(
        name="queues",
        status="warn",
        detail=f"no live worker serves {told}",
        advice="start a worker of an app that has these queues: stepflow worker MODULE:APP",
    )


async def _of_code(session: Session, known: Sequence[str]) -> Check:
    statuses = (RunStatus.QUEUED, RunStatus.RUNNING, RunStatus.SUSPENDED, RunStatus.PAUSED)
    unknown = Counter(
        run.workflow_id for run in await _records(session, *statuses) if run.workflow_id not in known
    )
    if not unknown:
        return Check(name="code", status="ok", detail="the app knows the workflow of every unfinished run")
    told = ", ".join(f"{workflow_id} ({count} runs)" for workflow_id, count in sorted(unknown.items()))
    return Check(
        name="code",
        status="warn",
        detail=f"unfinished runs of workflows that this app does not have: {told}",
        advice="register them in Stepflow(workflows=[...]), or see that another app's worker serves them",
    )


async def _records(session: Session, *statuses: RunStatus) -> Sequence[RunRecord]:
    page = await session.storage.list_runs(RunFilter(statuses=frozenset(statuses)), limit=_LOOKED_AT)
    return page.items


def _count(runs: Sequence[RunRecord]) -> str:
    return f"{len(runs)}{' or more' if len(runs) == _LOOKED_AT else ''}"


def _ids(runs: Sequence[RunRecord]) -> str:
    more = f" and {len(runs) - _NAMED} more" if len(runs) > _NAMED else ""
    return ", ".join(run.id for run in runs[:_NAMED]) + more
