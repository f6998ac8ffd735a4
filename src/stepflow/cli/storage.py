"""``stepflow storage``: what is stored, the schema, and the tidying up."""

from __future__ import annotations

import logging
from datetime import datetime, timedelta
from typing import Annotated

import typer

from stepflow.cli import options
from stepflow.cli.logs import show_logs
from stepflow.cli.opening import looking, run_async
from stepflow.cli.output import ago, joined, local_time, out, print_json, size_text, status_text, text
from stepflow.cli.records import storage_record
from stepflow.durations import format_duration, parse_duration
from stepflow.storage.base import Storage, StorageInfo

_AT_ONCE = 500


def info(
    storage: options.Storage = options.DEFAULT, app: options.App = None, as_json: options.AsJson = False
) -> None:
    """Show what is stored: runs by status, journal, events, workers, size and durability."""
    show_logs(logging.ERROR)

    async def perform() -> tuple[StorageInfo, datetime]:
        async with looking(options.source_of(storage, app)) as session:
            now = session.clock.now()
            return await session.storage.info(now=now), now

    found, now = run_async(perform())
    if as_json:
        print_json(storage_record(found))
        return
    console = out()
    rows = [
        ("storage", found.url),
        ("backend", found.backend),
        ("durability", found.durability),
        ("schema", f"version {found.schema_version}"),
        ("size", size_text(found.size_bytes)),
        ("journal", f"{found.journal_rows:,} rows"),
        ("events", f"{found.events:,}{_pinned(found)}"),
    ]
    for name, value in rows:
        if value:
            console.print(joined(text(f"{name:<11}", "dim"), text(value)))
    total = sum(found.runs.values())
    console.print(joined(text(f"{'runs':<11}", "dim"), text(f"{total:,}")))
    for status, count in found.runs.items():
        console.print(joined(text(f"{'':<11}{count:>8,} "), status_text(str(status))))
    console.print(joined(text(f"{'workers':<11}", "dim"), text(len(found.workers) or "none alive")))
    for worker in found.workers:
        name = f"{worker.name} " if worker.name else ""
        since = f"since {local_time(worker.started_at)} ({ago(worker.started_at, now)})"
        queues = ", ".join(worker.queues)
        console.print(
            text(f"{'':<11}{name}{worker.id} on {worker.host}, pid {worker.pid}, {since}: {queues}")
        )


def _pinned(found: StorageInfo) -> str:
    return (
        f" (kept for run {found.events_pinned_by}, the oldest unfinished one)"
        if found.events_pinned_by
        else ""
    )


def migrate(storage: options.Storage = options.DEFAULT, as_json: options.AsJson = False) -> None:
    """Create the storage's schema, or bring it forward. Opening a storage does the same: this is for deployments."""
    show_logs(logging.ERROR)

    async def perform() -> StorageInfo:
        async with looking(options.source_of(storage, None), create=True) as session:
            return await session.storage.info(now=session.clock.now())

    found = run_async(perform())
    if as_json:
        print_json({"url": found.url, "schemaVersion": found.schema_version})
    else:
        out().print(
            text(f"{found.url} is at schema version {found.schema_version}, as this release wants it")
        )


def prune(
    older_than: Annotated[
        str, typer.Option("--older-than", metavar="DURATION", help="Delete runs that ended so long ago.")
    ] = "30d",
    events_older_than: Annotated[
        str,
        typer.Option(
            "--events-older-than",
            metavar="DURATION",
            help="Delete events that are so old and that no unfinished run may still need.",
        ),
    ] = "7d",
    storage: options.Storage = options.DEFAULT,
    as_json: options.AsJson = False,
) -> None:
    """Delete old ended runs and old events, in small batches. Workers do so by themselves every hour."""
    show_logs(logging.ERROR)
    runs, events = parse_duration(older_than), parse_duration(events_older_than)

    async def perform() -> int:
        async with looking(options.source_of(storage, None)) as session:
            return await _prune(session.storage, session.clock.now(), runs=runs, events=events)

    pruned = run_async(perform())
    if as_json:
        print_json({"deleted": pruned})
    else:
        ages = f"runs ended over {format_duration(runs)} ago, events older than {format_duration(events)}"
        out().print(text(f"deleted {pruned:,} ({ages})"))


async def _prune(storage: Storage, now: datetime, *, runs: timedelta, events: timedelta) -> int:
    """How many runs and events went."""
    total = 0
    while True:
        pruned = await storage.prune(
            ended_before=_before(now, runs), events_before=_before(now, events), limit=_AT_ONCE
        )
        total += pruned
        if pruned < _AT_ONCE:
            return total


def _before(now: datetime, age: timedelta) -> datetime | None:
    try:
        return now - age
    except OverflowError:  # older than time itself: nothing is
        return None
