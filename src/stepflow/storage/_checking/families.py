"""Families: parents know their children, children their parents, an end is told, and nobody sleeps through an event."""

from __future__ import annotations

from collections.abc import AsyncIterator

from stepflow.model.children import child_event_id
from stepflow.model.events import Wait
from stepflow.model.runs import RunRecord
from stepflow.model.states import RunStatus
from stepflow.storage._checking.journals import Reading, open_children
from stepflow.storage.base import Storage
from stepflow.storage.checking import Finding, Kind


async def check_waits(storage: Storage, run: RunRecord) -> AsyncIterator[Finding]:
    """A suspended run must have something that wakes it, and nothing that should have woken it."""
    if run.status is not RunStatus.SUSPENDED:
        return
    if run.due_at is None and not run.waits:
        yield Finding(what=Kind.DUE_MISMATCH, run_id=run.id, detail="suspended, and nothing can wake it")
    if run.waits:
        found = await storage.read_events([(run.id, wait) for wait in run.waits], limit=1)
        for wait, events in zip(run.waits, found, strict=True):
            if events:
                detail = f"suspended, although {wait.event_id!r}, which it waits for, came at {events[0].pos}"
                yield Finding(what=Kind.WAIT_MISMATCH, run_id=run.id, detail=detail)


async def check_family(storage: Storage, run: RunRecord, reading: Reading) -> AsyncIterator[Finding]:
    """What is wrong between this run, those it started and the one that started it."""
    if run.status.ended:
        return
    parent = run.parent
    if parent is not None and not parent.detached:
        above = await storage.get_run(parent.run_id)
        # A cancelled child may still clean up, and one that somebody retried by hand belongs to nobody.
        left_alone = run.cancel_requested or reading.cancelled or reading.had_ended
        if (above is None or above.status.ended) and not left_alone:
            how = "does not exist" if above is None else f"is {above.status}"
            detail = f"{run.status}, but its parent {parent.run_id} {how} and nobody cancelled it"
            yield Finding(what=Kind.CHILD_ABANDONED, run_id=run.id, detail=detail)
    for key, child_id in open_children(reading):
        child = await storage.get_run(child_id)
        if child is not None and (child.parent is None or child.parent.run_id != run.id):
            of = "nobody's" if child.parent is None else f"{child.parent.run_id}'s"
            detail = f"its child {child_id} ({key!r}) says that it is {of}"
            yield Finding(what=Kind.CHILD_MISMATCH, run_id=run.id, detail=detail)
        if child is not None and not child.status.ended:
            continue
        told = Wait(event_id=child_event_id(child_id), after=0)
        [heard] = await storage.read_events([(run.id, told)], limit=1)
        if heard:
            continue
        if child is None:
            detail = f"its child {child_id} ({key!r}) is not there, and did not say how it ended"
            yield Finding(what=Kind.CHILD_MISSING, run_id=run.id, detail=detail)
        else:
            detail = (
                f"its child {child_id} ({key!r}) is {child.status}, but the event that says so is not there"
            )
            yield Finding(what=Kind.END_UNTOLD, run_id=run.id, detail=detail)
