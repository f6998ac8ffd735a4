"""Events: sent once, given a position, and told to the runs that wait."""

from __future__ import annotations

from stepflow.model.children import child_event_id, ended_payload
from stepflow.model.events import Event, NewEvent
from stepflow.model.runs import ParentLink
from stepflow.model.states import RunStatus
from stepflow.storage._rules.records import RunState, Work
from stepflow.storage.writes import Duplicate, Sent, Undeliverable
from stepflow.types import RunId


def send(work: Work, new: NewEvent) -> Sent | Duplicate | Undeliverable:
    """Append the event unless it was there already or can't reach anyone."""
    records = work.records
    if new.dedup_id is not None:
        same = records.event_of(new.event_id, new.dedup_id)
        if same is not None:
            return Duplicate(event=same)
    if new.once:
        first = records.first_event(new.event_id, new.run_id)
        if first is not None:
            return Duplicate(event=first, once_lost=True)
    if new.run_id is not None:
        target = records.find(new.run_id)
        if target is None:
            return Undeliverable(run_id=new.run_id)
        if target.status.ended:
            return Undeliverable(run_id=new.run_id, status=target.status)
    return _append(work, new)


def tell_parent(work: Work, child: RunState, parent: ParentLink) -> tuple[RunId, ...]:
    """Send the parent of an attached child its end, if the parent is there to hear it."""
    if parent.detached:
        return ()
    record = work.records.find(parent.run_id)
    if record is None or record.status.ended:
        return ()
    payload = ended_payload(child.status, child.output, child.failure)
    told = NewEvent(event_id=child_event_id(child.id), payload=payload, run_id=parent.run_id)
    return _append(work, told).woken


def _append(work: Work, new: NewEvent) -> Sent:
    records = work.records
    event = Event(
        event_id=new.event_id,
        pos=records.next_pos(),
        payload=new.payload,
        at=work.now,
        run_id=new.run_id,
        dedup_id=new.dedup_id,
    )
    records.append_event(event)
    return Sent(pos=event.pos, woken=_wake(work, event))


def _wake(work: Work, event: Event) -> tuple[RunId, ...]:
    """Queue the suspended runs that wait for the event; name them and the running ones."""
    woken: list[RunId] = []
    for run_id, after in sorted(work.records.waiting(event.event_id).items()):
        if event.run_id not in (None, run_id) or after >= event.pos:
            continue
        run = work.records.find(run_id)
        if run is None:
            continue
        if run.status is RunStatus.SUSPENDED:
            queue(work, run)
        elif run.status is not RunStatus.RUNNING:
            continue
        work.changed.add(run_id)
        woken.append(run_id)
    return tuple(woken)


def queue(work: Work, run: RunState) -> None:
    """Make the run claimable now."""
    run.status = RunStatus.QUEUED
    run.due_at = work.now
    run.worker = None
    work.records.save(run)
    work.ready.add(run.queue)
